/* words.c - words.h: one block of bytes, where each id's lie in it, and a table by hash. */
#include "tokenizer/words.h"

#include <stdlib.h>

static uint32_t hash_of(const tok_words *words, const char *text, size_t n_bytes)
{
    return (uint32_t)kvass_hash_of(text, n_bytes, words->table.seed);
}

static int32_t find(const tok_words *words, uint32_t hash, const char *text, size_t n_bytes)
{
    size_t at;
    int32_t id = kvass_table_first(&words->table, hash, &at);
    while (id >= 0 && !kvass_words_is(words, id, text, n_bytes)) {
        id = kvass_table_next(&words->table, hash, &at);
    }
    return id;
}

kvass_status kvass_words_open(tok_words *words, int32_t n_ids, size_t cap_bytes, kvass_error *err)
{
    *words = (tok_words){.n_ids = n_ids, .cap_bytes = cap_bytes + 1};
    size_t n_bytes = ((size_t)n_ids + 1) * sizeof *words->all;
    words->all = malloc(n_bytes);
    words->bytes = malloc(words->cap_bytes);
    if (!words->all || !words->bytes) {
        return kvass_fail_nomem(err, n_bytes + cap_bytes, "words");
    }
    memset(words->all, 0xff, n_bytes); /* no words */
    return kvass_table_open(&words->table, (size_t)n_ids, err);
}

void kvass_words_close(tok_words *words)
{
    free(words->all);
    free(words->bytes);
    kvass_table_close(&words->table);
    *words = (tok_words){0};
}

/* Room for n_bytes more. */
static bool reserve(tok_words *words, size_t n_bytes)
{
    if (n_bytes <= words->cap_bytes - words->n_bytes) {
        return true;
    }
    if (n_bytes >= TOK_NO_WORD - words->n_bytes) {
        return false;
    }
    size_t cap = words->n_bytes + n_bytes;
    cap += cap / 2;
    char *grown = realloc(words->bytes, cap);
    if (!grown) {
        return false;
    }
    words->bytes = grown;
    words->cap_bytes = cap;
    return true;
}

kvass_status kvass_words_add(tok_words *words, int32_t id, const char *text, size_t n_bytes,
                             int32_t *old, kvass_error *err)
{
    uint32_t hash = hash_of(words, text, n_bytes);
    int32_t there = find(words, hash, text, n_bytes);
    if (there < 0) {
        if (!reserve(words, n_bytes)) {
            return kvass_fail_nomem(err, n_bytes, "a word");
        }
        kvass_status status = kvass_table_add(&words->table, hash, id, err);
        if (status != KVASS_OK) {
            return status;
        }
        if (n_bytes > 0) {
            memcpy(words->bytes + words->n_bytes, text, n_bytes);
        }
        words->all[id] = (tok_word){(uint32_t)words->n_bytes, (uint32_t)n_bytes};
        words->n_bytes += n_bytes;
    }
    if (old) {
        *old = there;
    }
    return KVASS_OK;
}

int32_t kvass_words_get(const tok_words *words, const char *text, size_t n_bytes)
{
    return find(words, hash_of(words, text, n_bytes), text, n_bytes);
}
