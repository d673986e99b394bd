/* spm.c - spm.h over merge.h: a word's rank follows from its score. */
#include "tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "tokenizer/bpe.h"
#include "tokenizer/utf8.h"

#define N_MARK (sizeof WORD_MARK - 1)

static void close_spm(void *self)
{
    tok_spm *spm = self;
    if (spm) {
        free(spm->ranks);
        free(spm);
    }
}

/* ---- building -------------------------------------------------------------------------------- */

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x < y) - (x > y);
}

static kvass_status rank_words(tok_spm *spm, const float *scores, kvass_error *err)
{
    int32_t n = 0, rank = 0, n_vocab = spm->vocab->n_vocab;
    scored *all = malloc(((size_t)n_vocab + 1) * sizeof *all);
    if (!all) {
        return kvass_fail_nomem(err, (size_t)n_vocab * sizeof *all, "scores");
    }
    for (int32_t id = 0; id < n_vocab; id++) {
        if (spm->vocab->pieces[id].flags & TOK_WORD) {
            all[n++] = (scored){scores[id], id};
        }
    }
    qsort(all, (size_t)n, sizeof *all, by_score);
    for (int32_t i = 0; i < n; i++) {
        rank += i > 0 && all[i].score < all[i - 1].score;
        spm->ranks[all[i].id] = rank;
    }
    free(all);
    return KVASS_OK;
}

kvass_status kvass_spm_open(tok_spm **out, const tok_vocab *vocab, const float *scores,
                            kvass_error *err)
{
    *out = NULL;
    tok_spm *spm = calloc(1, sizeof *spm);
    if (!spm || !(spm->ranks = calloc((size_t)vocab->n_vocab + 1, sizeof *spm->ranks))) {
        close_spm(spm);
        return kvass_fail_nomem(err, (size_t)vocab->n_vocab * sizeof *spm->ranks, "scores");
    }
    spm->vocab = vocab;
    spm->unk = -1;
    memset(spm->byte_ids, 0xff, sizeof spm->byte_ids);
    kvass_status status = rank_words(spm, scores, err);
    if (status != KVASS_OK) {
        close_spm(spm);
        return status;
    }
    *out = spm;
    return KVASS_OK;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static int32_t merge_rule(const void *self, const char *text, const tok_symbol *left,
                          const tok_symbol *right, int32_t *id)
{
    const tok_spm *spm = self;
    *id = kvass_vocab_word(spm->vocab, text + left->start, left->n_bytes + right->n_bytes);
    return *id < 0 ? -1 : spm->ranks[*id];
}

/* What a symbol stands for that is no word: bytes, or the unknown. */
static kvass_status push_bytes(const tok_spm *spm, const char *text, size_t n, tok_run *run)
{
    bool known = true;
    for (size_t i = 0; i < n; i++) {
        known = known && spm->byte_ids[(unsigned char)text[i]] >= 0;
    }
    if (!known && spm->unk < 0) {
        return kvass_fail(run->err, KVASS_FORMAT, "BYTE_UNKNOWN",
                          "the vocabulary has no token for the byte 0x%02x, and none for what is "
                          "unknown",
                          (unsigned)(unsigned char)text[0]);
    }
    for (size_t i = 0; i < (known ? n : 1); i++) {
        int32_t id = known ? spm->byte_ids[(unsigned char)text[i]] : spm->unk;
        if (!kvass_ids_push(&run->ids, id)) {
            return kvass_fail_nomem(run->err, sizeof id, "token ids");
        }
    }
    return KVASS_OK;
}

/* One symbol for each character of word[n]; id -1 where it is no word. */
static void add_symbols(const tok_spm *spm, const char *word, size_t n, tok_merger *m)
{
    for (size_t at = 0, size; at < n; at += size) {
        size = kvass_utf8_char(word + at, n - at, NULL);
        size = size > 0 ? size : 1;
        kvass_merger_add(m, kvass_vocab_word(spm->vocab, word + at, size), at, size);
    }
}

static kvass_status encode_part(const tok_spm *spm, const char *word, size_t n, tok_run *run)
{
    tok_merger *m = &run->merger;
    kvass_status status = kvass_merger_begin(m, n, run->err);
    if (status != KVASS_OK) {
        return status;
    }
    size_t first = run->ids.n;
    add_symbols(spm, word, n, m);
    status = kvass_merger_run(m, merge_rule, spm, word, &run->ids, run->err);
    bool whole = true;
    for (size_t i = first; i < run->ids.n; i++) {
        whole = whole && run->ids.data[i] >= 0;
    }
    if (status != KVASS_OK || whole) {
        return status;
    }
    run->ids.n = first; /* rare: some symbol is no word, so they are put one by one */
    for (int32_t i = 0; i >= 0 && status == KVASS_OK; i = m->symbols[i].next) {
        const tok_symbol *s = &m->symbols[i];
        if (s->id < 0) {
            status = push_bytes(spm, word + s->start, s->n_bytes, run);
        } else if (!kvass_ids_push(&run->ids, s->id)) {
            status = kvass_fail_nomem(run->err, sizeof s->id, "token ids");
        }
    }
    return status;
}

static kvass_status encode(const void *self, const char *word, size_t n_bytes, tok_run *run)
{
    const tok_spm *spm = self;
    kvass_status status = KVASS_OK;
    for (size_t at = 0, end; status == KVASS_OK && at < n_bytes; at = end) {
        end = spm->by_words ? kvass_merge_end(word, n_bytes, at, WORD_MARK, N_MARK) : n_bytes;
        status = encode_part(spm, word + at, end - at, run);
    }
    return status;
}

const tok_model_ops kvass_spm_ops = {"spm", encode, close_spm};
