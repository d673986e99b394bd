/* map.c - a hash map, the only user of stb_ds.
 * stb_ds cannot hold keys of any length that may contain NUL, so its table is keyed by a 62-bit
 * hash of the bytes; the bytes themselves are compared in the end, and a key whose hash is taken by
 * other bytes moves to hash + 1 (nothing is ever removed, so a chain has no holes). stb_ds uses
 * what realloc returns unchecked: our hook takes blocks from the map's own pool and, when there is
 * none, jumps back into the put, which drops the whole pool and returns NOMEM. The hook has no
 * argument for the map and stb_ds rewrites a global seed, hence one lock around all building.
 */
#include "engine/base/map.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

static void *pool_realloc(void *old, size_t n_bytes);
static void pool_free(void *old);

#define STBDS_REALLOC(context, old, n_bytes) pool_realloc(old, n_bytes)
#define STBDS_FREE(context, old)             pool_free(old)
#define STBDS_ASSERT(x)                      ((void)0)
#define STBDS_NO_SHORT_NAMES
/* our own names, so that a program with its own stb_ds can link libkvass.a */
#define stbds_rand_seed     kvass_stbds_rand_seed
#define stbds_hash_bytes    kvass_stbds_hash_bytes
#define stbds_hash_string   kvass_stbds_hash_string
#define stbds_stralloc      kvass_stbds_stralloc
#define stbds_strreset      kvass_stbds_strreset
#define stbds_arrgrowf      kvass_stbds_arrgrowf
#define stbds_arrfreef      kvass_stbds_arrfreef
#define stbds_hmfree_func   kvass_stbds_hmfree_func
#define stbds_hmget_key     kvass_stbds_hmget_key
#define stbds_hmget_key_ts  kvass_stbds_hmget_key_ts
#define stbds_hmput_default kvass_stbds_hmput_default
#define stbds_hmput_key     kvass_stbds_hmput_key
#define stbds_hmdel_key     kvass_stbds_hmdel_key
#define stbds_shmode_func   kvass_stbds_shmode_func
#define STB_DS_IMPLEMENTATION
#include <stb_ds.h>

/* ---- pool ------------------------------------------------------------------------------------ */

typedef struct pool_block {
    struct pool_block *prev, *next;
} pool_block;

typedef struct pool {
    pool_block *blocks; /* every block stb_ds holds for this map */
    jmp_buf *failed;    /* where a failed allocation goes */
} pool;

static pthread_mutex_t building_lock = PTHREAD_MUTEX_INITIALIZER;
static pool *building; /* whose put is running; guarded by building_lock */

static void pool_link(pool *p, pool_block *block)
{
    block->prev = NULL;
    block->next = p->blocks;
    if (block->next) {
        block->next->prev = block;
    }
    p->blocks = block;
}

static void pool_unlink(pool *p, pool_block *block)
{
    if (block->prev) {
        block->prev->next = block->next;
    } else {
        p->blocks = block->next;
    }
    if (block->next) {
        block->next->prev = block->prev;
    }
}

static void *pool_realloc(void *old, size_t n_bytes)
{
    pool *p = building;
    pool_block *block = old ? (pool_block *)old - 1 : NULL;
    size_t total;
    if (!kvass_add_size(n_bytes, sizeof *block, &total)) {
        longjmp(*p->failed, 1);
    }
    if (block) {
        pool_unlink(p, block);
    }
    pool_block *grown = realloc(block, total);
    if (!grown) {
        if (block) {
            pool_link(p, block);
        }
        longjmp(*p->failed, 1);
    }
    pool_link(p, grown);
    return grown + 1;
}

static void pool_free(void *old)
{
    if (old) {
        pool_block *block = (pool_block *)old - 1;
        pool_unlink(building, block);
        free(block);
    }
}

static void pool_drop(pool *p)
{
    while (p->blocks) {
        pool_block *next = p->blocks->next;
        free(p->blocks);
        p->blocks = next;
    }
}

static void building_begin(pool *p, jmp_buf *failed)
{
    (void)pthread_mutex_lock(&building_lock);
    building = p;
    p->failed = failed;
}

static void building_end(void)
{
    building->failed = NULL;
    building = NULL;
    (void)pthread_mutex_unlock(&building_lock);
}

/* ---- one stb_ds table: u64 -> slot
 * --------------------------------------------------------------- */

/* Table keys: stb_ds shifts the top byte of each half of a key into an int; without these bits it
 * cannot reach the sign. Every slot type begins with its uint64_t key, where stb_ds looks for it.
 */
#define KEY_MASK UINT64_C(0x7fffffff7fffffff)

/* The place of `key` in slots[], or -1. Writes nothing: safe from any number of threads. */
static ptrdiff_t table_find(void *slots, size_t slot_bytes, uint64_t key)
{
    ptrdiff_t i = -1;
    if (slots) { /* without a table stb_ds would allocate one */
        (void)stbds_hmget_key_ts(slots, slot_bytes, &key, sizeof key, &i, STBDS_HM_BINARY);
    }
    return i;
}

/* The table with one more slot for `key`, which has none yet; *i is its place. Runs under the lock,
 * with `building` set; does not return when memory runs out. */
static void *table_add(void *slots, size_t slot_bytes, uint64_t key, uint64_t seed, ptrdiff_t *i)
{
    if (!slots) {
        stbds_rand_seed((size_t)seed);
    }
    slots = stbds_hmput_key(slots, slot_bytes, &key, sizeof key, STBDS_HM_BINARY);
    *i = stbds_temp((char *)slots - slot_bytes);
    return slots;
}

/* Not secret, but unknown to whoever wrote the file: addresses differ from run to run. */
static uint64_t seed_of(const void *map)
{
    uint64_t x = (uint64_t)(uintptr_t)map * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

/* ---- byte strings -> int32 ------------------------------------------------------------------- */

typedef struct text_slot {
    uint64_t key;
    size_t offset; /* of the bytes in kvass_map.bytes */
    uint32_t n_bytes;
    int32_t value;
} text_slot;

struct kvass_map {
    pool pool;
    text_slot *slots; /* stb_ds hash map */
    char *bytes;      /* stb_ds array: all keys, one after another */
    uint64_t seed;
};

#ifndef KVASS_MAP_HASH /* a test plants a weak one to see collisions */
#define KVASS_MAP_HASH hash_key
/* FNV-1a over the bytes, then mixed so that the low bits, which pick the bucket, know them all */
static uint64_t hash_key(const char *key, size_t n_bytes, uint64_t seed)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325) ^ seed;
    for (size_t i = 0; i < n_bytes; i++) {
        h = (h ^ (unsigned char)key[i]) * UINT64_C(0x100000001b3);
    }
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 33;
}
#endif

/* The slot that holds key[n_bytes], or NULL; *free_key is then the table key it would get. */
static const text_slot *find(const kvass_map *map, const char *key, size_t n_bytes,
                             uint64_t *free_key)
{
    uint64_t k = KVASS_MAP_HASH(key, n_bytes, map->seed) & KEY_MASK;
    ptrdiff_t i;
    while ((i = table_find(map->slots, sizeof *map->slots, k)) >= 0) {
        const text_slot *s = &map->slots[i];
        if (s->n_bytes == n_bytes && memcmp(map->bytes + s->offset, key, n_bytes) == 0) {
            return s;
        }
        k = (k + 1) & KEY_MASK;
    }
    *free_key = k;
    return NULL;
}

kvass_status kvass_map_open(kvass_map **out, kvass_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return kvass_fail_nomem(err, sizeof **out, "a map");
    }
    (*out)->seed = seed_of(*out);
    return KVASS_OK;
}

void kvass_map_close(kvass_map **map)
{
    if (map && *map) {
        pool_drop(&(*map)->pool);
        free(*map);
        *map = NULL;
    }
}

size_t kvass_map_size(const kvass_map *map)
{
    return stbds_hmlenu(map->slots);
}

/* Append key[n_bytes] to map->bytes and return where it begins. */
static size_t add_bytes(kvass_map *map, const char *key, size_t n_bytes)
{
    size_t offset = stbds_arrlenu(map->bytes);
    /* one more than needed: the array exists even when its only key is empty */
    map->bytes = stbds_arrgrowf(map->bytes, 1, n_bytes + 1, 0);
    memcpy(map->bytes + offset, key, n_bytes);
    stbds_header(map->bytes)->length = offset + n_bytes;
    return offset;
}

kvass_status kvass_map_put(kvass_map *map, const char *key, size_t n_bytes, int32_t value,
                           int32_t *old, kvass_error *err)
{
    if (n_bytes > UINT32_MAX) {
        return kvass_fail(err, KVASS_INVALID, "KEY_SIZE", "map key of %zu bytes, at most %u",
                          n_bytes, UINT32_MAX);
    }
    uint64_t k = 0;
    const text_slot *there = find(map, key, n_bytes, &k);
    int32_t before = there ? there->value : -1;
    if (!there) {
        jmp_buf failed;
        building_begin(&map->pool, &failed);
        if (setjmp(failed) == 0) {
            size_t offset = add_bytes(map, key, n_bytes);
            ptrdiff_t i;
            map->slots = table_add(map->slots, sizeof *map->slots, k, map->seed, &i);
            map->slots[i] = (text_slot){k, offset, (uint32_t)n_bytes, value};
            building_end();
        } else {
            map->slots = NULL;
            map->bytes = NULL;
            building_end();
            pool_drop(&map->pool);
            return kvass_fail_nomem(err, n_bytes, "a map entry");
        }
    }
    if (old) {
        *old = before;
    }
    return KVASS_OK;
}

int32_t kvass_map_get(const kvass_map *map, const char *key, size_t n_bytes)
{
    uint64_t unused;
    const text_slot *there = find(map, key, n_bytes, &unused);
    return there ? there->value : -1;
}
