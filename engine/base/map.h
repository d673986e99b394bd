/* map.h - a hash map from byte strings to int32; built once, then only read.
 * The only user of stb_ds is map.c: growth draws from the map's own pool, and a failed allocation
 * comes back as KVASS_NOMEM. Building is serialised by one lock (stb_ds rewrites a global seed);
 * look-ups are safe from any number of threads.
 */
#ifndef KVASS_BASE_MAP_H
#define KVASS_BASE_MAP_H

#include "engine/base/error.h"

typedef struct kvass_map kvass_map;

kvass_status kvass_map_open(kvass_map **out, kvass_error *err);
void kvass_map_close(kvass_map **map);
size_t kvass_map_size(const kvass_map *map);

/* Add key[n_bytes] (copied; may hold any byte) -> value. *old is the value already there, or -1; an
 * existing entry is left as it is. old may be NULL. value >= 0. NOMEM: the map is empty again. */
kvass_status kvass_map_put(kvass_map *map, const char *key, size_t n_bytes, int32_t value,
                           int32_t *old, kvass_error *err);

/* The value of key[n_bytes], or -1. */
int32_t kvass_map_get(const kvass_map *map, const char *key, size_t n_bytes);

#endif
