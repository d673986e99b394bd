/* index.c - bounds of each page's keys, by which pages are chosen without reading them.
 * For a query q and a page whose keys lie between min and max in every channel c, no product q . k
 * exceeds sum_c max(q_c * min_c, q_c * max_c) (Tang et al. 2024). That sum is the product of q's
 * negative part with min and of its positive part with max: rows of 2 * head_dim numbers, for which
 * the kernels that read keys serve. Where keys are f16 their bounds are, too. A page is indexed
 * once, when a forward has filled it.
 */
#include "engine/cache/kv.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/checked.h"

/* bytes of bounds[2, head_dim] of one head */
static size_t row_bytes(const kv_dims *dims)
{
    return 2 * (size_t)dims->head_dim * (dims->f16_keys ? sizeof(uint16_t) : sizeof(float));
}

size_t kv_index_page_bytes(const kv_dims *dims)
{
    return (size_t)dims->n_kv_heads * row_bytes(dims);
}

size_t kv_index_bytes(const kv_pool *pool)
{
    size_t n_pages = 0, n_bytes;
    for (int32_t i = 0; i < pool->dims.n_owners; i++) {
        n_pages += (size_t)pool->owners[i].n_pages;
    }
    return kvass_mul_size(n_pages, kv_index_page_bytes(&pool->dims), &n_bytes) ? n_bytes : SIZE_MAX;
}

kvass_status kv_index_open(kv_pool *pool, kvass_error *err)
{
    size_t n_bytes = kv_index_bytes(pool);
    if (pool->index) {
        return KVASS_OK;
    }
    void *base = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return kvass_fail_nomem(err, n_bytes, "the index of cache pages");
    }
    pool->index = base;
    pool->index_bytes = n_bytes;
    unsigned char *at = pool->index;
    for (int32_t i = 0; i < pool->dims.n_owners; i++) {
        kv_owner *owner = &pool->owners[i];
        owner->index = at;
        at += (size_t)owner->n_pages * kv_index_page_bytes(&pool->dims);
    }
    return KVASS_OK;
}

void kv_index_close(kv_pool *pool)
{
    if (pool->index) {
        (void)munmap(pool->index, pool->index_bytes);
        pool->index = NULL;
    }
}

/* bounds[2, head_dim] of a head's keys in a page, as f16 or f32 */
static void *bounds_at(const kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page)
{
    const kv_owner *o = &pool->owners[owner];
    size_t row = (size_t)kv_head * (size_t)o->n_pages + (size_t)page;
    return o->index + row * row_bytes(&pool->dims);
}

/* bounds[2, head_dim] of all 32 keys of a page, by way of tile[32, head_dim], whose first two rows
 * are taken for them */
static void find_bounds(const kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page,
                        kv_reader *reader, float *tile, void *bounds)
{
    int32_t head_dim = pool->dims.head_dim;
    float *min = tile, *max = tile + head_dim;
    int32_t frame = kv_frame(&pool->owners[owner], page);
    kv_span span = {frame >= 0 ? frame * KV_PAGE_ROWS : -1 - page * KV_PAGE_ROWS, KV_PAGE_ROWS, 0};
    kv_rows rows = kv_pool_rows(pool, owner, kv_head, span, reader);
    pool->store->key.load(pool->kernels, rows.keys, rows.span, head_dim, tile);
    for (int32_t c = 0; c < head_dim; c++) {
        float first = min[c], second = max[c];
        min[c] = second < first ? second : first;
        max[c] = second > first ? second : first;
    }
    for (int32_t r = 2; r < KV_PAGE_ROWS; r++) {
        const float *key = tile + (size_t)r * (size_t)head_dim;
        for (int32_t c = 0; c < head_dim; c++) {
            min[c] = key[c] < min[c] ? key[c] : min[c];
            max[c] = key[c] > max[c] ? key[c] : max[c];
        }
    }
    if (pool->dims.f16_keys) { /* nothing is rounded */
        pool->kernels->narrow_f16(tile, 2 * head_dim, bounds);
    } else {
        memcpy(bounds, tile, row_bytes(&pool->dims));
    }
}

void kv_index_pages(kv_pool *pool, const kv_seq *seq, int32_t owner, int32_t begin, int32_t end)
{
    kv_owner *o = &pool->owners[owner];
    for (int32_t i = begin; i < end; i++) {
        int32_t page = *kv_seq_entry(pool, seq, owner, i);
        if (o->index_state[page] & KV_INDEX_VALID) {
            continue;
        }
        for (int32_t kv_head = 0; kv_head < pool->dims.n_kv_heads; kv_head++) {
            find_bounds(pool, owner, kv_head, page, pool->readers, pool->tile,
                        bounds_at(pool, owner, kv_head, page));
        }
        pool->n_index_touched += !(o->index_state[page] & KV_INDEX_TOUCHED);
        o->index_state[page] = KV_INDEX_VALID | KV_INDEX_TOUCHED;
    }
}

void kv_index_forget(kv_pool *pool, int32_t owner, int32_t page)
{
    pool->owners[owner].index_state[page] &= KV_INDEX_TOUCHED;
}

/* halves[n_q, 2, head_dim]: what min and max of each channel are multiplied by */
static void split_query(const kv_query *query, int32_t head_dim, float *halves)
{
    for (int32_t g = 0; g < query->n_q; g++) {
        const float *q = query->q + (size_t)g * (size_t)head_dim;
        float *negative = halves + (size_t)g * 2 * (size_t)head_dim;
        float *positive = negative + head_dim;
        for (int32_t c = 0; c < head_dim; c++) {
            negative[c] = q[c] < 0.0f ? q[c] : 0.0f;
            positive[c] = q[c] < 0.0f ? 0.0f : q[c];
        }
    }
}

/* the greatest score of any query head for each of n pages: each[n_q, 64] -> scores[n] */
static void greatest(const float *each, int32_t n_q, int32_t n, float *scores)
{
    for (int32_t i = 0; i < n; i++) {
        scores[i] = -INFINITY;
        for (int32_t g = 0; g < n_q; g++) {
            float score = each[(size_t)g * KV_INDEX_EACH + (size_t)i];
            scores[i] = score > scores[i] ? score : scores[i];
        }
    }
}

void kv_index_score(const kv_pool *pool, const kv_seq *seq, int32_t owner, const kv_query *query,
                    int32_t begin, int32_t end, kv_pick_scratch *scratch)
{
    const kv_owner *o = &pool->owners[owner];
    int32_t head_dim = pool->dims.head_dim;
    split_query(query, head_dim, scratch->halves);
    for (int32_t i = begin; i < end;) {
        int32_t page = *kv_seq_entry(pool, seq, owner, i), n = 1;
        const void *bounds = scratch->bounds;
        if (o->index && o->index_state[page] & KV_INDEX_VALID) {
            bounds = bounds_at(pool, owner, query->kv_head, page);
            /* pages side by side are scored together */
            while (n < KV_INDEX_EACH && i + n < end &&
                   *kv_seq_entry(pool, seq, owner, i + n) == page + n &&
                   o->index_state[page + n] & KV_INDEX_VALID) {
                n++;
            }
        } else { /* filled in the running forward, or by a context that keeps no index */
            find_bounds(pool, owner, query->kv_head, page, scratch->reader, scratch->tile,
                        scratch->bounds);
        }
        /* each[n_q, n] = halves[n_q, 2 * head_dim] . bounds[n, 2 * head_dim]^T */
        if (pool->dims.f16_keys) {
            pool->kernels->kv_dot_f16(scratch->halves, query->n_q, 2 * head_dim, bounds, n, 1.0f,
                                      scratch->each, KV_INDEX_EACH);
        } else {
            pool->kernels->kv_dot_f32(scratch->halves, query->n_q, 2 * head_dim, bounds, n, 1.0f,
                                      scratch->each, KV_INDEX_EACH);
        }
        greatest(scratch->each, query->n_q, n, scratch->scores + (i - begin));
        i += n;
    }
}
