/* json_put.c - kvass_tokenizer_describe_json: a tokenizer that came out of a GGUF file as
 * tokenizer.json and tokenizer_config.json, the way back from tokenizer_json.c. Byte-level BPE
 * keeps its merges; pieces with scores become a BPE of characters with byte fallback, in which each
 * way to cut a piece in two is a merge. What tokenizer.json cannot say is refused: wrong tokens are
 * worse than none.
 */
#include "tokenizer/json_put.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/utf8.h"

enum { MAX_TOKEN = 2 * ADDED_MAX_BYTES };

kvass_status kvass_writing_refuse(const tok_writing *w, const char *what)
{
    return kvass_fail(w->err, KVASS_UNSUPPORTED, "CONVERT_TOKENIZER",
                      "the tokenizer: tokenizer.json has no word for %s", what);
}

/* ---- text ------------------------------------------------------------------------------------ */

void kvass_writing_put(const tok_writing *w, const char *text)
{
    kvass_metadata_add_bytes(w->m, text, strlen(text));
}

void kvass_writing_put_int(const tok_writing *w, int32_t value)
{
    char text[16];
    int n = snprintf(text, sizeof text, "%d", (int)value);
    kvass_metadata_add_bytes(w->m, text, (size_t)n);
}

void kvass_writing_put_inside(const tok_writing *w, const char *text, size_t n)
{
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\' || byte < 0x20) {
            char escape[8];
            int n_escape = snprintf(escape, sizeof escape, "\\u%04x", byte);
            kvass_metadata_add_bytes(w->m, text + from, i - from);
            kvass_metadata_add_bytes(w->m, escape, (size_t)n_escape);
            from = i + 1;
        }
    }
    kvass_metadata_add_bytes(w->m, text + from, n - from);
}

void kvass_writing_put_quoted(const tok_writing *w, const char *text, size_t n)
{
    kvass_writing_put(w, "\"");
    kvass_writing_put_inside(w, text, n);
    kvass_writing_put(w, "\"");
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static bool has_word(const tok_writing *w, int32_t id)
{
    return w->tok->vocab.words.all[id].n_bytes != TOK_NO_WORD;
}

const char *kvass_writing_spell(const tok_writing *w, int32_t id, size_t *n)
{
    const tok_vocab *vocab = &w->tok->vocab;
    const tok_piece *piece = &vocab->pieces[id];
    const char *bytes = vocab->bytes + piece->offset;
    if (has_word(w, id)) {
        const tok_word *word = &vocab->words.all[id];
        *n = word->n_bytes;
        if (w->spm) {
            return vocab->words.bytes + word->offset;
        }
        *n = kvass_bytelevel_encode(vocab->words.bytes + word->offset, word->n_bytes, w->scratch);
        return w->scratch;
    }
    *n = piece->n_bytes;
    if (w->spm && *n == 1 && w->spm->byte_ids[(unsigned char)*bytes] == id) {
        *n = (size_t)snprintf(w->scratch, 8, "<0x%02X>", (unsigned)(unsigned char)*bytes);
        return w->scratch;
    }
    return bytes;
}

/* Whether an id is one that text or a name becomes; others are listed when nothing is in the way.
 */
static bool is_needed(const tok_writing *w, int32_t id)
{
    const tok_piece *piece = &w->tok->vocab.pieces[id];
    bool byte = w->spm && piece->n_bytes == 1 &&
                w->spm->byte_ids[(unsigned char)w->tok->vocab.bytes[piece->offset]] == id;
    return has_word(w, id) || byte || w->added[id] >= 0;
}

static kvass_status refuse_token(const tok_writing *w, int32_t id, const char *what)
{
    return kvass_fail(w->err, KVASS_UNSUPPORTED, "CONVERT_TOKENIZER",
                      "the tokenizer: tokenizer.json has no word for token %d, %s", (int)id, what);
}

/* "text": id, unless another has the text. */
static kvass_status put_token(const tok_writing *w, int32_t id)
{
    size_t n;
    const char *text = kvass_writing_spell(w, id, &n);
    bool needed = is_needed(w, id), valid = n > 0 && !memchr(text, '\0', n);
    valid = valid && n <= MAX_TOKEN && kvass_utf8_valid(text, n) == n;
    /* a model of characters would begin with it */
    bool single = valid && w->spm && !has_word(w, id) && kvass_utf8_char(text, n, NULL) == n;
    if (!valid || single) {
        return needed ? refuse_token(w, id,
                                     valid ? "a name of one letter" : "which is long or no UTF-8")
                      : KVASS_OK;
    }
    int32_t old;
    kvass_status status = kvass_map_put(w->keys, text, n, id, &old, w->err);
    if (status != KVASS_OK || old >= 0) {
        return status == KVASS_OK && needed ? refuse_token(w, id, "which is spelled as another is")
                                            : status;
    }
    kvass_writing_put(w, kvass_map_size(w->keys) > 1 ? ",\n" : "\n");
    kvass_writing_put_quoted(w, text, n);
    kvass_writing_put(w, ":");
    kvass_writing_put_int(w, id);
    return KVASS_OK;
}

static kvass_status put_vocab(const tok_writing *w)
{
    kvass_status status = KVASS_OK;
    kvass_writing_put(w, "\"vocab\":{");
    for (int needed = 1; needed >= 0; needed--) {
        for (int32_t id = 0; id < w->tok->vocab.n_vocab && status == KVASS_OK; id++) {
            if (kvass_vocab_has(&w->tok->vocab, id) && is_needed(w, id) == (needed == 1)) {
                status = put_token(w, id);
            }
        }
    }
    kvass_writing_put(w, "}");
    return status;
}

static void put_added(const tok_writing *w)
{
    bool any = false;
    kvass_writing_put(w, "\"added_tokens\":[");
    for (int32_t id = 0; id < w->tok->vocab.n_vocab; id++) {
        if (w->added[id] >= 0) {
            size_t n;
            const char *text = kvass_writing_spell(w, id, &n);
            kvass_writing_put(w, any ? ",\n{\"id\":" : "\n{\"id\":");
            kvass_writing_put_int(w, id);
            kvass_writing_put(w, ",\"content\":");
            kvass_writing_put_quoted(w, text, n);
            kvass_writing_put(
                w, ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
                   "\"special\":");
            kvass_writing_put(w, w->tok->added.tokens[w->added[id]].special ? "true}" : "false}");
            any = true;
        }
    }
    kvass_writing_put(w, "],\n");
}

/* ---- merges ---------------------------------------------------------------------------------- */

static void put_merge(const tok_writing *w, int32_t left, int32_t right, bool first)
{
    size_t n;
    kvass_writing_put(w, first ? "\n\"" : ",\n\"");
    const char *text = kvass_writing_spell(w, left, &n);
    kvass_writing_put_inside(w, text, n);
    kvass_writing_put(w, " ");
    text = kvass_writing_spell(w, right, &n);
    kvass_writing_put_inside(w, text, n);
    kvass_writing_put(w, "\"");
}

typedef struct cut {
    int32_t rank, id, left, right;
    uint32_t n_left; /* bytes */
} cut;

/* Best score first. Scores tie for runs of one character, which SentencePiece joins from the left:
 * so the longest left part joins first. */
static int compare_cuts(const void *a, const void *b)
{
    const cut *x = a, *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    if (x->n_left != y->n_left) {
        return x->n_left > y->n_left ? -1 : 1;
    }
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : 0;
}

/* Whether the words of two ids are made of one character, the same. */
static bool are_runs(const tok_writing *w, int32_t a, int32_t b)
{
    const tok_words *words = &w->tok->vocab.words;
    const int32_t ids[] = {a, b};
    const char *one = words->bytes + words->all[a].offset;
    size_t size = kvass_utf8_char(one, words->all[a].n_bytes, NULL);
    for (int i = 0; i < 2; i++) {
        const char *text = words->bytes + words->all[ids[i]].offset;
        size_t n = words->all[ids[i]].n_bytes;
        for (size_t at = 0; at < n; at += size) {
            if (size == 0 || n - at < size || memcmp(text + at, one, size) != 0) {
                return false;
            }
        }
    }
    return true;
}

/* The ways to cut the word of an id into two words, into cuts[] unless it is NULL; how many. */
static size_t list_cuts(const tok_writing *w, int32_t id, cut *cuts)
{
    const tok_vocab *vocab = &w->tok->vocab;
    size_t n, n_cuts = 0;
    const char *text = kvass_writing_spell(w, id, &n);
    for (size_t at = 1; has_word(w, id) && at < n; at++) {
        if (((unsigned char)text[at] & 0xc0) != 0x80) {
            int32_t left = kvass_vocab_word(vocab, text, at);
            int32_t right = left >= 0 ? kvass_vocab_word(vocab, text + at, n - at) : -1;
            if (right >= 0 && cuts) {
                cuts[n_cuts] = (cut){w->spm->ranks[id], id, left, right, (uint32_t)at};
            }
            n_cuts += right >= 0;
        }
    }
    return n_cuts;
}

/* Where other scores tie, which pieces join first depends on where they stand: merges cannot say
 * so. */
static kvass_status put_scored_merges(const tok_writing *w)
{
    size_t n = 0;
    int32_t n_vocab = w->tok->vocab.n_vocab;
    for (int32_t id = 0; id < n_vocab; id++) {
        n += list_cuts(w, id, NULL);
    }
    cut *cuts = malloc((n + 1) * sizeof *cuts);
    if (!cuts) {
        return kvass_fail_nomem(w->err, n * sizeof *cuts, "merges");
    }
    n = 0;
    for (int32_t id = 0; id < n_vocab; id++) {
        n += list_cuts(w, id, cuts + n);
    }
    qsort(cuts, n, sizeof *cuts, compare_cuts);
    kvass_status status = KVASS_OK;
    for (size_t i = 0; i < n && status == KVASS_OK; i++) {
        if (i > 0 && cuts[i].rank == cuts[i - 1].rank && cuts[i].id != cuts[i - 1].id &&
            !are_runs(w, cuts[i].id, cuts[i - 1].id)) {
            status = refuse_token(w, cuts[i].id, "which has the score of another");
        }
        put_merge(w, cuts[i].left, cuts[i].right, i == 0);
    }
    free(cuts);
    return status;
}

static kvass_status put_merges(const tok_writing *w)
{
    kvass_status status = KVASS_OK;
    kvass_writing_put(w, ",\n\"merges\":[");
    if (w->spm) {
        status = put_scored_merges(w);
    } else {
        for (int32_t i = 0; i < (int32_t)w->bpe->merges.n; i++) {
            put_merge(w, w->bpe->merges.all[i].left, w->bpe->merges.all[i].right, i == 0);
        }
    }
    kvass_writing_put(w, "]");
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static kvass_status put_model(const tok_writing *w)
{
    int32_t unk = w->spm ? w->spm->unk : -1;
    kvass_writing_put(w, "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":");
    if (unk >= 0) {
        size_t n;
        const char *text = kvass_writing_spell(w, unk, &n);
        kvass_writing_put_quoted(w, text, n);
    } else {
        kvass_writing_put(w, "null");
    }
    kvass_writing_put(
        w, ",\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":");
    kvass_writing_put(w, w->spm && w->spm->fuse_unk ? "true" : "false");
    kvass_writing_put(w, w->spm ? ",\"byte_fallback\":true" : ",\"byte_fallback\":false");
    kvass_writing_put(w, w->bpe && w->bpe->ignore_merges ? ",\"ignore_merges\":true,\n"
                                                         : ",\"ignore_merges\":false,\n");
    kvass_status status = put_vocab(w);
    if (status == KVASS_OK) {
        status = put_merges(w);
    }
    kvass_writing_put(w, "}}\n");
    return status;
}

static kvass_status put_tokenizer(const tok_writing *w)
{
    kvass_writing_put(w, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\n");
    put_added(w);
    kvass_status status = kvass_writing_put_stages(w);
    return status == KVASS_OK ? put_model(w) : status;
}

/* tokenizer_config.json: the names of what a text begins and ends with. */
static void put_config(const tok_writing *w)
{
    const struct {
        const char *key;
        int32_t id;
    } names[] = {{"\"bos_token\":", w->tok->bos},
                 {"\"eos_token\":", w->tok->eos},
                 {"\"unk_token\":", w->spm ? w->spm->unk : -1}};
    kvass_writing_put(w, "{\"tokenizer_class\":\"PreTrainedTokenizerFast\","
                         "\"clean_up_tokenization_spaces\":false");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].id >= 0) {
            size_t n;
            const char *text = kvass_writing_spell(w, names[i].id, &n);
            kvass_writing_put(w, ",");
            kvass_writing_put(w, names[i].key);
            kvass_writing_put_quoted(w, text, n);
        }
    }
    kvass_writing_put(w, "}\n");
}

/* What the way of encoding allows at all. */
static kvass_status check_model(tok_writing *w)
{
    const kvass_tokenizer *tok = w->tok;
    if (tok->ops == &kvass_bpe_ops && !((const tok_bpe *)tok->model)->by_char) {
        w->bpe = tok->model;
    } else if (tok->ops == &kvass_spm_ops) {
        w->spm = tok->model;
    } else {
        char what[64];
        (void)snprintf(what, sizeof what, "a model of kind %s", tok->ops->kind);
        return kvass_writing_refuse(w, what);
    }
    if (w->spm && w->spm->whole.n_nodes > 0) {
        return kvass_writing_refuse(w, "pieces that no merge takes in");
    }
    for (int32_t i = 0; i < tok->added.n_tokens; i++) {
        const tok_added_token *token = &tok->added.tokens[i];
        if (token->lstrip || token->rstrip || token->single_word || token->normalized) {
            return kvass_writing_refuse(w, "how it finds its special tokens");
        }
        w->added[token->id] = i;
    }
    return KVASS_OK;
}

static kvass_status write_both(tok_writing *w)
{
    size_t n = (size_t)w->tok->vocab.n_vocab;
    w->added = malloc((n + 1) * sizeof *w->added);
    w->scratch = malloc(2 * w->tok->vocab.longest + 8);
    if (!w->added || !w->scratch) {
        return kvass_fail_nomem(w->err, n * sizeof *w->added, "the tokenizer's text");
    }
    memset(w->added, 0xff, n * sizeof *w->added);
    kvass_status status = kvass_map_open(&w->keys, w->err);
    if (status == KVASS_OK) {
        status = check_model(w);
    }
    if (status == KVASS_OK) {
        status = put_tokenizer(w);
        w->m->n_json = w->m->n_bytes;
    }
    if (status == KVASS_OK) {
        put_config(w);
        status = kvass_metadata_check(w->m, w->err);
    }
    return status;
}

kvass_status kvass_tokenizer_describe_json(const kvass_tokenizer *tok, kvass_metadata **out,
                                           kvass_error *err)
{
    if (out) {
        *out = NULL;
    }
    if (!out || !tok) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "kvass_tokenizer_describe_json: tok or out is NULL");
    }
    tok_writing w = {.tok = tok, .m = kvass_metadata_new(), .err = err};
    kvass_status status =
        w.m ? write_both(&w) : kvass_fail_nomem(err, sizeof *w.m, "the tokenizer's text");
    free(w.added);
    free(w.scratch);
    kvass_map_close(&w.keys);
    if (status != KVASS_OK) {
        kvass_metadata_close(&w.m);
        return status;
    }
    *out = w.m;
    return KVASS_OK;
}

const char *kvass_metadata_json(const kvass_metadata *m, size_t *n_bytes)
{
    *n_bytes = m ? m->n_json : 0;
    return *n_bytes > 0 ? (const char *)m->bytes : NULL;
}
