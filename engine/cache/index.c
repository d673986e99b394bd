/* index.c - bounds of each page's keys, by which pages are chosen without reading them.
 * For a query q and a page whose keys lie between min and max in every channel c, no product q . k
 * exceeds sum_c max(q_c * min_c, q_c * max_c) (Tang et al. 2024). That sum is the product of q's
 * negative part with min and of its positive part with max: rows of 2 * head_dim numbers, for which
 * the kernels that read keys serve. At a long context reading the bounds is most of the work, so
 * they are kept in 8 bits, rounded outwards; beside keys in f32 they are f32. A page is indexed
 * once, when a forward has filled it.
 */
#include "engine/base/half.h"
#include "engine/cache/kv.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/checked.h"

/* Where bounds lie: exact[2, head_dim], or in 8 bits values[n_blocks, 2, 32], zeros behind the last
 * channel, in units of scales[n_blocks]. */
typedef struct bounds {
    float *exact, *scales;
    int8_t *values;
} bounds;

/* bytes of the bounds of a head in one page */
static size_t row_bytes(const kv_dims *dims)
{
    size_t n_blocks = (size_t)kvass_kv_blocks(dims->head_dim);
    return dims->exact_bounds ? 2 * (size_t)dims->head_dim * sizeof(float)
                              : n_blocks * (2 * KVASS_KV_BLOCK + sizeof(float));
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

/* Those of page i of the n that lie at `base`: values of all n, then scales of all n. */
static bounds bounds_at(const kv_dims *dims, void *base, int32_t n, int32_t i)
{
    if (dims->exact_bounds) {
        return (bounds){.exact = (float *)base + (size_t)i * 2 * (size_t)dims->head_dim};
    }
    size_t n_blocks = (size_t)kvass_kv_blocks(dims->head_dim);
    size_t width = n_blocks * 2 * KVASS_KV_BLOCK;
    void *scales = (int8_t *)base + (size_t)n * width;
    return (bounds){.values = (int8_t *)base + (size_t)i * width,
                    .scales = (float *)scales + (size_t)i * n_blocks};
}

/* those of a head's page in the index */
static bounds indexed_at(const kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page)
{
    const kv_owner *o = &pool->owners[owner];
    size_t head_bytes = (size_t)o->n_pages * row_bytes(&pool->dims);
    return bounds_at(&pool->dims, o->index + (size_t)kv_head * head_bytes, o->n_pages, page);
}

/* tile[2, head_dim] = the least and the greatest of each channel of all 32 keys of a page */
static void find_bounds(const kv_pool *pool, int32_t owner, int32_t kv_head, int32_t page,
                        kv_reader *reader, float *tile)
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
}

/* more than most / 127, by little; with so few bits that 127 times it is exact in f32 */
static float scale_for(float most)
{
    uint32_t bits = kvass_f32_bits(most / 127.0f);
    return most > 0.0f ? kvass_bits_f32((bits + 0x1000u) & ~0xfffu) : 0.0f;
}

/* the least multiple of `scale` that is not below x */
static int8_t round_up(float x, float scale)
{
    float v = scale > 0.0f ? ceilf(x / scale) : 0.0f;
    return (int8_t)(v * scale < x ? v + 1.0f : v);
}

/* min[32] and max[32] of a block of which n channels are there, rounded outwards */
static void round_block(const float *min, const float *max, int32_t n, int8_t *values, float *scale)
{
    float most = 0.0f;
    bool finite = true;
    for (int32_t c = 0; c < n; c++) {
        finite = finite && isfinite(min[c]) && isfinite(max[c]);
        most = fabsf(min[c]) > most ? fabsf(min[c]) : most;
        most = fabsf(max[c]) > most ? fabsf(max[c]) : most;
    }
    float unit = finite ? scale_for(most) : 0.0f;
    *scale = finite ? unit : NAN;
    memset(values, 0, 2 * KVASS_KV_BLOCK);
    for (int32_t c = 0; c < n && finite; c++) {
        values[c] = (int8_t)-round_up(-min[c], unit);
        values[KVASS_KV_BLOCK + c] = round_up(max[c], unit);
    }
}

/* x[2, head_dim] as bounds */
static void put_bounds(int32_t head_dim, const float *x, bounds to)
{
    if (to.exact) {
        memcpy(to.exact, x, 2 * (size_t)head_dim * sizeof *x);
        return;
    }
    for (int32_t b = 0; b < kvass_kv_blocks(head_dim); b++) {
        const float *min = x + b * KVASS_KV_BLOCK;
        int32_t left = head_dim - b * KVASS_KV_BLOCK;
        round_block(min, min + head_dim, left < KVASS_KV_BLOCK ? left : KVASS_KV_BLOCK,
                    to.values + (size_t)b * 2 * KVASS_KV_BLOCK, &to.scales[b]);
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
            find_bounds(pool, owner, kv_head, page, pool->readers, pool->tile);
            put_bounds(pool->dims.head_dim, pool->tile, indexed_at(pool, owner, kv_head, page));
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

/* block `at` of a probe from q[n], n <= 32 */
static void round_query(const float *q, int32_t n, kvass_probe *probe, int32_t at)
{
    enum { MOST = 32767 };
    float most = 0.0f, lost = 0.0f;
    for (int32_t c = 0; c < n; c++) {
        most = fabsf(q[c]) > most ? fabsf(q[c]) : most;
    }
    bool usual = most > 1e-30f && most < 1e30f; /* else all of it is lost */
    float inverse = usual ? MOST / most : 0.0f, d = usual ? most / MOST : 0.0f;
    for (int32_t c = 0; c < KVASS_KV_BLOCK; c++) {
        float x = c < n ? q[c] : 0.0f, v = x * inverse;
        int32_t w = v > -MOST - 1 && v < MOST + 1 ? (int32_t)v : 0; /* NaN is 0 */
        probe->w[(size_t)at * KVASS_KV_BLOCK + (size_t)c] = (int16_t)w;
        lost += fabsf(x - d * (float)w);
    }
    probe->d[at] = d;
    probe->lost[at] = 127.0f * lost;
}

/* what the kernels take for a query */
static void prepare_query(const kv_query *query, const kv_dims *dims, kv_pick_scratch *scratch)
{
    int32_t n_blocks = kvass_kv_blocks(dims->head_dim);
    if (dims->exact_bounds) {
        split_query(query, dims->head_dim, scratch->halves);
        return;
    }
    for (int32_t at = 0; at < query->n_q * n_blocks; at++) {
        int32_t c = at % n_blocks * KVASS_KV_BLOCK, left = dims->head_dim - c;
        round_query(query->q + (size_t)(at / n_blocks) * (size_t)dims->head_dim + c,
                    left < KVASS_KV_BLOCK ? left : KVASS_KV_BLOCK, &scratch->probe, at);
    }
}

/* the greatest score of any query head for each of n pages: each[n_q, 64] -> scores[n] */
static void greatest(const float *each, int32_t n_q, int32_t n, float *scores)
{
    for (int32_t i = 0; i < n; i++) {
        scores[i] = -INFINITY;
    }
    for (int32_t g = 0; g < n_q; g++, each += KV_INDEX_EACH) {
        for (int32_t i = 0; i < n; i++) {
            scores[i] = each[i] > scores[i] ? each[i] : scores[i];
        }
    }
}

/* each[n_q, n]: the bounds of n pages for each query head */
static void score_rows(const kv_pool *pool, const kv_query *query, bounds rows, int32_t n,
                       const kv_pick_scratch *scratch)
{
    const kvass_kernels *k = pool->kernels;
    int32_t head_dim = pool->dims.head_dim;
    if (rows.exact) { /* halves[n_q, 2 * head_dim] . exact[n, 2 * head_dim]^T */
        k->kv_dot_f32(scratch->halves, query->n_q, 2 * head_dim, rows.exact, n, 1.0f, scratch->each,
                      KV_INDEX_EACH);
    } else {
        k->kv_bound(&scratch->probe, query->n_q, kvass_kv_blocks(head_dim), rows.values,
                    rows.scales, n, scratch->each, KV_INDEX_EACH);
    }
}

void kv_index_score(const kv_pool *pool, const kv_seq *seq, int32_t owner, const kv_query *query,
                    int32_t begin, int32_t end, kv_pick_scratch *scratch)
{
    const kv_owner *o = &pool->owners[owner];
    int32_t head_dim = pool->dims.head_dim;
    prepare_query(query, &pool->dims, scratch);
    for (int32_t i = begin; i < end;) {
        int32_t page = *kv_seq_entry(pool, seq, owner, i), n = 1;
        bounds rows;
        if (o->index && o->index_state[page] & KV_INDEX_VALID) {
            rows = indexed_at(pool, owner, query->kv_head, page);
            /* pages side by side are scored together */
            int32_t most = end - i < KV_INDEX_EACH ? end - i : KV_INDEX_EACH;
            most = kv_seq_together(pool, seq, owner, i, most);
            while (n < most && o->index_state[page + n] & KV_INDEX_VALID) {
                n++;
            }
        } else { /* filled in the running forward, or by a context that keeps no index */
            rows = bounds_at(&pool->dims, scratch->bounds, 1, 0);
            find_bounds(pool, owner, query->kv_head, page, scratch->reader, scratch->tile);
            put_bounds(head_dim, scratch->tile, rows);
        }
        score_rows(pool, query, rows, n, scratch);
        greatest(scratch->each, query->n_q, n, scratch->scores + (i - begin));
        i += n;
    }
}
