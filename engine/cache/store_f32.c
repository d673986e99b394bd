/* store_f32.c - pages of plain f32 rows, [32, head_dim]: the oracle that other stores are judged
 * by. */
#include "engine/cache/kv.h"

#include <string.h>

static size_t page_bytes(int32_t head_dim)
{
    return (size_t)KV_PAGE_ROWS * (size_t)head_dim * sizeof(float);
}

static const float *row_at(const void *range, int32_t row, int32_t head_dim)
{
    return (const float *)range + (size_t)row * (size_t)head_dim;
}

static void put(const kvass_kernels *k, void *range, int32_t row, int32_t head_dim, const float *x)
{
    (void)k;
    memcpy((float *)range + (size_t)row * (size_t)head_dim, x, (size_t)head_dim * sizeof(float));
}

static void dot(const kvass_kernels *k, const void *range, kv_span span, const float *q,
                int32_t n_q, int32_t head_dim, float scale, float *scores, int32_t ld)
{
    k->kv_dot_f32(q, n_q, head_dim, row_at(range, span.row, head_dim), span.n_rows, scale, scores,
                  ld);
}

static void acc(const kvass_kernels *k, const void *range, kv_span span, const float *w, int32_t ld,
                int32_t n_q, int32_t head_dim, float *out)
{
    k->kv_acc_f32(w, ld, n_q, head_dim, row_at(range, span.row, head_dim), span.n_rows, out);
}

static void load(const kvass_kernels *k, const void *range, kv_span span, int32_t head_dim,
                 float *tile)
{
    (void)k;
    memcpy(tile, row_at(range, span.row, head_dim),
           (size_t)span.n_rows * (size_t)head_dim * sizeof(float));
}

#define CODEC                                                                                      \
    {                                                                                              \
        .page_bytes = page_bytes, .put = put, .dot = dot, .acc = acc, .load = load                 \
    }
const kv_store_ops kv_store_f32 = {
    .name = "f32", .exact_bounds = true, .key = CODEC, .value = CODEC};
