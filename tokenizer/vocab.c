/* vocab.c - vocab.h: one block of piece bytes, one dense table by id, words back. */
#include "tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

kvass_status kvass_vocab_open(tok_vocab *vocab, int32_t n_vocab, size_t cap_bytes, kvass_error *err)
{
    *vocab = (tok_vocab){.n_vocab = n_vocab, .cap_bytes = cap_bytes};
    vocab->pieces = calloc((size_t)n_vocab + 1, sizeof *vocab->pieces);
    vocab->bytes = malloc(cap_bytes + 1);
    if (!vocab->pieces || !vocab->bytes) {
        return kvass_fail_nomem(err, cap_bytes, "the vocabulary");
    }
    return kvass_words_open(&vocab->words, n_vocab, cap_bytes, err);
}

void kvass_vocab_close(tok_vocab *vocab)
{
    free(vocab->pieces);
    free(vocab->bytes);
    kvass_words_close(&vocab->words);
    *vocab = (tok_vocab){0};
}

void kvass_vocab_set(tok_vocab *vocab, int32_t id, const char *bytes, size_t n_bytes,
                     uint32_t flags)
{
    if (n_bytes > 0) {
        memcpy(vocab->bytes + vocab->n_bytes, bytes, n_bytes);
    }
    vocab->pieces[id] = (tok_piece){(uint32_t)vocab->n_bytes, (uint32_t)n_bytes, flags | TOK_KNOWN};
    vocab->n_bytes += n_bytes;
    vocab->longest = n_bytes > vocab->longest ? n_bytes : vocab->longest;
}

kvass_status kvass_vocab_add_word(tok_vocab *vocab, int32_t id, const char *text, size_t n_bytes,
                                  int32_t *old, kvass_error *err)
{
    vocab->pieces[id].flags |= TOK_WORD;
    return kvass_words_add(&vocab->words, id, text, n_bytes, old, err);
}

bool kvass_vocab_has(const tok_vocab *vocab, int32_t id)
{
    return id >= 0 && id < vocab->n_vocab && (vocab->pieces[id].flags & TOK_KNOWN);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int kvass_vocab_byte_name(const char *name, size_t n_bytes)
{
    if (n_bytes != 6 || memcmp(name, "<0x", 3) != 0 || name[5] != '>') {
        return -1;
    }
    int high = hex_digit(name[3]), low = hex_digit(name[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

typedef struct scored {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x < y) - (x > y);
}

bool kvass_vocab_rank(const float *scores, int32_t n, int32_t *ranks)
{
    scored *all = malloc((size_t)n * sizeof *all + 1);
    if (!all) {
        return false;
    }
    for (int32_t id = 0; id < n; id++) {
        all[id] = (scored){scores[id], id};
    }
    qsort(all, (size_t)n, sizeof *all, by_score);
    int32_t rank = 0;
    for (int32_t i = 0; i < n; i++) {
        rank += i > 0 && all[i].score < all[i - 1].score;
        ranks[all[i].id] = rank;
    }
    free(all);
    return true;
}

bool kvass_ids_push(tok_ids *ids, int32_t id)
{
    if (ids->n == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 64, n_bytes;
        int32_t *grown =
            kvass_mul_size(cap, sizeof *grown, &n_bytes) ? realloc(ids->data, n_bytes) : NULL;
        if (!grown) {
            return false;
        }
        ids->data = grown;
        ids->cap = cap;
    }
    ids->data[ids->n++] = id;
    return true;
}

void kvass_ids_close(tok_ids *ids)
{
    free(ids->data);
    *ids = (tok_ids){0};
}
