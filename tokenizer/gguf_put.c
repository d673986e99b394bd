/* gguf_put.c - kvass_tokenizer_describe: a tokenizer as the metadata of a GGUF file, the way back
 * from gguf_vocab.c. Byte-level BPE is written with its merges; whatever joins pieces by score
 * (SentencePiece's BPE, llama2.c's) with scores, and so is a BPE of characters whose merges amount
 * to that. What neither can say is refused: wrong tokens are worse than none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/gguf_out.h"
#include "tokenizer/bpe.h"
#include "tokenizer/gguf_pre.h"
#include "tokenizer/spm.h"
#include "tokenizer/utf8.h"

#define N_MARK (sizeof WORD_MARK - 1)

/* The file's types of tokens. */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

/* What both kinds need. */
typedef struct describing {
    const kvass_tokenizer *tok;
    kvass_metadata *m;
    int32_t n_vocab; /* of the model */
    bool byte_level;
    const int32_t *ranks;    /* not byte_level: [tok->vocab.n_vocab], 0 is joined first */
    const int32_t *byte_ids; /* not byte_level: [256] */
    int32_t unk;
    bool prefix_space;
    unsigned char *types; /* [n_vocab] */
    char *scratch;        /* room for any piece in any spelling */
    const char **lost;
    kvass_error *err;
} describing;

static kvass_status refuse(const describing *d, const char *what)
{
    return kvass_fail(d->err, KVASS_UNSUPPORTED, "CONVERT_TOKENIZER",
                      "the tokenizer: GGUF has no word for %s", what);
}

static const tok_piece *piece_of(const describing *d, int32_t id, const char **bytes)
{
    const tok_piece *piece = &d->tok->vocab.pieces[id];
    *bytes = d->tok->vocab.bytes + piece->offset;
    return piece;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* types[n_vocab], with d->tok's words, names and bytes told apart. */
static void find_types(const describing *d)
{
    const tok_vocab *vocab = &d->tok->vocab;
    for (int32_t id = 0; id < d->n_vocab; id++) {
        bool has = id < vocab->n_vocab && kvass_vocab_has(vocab, id);
        uint32_t flags = has ? vocab->pieces[id].flags : 0;
        d->types[id] = flags & TOK_WHOLE                            ? USER_DEFINED
                       : flags & TOK_WORD || (has && d->byte_level) ? NORMAL
                                                                    : UNUSED;
        d->types[id] = flags & TOK_SPECIAL ? CONTROL : d->types[id];
    }
    for (int byte = 0; byte < 256 && !d->byte_level; byte++) {
        if (d->byte_ids[byte] >= 0) {
            d->types[d->byte_ids[byte]] = BYTE;
        }
    }
    for (int32_t i = 0; i < d->tok->added.n_tokens; i++) {
        const tok_added_token *token = &d->tok->added.tokens[i];
        d->types[token->id] = token->special ? CONTROL : USER_DEFINED;
        if (token->lstrip || token->rstrip || token->single_word) {
            *d->lost = "special tokens that take the space beside them do so no longer";
        }
    }
    if (d->unk >= 0 && !d->byte_level) {
        d->types[d->unk] = UNKNOWN;
    }
}

/* d->scratch = a piece with marks for its spaces; the bytes. */
static size_t spell(const describing *d, const char *bytes, size_t n)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        bool space = bytes[i] == ' ';
        memcpy(d->scratch + n_out, space ? WORD_MARK : bytes + i, space ? N_MARK : 1);
        n_out += space ? N_MARK : 1;
    }
    return n_out;
}

/* Whether another piece is spelled so already: one with a space beside one with a mark, which no
 * text becomes. */
static bool is_twin(const describing *d, int32_t id)
{
    const char *bytes;
    const tok_piece *piece = piece_of(d, id, &bytes);
    if (d->byte_level || d->types[id] != NORMAL) {
        return false;
    }
    int32_t other = kvass_vocab_word(&d->tok->vocab, d->scratch, spell(d, bytes, piece->n_bytes));
    return other >= 0 && other != id;
}

/* The spelling of a piece in the file. */
static void add_text(const describing *d, int32_t id)
{
    const char *bytes = "";
    size_t n_out = 0;
    if (id >= d->tok->vocab.n_vocab || !kvass_vocab_has(&d->tok->vocab, id) || is_twin(d, id)) {
        char name[32];
        int n = snprintf(name, sizeof name, "[PAD%d]", (int)id);
        kvass_metadata_add_string(d->m, name, (size_t)n);
        return;
    }
    const tok_piece *piece = piece_of(d, id, &bytes);
    if (d->types[id] == BYTE) {
        char name[8];
        int n = snprintf(name, sizeof name, "<0x%02X>", (unsigned)(unsigned char)bytes[0]);
        kvass_metadata_add_string(d->m, name, (size_t)n);
        return;
    }
    if (d->byte_level && d->types[id] == NORMAL && piece->flags & TOK_WORD) {
        n_out = kvass_bytelevel_encode(bytes, piece->n_bytes, d->scratch);
    } else if (d->byte_level || d->types[id] == CONTROL || d->types[id] == UNKNOWN) {
        memcpy(d->scratch, bytes, piece->n_bytes);
        n_out = piece->n_bytes;
    } else {
        n_out = spell(d, bytes, piece->n_bytes);
    }
    kvass_metadata_add_string(d->m, d->scratch, n_out);
}

static void put_tokens(const describing *d)
{
    kvass_metadata_put_list(d->m, "tokenizer.ggml.tokens", KVASS_GGUF_STRING, (uint64_t)d->n_vocab);
    for (int32_t id = 0; id < d->n_vocab; id++) {
        add_text(d, id);
    }
    kvass_metadata_put_list(d->m, "tokenizer.ggml.token_type", KVASS_GGUF_I32,
                            (uint64_t)d->n_vocab);
    for (int32_t id = 0; id < d->n_vocab; id++) {
        bool twin = id < d->tok->vocab.n_vocab && is_twin(d, id);
        kvass_metadata_add_i32(d->m, twin ? UNUSED : d->types[id]);
    }
}

/* ---- byte-level BPE -------------------------------------------------------------------------- */

static kvass_status put_merges(const describing *d, const tok_bpe *bpe)
{
    size_t n = bpe->merges.n;
    char *text = malloc(4 * d->tok->vocab.longest + 8);
    if (!text) {
        return kvass_fail_nomem(d->err, 4 * d->tok->vocab.longest, "merges");
    }
    kvass_metadata_put_list(d->m, "tokenizer.ggml.merges", KVASS_GGUF_STRING, n);
    for (size_t i = 0; i < n; i++) {
        const char *left, *right;
        size_t n_left = piece_of(d, bpe->merges.all[i].left, &left)->n_bytes;
        size_t n_right = piece_of(d, bpe->merges.all[i].right, &right)->n_bytes;
        size_t n_text = kvass_bytelevel_encode(left, n_left, text);
        text[n_text++] = ' ';
        n_text += kvass_bytelevel_encode(right, n_right, text + n_text);
        kvass_metadata_add_string(d->m, text, n_text);
    }
    free(text);
    return KVASS_OK;
}

static kvass_status describe_bytes(describing *d, const tok_bpe *bpe)
{
    bool nfc_lost = false;
    const char *pre = kvass_gguf_pre_find(d->tok, bpe->ignore_merges, &nfc_lost);
    if (!pre) {
        return refuse(d, "how it normalizes text and cuts it into words");
    }
    if (nfc_lost) {
        *d->lost = "text is no longer brought to the normal form NFC";
    }
    find_types(d);
    kvass_metadata_put_string(d->m, "tokenizer.ggml.model", "gpt2", 4);
    kvass_metadata_put_string(d->m, "tokenizer.ggml.pre", pre, strlen(pre));
    put_tokens(d);
    return put_merges(d, bpe);
}

/* ---- pieces with scores ---------------------------------------------------------------------- */

static kvass_status describe_scores(describing *d)
{
    find_types(d);
    kvass_metadata_put_string(d->m, "tokenizer.ggml.model", "llama", 5);
    kvass_metadata_put_string(d->m, "tokenizer.ggml.pre", "default", 7);
    put_tokens(d);
    kvass_metadata_put_list(d->m, "tokenizer.ggml.scores", KVASS_GGUF_F32, (uint64_t)d->n_vocab);
    for (int32_t id = 0; id < d->n_vocab; id++) {
        bool known = id < d->tok->vocab.n_vocab;
        kvass_metadata_add_f32(d->m, known ? -(float)d->ranks[id] : -1e6f);
    }
    kvass_metadata_put_bool(d->m, "tokenizer.ggml.add_space_prefix", d->prefix_space);
    if (d->unk >= 0) {
        kvass_metadata_put_u32(d->m, "tokenizer.ggml.unknown_token_id", (uint32_t)d->unk);
    }
    return KVASS_OK;
}

static bool is_mark(const char *text, size_t n)
{
    return (n == 1 && *text == ' ') || (n == N_MARK && memcmp(text, WORD_MARK, N_MARK) == 0);
}

/* Whether text becomes pieces by nothing but marks for spaces, with or without one first. */
static kvass_status find_prefix_space(describing *d)
{
    const tok_normalizer *norm = &d->tok->norm;
    const tok_pretok *pre = &d->tok->pre;
    d->prefix_space = false;
    for (int32_t i = 0; i < norm->n_steps; i++) {
        const tok_norm_step *step = &norm->steps[i];
        if (step->kind == TOK_PREPEND && i == 0 && is_mark(step->to, step->n_to)) {
            d->prefix_space = true;
        } else if (step->kind == TOK_SENTENCEPIECE) {
            d->prefix_space = step->rules->prefix_space;
            if (step->rules->remove_extra || step->rules->map.units) {
                *d->lost = "text is no longer normalized before it is cut";
            }
        } else if (step->kind != TOK_REPLACE || !is_mark(step->from, step->n_from) ||
                   !is_mark(step->to, step->n_to)) {
            return refuse(d, "how it normalizes text");
        }
    }
    if (pre->n_steps > 1 || (pre->n_steps == 1 && pre->steps[0].kind != TOK_PRE_MARK)) {
        return refuse(d, "how it cuts text into words");
    }
    d->prefix_space =
        d->prefix_space || (pre->n_steps == 1 && pre->steps[0].first != TOK_MARK_NEVER);
    return KVASS_OK;
}

/* Whether every way to cut a word in two is a merge, as joining by score would have it. */
static bool all_cuts_merge(const tok_bpe *bpe, const char *text, size_t n, int32_t id)
{
    const tok_vocab *vocab = bpe->vocab;
    for (size_t at = 1; at < n; at++) {
        if (((unsigned char)text[at] & 0xc0) == 0x80) {
            continue;
        }
        int32_t left = kvass_vocab_word(vocab, text, at);
        int32_t right = kvass_vocab_word(vocab, text + at, n - at);
        int32_t rank = left >= 0 && right >= 0 ? kvass_pairs_find(&bpe->merges, left, right) : -1;
        if (left >= 0 && right >= 0 && (rank < 0 || bpe->merges.all[rank].value != id)) {
            return false;
        }
    }
    return true;
}

/* ranks[n_vocab] by the first merge that makes each word; false when merges do not amount to an
 * order of words: then the same word is made early by one pair and late by another. */
static bool rank_words(const describing *d, const tok_bpe *bpe, int32_t *ranks)
{
    const tok_vocab *vocab = bpe->vocab;
    const kvass_pair *merges = bpe->merges.all;
    int32_t n_merges = (int32_t)bpe->merges.n;
    for (int32_t id = 0; id < vocab->n_vocab; id++) {
        ranks[id] = n_merges;
    }
    for (int32_t i = 0; i < n_merges; i++) {
        int32_t id = merges[i].value;
        if (ranks[id] < n_merges && merges[i - 1].value != id) {
            return false;
        }
        ranks[id] = ranks[id] < n_merges ? ranks[id] : i;
    }
    for (int32_t id = 0; id < vocab->n_vocab; id++) {
        const char *bytes;
        const tok_piece *piece = piece_of(d, id, &bytes);
        if ((piece->flags & (TOK_WORD | TOK_SPECIAL)) != TOK_WORD) {
            continue;
        }
        if (!all_cuts_merge(bpe, d->scratch, spell(d, bytes, piece->n_bytes), id)) {
            return false;
        }
    }
    return true;
}

static kvass_status describe_characters(describing *d, const tok_bpe *bpe)
{
    int32_t *ranks = malloc(((size_t)d->tok->vocab.n_vocab + 1) * sizeof *ranks);
    if (!ranks) {
        return kvass_fail_nomem(d->err, sizeof *ranks, "scores");
    }
    d->byte_ids = bpe->byte_ids;
    d->unk = bpe->unk;
    d->ranks = ranks;
    kvass_status status = find_prefix_space(d);
    if (status == KVASS_OK && (bpe->ignore_merges || !rank_words(d, bpe, ranks))) {
        status = refuse(d, "merges that are not an order of pieces");
    }
    if (status == KVASS_OK) {
        status = describe_scores(d);
    }
    free(ranks);
    return status;
}

static kvass_status describe_llama2c(describing *d, bool has_bytes)
{
    int32_t byte_ids[256];
    for (int byte = 0; byte < 256; byte++) {
        byte_ids[byte] = has_bytes ? 3 + byte : -1;
    }
    d->byte_ids = byte_ids;
    d->prefix_space = true;
    d->unk = 0;
    kvass_status status = describe_scores(d);
    d->byte_ids = NULL;
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static kvass_status describe_model(describing *d)
{
    bool has_bytes = false;
    if (d->tok->ops == &kvass_bpe_ops) {
        const tok_bpe *bpe = d->tok->model;
        d->byte_level = !bpe->by_char;
        return d->byte_level ? describe_bytes(d, bpe) : describe_characters(d, bpe);
    }
    if (d->tok->ops == &kvass_spm_ops) {
        const tok_spm *spm = d->tok->model;
        d->ranks = spm->ranks;
        d->byte_ids = spm->byte_ids;
        d->unk = spm->unk;
        kvass_status status = find_prefix_space(d);
        return status == KVASS_OK ? describe_scores(d) : status;
    }
    if (kvass_llama2c_ranks(d->tok, &d->ranks, &has_bytes)) {
        return describe_llama2c(d, has_bytes);
    }
    char what[64];
    (void)snprintf(what, sizeof what, "a model of kind %s", d->tok->ops->kind);
    return refuse(d, what);
}

/* What stands around a text: one token at each end, or none. */
static kvass_status describe_ends(const describing *d)
{
    const tok_ids *prefix = &d->tok->prefix, *suffix = &d->tok->suffix;
    bool bos = prefix->n == 1 && (d->tok->bos < 0 || prefix->data[0] == d->tok->bos);
    bool eos = suffix->n == 1 && (d->tok->eos < 0 || suffix->data[0] == d->tok->eos);
    if ((prefix->n > 0 && !bos) || (suffix->n > 0 && !eos)) {
        return refuse(d, "the tokens it puts around a text");
    }
    d->m->first = bos ? prefix->data[0] : -1;
    d->m->last = eos ? suffix->data[0] : -1;
    kvass_metadata_put_bool(d->m, "tokenizer.ggml.add_bos_token", bos);
    kvass_metadata_put_bool(d->m, "tokenizer.ggml.add_eos_token", eos);
    return KVASS_OK;
}

static kvass_status describe(describing *d)
{
    const tok_vocab *vocab = &d->tok->vocab;
    if (d->n_vocab < vocab->n_vocab) {
        return kvass_fail(d->err, KVASS_INVALID, "VOCAB_SIZE",
                          "the tokenizer has %d tokens, the model has %d", (int)vocab->n_vocab,
                          (int)d->n_vocab);
    }
    d->types = malloc((size_t)d->n_vocab + 1);
    d->scratch = malloc(vocab->longest * N_MARK + 1);
    if (!d->types || !d->scratch) {
        return kvass_fail_nomem(d->err, (size_t)d->n_vocab, "types of tokens");
    }
    kvass_status status = describe_model(d);
    return status == KVASS_OK ? describe_ends(d) : status;
}

kvass_status kvass_tokenizer_describe(const kvass_tokenizer *tok, int32_t n_vocab,
                                      kvass_metadata **out, const char **lost, kvass_error *err)
{
    const char *unheard;
    if (out) {
        *out = NULL;
    }
    if (!out || !tok || n_vocab < 1) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "kvass_tokenizer_describe: tok or out is NULL, or n_vocab below 1");
    }
    describing d = {
        .tok = tok, .n_vocab = n_vocab, .unk = -1, .lost = lost ? lost : &unheard, .err = err};
    *d.lost = NULL;
    d.m = kvass_metadata_new();
    kvass_status status =
        d.m ? describe(&d) : kvass_fail_nomem(err, sizeof *d.m, "the tokenizer's metadata");
    free(d.types);
    free(d.scratch);
    if (status == KVASS_OK) {
        status = kvass_metadata_check(d.m, err);
    }
    if (status != KVASS_OK) {
        kvass_metadata_close(&d.m);
        return status;
    }
    *out = d.m;
    return KVASS_OK;
}
