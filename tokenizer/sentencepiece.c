/* sentencepiece.c - sentencepiece.h: checks the pieces, then fills vocabulary, normalizer and one
 * of two models. Normal, user-defined and unused pieces are what text can become; the others are
 * only named.
 */
#include "tokenizer/sentencepiece.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/bpe.h"
#include "tokenizer/spm.h"
#include "tokenizer/unigram.h"

#define N_MARK (sizeof WORD_MARK - 1)

/* What is gathered on the way. */
typedef struct build {
    kvass_tokenizer *tok;
    const tok_spm_file *spm;
    int32_t unk;
    int32_t byte_ids[256];
    float lowest, highest; /* scores of normal pieces */
    tok_key *keys;         /* [n_pieces], of one trie at a time */
    size_t n_keys;
    bool by_words;
} build;

static kvass_status fail_piece(const build *b, size_t id, const char *rule, const char *what,
                               kvass_error *err)
{
    const tok_spm_piece *p = &b->spm->pieces[id];
    return kvass_fail(err, KVASS_FORMAT, rule, "%s: piece %zu, \"%.*s\": %s", b->spm->path, id,
                      (int)(p->n_bytes < 60 ? p->n_bytes : 60), p->text, what);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static kvass_status check_byte(build *b, size_t id, kvass_error *err)
{
    const tok_spm_piece *p = &b->spm->pieces[id];
    int byte = kvass_vocab_byte_name(p->text, p->n_bytes);
    if (byte < 0 || b->byte_ids[byte] >= 0) {
        return fail_piece(b, id, "PIECE_TYPE", "expected a byte as \"<0x0A>\", once each", err);
    }
    b->byte_ids[byte] = (int32_t)id;
    return KVASS_OK;
}

static kvass_status check_piece(build *b, size_t id, kvass_error *err)
{
    const tok_spm_piece *p = &b->spm->pieces[id];
    if (p->n_bytes == 0 || p->n_bytes > ADDED_MAX_BYTES) {
        return fail_piece(b, id, "VOCAB_ENTRY", "expected 1 .. 4096 bytes of text", err);
    }
    if (!isfinite(p->score)) {
        return fail_piece(b, id, "TOKEN_SCORE", "its score is not a finite number", err);
    }
    switch (p->type) {
    case TOK_PIECE_BYTE:
        return check_byte(b, id, err);
    case TOK_PIECE_UNKNOWN:
        if (b->unk >= 0) {
            return fail_piece(b, id, "UNK_TOKEN", "a second piece for what is unknown", err);
        }
        b->unk = (int32_t)id;
        return KVASS_OK;
    case TOK_PIECE_NORMAL:
        b->lowest = p->score < b->lowest ? p->score : b->lowest;
        b->highest = p->score > b->highest ? p->score : b->highest;
        return KVASS_OK;
    case TOK_PIECE_UNUSED:
        return b->spm->unigram ? KVASS_OK
                               : fail_piece(b, id, "PIECE_TYPE",
                                            "unused pieces in a BPE are not supported", err);
    case TOK_PIECE_CONTROL:
    case TOK_PIECE_USER_DEFINED:
        return KVASS_OK;
    default:
        return fail_piece(b, id, "PIECE_TYPE", "its type is none of 1 .. 6", err);
    }
}

static kvass_status check_pieces(build *b, size_t *n_bytes, kvass_error *err)
{
    const tok_spm_file *spm = b->spm;
    *n_bytes = 0;
    if (spm->n_pieces == 0 || spm->n_pieces > KVASS_MAX_VOCAB) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE", "%s: %zu pieces, expected 1 .. %d",
                          spm->path, spm->n_pieces, KVASS_MAX_VOCAB);
    }
    for (size_t id = 0; id < spm->n_pieces; id++) {
        kvass_status status = check_piece(b, id, err);
        if (status != KVASS_OK) {
            return status;
        }
        *n_bytes += spm->pieces[id].n_bytes; /* at most 2^21 * 4096 */
    }
    if (*n_bytes > UINT32_MAX) {
        return kvass_fail(err, KVASS_FORMAT, "VOCAB_SIZE", "%s: %zu bytes of text in its pieces",
                          spm->path, *n_bytes);
    }
    if (b->unk < 0) {
        return kvass_fail(err, KVASS_FORMAT, "UNK_TOKEN",
                          "%s: no piece is for what is unknown (type 2)", spm->path);
    }
    for (int byte = 0; byte < 256 && spm->byte_fallback; byte++) {
        if (b->byte_ids[byte] < 0) {
            return kvass_fail(err, KVASS_FORMAT, "BYTE_UNKNOWN",
                              "%s: byte_fallback, but there is no piece for the byte 0x%02x",
                              spm->path, (unsigned)byte);
        }
    }
    return KVASS_OK;
}

/* ---- vocabulary ------------------------------------------------------------------------------ */

static bool is_text(int32_t type)
{
    return type == TOK_PIECE_NORMAL || type == TOK_PIECE_USER_DEFINED || type == TOK_PIECE_UNUSED;
}

/* What a piece decodes to, into out. */
static size_t decode(const build *b, const tok_spm_piece *p, char *out)
{
    if (p->type == TOK_PIECE_BYTE) {
        out[0] = (char)kvass_vocab_byte_name(p->text, p->n_bytes);
        return 1;
    }
    size_t n = 0;
    for (size_t i = 0; i < p->n_bytes;) {
        bool mark = b->spm->escape && p->n_bytes - i >= N_MARK &&
                    memcmp(p->text + i, WORD_MARK, N_MARK) == 0;
        out[n++] = mark ? ' ' : p->text[i];
        i += mark ? N_MARK : 1;
    }
    return n;
}

static kvass_status add_control(build *b, int32_t id, kvass_error *err)
{
    const tok_spm_piece *p = &b->spm->pieces[id];
    const tok_added_token token = {.id = id, .special = true};
    bool fresh = false;
    kvass_status status = kvass_added_put(&b->tok->added, &token, p->text, p->n_bytes, &fresh, err);
    return status == KVASS_OK && !fresh
               ? fail_piece(b, (size_t)id, "VOCAB_ENTRY", "its text is another piece's", err)
               : status;
}

static kvass_status add_piece(build *b, int32_t id, kvass_error *err)
{
    const tok_spm_piece *p = &b->spm->pieces[id];
    char text[ADDED_MAX_BYTES];
    uint32_t flags = p->type == TOK_PIECE_CONTROL ? TOK_SPECIAL : 0;
    flags |= p->type == TOK_PIECE_USER_DEFINED ? TOK_WHOLE : 0;
    kvass_vocab_set(&b->tok->vocab, id, text, decode(b, p, text), flags);
    if (p->type == TOK_PIECE_CONTROL) {
        return add_control(b, id, err);
    }
    if (!is_text(p->type)) {
        return KVASS_OK;
    }
    b->by_words = b->by_words && !kvass_merge_crosses(p->text, p->n_bytes, WORD_MARK, N_MARK);
    if (kvass_vocab_word(&b->tok->vocab, p->text, p->n_bytes) >= 0) {
        return fail_piece(b, (size_t)id, "VOCAB_ENTRY", "its text is another piece's", err);
    }
    return kvass_vocab_add_word(&b->tok->vocab, id, p->text, p->n_bytes, NULL, err);
}

/* The pieces of two types into b->keys. */
static void list_keys(build *b, int32_t type, int32_t other)
{
    b->n_keys = 0;
    for (size_t id = 0; id < b->spm->n_pieces; id++) {
        const tok_spm_piece *p = &b->spm->pieces[id];
        if (p->type == type || p->type == other) {
            b->keys[b->n_keys++] = (tok_key){p->text, p->n_bytes, (int32_t)id};
        }
    }
}

/* ---- normalizer and models ------------------------------------------------------------------- */

static kvass_status add_rules(build *b, kvass_error *err)
{
    const tok_spm_file *spm = b->spm;
    tok_rules *rules = calloc(1, sizeof *rules);
    if (!rules) {
        return kvass_fail_nomem(err, sizeof *rules, "a normalizer");
    }
    rules->prefix_space = spm->prefix_space;
    rules->remove_extra = spm->remove_extra;
    rules->escape = spm->escape;
    list_keys(b, TOK_PIECE_USER_DEFINED, TOK_PIECE_USER_DEFINED);
    kvass_status status = KVASS_OK;
    if (b->n_keys > 0) {
        status = kvass_trie_open(&rules->kept, b->keys, b->n_keys, err);
    }
    if (status == KVASS_OK && spm->n_map > 0) {
        status = kvass_charsmap_open(&rules->map, spm->map, spm->n_map, spm->path, err);
    }
    if (status != KVASS_OK) {
        kvass_rules_close(&rules);
        return status;
    }
    return kvass_normalizer_add_rules(&b->tok->norm, TOK_SENTENCEPIECE, rules, err);
}

static kvass_status add_bpe(build *b, kvass_error *err)
{
    size_t n = b->spm->n_pieces;
    float *scores = malloc(n * sizeof *scores);
    if (!scores) {
        return kvass_fail_nomem(err, n * sizeof *scores, "scores");
    }
    for (size_t id = 0; id < n; id++) {
        scores[id] = b->spm->pieces[id].score;
    }
    tok_spm *m;
    kvass_status status = kvass_spm_open(&m, &b->tok->vocab, scores, err);
    free(scores);
    if (status != KVASS_OK) {
        return status;
    }
    b->tok->ops = &kvass_spm_ops;
    b->tok->model = m;
    m->unk = b->unk;
    m->fuse_unk = true;
    m->by_words = b->by_words;
    memcpy(m->byte_ids, b->byte_ids, sizeof m->byte_ids);
    list_keys(b, TOK_PIECE_USER_DEFINED, TOK_PIECE_USER_DEFINED);
    return b->n_keys > 0 ? kvass_trie_open(&m->whole, b->keys, b->n_keys, err) : KVASS_OK;
}

/* A user-defined piece scores as the best of the others does, or 0 where that is lower: as in the
 * library, whose sums are in single precision. */
static kvass_status add_unigram(build *b, kvass_error *err)
{
    size_t n = b->spm->n_pieces;
    double *scores = malloc(n * sizeof *scores);
    if (!scores) {
        return kvass_fail_nomem(err, n * sizeof *scores, "scores");
    }
    for (size_t id = 0; id < n; id++) {
        const tok_spm_piece *p = &b->spm->pieces[id];
        scores[id] = p->type == TOK_PIECE_USER_DEFINED ? (double)((float)p->n_bytes * b->highest)
                                                       : (double)p->score;
    }
    tok_unigram *m;
    list_keys(b, TOK_PIECE_NORMAL, TOK_PIECE_USER_DEFINED);
    kvass_status status = kvass_unigram_open(b->tok, b->keys, b->n_keys, scores, &m, err);
    if (status == KVASS_OK) {
        m->unk = b->unk;
        m->single = true;
        m->unk_score = (double)(b->lowest - (float)UNKNOWN_PENALTY);
        m->by_words = m->by_words && b->by_words;
        memcpy(m->byte_ids, b->byte_ids, sizeof m->byte_ids);
    }
    return status;
}

/* BOS or EOS as the file names it; what is no control piece is none. */
static int32_t named(const tok_spm_file *spm, int32_t id)
{
    bool is = id >= 0 && (size_t)id < spm->n_pieces && spm->pieces[id].type == TOK_PIECE_CONTROL;
    return is ? id : -1;
}

static kvass_status fill(build *b, size_t n_bytes, kvass_error *err)
{
    const tok_spm_file *spm = b->spm;
    kvass_status status = kvass_vocab_open(&b->tok->vocab, (int32_t)spm->n_pieces, n_bytes, err);
    for (size_t id = 0; status == KVASS_OK && id < spm->n_pieces; id++) {
        status = add_piece(b, (int32_t)id, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    b->by_words =
        b->by_words && spm->escape && kvass_vocab_word(&b->tok->vocab, WORD_MARK, N_MARK) >= 0;
    if (!spm->byte_fallback) {
        memset(b->byte_ids, 0xff, sizeof b->byte_ids);
    }
    status = add_rules(b, err);
    if (status == KVASS_OK) {
        status = spm->unigram ? add_unigram(b, err) : add_bpe(b, err);
    }
    return status;
}

kvass_status kvass_spm_build(kvass_tokenizer *tok, const tok_spm_file *spm, kvass_error *err)
{
    build b = {.tok = tok, .spm = spm, .unk = -1, .by_words = true};
    b.lowest = INFINITY;
    b.highest = FLT_MIN; /* none below it, as in the library */
    memset(b.byte_ids, 0xff, sizeof b.byte_ids);
    size_t n_bytes;
    kvass_status status = check_pieces(&b, &n_bytes, err);
    if (status != KVASS_OK) {
        return status;
    }
    if (!isfinite(b.lowest)) { /* no normal pieces */
        b.lowest = b.highest = 0;
    }
    b.keys = malloc(spm->n_pieces * sizeof *b.keys);
    status = b.keys ? fill(&b, n_bytes, err) : kvass_fail_nomem(err, n_bytes, "the vocabulary");
    free(b.keys);
    if (status != KVASS_OK) {
        return status;
    }
    tok->bos = named(spm, spm->bos);
    tok->eos = named(spm, spm->eos);
    tok->strip_space = spm->prefix_space || spm->remove_extra;
    if (tok->bos >= 0 && !kvass_ids_push(&tok->prefix, tok->bos)) {
        return kvass_fail_nomem(err, sizeof tok->bos, "token ids");
    }
    return KVASS_OK;
}
