/* seq.c - a timeline's page tables: reserve, put, commit; fork by sharing, copy on write.
 * Invariant: a table holds exactly the pages of positions [0, n_rows + n_reserved), and a page with
 * more than one holder is never written: its rows below n_rows are everybody's past.
 */
#include "engine/cache/kv.h"

#include <assert.h>
#include <string.h>

static int32_t pages_for(int32_t n_rows)
{
    return (n_rows + KV_PAGE_ROWS - 1) / KV_PAGE_ROWS;
}

int32_t kv_max_pages(const kv_dims *dims)
{
    return pages_for(dims->n_ctx);
}

void kv_seq_carve(kv_seq *seq, const kv_dims *dims, kvass_arena *arena)
{
    *seq = (kv_seq){0};
    seq->pages = kvass_arena_take(arena, (size_t)dims->n_owners * (size_t)kv_max_pages(dims),
                                  sizeof *seq->pages);
}

static int32_t *table_of(const kv_pool *pool, const kv_seq *seq, int32_t owner)
{
    return seq->pages + (size_t)owner * (size_t)kv_max_pages(&pool->dims);
}

static int32_t refs_of(const kv_pool *pool, int32_t owner, int32_t page)
{
    return pool->refs[(size_t)owner * (size_t)pool->dims.n_pages + (size_t)page];
}

/* the page that the next row of seq goes into if it is partly filled, else -1 */
static int32_t open_page(const kv_pool *pool, const kv_seq *seq, int32_t owner)
{
    if (seq->n_rows % KV_PAGE_ROWS == 0) {
        return -1;
    }
    return table_of(pool, seq, owner)[seq->n_rows / KV_PAGE_ROWS];
}

/* pages of one owner layer that a reservation takes: new ones, and copies of shared open ones. Of k
 * holders that all write, the last one keeps the page. */
static int64_t pages_needed(const kv_pool *pool, kv_seq *const *seqs, const int32_t *n_new,
                            int32_t n_seqs, int32_t owner)
{
    int64_t n = 0;
    for (int32_t i = 0; i < n_seqs; i++) {
        n += pages_for(seqs[i]->n_rows + n_new[i]) - pages_for(seqs[i]->n_rows);
        int32_t page = n_new[i] > 0 ? open_page(pool, seqs[i], owner) : -1;
        if (page < 0) {
            continue;
        }
        int32_t holders = refs_of(pool, owner, page);
        for (int32_t earlier = 0; earlier < i; earlier++) {
            if (n_new[earlier] > 0 && open_page(pool, seqs[earlier], owner) == page) {
                holders--; /* that one has its own copy by then */
            }
        }
        n += holders > 1;
    }
    return n;
}

/* rows [0, n_rows) of a page, K and V of every head */
static void copy_page(const kv_pool *pool, int32_t owner, int32_t from, int32_t to)
{
    for (int32_t kv_head = 0; kv_head < pool->dims.n_kv_heads; kv_head++) {
        unsigned char *keys = kv_pool_key_range(pool, owner, kv_head);
        unsigned char *values = kv_pool_value_range(pool, owner, kv_head);
        memcpy(keys + (size_t)to * pool->key_page_bytes, keys + (size_t)from * pool->key_page_bytes,
               pool->key_page_bytes);
        memcpy(values + (size_t)to * pool->value_page_bytes,
               values + (size_t)from * pool->value_page_bytes, pool->value_page_bytes);
    }
}

static void reserve_rows(kv_pool *pool, kv_seq *seq, int32_t n_new, int32_t owner)
{
    int32_t *table = table_of(pool, seq, owner);
    int32_t page = open_page(pool, seq, owner);
    if (page >= 0 && refs_of(pool, owner, page) > 1) {
        int32_t own = kv_pool_take(pool, owner);
        copy_page(pool, owner, page, own);
        kv_pool_return(pool, owner, page);
        table[seq->n_rows / KV_PAGE_ROWS] = own;
    }
    for (int32_t i = pages_for(seq->n_rows); i < pages_for(seq->n_rows + n_new); i++) {
        table[i] = kv_pool_take(pool, owner);
    }
}

bool kv_reserve(kv_pool *pool, kv_seq *const *seqs, const int32_t *n_new, int32_t n_seqs)
{
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        if (pages_needed(pool, seqs, n_new, n_seqs, owner) > pool->n_free[owner]) {
            return false;
        }
    }
    for (int32_t i = 0; i < n_seqs; i++) {
        assert(seqs[i]->n_reserved == 0);
        for (int32_t owner = 0; n_new[i] > 0 && owner < pool->dims.n_owners; owner++) {
            reserve_rows(pool, seqs[i], n_new[i], owner);
        }
        seqs[i]->n_reserved = n_new[i];
    }
    return true;
}

void kv_seq_extend(kv_pool *pool, kv_seq *seq, int32_t n)
{
    int32_t end = seq->n_rows + seq->n_reserved;
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        for (int32_t i = pages_for(end); i < pages_for(end + n); i++) {
            table_of(pool, seq, owner)[i] = kv_pool_take(pool, owner);
        }
    }
    seq->n_reserved += n;
}

void kv_seq_put(kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t kv_head, int32_t pos,
                const float *k, const float *v)
{
    assert(pos >= seq->n_rows && pos < seq->n_rows + seq->n_reserved);
    int32_t head_dim = pool->dims.head_dim;
    int32_t page = table_of(pool, seq, owner)[pos / KV_PAGE_ROWS];
    int32_t row = page * KV_PAGE_ROWS + pos % KV_PAGE_ROWS;
    const kv_store_ops *store = pool->store;
    store->key.put(pool->kernels, kv_pool_key_range(pool, owner, kv_head), row, head_dim, k);
    store->value.put(pool->kernels, kv_pool_value_range(pool, owner, kv_head), row, head_dim, v);
}

/* encode the pages that rows [seq->n_rows, seq->n_rows + n) have filled */
static void seal_full_pages(kv_pool *pool, kv_seq *seq, int32_t n)
{
    int32_t head_dim = pool->dims.head_dim;
    int32_t first = seq->n_rows / KV_PAGE_ROWS, end = (seq->n_rows + n) / KV_PAGE_ROWS;
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        const int32_t *table = table_of(pool, seq, owner);
        for (int32_t kv_head = 0; kv_head < pool->dims.n_kv_heads; kv_head++) {
            void *keys = kv_pool_key_range(pool, owner, kv_head);
            void *values = kv_pool_value_range(pool, owner, kv_head);
            for (int32_t i = first; i < end; i++) {
                pool->store->key.seal(pool->kernels, keys, table[i], head_dim);
                pool->store->value.seal(pool->kernels, values, table[i], head_dim);
            }
        }
    }
}

void kv_seq_commit(kv_pool *pool, kv_seq *seq, int32_t n)
{
    assert(n <= seq->n_reserved);
    seal_full_pages(pool, seq, n);
    seq->n_rows += n;
    seq->n_reserved -= n;
}

/* give back the pages of positions >= n_rows */
static void return_pages(kv_pool *pool, kv_seq *seq, int32_t n_rows)
{
    int32_t end = pages_for(seq->n_rows + seq->n_reserved);
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        const int32_t *table = table_of(pool, seq, owner);
        for (int32_t i = pages_for(n_rows); i < end; i++) {
            kv_pool_return(pool, owner, table[i]);
        }
    }
}

void kv_seq_rollback(kv_pool *pool, kv_seq *seq)
{
    return_pages(pool, seq, seq->n_rows);
    seq->n_reserved = 0;
}

void kv_seq_fork(kv_pool *pool, kv_seq *dst, const kv_seq *src)
{
    assert(dst->n_rows == 0 && dst->n_reserved == 0);
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        const int32_t *from = table_of(pool, src, owner);
        int32_t *to = table_of(pool, dst, owner);
        for (int32_t i = 0; i < pages_for(src->n_rows); i++) {
            to[i] = from[i];
            kv_pool_share(pool, owner, to[i]);
        }
    }
    dst->n_rows = src->n_rows;
}

void kv_seq_truncate(kv_pool *pool, kv_seq *seq, int32_t n_rows)
{
    assert(n_rows >= 0 && n_rows <= seq->n_rows && seq->n_reserved == 0);
    return_pages(pool, seq, n_rows);
    seq->n_rows = n_rows;
}

/* append positions [lo, hi) to spans[n], merging with the last one where rows continue */
static int32_t add_spans(const int32_t *table, int32_t lo, int32_t hi, kv_span *spans, int32_t n)
{
    for (int32_t pos = lo; pos < hi;) {
        int32_t in_page = pos % KV_PAGE_ROWS;
        int32_t left = KV_PAGE_ROWS - in_page;
        int32_t n_rows = hi - pos < left ? hi - pos : left;
        int32_t row = table[pos / KV_PAGE_ROWS] * KV_PAGE_ROWS + in_page;
        kv_span *last = n > 0 ? &spans[n - 1] : NULL;
        if (last && last->row + last->n_rows == row && last->pos + last->n_rows == pos) {
            last->n_rows += n_rows;
        } else {
            spans[n++] = (kv_span){.row = row, .n_rows = n_rows, .pos = pos};
        }
        pos += n_rows;
    }
    return n;
}

int32_t kv_seq_spans(const kv_pool *pool, const kv_seq *seq, int32_t owner, kv_view view,
                     kv_span *out)
{
    const int32_t *table = table_of(pool, seq, owner);
    int32_t n = add_spans(table, 0, view.n_pinned, out, 0);
    return add_spans(table, view.lo, view.hi, out, n);
}
