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
    size_t n_pages = 0, n_away = 0, n = head_page_bytes(store, dims->head_dim);
    size_t slots = KV_READER_SLOTS * n * (size_t)dims->n_readers, index = 0;
    for (int32_t i = 0; i < dims->n_owners; i++) {
        n_pages += (size_t)owners[i].n_pages; /* at most 1024 layers of 2^31 */
        n_away += (size_t)owners[i].n_away;
    }
    if (!kvass_mul_size(n, (size_t)dims->n_kv_heads, &n)) {
        return false;
    }
    if (dims->indexed && !kvass_mul_size(kv_index_page_bytes(dims), n_pages, &index)) {
        return false;
    }
    return kvass_mul_size(n, n_pages - n_away, n_bytes) &&
           kvass_add_size(*n_bytes, index, n_bytes) && kvass_add_size(*n_bytes, slots, n_bytes);
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
        if (dims->n_readers > 0 && owner->policy.window == 0) {
            owner->frame_of = kvass_arena_take(arena, n, sizeof *owner->frame_of);
            owner->version = kvass_arena_take(arena, n, sizeof *owner->version);
            owner->free_frames = kvass_arena_take(arena, (size_t)n_words(owner->n_pages),
                                                  sizeof *owner->free_frames);
        }
    }
    if (dims->n_readers > 0) {
        pool->cold = kvass_arena_take(arena, 1, sizeof *pool->cold);
        pool->readers = kvass_arena_take(arena, (size_t)dims->n_readers, sizeof *pool->readers);
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

static int32_t n_frames(const kv_owner *owner)
{
    return owner->n_pages - owner->n_away;
}

static void set_bit(uint64_t *bits, int32_t i)
{
    bits[i / WORD_BITS] |= (uint64_t)1 << i % WORD_BITS;
}

/* the lowest bit that is set, of which there is one; cleared */
static int32_t take_bit(uint64_t *bits)
{
    int32_t w = 0;
    while (bits[w] == 0) {
        w++;
    }
    int32_t bit = (int32_t)__builtin_ctzll(bits[w]);
    bits[w] &= bits[w] - 1;
    return w * WORD_BITS + bit;
}

static void open_owner(kv_owner *owner, uint64_t page_seed)
{
    for (int32_t page = 0; page < owner->n_pages; page++) {
        owner->order[page] = page;
        set_bit(owner->free_slots, page);
    }
    if (page_seed != 0) {
        shuffle(owner->order, owner->n_pages, page_seed);
    }
    owner->n_free = owner->n_pages;
    for (int32_t page = 0; owner->frame_of && page < owner->n_pages; page++) {
        owner->frame_of[page] = -1;
    }
    owner->n_free_frames = 0;
    for (int32_t frame = 0; owner->frame_of && frame < n_frames(owner); frame++) {
        set_bit(owner->free_frames, frame);
        owner->n_free_frames++;
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
    kv_dims pages_only = *dims; /* and the readers' slots */
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
        at += (size_t)n_frames(&pool->owners[i]) * pool->page_bytes;
        open_owner(&pool->owners[i], page_seed);
    }
    for (int32_t i = 0; i < dims->n_readers; i++) {
        pool->readers[i].keys = pool->base + at;
        pool->readers[i].values = pool->readers[i].keys + KV_READER_SLOTS * pool->key_page_bytes;
        at += kv_reader_bytes(pool->key_page_bytes, pool->value_page_bytes);
    }
    return dims->indexed ? kv_index_open(pool, err) : KVASS_OK;
}

void kv_pool_close(kv_pool *pool)
{
    kv_index_close(pool);
    kv_cold_close(pool);
    if (pool->base) {
        (void)munmap(pool->base, pool->reserved);
        pool->base = NULL;
    }
}

void *kv_pool_key_range(const kv_pool *pool, int32_t owner, int32_t kv_head)
{
    const kv_owner *o = &pool->owners[owner];
    return o->base + (size_t)kv_head * (size_t)n_frames(o) * pool->key_page_bytes;
}

void *kv_pool_value_range(const kv_pool *pool, int32_t owner, int32_t kv_head)
{
    const kv_owner *o = &pool->owners[owner];
    size_t n = (size_t)n_frames(o);
    size_t keys = (size_t)pool->dims.n_kv_heads * n * pool->key_page_bytes;
    return o->base + keys + (size_t)kv_head * n * pool->value_page_bytes;
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

static void touch(kv_pool *pool, kv_owner *o, int32_t frame)
{
    if (!o->touched[frame]) {
        o->touched[frame] = true;
        pool->n_touched++;
    }
}

int32_t kv_pool_take_frame(kv_pool *pool, int32_t owner)
{
    kv_owner *o = &pool->owners[owner];
    if (o->n_free_frames == 0) {
        return -1;
    }
    int32_t frame = take_bit(o->free_frames);
    o->n_free_frames--;
    touch(pool, o, frame);
    return frame;
}

void kv_pool_return_frame(kv_pool *pool, int32_t owner, int32_t frame)
{
    kv_owner *o = &pool->owners[owner];
    set_bit(o->free_frames, frame);
    o->n_free_frames++;
}

int32_t kv_pool_take(kv_pool *pool, int32_t owner)
{
    kv_owner *o = &pool->owners[owner];
    if (o->n_free == 0) {
        return -1;
    }
    int32_t page = o->order[take_bit(o->free_slots)];
    o->n_free--;
    o->refs[page] = 1;
    kv_index_forget(pool, owner, page);
    if (!o->frame_of) {
        touch(pool, o, page);
        return page;
    }
    o->frame_of[page] = kv_pool_take_frame(pool, owner);
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
    set_bit(o->free_slots, slot_of(o, page));
    o->n_free++;
    if (o->frame_of && o->frame_of[page] >= 0) {
        kv_pool_return_frame(pool, owner, o->frame_of[page]);
    }
}

void kv_pool_get_usage(const kv_pool *pool, kvass_cache_usage *usage)
{
    const kv_dims *dims = &pool->dims;
    size_t n_shared = 0, n_used = 0, n_cold = 0;
    int64_t n_pages = 0;
    size_t n_growing = 0; /* layers without a window: what one more position costs for good */
    for (int32_t i = 0; i < dims->n_owners; i++) {
        const kv_owner *owner = &pool->owners[i];
        n_pages += owner->n_pages;
        n_growing += owner->policy.window == 0;
        for (int32_t page = 0; page < owner->n_pages; page++) {
            n_used += owner->refs[page] > 0;
            n_shared += owner->refs[page] > 1;
            n_cold += owner->refs[page] > 0 && kv_frame(owner, page) < 0;
        }
    }
    size_t index_page_bytes = pool->index ? kv_index_page_bytes(dims) : 0;
    *usage = (kvass_cache_usage){
        .bytes_reserved = pool->reserved + pool->index_bytes,
        .bytes_used = n_used * pool->page_bytes,
        .bytes_shared = n_shared * pool->page_bytes,
        .cold_bytes = n_cold * pool->page_bytes,
        .bytes_resident = (n_used - n_cold) * pool->page_bytes,
        .bytes_touched = (size_t)pool->n_touched * pool->page_bytes +
                         (size_t)pool->n_index_touched * index_page_bytes,
        .bytes_per_token = (pool->page_bytes + index_page_bytes) / KV_PAGE_ROWS * n_growing,
        .index_bytes = pool->index_bytes,
        .n_pages = (int32_t)n_pages,
        .n_pages_used = (int32_t)n_used,
        .n_pages_touched = (int32_t)pool->n_touched,
        .page_rows = KV_PAGE_ROWS,
    };
    for (int32_t i = 0; i < dims->n_readers; i++) {
        usage->cold_pages_read += pool->readers[i].n_read;
    }
}
