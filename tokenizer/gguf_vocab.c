/* gguf_vocab.c - the reader of the tokenizer inside a GGUF file.
 * tokenizer.ggml.model says "llama" (SentencePiece's BPE: pieces and scores) or "gpt2" (byte-level
 * BPE: pieces and merges); both list tokens with a type each. Nothing here is searched linearly:
 * vocabularies have 150,000 pieces.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/gguf.h"
#include "tokenizer/build.h"
#include "tokenizer/gguf_pre.h"
#include "tokenizer/spm.h"

#define N_MARK (sizeof WORD_MARK - 1)

/* The file's types of tokens. */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

typedef struct reading {
    kvass_tokenizer *tok;
    const tok_source *source;
    kvass_gguf *g;
    const kvass_gguf_value *tokens, *scores, *types, *merges; /* the last three may be NULL */
    bool byte_level;
    kvass_error *err;
} reading;

static bool fits(const tok_source *source)
{
    return source->n_head >= 4 && memcmp(source->head, "GGUF", 4) == 0;
}

/* ---- the lists ------------------------------------------------------------------------------- */

/* A list of n elements of the kind; NULL when the file has none. n 0: any length. */
static kvass_status take_list(const reading *r, const char *key, kvass_gguf_kind kind, uint32_t n,
                              const kvass_gguf_value **out)
{
    char found[64];
    const kvass_gguf_value *v = kvass_gguf_find(r->g, key);
    if (v && (!v->is_array || v->kind != kind || (n > 0 && v->n != n))) {
        const char *expected = kind == KVASS_GGUF_STRING ? "strings,"
                               : kind == KVASS_GGUF_F32  ? "f32, one for each token,"
                                                         : "i32, one for each token,";
        return kvass_fail(r->err, KVASS_FORMAT, "TOKENIZER_ARRAYS",
                          "%s: \"%s\": expected an array of %s found %s (tokens: %u)",
                          r->source->path, key, expected,
                          kvass_gguf_describe(v, found, sizeof found), (unsigned)n);
    }
    *out = v;
    return KVASS_OK;
}

static kvass_status take_lists(reading *r)
{
    kvass_status status = take_list(r, "tokenizer.ggml.tokens", KVASS_GGUF_STRING, 0, &r->tokens);
    if (status != KVASS_OK) {
        return status;
    }
    uint32_t n = r->tokens ? r->tokens->n : 0;
    if (n < 1 || n > KVASS_MAX_VOCAB) {
        return kvass_fail(r->err, KVASS_FORMAT, "VOCAB_SIZE",
                          "%s: \"tokenizer.ggml.tokens\": expected 1 .. %d tokens, found %u",
                          r->source->path, KVASS_MAX_VOCAB, (unsigned)n);
    }
    if (r->source->n_vocab > 0 && n > (uint32_t)r->source->n_vocab) {
        return kvass_fail(r->err, KVASS_FORMAT, "VOCAB_SIZE",
                          "%s: it has %u tokens, but the model has %d: it belongs to another model",
                          r->source->path, (unsigned)n, r->source->n_vocab);
    }
    status = take_list(r, "tokenizer.ggml.scores", KVASS_GGUF_F32, n, &r->scores);
    if (status == KVASS_OK) {
        status = take_list(r, "tokenizer.ggml.token_type", KVASS_GGUF_I32, n, &r->types);
    }
    return status == KVASS_OK
               ? take_list(r, "tokenizer.ggml.merges", KVASS_GGUF_STRING, 0, &r->merges)
               : status;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

/* What `text` decodes to, into out[n]; *is_word = false when no text can become it. */
static size_t decode(const reading *r, const char *text, size_t n, int64_t type, char *out,
                     bool *is_word)
{
    size_t n_out = 0;
    *is_word = type == NORMAL || type == USER_DEFINED;
    if (type == CONTROL || type == UNKNOWN) {
        memcpy(out, text, n);
        return n;
    }
    if (r->byte_level) {
        if (type != USER_DEFINED && kvass_bytelevel_decode(text, n, out, &n_out)) {
            return n_out;
        }
        *is_word = false; /* outside the alphabet, or cut out of text before: it names itself */
        memcpy(out, text, n);
        return n;
    }
    int byte = type == BYTE ? kvass_vocab_byte_name(text, n) : -1;
    if (byte >= 0) {
        out[0] = (char)byte;
        return 1;
    }
    for (size_t i = 0; i < n;) {
        bool mark = n - i >= N_MARK && memcmp(text + i, WORD_MARK, N_MARK) == 0;
        out[n_out++] = mark ? ' ' : text[i];
        i += mark ? N_MARK : 1;
    }
    return n_out;
}

/* Control tokens, and what the vocabulary's maker wants never to be cut, are found by name. */
static kvass_status add_named(const reading *r, int32_t id, const char *text, size_t n,
                              int64_t type)
{
    tok_added_token token = {.id = id, .special = type != USER_DEFINED};
    bool fresh = false;
    if (n > ADDED_MAX_BYTES) {
        return kvass_fail(r->err, KVASS_FORMAT, "ADDED_TOKEN",
                          "%s: token %d: expected a name of at most %d bytes, found %zu",
                          r->source->path, id, ADDED_MAX_BYTES, n);
    }
    return kvass_added_put(&r->tok->added, &token, text, n, &fresh, r->err);
}

static kvass_status add_token(const reading *r, int32_t id, const char *text, size_t n,
                              char *scratch)
{
    tok_vocab *vocab = &r->tok->vocab;
    int64_t type = NORMAL;
    bool is_word = true;
    (void)kvass_gguf_as_int(r->g, r->types, (uint32_t)id, &type);
    if (type < NORMAL || type > BYTE) {
        return kvass_fail(r->err, KVASS_FORMAT, "TOKEN_TYPE",
                          "%s: token %d: type: expected %d .. %d, found %lld", r->source->path, id,
                          NORMAL, BYTE, (long long)type);
    }
    size_t n_piece = decode(r, text, n, type, scratch, &is_word);
    bool special = type == CONTROL || type == UNKNOWN;
    kvass_vocab_set(vocab, id, scratch, n_piece, special ? TOK_SPECIAL : 0);
    kvass_status status = KVASS_OK;
    if (is_word && n > 0) {
        status = r->byte_level ? kvass_vocab_add_word(vocab, id, scratch, n_piece, NULL, r->err)
                               : kvass_vocab_add_word(vocab, id, text, n, NULL, r->err);
    }
    if (status == KVASS_OK && n > 0 && (special || type == USER_DEFINED)) {
        status = add_named(r, id, text, n, type);
    }
    return status;
}

static kvass_status add_tokens(const reading *r)
{
    int32_t n = (int32_t)r->tokens->n;
    kvass_status status = kvass_vocab_open(&r->tok->vocab, n, r->tokens->n_bytes, r->err);
    char *scratch = malloc(r->tokens->n_bytes + 1);
    if (status == KVASS_OK && !scratch) {
        status = kvass_fail_nomem(r->err, r->tokens->n_bytes, "the vocabulary");
    }
    kvass_reader walk = kvass_gguf_walk(r->g, r->tokens);
    for (int32_t id = 0; id < n && status == KVASS_OK; id++) {
        size_t n_text;
        const char *text = kvass_gguf_next_string(&walk, &n_text);
        status = add_token(r, id, text, n_text, scratch);
    }
    free(scratch);
    return status;
}

/* ---- the two models -------------------------------------------------------------------------- */

/* Merge number i, "left right" in the printable alphabet; scratch has room for it. */
static kvass_status add_merge(const reading *r, tok_bpe *bpe, uint32_t i, const char *text,
                              size_t n, char *scratch)
{
    const tok_vocab *vocab = &r->tok->vocab;
    const char *space = n > 1 ? memchr(text + 1, ' ', n - 1) : NULL;
    size_t n_left = 0, n_right = 0, n_shown = n < 100 ? n : 100;
    if (!space || space + 1 == text + n ||
        !kvass_bytelevel_decode(text, (size_t)(space - text), scratch, &n_left) ||
        !kvass_bytelevel_decode(space + 1, (size_t)(text + n - space - 1), scratch + n_left,
                                &n_right)) {
        return kvass_fail(r->err, KVASS_FORMAT, "MERGE_FORMAT",
                          "%s: merges[%u]: expected two tokens parted by a space, found \"%.*s\"",
                          r->source->path, (unsigned)i, (int)n_shown, text);
    }
    int32_t left = kvass_vocab_word(vocab, scratch, n_left);
    int32_t right = kvass_vocab_word(vocab, scratch + n_left, n_right);
    int32_t merged = kvass_bpe_find_next(bpe, scratch, n_left + n_right);
    if (left < 0 || right < 0 || merged < 0) {
        return kvass_fail(r->err, KVASS_FORMAT, merged < 0 ? "MERGE_RESULT" : "MERGE_PART",
                          "%s: merges[%u]: \"%.*s\": %s not in the vocabulary", r->source->path,
                          (unsigned)i, (int)n_shown, text,
                          merged < 0 ? "both together are" : "one of them is");
    }
    bool fresh = false;
    kvass_status status = kvass_bpe_add(bpe, left, right, merged, &fresh, r->err);
    if (status == KVASS_OK && !fresh) {
        status = kvass_fail(r->err, KVASS_FORMAT, "MERGE_DUPLICATE",
                            "%s: merges[%u]: \"%.*s\" were merged before", r->source->path,
                            (unsigned)i, (int)n_shown, text);
    }
    return status;
}

static kvass_status build_bpe(const reading *r, bool *add_bos)
{
    tok_build b = {.tok = r->tok, .path = r->source->path, .decoding = {.byte_level = true}};
    tok_gguf_pre pre;
    tok_bpe *bpe = NULL;
    size_t n_name = 0;
    const kvass_gguf_value *value = kvass_gguf_find(r->g, "tokenizer.ggml.pre");
    const char *name = kvass_gguf_as_string(r->g, value, &n_name);
    if (!r->merges) {
        return kvass_fail(
            r->err, KVASS_FORMAT, "TOKENIZER_ARRAYS",
            "%s: \"tokenizer.ggml.merges\": expected an array of strings, found no such key",
            r->source->path);
    }
    kvass_status status = kvass_gguf_pre_apply(r->tok, name ? name : "default", name ? n_name : 7,
                                               r->source->path, &pre, r->err);
    if (status == KVASS_OK) {
        status = kvass_build_bpe(&b, r->merges->n, &bpe, r->err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    bpe->ignore_merges = pre.ignore_merges;
    *add_bos = pre.add_bos;
    char *scratch = malloc(r->merges->n_bytes + 1);
    if (!scratch) {
        return kvass_fail_nomem(r->err, r->merges->n_bytes, "merges");
    }
    kvass_reader walk = kvass_gguf_walk(r->g, r->merges);
    for (uint32_t i = 0; i < r->merges->n && status == KVASS_OK; i++) {
        size_t n;
        const char *text = kvass_gguf_next_string(&walk, &n);
        status = add_merge(r, bpe, i, text, n, scratch);
    }
    free(scratch);
    return status;
}

static kvass_status check_scores(const reading *r, float *scores)
{
    for (uint32_t i = 0; i < r->tokens->n; i++) {
        double score = 0;
        (void)kvass_gguf_as_real(r->g, r->scores, i, &score);
        if (isnan(score)) {
            return kvass_fail(r->err, KVASS_FORMAT, "TOKEN_SCORE",
                              "%s: token %u: its score is not a number", r->source->path,
                              (unsigned)i);
        }
        scores[i] = (float)score;
    }
    return KVASS_OK;
}

/* The fallbacks of characters that are no word, and whether text can be taken word by word. */
static void settle_spm(const reading *r, tok_spm *spm)
{
    kvass_reader walk = kvass_gguf_walk(r->g, r->tokens);
    spm->by_words = kvass_vocab_word(spm->vocab, WORD_MARK, N_MARK) >= 0;
    for (int32_t id = 0; id < spm->vocab->n_vocab; id++) {
        size_t n;
        int64_t type = NORMAL;
        const char *text = kvass_gguf_next_string(&walk, &n);
        (void)kvass_gguf_as_int(r->g, r->types, (uint32_t)id, &type);
        int byte = type == BYTE ? kvass_vocab_byte_name(text, n) : -1;
        if (byte >= 0) {
            spm->byte_ids[byte] = id;
        }
        if (spm->vocab->pieces[id].flags & TOK_WORD) {
            spm->by_words = spm->by_words && !kvass_merge_crosses(text, n, WORD_MARK, N_MARK);
        }
    }
}

static kvass_status build_spm(const reading *r)
{
    bool space = true;
    tok_spm *spm = NULL;
    if (!r->scores) {
        return kvass_fail(
            r->err, KVASS_FORMAT, "TOKENIZER_ARRAYS",
            "%s: \"tokenizer.ggml.scores\": expected an array of f32, found no such key",
            r->source->path);
    }
    (void)kvass_gguf_as_bool(r->g, kvass_gguf_find(r->g, "tokenizer.ggml.add_space_prefix"), 0,
                             &space);
    kvass_status status = KVASS_OK;
    if (space) {
        status = kvass_normalizer_add(&r->tok->norm, TOK_PREPEND, NULL, 0, " ", 1, r->err);
    }
    if (status == KVASS_OK) {
        status =
            kvass_normalizer_add(&r->tok->norm, TOK_REPLACE, " ", 1, WORD_MARK, N_MARK, r->err);
    }
    r->tok->strip_space = space;
    float *scores = malloc((size_t)r->tokens->n * sizeof *scores);
    if (status == KVASS_OK && !scores) {
        status = kvass_fail_nomem(r->err, r->tokens->n * sizeof *scores, "scores");
    }
    if (status == KVASS_OK) {
        status = check_scores(r, scores);
    }
    if (status == KVASS_OK) {
        status = kvass_spm_open(&spm, &r->tok->vocab, scores, r->err);
    }
    free(scores);
    if (status == KVASS_OK) {
        r->tok->ops = &kvass_spm_ops;
        r->tok->model = spm;
        settle_spm(r, spm);
    }
    return status;
}

/* ---- ids and the whole ----------------------------------------------------------------------- */

/* The id under a key, `otherwise` when there is none, -1 when it is no token. */
static int32_t id_of(const reading *r, const char *key, int32_t otherwise)
{
    int64_t id = otherwise;
    (void)kvass_gguf_as_int(r->g, kvass_gguf_find(r->g, key), 0, &id);
    return id >= 0 && id < r->tok->vocab.n_vocab ? (int32_t)id : -1;
}

static kvass_status settle_ids(const reading *r, bool add_bos)
{
    kvass_tokenizer *tok = r->tok;
    bool add_eos = false;
    tok->bos = id_of(r, "tokenizer.ggml.bos_token_id", r->byte_level ? -1 : 1);
    tok->eos = id_of(r, "tokenizer.ggml.eos_token_id", r->byte_level ? -1 : 2);
    (void)kvass_gguf_as_bool(r->g, kvass_gguf_find(r->g, "tokenizer.ggml.add_bos_token"), 0,
                             &add_bos);
    (void)kvass_gguf_as_bool(r->g, kvass_gguf_find(r->g, "tokenizer.ggml.add_eos_token"), 0,
                             &add_eos);
    if ((add_bos && tok->bos >= 0 && !kvass_ids_push(&tok->prefix, tok->bos)) ||
        (add_eos && tok->eos >= 0 && !kvass_ids_push(&tok->suffix, tok->eos))) {
        return kvass_fail_nomem(r->err, sizeof tok->bos, "token ids");
    }
    return KVASS_OK;
}

static kvass_status read_vocab(reading *r)
{
    size_t n = 0;
    char found[64];
    const kvass_gguf_value *value = kvass_gguf_find(r->g, "tokenizer.ggml.model");
    const char *model = kvass_gguf_as_string(r->g, value, &n);
    bool spm = model && n == 5 && memcmp(model, "llama", 5) == 0;
    r->byte_level = model && n == 4 && memcmp(model, "gpt2", 4) == 0;
    if (!spm && !r->byte_level) {
        return kvass_fail(r->err, KVASS_UNSUPPORTED, "TOKENIZER_MODEL",
                          "%s: \"tokenizer.ggml.model\": expected llama or gpt2, found %s%.*s",
                          r->source->path,
                          model ? "" : kvass_gguf_describe(value, found, sizeof found),
                          (int)(n < 64 ? n : 64), model ? model : "");
    }
    bool add_bos = spm;
    kvass_status status = take_lists(r);
    if (status == KVASS_OK) {
        status = add_tokens(r);
    }
    if (status == KVASS_OK) {
        status = spm ? build_spm(r) : build_bpe(r, &add_bos);
    }
    if (status == KVASS_OK) {
        status = settle_ids(r, add_bos);
    }
    if (status == KVASS_OK && spm) {
        ((tok_spm *)r->tok->model)->unk = id_of(r, "tokenizer.ggml.unknown_token_id", 0);
    }
    return status;
}

static kvass_status read_gguf(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    kvass_file file;
    reading r = {.tok = tok, .source = source, .err = err};
    kvass_status status = kvass_file_open(&file, source->path, err);
    if (status == KVASS_OK) {
        status = kvass_gguf_open(&r.g, &file, err);
        kvass_file_close(&file);
    }
    if (status == KVASS_OK) {
        status = read_vocab(&r);
    }
    kvass_gguf_close(&r.g);
    return status;
}

const tok_reader kvass_reader_gguf = {fits, read_gguf};
