/* hash.h - 64 bits of any bytes: XXH3, for checksums and for telling pages of tokens apart.
 * Not against somebody who looks for two texts of one hash: whoever relies on equal bytes compares
 * them.
 */
#ifndef KVASS_BASE_HASH_H
#define KVASS_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A hash of bytes that come in parts. */
typedef struct kvass_hash {
    _Alignas(64) unsigned char state[576];
} kvass_hash;

void kvass_hash_begin(kvass_hash *hash);
void kvass_hash_add(kvass_hash *hash, const void *bytes, size_t n_bytes);
uint64_t kvass_hash_end(const kvass_hash *hash);

/* Of bytes that are all there. */
uint64_t kvass_hash_of(const void *bytes, size_t n_bytes, uint64_t seed);

#endif
