/* store_q4.c - pages of 4-bit rows, 5 bits a value with their scales: value = minimum + step * q.
 * Keys share minimum and step per channel of a page, because a few channels of K are large in every
 * row; values per block of 32 along a row (Liu et al. 2024, KIVI). A key page is nibbles
 * [32, row_bytes], minima [head_dim], steps [head_dim]; a value page is nibbles [32, row_bytes],
 * minima [32, n_blocks], steps [32, n_blocks], all of them f16. A page is written when it is full.
 */
#include <math.h>
#include <string.h>

#include "engine/base/half.h"
#include "engine/cache/kv.h"

enum { MAX_LEVEL = 15 };

static size_t nibble_bytes(int32_t head_dim)
{
    size_t n = (size_t)KV_PAGE_ROWS * (size_t)kvass_kv_nibble_bytes(head_dim);
    return n; /* even: 32 rows */
}

static size_t key_page_bytes(int32_t head_dim)
{
    return nibble_bytes(head_dim) + 2 * (size_t)head_dim * sizeof(uint16_t);
}

static size_t value_page_bytes(int32_t head_dim)
{
    size_t n_blocks = (size_t)kvass_kv_blocks(head_dim);
    return nibble_bytes(head_dim) + 2 * (size_t)KV_PAGE_ROWS * n_blocks * sizeof(uint16_t);
}

/* The rows of a span that lie in one page. */
typedef struct page_rows {
    const uint8_t *nibbles;
    const uint16_t *minima, *steps;
    int32_t n_rows;
} page_rows;

/* from row i of the span on, to the end of its page */
static page_rows rows_at(const void *range, kv_span span, int32_t i, int32_t head_dim, bool keys)
{
    int32_t page = (span.row + i) / KV_PAGE_ROWS, row = (span.row + i) % KV_PAGE_ROWS;
    int32_t left = span.n_rows - i, in_page = KV_PAGE_ROWS - row;
    size_t page_bytes = keys ? key_page_bytes(head_dim) : value_page_bytes(head_dim);
    size_t n_blocks = (size_t)kvass_kv_blocks(head_dim);
    size_t n_scales = keys ? (size_t)head_dim : (size_t)KV_PAGE_ROWS * n_blocks;
    const unsigned char *base = (const unsigned char *)range + (size_t)page * page_bytes;
    const void *minima = base + nibble_bytes(head_dim); /* even: pages are of even size */
    size_t skip = keys ? 0 : (size_t)row * n_blocks;
    return (page_rows){base + (size_t)row * (size_t)kvass_kv_nibble_bytes(head_dim),
                       (const uint16_t *)minima + skip, (const uint16_t *)minima + n_scales + skip,
                       left < in_page ? left : in_page};
}

/* minimum and step of n values `stride` apart, as stored; NaN for both when one is not finite */
static void range_of(const float *x, int32_t n, size_t stride, uint16_t *minimum, uint16_t *step)
{
    float lo = x[0], hi = x[0];
    bool finite = true;
    for (int32_t i = 0; i < n; i++) {
        float v = x[(size_t)i * stride];
        finite = finite && isfinite(v);
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
    }
    *minimum = kvass_f32_to_f16(finite ? lo : NAN);
    *step = kvass_f32_to_f16(finite ? (hi - kvass_f16_to_f32(*minimum)) / MAX_LEVEL : NAN);
}

static unsigned level(float x, uint16_t minimum, uint16_t step)
{
    float size = kvass_f16_to_f32(step);
    float v = size > 0.0f ? rintf((x - kvass_f16_to_f32(minimum)) / size) : 0.0f;
    return (unsigned)(v > (float)MAX_LEVEL ? (float)MAX_LEVEL : v > 0.0f ? v : 0.0f);
}

/* put value i of a block of n into its nibbles, which begin as zero */
static void put_nibble(uint8_t *block, int32_t n, int32_t i, unsigned q)
{
    int32_t half = (n + 1) / 2;
    block[i % half] = (uint8_t)(block[i % half] | (i < half ? q : q << 4));
}

static int32_t block_size(int32_t head_dim, int32_t b)
{
    int32_t left = head_dim - b * KVASS_KV_BLOCK;
    return left < KVASS_KV_BLOCK ? left : KVASS_KV_BLOCK;
}

static void seal_keys(void *range, int32_t page, int32_t head_dim, const float *rows)
{
    unsigned char *base = (unsigned char *)range + (size_t)page * key_page_bytes(head_dim);
    size_t row_bytes = (size_t)kvass_kv_nibble_bytes(head_dim);
    unsigned char *minima = base + nibble_bytes(head_dim);
    memset(base, 0, nibble_bytes(head_dim));
    for (int32_t d = 0; d < head_dim; d++) {
        uint16_t minimum, step;
        int32_t b = d / KVASS_KV_BLOCK;
        range_of(rows + d, KV_PAGE_ROWS, (size_t)head_dim, &minimum, &step);
        memcpy(minima + (size_t)d * sizeof minimum, &minimum, sizeof minimum);
        memcpy(minima + (size_t)(head_dim + d) * sizeof step, &step, sizeof step);
        for (int32_t r = 0; r < KV_PAGE_ROWS; r++) {
            put_nibble(base + (size_t)r * row_bytes + (size_t)b * (KVASS_KV_BLOCK / 2),
                       block_size(head_dim, b), d % KVASS_KV_BLOCK,
                       level(rows[(size_t)r * (size_t)head_dim + (size_t)d], minimum, step));
        }
    }
}

static void seal_values(void *range, int32_t page, int32_t head_dim, const float *rows)
{
    unsigned char *base = (unsigned char *)range + (size_t)page * value_page_bytes(head_dim);
    size_t row_bytes = (size_t)kvass_kv_nibble_bytes(head_dim);
    int32_t n_blocks = kvass_kv_blocks(head_dim);
    unsigned char *minima = base + nibble_bytes(head_dim);
    unsigned char *steps = minima + (size_t)(KV_PAGE_ROWS * n_blocks) * sizeof(uint16_t);
    memset(base, 0, nibble_bytes(head_dim));
    for (int32_t i = 0; i < KV_PAGE_ROWS * n_blocks; i++) {
        int32_t r = i / n_blocks, b = i % n_blocks, n = block_size(head_dim, b);
        const float *x = rows + (size_t)r * (size_t)head_dim + (size_t)b * (size_t)KVASS_KV_BLOCK;
        uint8_t *block = base + (size_t)r * row_bytes + (size_t)b * (KVASS_KV_BLOCK / 2);
        uint16_t minimum, step;
        range_of(x, n, 1, &minimum, &step);
        memcpy(minima + (size_t)i * sizeof minimum, &minimum, sizeof minimum);
        memcpy(steps + (size_t)i * sizeof step, &step, sizeof step);
        for (int32_t d = 0; d < n; d++) {
            put_nibble(block, n, d, level(x[d], minimum, step));
        }
    }
}

static void dot_keys(const kvass_kernels *k, const void *range, kv_span span, const float *q,
                     int32_t n_q, int32_t head_dim, float scale, float *scores, int32_t ld)
{
    for (int32_t i = 0; i < span.n_rows;) {
        page_rows rows = rows_at(range, span, i, head_dim, true);
        k->kv_dot_q4(q, n_q, head_dim, rows.nibbles, rows.minima, rows.steps, rows.n_rows, scale,
                     scores + i, ld);
        i += rows.n_rows;
    }
}

static void acc_values(const kvass_kernels *k, const void *range, kv_span span, const float *w,
                       int32_t ld, int32_t n_q, int32_t head_dim, float *out)
{
    for (int32_t i = 0; i < span.n_rows;) {
        page_rows rows = rows_at(range, span, i, head_dim, false);
        k->kv_acc_q4(w + i, ld, n_q, head_dim, rows.nibbles, rows.minima, rows.steps, rows.n_rows,
                     out);
        i += rows.n_rows;
    }
}

/* tile[n_rows, head_dim]; a scale belongs to a channel, or to a block of the row */
static void load_rows(const void *range, kv_span span, int32_t head_dim, bool keys, float *tile)
{
    for (int32_t i = 0; i < span.n_rows; i++) {
        page_rows rows = rows_at(range, span, i, head_dim, keys);
        for (int32_t d = 0; d < head_dim; d++) {
            int32_t b = d / KVASS_KV_BLOCK, at = d % KVASS_KV_BLOCK, scale = keys ? d : b;
            int32_t half = (block_size(head_dim, b) + 1) / 2;
            uint8_t byte = rows.nibbles[b * (KVASS_KV_BLOCK / 2) + at % half];
            tile[(size_t)i * (size_t)head_dim + (size_t)d] =
                kvass_f16_to_f32(rows.minima[scale]) +
                kvass_f16_to_f32(rows.steps[scale]) *
                    (float)(at < half ? byte & MAX_LEVEL : byte >> 4);
        }
    }
}

static void load_keys(const kvass_kernels *k, const void *range, kv_span span, int32_t head_dim,
                      float *tile)
{
    (void)k;
    load_rows(range, span, head_dim, true, tile);
}

static void load_values(const kvass_kernels *k, const void *range, kv_span span, int32_t head_dim,
                        float *tile)
{
    (void)k;
    load_rows(range, span, head_dim, false, tile);
}

const kv_store_ops kv_store_q4 = {
    .name = "q4",
    .has_tail = true,
    .key = {.page_bytes = key_page_bytes, .seal = seal_keys, .dot = dot_keys, .load = load_keys},
    .value = {.page_bytes = value_page_bytes,
              .seal = seal_values,
              .acc = acc_values,
              .load = load_values},
};
