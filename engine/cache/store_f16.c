/* store_f16.c - pages of f16 rows, [32, head_dim], rounded to nearest even: half the bytes of f32
 * at a loss that no measure of text shows. The default. */
#include "engine/cache/kv.h"

static size_t page_bytes(int32_t head_dim)
{
    return (size_t)KV_PAGE_ROWS * (size_t)head_dim * sizeof(uint16_t);
}

static const uint16_t *row_at(const void *range, int32_t row, int32_t head_dim)
{
    return (const uint16_t *)range + (size_t)row * (size_t)head_dim;
}

static void put(const kvass_kernels *k, void *range, int32_t row, int32_t head_dim, const float *x)
{
    k->narrow_f16(x, head_dim, (uint16_t *)range + (size_t)row * (size_t)head_dim);
}

static void dot(const kvass_kernels *k, const void *range, kv_span span, const float *q,
                int32_t n_q, int32_t head_dim, float scale, float *scores, int32_t ld)
{
    k->kv_dot_f16(q, n_q, head_dim, row_at(range, span.row, head_dim), span.n_rows, scale, scores,
                  ld);
}

static void acc(const kvass_kernels *k, const void *range, kv_span span, const float *w, int32_t ld,
                int32_t n_q, int32_t head_dim, float *out)
{
    k->kv_acc_f16(w, ld, n_q, head_dim, row_at(range, span.row, head_dim), span.n_rows, out);
}

static void load(const kvass_kernels *k, const void *range, kv_span span, int32_t head_dim,
                 float *tile)
{
    k->widen[KVASS_DTYPE_F16](row_at(range, span.row, head_dim), span.n_rows * head_dim, tile);
}

#define CODEC                                                                                      \
    {                                                                                              \
        .page_bytes = page_bytes, .put = put, .dot = dot, .acc = acc, .load = load                 \
    }
const kv_store_ops kv_store_f16 = {.name = "f16", .key = CODEC, .value = CODEC};
