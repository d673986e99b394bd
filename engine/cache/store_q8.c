/* store_q8.c - pages of int8 rows: 32 values along a row share an f16 scale, 8.5 bits a value.
 * A page is values [32, head_dim], then scales [32, n_blocks]; it is written when it is full.
 */
#include <math.h>
#include <string.h>

#include "engine/base/half.h"
#include "engine/cache/kv.h"

static size_t value_bytes(int32_t head_dim)
{
    return (size_t)KV_PAGE_ROWS * (size_t)head_dim;
}

static size_t page_bytes(int32_t head_dim)
{
    size_t n_blocks = (size_t)kvass_kv_blocks(head_dim);
    return value_bytes(head_dim) + (size_t)KV_PAGE_ROWS * n_blocks * sizeof(uint16_t);
}

/* The rows of a span that lie in one page. */
typedef struct page_rows {
    const int8_t *values;
    const uint16_t *scales;
    int32_t n_rows;
} page_rows;

/* from row i of the span on, to the end of its page */
static page_rows rows_at(const void *range, kv_span span, int32_t i, int32_t head_dim)
{
    int32_t page = (span.row + i) / KV_PAGE_ROWS, row = (span.row + i) % KV_PAGE_ROWS;
    int32_t left = span.n_rows - i, in_page = KV_PAGE_ROWS - row;
    const unsigned char *base = (const unsigned char *)range + (size_t)page * page_bytes(head_dim);
    const void *scales = base + value_bytes(head_dim); /* even: pages are of even size */
    return (page_rows){(const int8_t *)base + (size_t)row * (size_t)head_dim,
                       (const uint16_t *)scales + (size_t)row * (size_t)kvass_kv_blocks(head_dim),
                       left < in_page ? left : in_page};
}

/* q[n] and the scale of x[n]; a value that is not finite makes the scale NaN, and so every value */
static uint16_t quantize(const float *x, int32_t n, int8_t *q)
{
    float most = 0.0f;
    bool finite = true;
    for (int32_t i = 0; i < n; i++) {
        float size = fabsf(x[i]);
        finite = finite && isfinite(size);
        most = size > most ? size : most;
    }
    uint16_t half = kvass_f32_to_f16(finite ? most / 127.0f : NAN);
    float scale = kvass_f16_to_f32(half);
    float inverse = finite && scale > 0.0f ? 1.0f / scale : 0.0f;
    for (int32_t i = 0; i < n; i++) {
        float v = finite ? rintf(x[i] * inverse) : 0.0f;
        q[i] = (int8_t)(v > 127.0f ? 127.0f : v < -127.0f ? -127.0f : v);
    }
    return half;
}

static void seal(void *range, int32_t page, int32_t head_dim, const float *rows)
{
    int32_t n_blocks = kvass_kv_blocks(head_dim);
    unsigned char *base = (unsigned char *)range + (size_t)page * page_bytes(head_dim);
    int8_t *values = (int8_t *)base;
    for (int32_t r = 0; r < KV_PAGE_ROWS; r++) {
        for (int32_t b = 0; b < n_blocks; b++) {
            int32_t d = b * KVASS_KV_BLOCK, left = head_dim - d;
            size_t at = (size_t)r * (size_t)head_dim + (size_t)d;
            uint16_t scale =
                quantize(rows + at, left < KVASS_KV_BLOCK ? left : KVASS_KV_BLOCK, values + at);
            memcpy(base + value_bytes(head_dim) + (size_t)(r * n_blocks + b) * sizeof scale, &scale,
                   sizeof scale);
        }
    }
}

static void dot(const kvass_kernels *k, const void *range, kv_span span, const float *q,
                int32_t n_q, int32_t head_dim, float scale, float *scores, int32_t ld)
{
    for (int32_t i = 0; i < span.n_rows;) {
        page_rows rows = rows_at(range, span, i, head_dim);
        k->kv_dot_q8(q, n_q, head_dim, rows.values, rows.scales, rows.n_rows, scale, scores + i,
                     ld);
        i += rows.n_rows;
    }
}

static void acc(const kvass_kernels *k, const void *range, kv_span span, const float *w, int32_t ld,
                int32_t n_q, int32_t head_dim, float *out)
{
    for (int32_t i = 0; i < span.n_rows;) {
        page_rows rows = rows_at(range, span, i, head_dim);
        k->kv_acc_q8(w + i, ld, n_q, head_dim, rows.values, rows.scales, rows.n_rows, out);
        i += rows.n_rows;
    }
}

static void load(const kvass_kernels *k, const void *range, kv_span span, int32_t head_dim,
                 float *tile)
{
    int32_t n_blocks = kvass_kv_blocks(head_dim);
    (void)k;
    for (int32_t i = 0; i < span.n_rows; i++) {
        page_rows rows = rows_at(range, span, i, head_dim);
        for (int32_t b = 0; b < n_blocks; b++) {
            float scale = kvass_f16_to_f32(rows.scales[b]);
            int32_t end = (b + 1) * KVASS_KV_BLOCK < head_dim ? (b + 1) * KVASS_KV_BLOCK : head_dim;
            for (int32_t d = b * KVASS_KV_BLOCK; d < end; d++) {
                tile[(size_t)i * (size_t)head_dim + (size_t)d] = scale * (float)rows.values[d];
            }
        }
    }
}

#define CODEC                                                                                      \
    {                                                                                              \
        .page_bytes = page_bytes, .seal = seal, .dot = dot, .acc = acc, .load = load               \
    }
const kv_store_ops kv_store_q8 = {.name = "q8", .has_tail = true, .key = CODEC, .value = CODEC};
