/* hash.c - the only user of xxhash, compiled in from its header. */
#include "engine/base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

_Static_assert(sizeof(kvass_hash) >= sizeof(XXH3_state_t) &&
                   _Alignof(kvass_hash) >= _Alignof(XXH3_state_t),
               "kvass_hash holds a state of XXH3");

void kvass_hash_begin(kvass_hash *hash)
{
    (void)XXH3_64bits_reset((XXH3_state_t *)(void *)hash->state);
}

void kvass_hash_add(kvass_hash *hash, const void *bytes, size_t n_bytes)
{
    (void)XXH3_64bits_update((XXH3_state_t *)(void *)hash->state, bytes, n_bytes);
}

uint64_t kvass_hash_end(const kvass_hash *hash)
{
    return XXH3_64bits_digest((const XXH3_state_t *)(const void *)hash->state);
}

uint64_t kvass_hash_of(const void *bytes, size_t n_bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes, n_bytes, seed);
}
