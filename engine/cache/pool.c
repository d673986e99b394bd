/* pool.c - pages: reserved address space, holders counted, handed out lowest slot first.
 * Lowest first keeps a lone sequence's pages side by side, so that it reads as one span. A shuffled
 * pool maps slots to pages by a random permutation instead; nothing else differs.
 */
#include "engine/cache/kv.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/checked.h"

enum { WORD_BITS = 64 };

static int32_t n_words(const kv_dims *dims)
{
    return (dims->n_pages + WORD_BITS - 1) / WORD_BITS;
}

static size_t head_page_bytes(const kv_store_ops *store, int32_t head_dim)
{
    return store->key.page_bytes(head_dim) + store->value.page_bytes(head_dim);
}

bool kv_pool_bytes(const kv_dims *dims, const kv_store_ops *store, size_t *n_bytes)
{
    size_t n = head_page_bytes(store, dims->head_dim);
    return kvass_mul_size(n, (size_t)dims->n_kv_heads, &n) &&
           kvass_mul_size(n, (size_t)dims->n_owners, &n) &&
           kvass_mul_size(n, (size_t)dims->n_pages, &n) && (*n_bytes = n, true);
}

void kv_pool_carve(kv_pool *pool, const kv_dims *dims, kvass_arena *arena)
{
    size_t n_owners = (size_t)dims->n_owners, n_pages = (size_t)dims->n_pages;
    *pool = (kv_pool){.dims = *dims};
    pool->refs = kvass_arena_take(arena, n_owners * n_pages, sizeof *pool->refs);
    pool->order = kvass_arena_take(arena, n_pages, sizeof *pool->order);
    pool->free_slots =
        kvass_arena_take(arena, n_owners * (size_t)n_words(dims), sizeof *pool->free_slots);
    pool->n_free = kvass_arena_take(arena, n_owners, sizeof *pool->n_free);
    pool->touched = kvass_arena_take(arena, n_owners * n_pages, sizeof *pool->touched);
}

/* splitmix64 (Steele, Lea, Flood 2014): enough to shuffle page numbers */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void shuffle(int32_t *order, int32_t n, uint64_t seed)
{
    for (int32_t i = n - 1; i > 0; i--) {
        int32_t j = (int32_t)(next_random(&seed) % (uint64_t)(i + 1));
        int32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
}

kvass_status kv_pool_open(kv_pool *pool, const kv_store_ops *store, const kvass_kernels *kernels,
                          uint64_t page_seed, kvass_error *err)
{
    const kv_dims *dims = &pool->dims;
    pool->store = store;
    pool->kernels = kernels;
    pool->key_page_bytes = store->key.page_bytes(dims->head_dim);
    pool->value_page_bytes = store->value.page_bytes(dims->head_dim);
    pool->page_bytes = head_page_bytes(store, dims->head_dim) * (size_t)dims->n_kv_heads;
    if (!kv_pool_bytes(dims, store, &pool->reserved)) {
        return kvass_fail(err, KVASS_INVALID, "CACHE_SIZE", "the cache's size overflows");
    }
    void *base = mmap(NULL, pool->reserved, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return kvass_fail_nomem(err, pool->reserved, "cache pages");
    }
    pool->base = base;
    for (int32_t page = 0; page < dims->n_pages; page++) {
        pool->order[page] = page;
    }
    if (page_seed != 0) {
        shuffle(pool->order, dims->n_pages, page_seed);
    }
    for (int32_t owner = 0; owner < dims->n_owners; owner++) {
        pool->n_free[owner] = dims->n_pages;
        uint64_t *words = pool->free_slots + (size_t)owner * (size_t)n_words(dims);
        for (int32_t slot = 0; slot < dims->n_pages; slot++) {
            words[slot / WORD_BITS] |= (uint64_t)1 << slot % WORD_BITS;
        }
    }
    return KVASS_OK;
}

void kv_pool_close(kv_pool *pool)
{
    if (pool->base) {
        (void)munmap(pool->base, pool->reserved);
        pool->base = NULL;
    }
}

static unsigned char *layer_start(const kv_pool *pool, int32_t owner)
{
    return pool->base + (size_t)owner * (size_t)pool->dims.n_pages * pool->page_bytes;
}

void *kv_pool_key_range(const kv_pool *pool, int32_t owner, int32_t kv_head)
{
    return layer_start(pool, owner) +
           (size_t)kv_head * (size_t)pool->dims.n_pages * pool->key_page_bytes;
}

void *kv_pool_value_range(const kv_pool *pool, int32_t owner, int32_t kv_head)
{
    size_t n_pages = (size_t)pool->dims.n_pages;
    size_t keys = (size_t)pool->dims.n_kv_heads * n_pages * pool->key_page_bytes;
    return layer_start(pool, owner) + keys + (size_t)kv_head * n_pages * pool->value_page_bytes;
}

/* page -> slot is only needed when a page goes home; in a shuffled pool it is searched */
static int32_t slot_of(const kv_pool *pool, int32_t page)
{
    if (pool->order[page] == page) {
        return page;
    }
    for (int32_t slot = 0; slot < pool->dims.n_pages; slot++) {
        if (pool->order[slot] == page) {
            return slot;
        }
    }
    return page;
}

int32_t kv_pool_take(kv_pool *pool, int32_t owner)
{
    uint64_t *words = pool->free_slots + (size_t)owner * (size_t)n_words(&pool->dims);
    if (pool->n_free[owner] == 0) {
        return -1;
    }
    int32_t w = 0;
    while (words[w] == 0) {
        w++;
    }
    int32_t bit = (int32_t)__builtin_ctzll(words[w]);
    words[w] &= words[w] - 1;
    pool->n_free[owner]--;
    int32_t page = pool->order[w * WORD_BITS + bit];
    size_t at = (size_t)owner * (size_t)pool->dims.n_pages + (size_t)page;
    pool->refs[at] = 1;
    if (!pool->touched[at]) {
        pool->touched[at] = true;
        pool->n_touched++;
    }
    return page;
}

void kv_pool_share(kv_pool *pool, int32_t owner, int32_t page)
{
    pool->refs[(size_t)owner * (size_t)pool->dims.n_pages + (size_t)page]++;
}

void kv_pool_return(kv_pool *pool, int32_t owner, int32_t page)
{
    size_t at = (size_t)owner * (size_t)pool->dims.n_pages + (size_t)page;
    assert(pool->refs[at] > 0);
    if (--pool->refs[at] > 0) {
        return;
    }
    int32_t slot = slot_of(pool, page);
    uint64_t *words = pool->free_slots + (size_t)owner * (size_t)n_words(&pool->dims);
    words[slot / WORD_BITS] |= (uint64_t)1 << slot % WORD_BITS;
    pool->n_free[owner]++;
}

void kv_pool_get_usage(const kv_pool *pool, kvass_cache_usage *usage)
{
    const kv_dims *dims = &pool->dims;
    size_t n_shared = 0, n_used = 0;
    for (size_t i = 0; i < (size_t)dims->n_owners * (size_t)dims->n_pages; i++) {
        n_used += pool->refs[i] > 0;
        n_shared += pool->refs[i] > 1;
    }
    *usage = (kvass_cache_usage){
        .bytes_reserved = pool->reserved,
        .bytes_used = n_used * pool->page_bytes,
        .bytes_shared = n_shared * pool->page_bytes,
        .bytes_touched = (size_t)pool->n_touched * pool->page_bytes,
        .bytes_per_token = pool->page_bytes / KV_PAGE_ROWS * (size_t)dims->n_owners,
        .n_pages = dims->n_pages,
        .n_pages_used = (int32_t)n_used,
        .page_rows = KV_PAGE_ROWS,
    };
}
