/* save.c - a sequence's rows in a file, and back.
 * Called by session.c, which writes and checks what the rows mean. Only held pages are written, and
 * of an open one only its rows; where pages are quantized, the rows that are not yet. Every size
 * follows from the pool that reads, never from the file.
 */
#include "engine/cache/kv.h"
#include "engine/cache/save.h"

/* Logical pages that a sequence of n_rows rows holds in an owner layer behind the first n_shared:
 * pinned ones, then [first, end). */
typedef struct held_pages {
    int32_t n_pinned_end; /* pinned pages [n_shared, n_pinned_end) */
    int32_t first, end;
} held_pages;

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* what kv_seq_commit leaves in a sequence: a row count fixes which pages are there */
static held_pages pages_of(const kv_pool *pool, int32_t owner, int32_t n_shared, int32_t n_rows)
{
    const kv_owner *o = &pool->owners[owner];
    int32_t n_pinned = kv_pages_for(o->policy.n_pinned), end = kv_pages_for(n_rows);
    int32_t oldest = o->retain->view(&o->policy, n_rows).lo / KV_PAGE_ROWS;
    return (held_pages){.n_pinned_end = end < n_pinned ? end : n_pinned,
                        .first = max_of(max_of(oldest, n_pinned), n_shared),
                        .end = end};
}

static int32_t n_pages_of(held_pages held, int32_t n_shared)
{
    return max_of(held.n_pinned_end - n_shared, 0) + max_of(held.end - held.first, 0);
}

/* rows of logical page i that are part of a sequence */
static int32_t rows_of_page(int32_t i, int32_t n_rows)
{
    int32_t n = n_rows - i * KV_PAGE_ROWS;
    return n < KV_PAGE_ROWS ? n : KV_PAGE_ROWS;
}

/* bytes of a page, of one head or of all, that hold its first n rows: rows follow one another, or
 * there are none before the page is full */
static size_t bytes_of_rows(const kv_pool *pool, size_t page_bytes, int32_t n)
{
    if (pool->store->has_tail) {
        return n == KV_PAGE_ROWS ? page_bytes : 0;
    }
    return page_bytes / KV_PAGE_ROWS * (size_t)n;
}

/* rows that the next query reads unquantized, where the store has a tail */
static int32_t n_exact_rows(const kv_pool *pool, int32_t n_rows)
{
    return pool->store->has_tail ? n_rows - kv_exact_from(&pool->dims, n_rows) : 0;
}

uint64_t kv_saved_bytes(const kv_pool *pool, int32_t n_shared, int32_t n_rows)
{
    const kv_dims *dims = &pool->dims;
    uint64_t n_bytes = (uint64_t)n_exact_rows(pool, n_rows) * 2 * sizeof(float);
    n_bytes *= (uint64_t)dims->n_owners * (uint64_t)dims->n_kv_heads * (uint64_t)dims->head_dim;
    int32_t last = kv_pages_for(n_rows) - 1;
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        int32_t n_pages = n_pages_of(pages_of(pool, owner, n_shared, n_rows), n_shared);
        n_bytes += (uint64_t)n_pages * pool->page_bytes;
        if (n_pages > 0) { /* the last page is always among them */
            n_bytes -= pool->page_bytes;
            n_bytes += bytes_of_rows(pool, pool->page_bytes, rows_of_page(last, n_rows));
        }
    }
    return n_bytes;
}

bool kv_seq_can_load(const kv_pool *pool, const kv_seq *seq, int32_t n_shared, int32_t n_rows)
{
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        const kv_owner *o = &pool->owners[owner];
        int32_t n = n_pages_of(pages_of(pool, owner, n_shared, n_rows), n_shared);
        held_pages own = pages_of(pool, owner, 0, seq->n_rows);
        int32_t n_own = 0; /* pages that come home when seq is emptied */
        for (int32_t i = 0; i < own.end; i++) {
            bool held = i < own.n_pinned_end || i >= own.first;
            n_own += held && o->refs[*kv_seq_entry(pool, seq, owner, i)] == 1;
        }
        if (n > o->n_free + n_own) {
            return false;
        }
    }
    return true;
}

/* bytes to a file or from one */
static kvass_status move_bytes(unsigned char *x, size_t n, kvass_out_file *out, kvass_in_file *in,
                               kvass_error *err)
{
    return out ? kvass_out_file_put(out, x, n, err) : kvass_in_file_take(in, x, n, err);
}

/* One page, K and V of every head, to a file or from one. A page without a place in memory goes
 * through the first reader's first slot, from which nobody reads meanwhile. */
static kvass_status move_page(kv_pool *pool, int32_t owner, int32_t page, int32_t n_rows,
                              kvass_out_file *out, kvass_in_file *in, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    int32_t frame = kv_frame(&pool->owners[owner], page);
    bool away = frame < 0;
    size_t n_keys = bytes_of_rows(pool, pool->key_page_bytes, n_rows);
    size_t n_values = bytes_of_rows(pool, pool->value_page_bytes, n_rows);
    for (int32_t kv_head = 0; kv_head < pool->dims.n_kv_heads && !status; kv_head++) {
        unsigned char *keys = away ? pool->readers[0].keys
                                   : (unsigned char *)kv_pool_key_range(pool, owner, kv_head) +
                                         (size_t)frame * pool->key_page_bytes;
        unsigned char *values = away ? pool->readers[0].values
                                     : (unsigned char *)kv_pool_value_range(pool, owner, kv_head) +
                                           (size_t)frame * pool->value_page_bytes;
        if (away) {
            pool->readers[0].slots[0].last_use = 0;
        }
        if (away && out && !kv_cold_read_head(pool, owner, kv_head, page, keys, values)) {
            return kv_cold_check(pool, err);
        }
        if ((status = move_bytes(keys, n_keys, out, in, err)) ||
            (status = move_bytes(values, n_values, out, in, err))) {
            return status;
        }
        if (away && in && !kv_cold_write_head(pool, owner, kv_head, page, keys, values)) {
            return kv_cold_check(pool, err);
        }
    }
    return status;
}

/* n floats to a file or from one */
static kvass_status move_floats(float *x, size_t n, kvass_out_file *out, kvass_in_file *in,
                                kvass_error *err)
{
    return out ? kvass_out_file_put(out, x, n * sizeof *x, err)
               : kvass_in_file_take(in, x, n * sizeof *x, err);
}

/* The exact rows of one head, each K then V. */
static kvass_status move_tail(const kv_pool *pool, const kv_seq *seq, int32_t owner,
                              int32_t kv_head, kvass_out_file *out, kvass_in_file *in,
                              kvass_error *err)
{
    kvass_status status = KVASS_OK;
    int32_t pos = seq->n_rows - n_exact_rows(pool, seq->n_rows);
    while (pos < seq->n_rows && !status) {
        kv_exact rows = kv_tail_rows(pool, seq, NULL, owner, kv_head, pos, pos + 1);
        size_t head_dim = (size_t)pool->dims.head_dim;
        /* both lie in seq->tail, which may be written */
        status = move_floats(seq->tail + (rows.k - seq->tail), head_dim, out, in, err);
        if (!status) {
            status = move_floats(seq->tail + (rows.v - seq->tail), head_dim, out, in, err);
        }
        pos++;
    }
    return status;
}

static kvass_status move_pages(kv_pool *pool, const kv_seq *seq, int32_t n_shared,
                               kvass_out_file *out, kvass_in_file *in, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        held_pages held = pages_of(pool, owner, n_shared, seq->n_rows);
        for (int32_t i = n_shared; i < held.end && !status; i++) {
            if (i < held.n_pinned_end || i >= held.first) {
                status = move_page(pool, owner, *kv_seq_entry(pool, seq, owner, i),
                                   rows_of_page(i, seq->n_rows), out, in, err);
            }
        }
        for (int32_t kv_head = 0; kv_head < pool->dims.n_kv_heads && !status; kv_head++) {
            status = move_tail(pool, seq, owner, kv_head, out, in, err);
        }
    }
    return status;
}

kvass_status kv_seq_save(kv_pool *pool, const kv_seq *seq, int32_t n_shared, kvass_out_file *out,
                         kvass_error *err)
{
    return move_pages(pool, seq, n_shared, out, NULL, err);
}

kvass_status kv_seq_load(kv_pool *pool, kv_seq *seq, int32_t n_shared, int32_t n_rows,
                         kvass_in_file *in, kvass_error *err)
{
    kv_seq_truncate(pool, seq, n_shared * KV_PAGE_ROWS);
    for (int32_t owner = 0; owner < pool->dims.n_owners; owner++) {
        held_pages held = pages_of(pool, owner, n_shared, n_rows);
        if (held.first > kv_pages_for(pool->owners[owner].policy.n_pinned)) {
            seq->first[owner] = held.first;
        }
        /* in order, side by side; but the newest first where places in memory are few */
        bool few = pool->owners[owner].frame_of != NULL;
        for (int32_t n = n_shared; n < held.end; n++) {
            int32_t i = few ? held.end - 1 - (n - n_shared) : n;
            if (i < held.n_pinned_end || i >= held.first) {
                *kv_seq_entry(pool, seq, owner, i) = kv_pool_take(pool, owner);
            }
        }
    }
    seq->n_rows = n_rows;
    seq->tail_skip = 0;
    seq->tail_low = n_rows - n_exact_rows(pool, n_rows);
    kvass_status status = move_pages(pool, seq, n_shared, NULL, in, err);
    for (int32_t owner = 0; pool->dims.indexed && !status && owner < pool->dims.n_owners; owner++) {
        held_pages held = pages_of(pool, owner, n_shared, n_rows);
        int32_t end = n_rows / KV_PAGE_ROWS; /* the last page may not be full */
        kv_index_pages(pool, seq, owner, n_shared,
                       held.n_pinned_end < end ? held.n_pinned_end : end);
        kv_index_pages(pool, seq, owner, held.first > n_shared ? held.first : n_shared, end);
    }
    return status;
}
