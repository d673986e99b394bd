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

static int32_t n_words(int32_t n_pages)
{
    return (n_pages + WORD_BITS - 1) / WORD_BITS;
}

int32_t kv_pages_for(int32_t n_rows)
{
    return (n_rows + KV_PAGE_ROWS - 1) / KV_PAGE_ROWS;
}

void kv_owner_plan(kv_owner *owner, const kv_dims *dims, kv_policy policy)
{
    *owner = (kv_owner){.policy = policy, .retain = kv_retain_of(&policy)};
    int32_t all = kv_pages_for(dims->n_ctx);
    int32_t n_rows = owner->retain->most_rows(&policy, dims->n_ctx, dims->n_batch);
    /* n rows that begin anywhere lie on at most one page more than if they began a page */
    int32_t held = kv_pages_for(policy.n_pinned) + kv_pages_for(n_rows) + 1;
    owner->n_entries = held < all ? held : all;
}

static size_t head_page_bytes(const kv_store_ops *store, int32_t head_dim)
{
    return store->key.page_bytes(head_dim) + store->value.page_bytes(head_dim);
}

bool kv_pool_bytes(const kv_dims *dims, const kv_owner *owners, const kv_store_ops *store,
                   size_t *n_bytes)
{
    size_t n_pages = 0, n = head_page_bytes(store, dims->head_dim);
    for (int32_t i = 0; i < dims->n_owners; i++) {
        n_pages += (size_t)owners[i].n_pages; /* at most 1024 layers of 2^31 */
    }
    if (!kvass_mul_size(n, (size_t)dims->n_kv_heads, &n)) {
        return false;
    }
    n += dims->indexed ? kv_index_page_bytes(dims) : 0; /* less than a page of keys */
    return kvass_mul_size(n, n_pages, n_bytes);
}

void kv_pool_carve(kv_pool *pool, const kv_dims *dims, kv_owner *owners, kvass_arena *arena)
{
    *pool = (kv_pool){.dims = *dims, .owners = owners};
    for (int32_t i = 0; i < dims->n_owners; i++) {
        kv_owner *owner = &owners[i];
        size_t n = (size_t)owner->n_pages;
        owner->refs = kvass_arena_take(arena, n, sizeof *owner->refs);
        owner->order = kvass_arena_take(arena, n, sizeof *owner->order);
        owner->free_slots =
            kvass_arena_take(arena, (size_t)n_words(owner->n_pages), sizeof *owner->free_slots);
        owner->touched = kvass_arena_take(arena, n, sizeof *owner->touched);
        owner->index_state = kvass_arena_take(arena, n, sizeof *owner->index_state);
    }
    pool->tile = kvass_arena_take(arena, KV_PAGE_ROWS, (size_t)dims->head_dim * sizeof *pool->tile);
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

static void open_owner(kv_owner *owner, uint64_t page_seed)
{
    for (int32_t page = 0; page < owner->n_pages; page++) {
        owner->order[page] = page;
        owner->free_slots[page / WORD_BITS] |= (uint64_t)1 << page % WORD_BITS;
    }
    if (page_seed != 0) {
        shuffle(owner->order, owner->n_pages, page_seed);
    }
    owner->n_free = owner->n_pages;
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
    kv_dims pages_only = *dims;
    pages_only.indexed = false;
    if (!kv_pool_bytes(&pages_only, pool->owners, store, &pool->reserved)) {
        return kvass_fail(err, KVASS_INVALID, "CACHE_SIZE", "the cache's size overflows");
    }
    void *base = mmap(NULL, pool->reserved, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return kvass_fail_nomem(err, pool->reserved, "cache pages");
    }
    pool->base = base;
    size_t at = 0;
    for (int32_t i = 0; i < dims->n_owners; i++) {
        pool->owners[i].base = pool->base + at;
        at += (size_t)pool->owners[i].n_pages * pool->page_bytes;
        open_owner(&pool->owners[i], page_seed);
    }
    return dims->indexed ? kv_index_open(pool, err) : KVASS_OK;
}

void kv_pool_close(kv_pool *pool)
{
    kv_index_close(pool);
    if (pool->base) {
        (void)munmap(pool->base, pool->reserved);
        pool->base = NULL;
    }
}

void *kv_pool_key_range(const kv_pool *pool, int32_t owner, int32_t kv_head)
{
    const kv_owner *o = &pool->owners[owner];
    return o->base + (size_t)kv_head * (size_t)o->n_pages * pool->key_page_bytes;
}

void *kv_pool_value_range(const kv_pool *pool, int32_t owner, int32_t kv_head)
{
    const kv_owner *o = &pool->owners[owner];
    size_t n_pages = (size_t)o->n_pages;
    size_t keys = (size_t)pool->dims.n_kv_heads * n_pages * pool->key_page_bytes;
    return o->base + keys + (size_t)kv_head * n_pages * pool->value_page_bytes;
}

/* page -> slot is only needed when a page goes home; in a shuffled pool it is searched */
static int32_t slot_of(const kv_owner *o, int32_t page)
{
    int32_t slot = page;
    if (o->order[page] != page) {
        for (slot = 0; o->order[slot] != page; slot++) {
        }
    }
    return slot;
}

int32_t kv_pool_take(kv_pool *pool, int32_t owner)
{
    kv_owner *o = &pool->owners[owner];
    if (o->n_free == 0) {
        return -1;
    }
    int32_t w = 0;
    while (o->free_slots[w] == 0) {
        w++;
    }
    int32_t bit = (int32_t)__builtin_ctzll(o->free_slots[w]);
    o->free_slots[w] &= o->free_slots[w] - 1;
    o->n_free--;
    int32_t page = o->order[w * WORD_BITS + bit];
    o->refs[page] = 1;
    kv_index_forget(pool, owner, page);
    if (!o->touched[page]) {
        o->touched[page] = true;
        pool->n_touched++;
    }
    return page;
}

void kv_pool_share(kv_pool *pool, int32_t owner, int32_t page)
{
    pool->owners[owner].refs[page]++;
}

void kv_pool_return(kv_pool *pool, int32_t owner, int32_t page)
{
    kv_owner *o = &pool->owners[owner];
    assert(o->refs[page] > 0);
    if (--o->refs[page] > 0) {
        return;
    }
    int32_t slot = slot_of(o, page);
    o->free_slots[slot / WORD_BITS] |= (uint64_t)1 << slot % WORD_BITS;
    o->n_free++;
}

void kv_pool_get_usage(const kv_pool *pool, kvass_cache_usage *usage)
{
    const kv_dims *dims = &pool->dims;
    size_t n_shared = 0, n_used = 0;
    int64_t n_pages = 0;
    size_t n_growing = 0; /* layers without a window: what one more position costs for good */
    for (int32_t i = 0; i < dims->n_owners; i++) {
        const kv_owner *owner = &pool->owners[i];
        n_pages += owner->n_pages;
        n_growing += owner->policy.window == 0;
        for (int32_t page = 0; page < owner->n_pages; page++) {
            n_used += owner->refs[page] > 0;
            n_shared += owner->refs[page] > 1;
        }
    }
    size_t index_page_bytes = pool->index ? kv_index_page_bytes(dims) : 0;
    *usage = (kvass_cache_usage){
        .bytes_reserved = pool->reserved + pool->index_bytes,
        .bytes_used = n_used * pool->page_bytes,
        .bytes_shared = n_shared * pool->page_bytes,
        .bytes_resident = n_used * pool->page_bytes,
        .bytes_touched = (size_t)pool->n_touched * pool->page_bytes +
                         (size_t)pool->n_index_touched * index_page_bytes,
        .bytes_per_token = (pool->page_bytes + index_page_bytes) / KV_PAGE_ROWS * n_growing,
        .index_bytes = pool->index_bytes,
        .n_pages = (int32_t)n_pages,
        .n_pages_used = (int32_t)n_used,
        .n_pages_touched = (int32_t)pool->n_touched,
        .page_rows = KV_PAGE_ROWS,
    };
}
