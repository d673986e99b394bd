/* table.h - numbers filed under hashes: the index of vocabularies and of their merges.
 * A slot is eight bytes, 32 bits of the hash and the number, so that what 150,000 words need stays
 * near the processor. It holds no keys: whoever looks a number up compares what it stands for. For
 * maps that keep their keys, and are not in anybody's way, there is map.h. Look-ups are safe from
 * any number of threads.
 */
#ifndef KVASS_BASE_TABLE_H
#define KVASS_BASE_TABLE_H

#include <stddef.h>

#include "engine/base/error.h"

typedef struct kvass_table {
    uint64_t *slots; /* [mask + 1]: hash << 32 | number + 1, 0 while free */
    size_t mask;     /* slots - 1, a power of two - 1 */
    size_t n;        /* numbers, at most two thirds of the slots */
    uint64_t seed;   /* for the hashes: not secret, but unknown to whoever wrote a file */
} kvass_table;

/* Room for n numbers to begin with, but no more than a large vocabulary needs: it grows. NOMEM. */
kvass_status kvass_table_open(kvass_table *table, size_t n, kvass_error *err);
void kvass_table_close(kvass_table *table); /* all zero is a closed one */

/* File a number >= 0. NOMEM: nothing has changed. */
kvass_status kvass_table_add(kvass_table *table, uint32_t hash, int32_t number, kvass_error *err);

/* Walk the numbers under a hash, in any order, -1 at the end:
 * for (int32_t i = kvass_table_first(t, hash, &at); i >= 0; i = kvass_table_next(t, hash, &at)) */
static inline int32_t kvass_table_next(const kvass_table *table, uint32_t hash, size_t *at)
{
    uint64_t slot;
    while ((slot = table->slots[*at]) != 0) {
        *at = (*at + 1) & table->mask;
        if (slot >> 32 == hash) {
            return (int32_t)((uint32_t)slot - 1);
        }
    }
    return -1;
}

static inline int32_t kvass_table_first(const kvass_table *table, uint32_t hash, size_t *at)
{
    *at = hash & table->mask;
    return kvass_table_next(table, hash, at);
}

#endif
