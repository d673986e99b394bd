/* pairs.c - pairs.h: an array of pairs and the table of their places. */
#include "engine/base/pairs.h"

#include <stdlib.h>

#include "engine/base/checked.h"

kvass_status kvass_pairs_open(kvass_pairs *pairs, size_t n_pairs, kvass_error *err)
{
    size_t n_bytes;
    *pairs = (kvass_pairs){.cap = n_pairs > 0 ? n_pairs : 1};
    if (!kvass_mul_size(pairs->cap, sizeof *pairs->all, &n_bytes) ||
        !(pairs->all = malloc(n_bytes))) {
        return kvass_fail_nomem(err, n_pairs, "merges");
    }
    return kvass_table_open(&pairs->table, n_pairs, err);
}

void kvass_pairs_close(kvass_pairs *pairs)
{
    free(pairs->all);
    kvass_table_close(&pairs->table);
    *pairs = (kvass_pairs){0};
}

static bool reserve(kvass_pairs *pairs)
{
    size_t cap = pairs->cap, n_bytes;
    if (pairs->n < cap) {
        return true;
    }
    if (cap > INT32_MAX / 2 || !kvass_mul_size(2 * cap, sizeof *pairs->all, &n_bytes)) {
        return false;
    }
    kvass_pair *grown = realloc(pairs->all, n_bytes);
    if (!grown) {
        return false;
    }
    pairs->all = grown;
    pairs->cap = 2 * cap;
    return true;
}

kvass_status kvass_pairs_add(kvass_pairs *pairs, int32_t left, int32_t right, int32_t value,
                             bool *fresh, kvass_error *err)
{
    bool there = kvass_pairs_find(pairs, left, right) >= 0;
    if (!there) {
        if (!reserve(pairs)) {
            return kvass_fail_nomem(err, pairs->n * sizeof *pairs->all, "merges");
        }
        uint32_t hash = kvass_pairs_hash(pairs, left, right);
        kvass_status status = kvass_table_add(&pairs->table, hash, (int32_t)pairs->n, err);
        if (status != KVASS_OK) {
            return status;
        }
        pairs->all[pairs->n++] = (kvass_pair){left, right, value};
    }
    *fresh = !there;
    return KVASS_OK;
}
