/* pairs.h - pairs of ids in the order they came, each found by its two ids: the merges of a BPE.
 * Filled while a tokenizer opens, read-only afterwards.
 */
#ifndef KVASS_BASE_PAIRS_H
#define KVASS_BASE_PAIRS_H

#include "engine/base/table.h"

typedef struct kvass_pair {
    int32_t left, right, value;
} kvass_pair;

typedef struct kvass_pairs {
    kvass_pair *all; /* [n] */
    size_t n, cap;
    kvass_table table; /* hash of left and right -> place in `all` */
} kvass_pairs;

/* Room for n_pairs, which must be bounded by what a file holds; more grow. NOMEM. */
kvass_status kvass_pairs_open(kvass_pairs *pairs, size_t n_pairs, kvass_error *err);
void kvass_pairs_close(kvass_pairs *pairs); /* all zero is a closed one */

/* Add a pair (left, right >= 0) with its value. *fresh = false: it is there already, and stays as
 * it is. NOMEM: nothing has changed. */
kvass_status kvass_pairs_add(kvass_pairs *pairs, int32_t left, int32_t right, int32_t value,
                             bool *fresh, kvass_error *err);

static inline uint32_t kvass_pairs_hash(const kvass_pairs *pairs, int32_t left, int32_t right)
{
    uint64_t x = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) ^ pairs->table.seed;
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
    return (uint32_t)(x >> 32);
}

/* The place of a pair, or -1. */
static inline int32_t kvass_pairs_find(const kvass_pairs *pairs, int32_t left, int32_t right)
{
    uint32_t hash = kvass_pairs_hash(pairs, left, right);
    size_t at;
    int32_t i = kvass_table_first(&pairs->table, hash, &at);
    while (i >= 0 && (pairs->all[i].left != left || pairs->all[i].right != right)) {
        i = kvass_table_next(&pairs->table, hash, &at);
    }
    return i;
}

#endif
