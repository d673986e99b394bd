/* build_list.c - the vocabulary of a JSON document as a plain list, every id of it checked.
 * It is walked once, since that is where the time goes; build.c then fills what it sizes by the
 * list.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/build.h"

/* *data[cap], items of n_bytes each, with room for more than `used`. */
static bool reserve(void **data, size_t *cap, size_t used, size_t more, size_t n_bytes)
{
    if (more <= *cap - used) {
        return true;
    }
    size_t grown_cap = used + more + (used + more) / 2 + 64;
    void *grown = grown_cap <= UINT32_MAX ? realloc(*data, grown_cap * n_bytes) : NULL;
    if (!grown) {
        return false;
    }
    *data = grown;
    *cap = grown_cap;
    return true;
}

static kvass_status add(tok_build *b, int32_t id, const char *text, size_t n, kvass_error *err)
{
    void *listed = b->listed, *texts = b->texts;
    bool ok = reserve(&listed, &b->cap_listed, b->n_listed, 1, sizeof *b->listed);
    ok = ok && reserve(&texts, &b->cap_texts, b->n_texts, n, 1);
    b->listed = listed;
    b->texts = texts;
    if (!ok) {
        return kvass_fail_nomem(err, b->n_texts + n, "the vocabulary");
    }
    memcpy(b->texts + b->n_texts, text, n);
    b->listed[b->n_listed++] = (tok_listed){id, (uint32_t)b->n_texts, (uint32_t)n};
    b->n_texts += n;
    b->longest = n > b->longest ? n : b->longest;
    return KVASS_OK;
}

static kvass_status fail_id(const tok_build *b, const char *text, const kvass_json *value,
                            int64_t id, kvass_error *err)
{
    char found[32];
    (void)snprintf(found, sizeof found, "%lld", (long long)id);
    bool is_int = kvass_json_get_kind(value) == KVASS_JSON_INT;
    return kvass_fail(err, KVASS_FORMAT, "VOCAB_ID",
                      "%s: vocab[\"%.100s\"]: expected an id in 0 .. %d, found %s", b->path, text,
                      KVASS_MAX_VOCAB - 1, is_int ? found : kvass_json_kind_name(value));
}

/* {"token": id, ...} */
static kvass_status list_object(tok_build *b, const kvass_json *vocab, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (void *it = kvass_json_iter(vocab); it && status == KVASS_OK;
         it = kvass_json_next(vocab, it)) {
        int64_t id = 0;
        const char *text = kvass_json_iter_key(it); /* the JSON reader allows no NUL */
        const kvass_json *value = kvass_json_iter_value(it);
        if (!kvass_json_as_int(value, &id) || id < 0 || id >= KVASS_MAX_VOCAB) {
            return fail_id(b, text, value, id, err);
        }
        status = add(b, (int32_t)id, text, strlen(text), err);
    }
    return status;
}

/* [["token", score], ...], where the place is the id */
static kvass_status list_array(tok_build *b, const kvass_json *vocab, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (size_t i = 0; status == KVASS_OK && i < kvass_json_size(vocab); i++) {
        const kvass_json *one = kvass_json_at(vocab, i);
        double score;
        size_t n;
        const char *text = kvass_json_as_string(kvass_json_at(one, 0), &n);
        if (!text || kvass_json_size(one) != 2 || i >= KVASS_MAX_VOCAB ||
            !kvass_json_as_real(kvass_json_at(one, 1), &score)) {
            return kvass_fail(err, KVASS_FORMAT, "VOCAB_ENTRY",
                              "%s: vocab[%zu]: expected [\"token\", score], and at most %d of them",
                              b->path, i, KVASS_MAX_VOCAB);
        }
        status = add(b, (int32_t)i, text, n, err);
    }
    return status;
}

kvass_status kvass_build_list(tok_build *b, const kvass_json *vocab, kvass_error *err)
{
    kvass_json_walk walk =
        kvass_json_walk_begin(b->lists ? &b->lists[TOK_LIST_VOCAB] : NULL, vocab);
    const kvass_json *piece;
    kvass_status status = kvass_json_walk_next(&walk, &piece, err);
    while (status == KVASS_OK && piece) {
        status = kvass_json_get_kind(piece) == KVASS_JSON_ARRAY ? list_array(b, piece, err)
                                                                : list_object(b, piece, err);
        if (status == KVASS_OK) {
            status = kvass_json_walk_next(&walk, &piece, err);
        }
    }
    kvass_json_walk_end(&walk);
    return status;
}
