/* avx2_kv_quant.c - attention's reading of quantized cache rows.
 *
 * The recipes that define the bits, whatever the blocking around them:
 *  - kv_dot_q8: in each block of 32 element d goes by fused multiply-add to partial sum d % 8; the
 *    block's sums times its scale are added, fused, to the row's; scale * reduce(sums).
 *  - kv_bound: of a block's products the integer sums of lane i, of elements 2i, 2i+1, 2i+16 and
 *    2i+17, go, fused, to d * sum + lost / 8, and times the block's scale to partial sum i; reduced
 *    at the end.
 *  - kv_dot_q4: minima and steps are folded into the query once per call: base = q . minima,
 *    qs = q * steps; a row's element d goes, fused, to partial sum d % 8 with qs[d];
 *    scale * (base + reduce(sums)), 256 channels at a time.
 *  - kv_acc_*: out[d] = w * value + out[d], fused, one row after another, the value of q8 being
 *    scale * q, of q4 minimum + step * q in one fused operation.
 * A block shorter than 32 is copied into a padded one and goes through the same code.
 */
#include "engine/kernels/avx2.h"

enum { N_VEC = KVASS_KV_BLOCK / VEC, FOLD = 256, BOUNDS_AHEAD = 4096 };

FORCE_INLINE __m256 bytes_to_floats(__m128i bytes, bool is_signed)
{
    return _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(bytes)
                                        : _mm256_cvtepu8_epi32(bytes));
}

FORCE_INLINE void split_bytes(__m128i lo, __m128i hi, bool is_signed, __m256 v[N_VEC])
{
    v[0] = bytes_to_floats(lo, is_signed);
    v[1] = bytes_to_floats(_mm_unpackhi_epi64(lo, lo), is_signed);
    v[2] = bytes_to_floats(hi, is_signed);
    v[3] = bytes_to_floats(_mm_unpackhi_epi64(hi, hi), is_signed);
}

/* the n <= 32 integers of a q8 block, then zeros */
FORCE_INLINE void load_block_q8(const int8_t *q, int32_t n, __m256 v[N_VEC])
{
    int8_t padded[KVASS_KV_BLOCK] = {0};
    if (n < KVASS_KV_BLOCK) {
        memcpy(padded, q, (size_t)n);
        q = padded;
    }
    split_bytes(_mm_loadu_si128((const __m128i *)q), _mm_loadu_si128((const __m128i *)(q + 16)),
                true, v);
}

/* the n <= 32 values of a q4 block, then zeros */
FORCE_INLINE void load_block_q4(const uint8_t *q, int32_t n, __m256 v[N_VEC])
{
    __m128i low = _mm_set1_epi8(15);
    if (n == KVASS_KV_BLOCK) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)q);
        split_bytes(_mm_and_si128(bytes, low), _mm_and_si128(_mm_srli_epi16(bytes, 4), low), false,
                    v);
        return;
    }
    uint8_t padded[KVASS_KV_BLOCK] = {0};
    int32_t half = (n + 1) / 2;
    for (int32_t i = 0; i < n; i++) {
        padded[i] = i < half ? q[i] & 15 : q[i - half] >> 4;
    }
    split_bytes(_mm_loadu_si128((const __m128i *)padded),
                _mm_loadu_si128((const __m128i *)(padded + 16)), false, v);
}

FORCE_INLINE __m256 spread_half(uint16_t half)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)half));
}

FORCE_INLINE int32_t block_size(int32_t head_dim, int32_t b)
{
    return min_i32(head_dim - b * KVASS_KV_BLOCK, KVASS_KV_BLOCK);
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* sums[n_q] of one q8 row; n_q is a constant, at most 4 */
FORCE_INLINE void dot_row_q8(const float *q, int32_t n_q, int32_t head_dim, const int8_t *values,
                             const uint16_t *scales, float scale, float *scores, int32_t ld_scores)
{
    __m256 sums[4];
#pragma GCC unroll 4
    for (int32_t g = 0; g < 4; g++) {
        sums[g] = _mm256_setzero_ps();
    }
    for (int32_t d = 0, b = 0; d < head_dim; d += KVASS_KV_BLOCK, b++) {
        __m256 v[N_VEC], step = spread_half(scales[b]);
        int32_t n = block_size(head_dim, b);
        load_block_q8(values + d, n, v);
#pragma GCC unroll 4
        for (int32_t g = 0; g < n_q; g++) {
            const float *x = q + (size_t)g * (size_t)head_dim + d;
            __m256 a = _mm256_setzero_ps();
#pragma GCC unroll 4
            for (int32_t i = 0; i < N_VEC; i++) {
                __m256 xv = n == KVASS_KV_BLOCK ? _mm256_loadu_ps(x + i * VEC)
                                                : load_part(x + i * VEC, n - i * VEC);
                a = _mm256_fmadd_ps(xv, v[i], a);
            }
            sums[g] = _mm256_fmadd_ps(a, step, sums[g]);
        }
    }
#pragma GCC unroll 4
    for (int32_t g = 0; g < n_q; g++) {
        scores[(size_t)g * (size_t)ld_scores] = scale * reduce(sums[g]);
    }
}

FORCE_INLINE void dot_rows_q8(const float *q, int32_t n_q, int32_t head_dim, const int8_t *values,
                              const uint16_t *scales, int32_t n_rows, float scale, float *scores,
                              int32_t ld_scores)
{
    int32_t n_blocks = kvass_kv_blocks(head_dim);
    for (int32_t j = 0; j < n_rows; j++) {
        dot_row_q8(q, n_q, head_dim, values + (size_t)j * (size_t)head_dim,
                   scales + (size_t)j * (size_t)n_blocks, scale, scores + j, ld_scores);
    }
}

static void kv_dot_q8(const float *q, int32_t n_q, int32_t head_dim, const int8_t *values,
                      const uint16_t *scales, int32_t n_rows, float scale, float *scores,
                      int32_t ld_scores)
{
    for (int32_t g = 0; g < n_q;) {
        const float *x = q + (size_t)g * (size_t)head_dim;
        float *s = scores + (size_t)g * (size_t)ld_scores;
        int32_t n = n_q - g >= 4 ? 4 : n_q - g >= 2 ? 2 : 1;
        if (n == 4) {
            dot_rows_q8(x, 4, head_dim, values, scales, n_rows, scale, s, ld_scores);
        } else if (n == 2) {
            dot_rows_q8(x, 2, head_dim, values, scales, n_rows, scale, s, ld_scores);
        } else {
            dot_rows_q8(x, 1, head_dim, values, scales, n_rows, scale, s, ld_scores);
        }
        g += n;
    }
}

/* scores[n_rows] of one probe; n_rows is a constant, 4 or 1 */
FORCE_INLINE void bound_rows(kvass_probe probe, int32_t n_blocks, const int8_t *bounds,
                             const float *scales, int32_t n_rows, float *scores)
{
    __m256 sums[4];
#pragma GCC unroll 4
    for (int32_t j = 0; j < 4; j++) {
        sums[j] = _mm256_setzero_ps();
    }
    for (int32_t b = 0; b < n_blocks; b++) {
        const int16_t *w = probe.w + b * KVASS_KV_BLOCK;
        __m256i w0 = _mm256_loadu_si256((const __m256i *)w);
        __m256i w1 = _mm256_loadu_si256((const __m256i *)(w + 16));
        /* bytes with the signs of w, in order */
        __m256i sign = _mm256_permute4x64_epi64(_mm256_packs_epi16(w0, w1), 0xd8);
        __m256 d = _mm256_set1_ps(probe.d[b]), lost = _mm256_set1_ps(probe.lost[b] / VEC);
#pragma GCC unroll 4
        for (int32_t j = 0; j < n_rows; j++) {
            const __m256i *low =
                (const __m256i *)(bounds + (size_t)(j * n_blocks + b) * 2 * KVASS_KV_BLOCK);
            fetch((const uint8_t *)low, BOUNDS_AHEAD);
            __m256i v =
                _mm256_blendv_epi8(_mm256_loadu_si256(low + 1), _mm256_loadu_si256(low), sign);
            __m256i v0 = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(v));
            __m256i v1 = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(v, 1));
            __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(v0, w0), _mm256_madd_epi16(v1, w1));
            __m256 score = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), d, lost);
            sums[j] = _mm256_fmadd_ps(score, _mm256_set1_ps(scales[j * n_blocks + b]), sums[j]);
        }
    }
    __m128 four = reduce4(sums[0], sums[1], sums[2], sums[3]);
    if (n_rows == 4) {
        _mm_storeu_ps(scores, four);
    } else {
        _mm_store_ss(scores, four);
    }
}

static void kv_bound(const kvass_probe *probe, int32_t n_q, int32_t n_blocks, const int8_t *bounds,
                     const float *scales, int32_t n_rows, float *scores, int32_t ld_scores)
{
    for (int32_t j = 0; j < n_rows;) {
        int32_t n = n_rows - j >= 4 ? 4 : 1, at = j * n_blocks;
        const int8_t *rows = bounds + (size_t)at * 2 * KVASS_KV_BLOCK;
        for (int32_t g = 0; g < n_q; g++) {
            float *s = scores + (size_t)g * (size_t)ld_scores + j;
            kvass_probe one = {probe->w + (size_t)(g * n_blocks) * KVASS_KV_BLOCK,
                               probe->d + g * n_blocks, probe->lost + g * n_blocks};
            if (n == 4) {
                bound_rows(one, n_blocks, rows, scales + at, 4, s);
            } else {
                bound_rows(one, n_blocks, rows, scales + at, 1, s);
            }
        }
        j += n;
    }
}

/* One query head with the channels' minima and steps folded in, for up to FOLD channels. */
typedef struct folded_query {
    float qs[FOLD]; /* zero behind the last channel, up to a whole block */
    float base;
} folded_query;

static void fold(const float *q, const uint16_t *minima, const uint16_t *steps, int32_t n,
                 folded_query *f)
{
    __m256 sum = _mm256_setzero_ps();
    for (int32_t d = 0; d < kvass_kv_blocks(n) * KVASS_KV_BLOCK; d += VEC) {
        int32_t left = n - d;
        if (left <= 0) {
            _mm256_storeu_ps(f->qs + d, _mm256_setzero_ps());
            continue;
        }
        __m256 x = load_part(q + d, left);
        __m256 minimum = _mm256_cvtph_ps(load_halves(minima + d, left));
        __m256 step = _mm256_cvtph_ps(load_halves(steps + d, left));
        sum = _mm256_fmadd_ps(x, minimum, sum);
        _mm256_storeu_ps(f->qs + d, _mm256_mul_ps(x, step));
    }
    f->base = reduce(sum);
}

/* scores[n_q, n_rows] (+)= base + qs . nibbles for the channels [d0, d0 + n) of each row; n_q is a
 * constant, at most 4 */
FORCE_INLINE void dot_rows_q4(const folded_query *f, int32_t n_q, int32_t head_dim, int32_t d0,
                              int32_t n, const uint8_t *nibbles, int32_t n_rows, float *scores,
                              int32_t ld_scores)
{
    size_t row_bytes = (size_t)kvass_kv_nibble_bytes(head_dim);
    for (int32_t j = 0; j < n_rows; j++) {
        const uint8_t *row = nibbles + (size_t)j * row_bytes + d0 / 2;
        __m256 sums[4];
#pragma GCC unroll 4
        for (int32_t g = 0; g < 4; g++) {
            sums[g] = _mm256_setzero_ps();
        }
        for (int32_t d = 0; d < n; d += KVASS_KV_BLOCK) {
            __m256 v[N_VEC];
            load_block_q4(row + d / 2, min_i32(n - d, KVASS_KV_BLOCK), v);
#pragma GCC unroll 4
            for (int32_t g = 0; g < n_q; g++) {
#pragma GCC unroll 4
                for (int32_t i = 0; i < N_VEC; i++) {
                    sums[g] =
                        _mm256_fmadd_ps(_mm256_loadu_ps(f[g].qs + d + i * VEC), v[i], sums[g]);
                }
            }
        }
#pragma GCC unroll 4
        for (int32_t g = 0; g < n_q; g++) {
            float *s = scores + (size_t)g * (size_t)ld_scores + (size_t)j;
            float sum = f[g].base + reduce(sums[g]);
            *s = d0 == 0 ? sum : *s + sum;
        }
    }
}

static void kv_dot_q4(const float *q, int32_t n_q, int32_t head_dim, const uint8_t *nibbles,
                      const uint16_t *minima, const uint16_t *steps, int32_t n_rows, float scale,
                      float *scores, int32_t ld_scores)
{
    folded_query f[4];
    for (int32_t g = 0; g < n_q;) {
        float *s = scores + (size_t)g * (size_t)ld_scores;
        int32_t n_heads = n_q - g >= 4 ? 4 : n_q - g >= 2 ? 2 : 1;
        for (int32_t d0 = 0; d0 < head_dim; d0 += FOLD) {
            int32_t n = min_i32(head_dim - d0, FOLD);
            for (int32_t i = 0; i < n_heads; i++) {
                fold(q + (size_t)(g + i) * (size_t)head_dim + d0, minima + d0, steps + d0, n,
                     &f[i]);
            }
            if (n_heads == 4) {
                dot_rows_q4(f, 4, head_dim, d0, n, nibbles, n_rows, s, ld_scores);
            } else if (n_heads == 2) {
                dot_rows_q4(f, 2, head_dim, d0, n, nibbles, n_rows, s, ld_scores);
            } else {
                dot_rows_q4(f, 1, head_dim, d0, n, nibbles, n_rows, s, ld_scores);
            }
        }
        for (int32_t i = 0; i < n_heads; i++) {
            for (int32_t j = 0; j < n_rows; j++) {
                s[(size_t)i * (size_t)ld_scores + (size_t)j] *= scale;
            }
        }
        g += n_heads;
    }
}

/* ---- weighted sums --------------------------------------------------------------------------- */

/* Quantized value rows of either kind. */
typedef struct value_rows {
    const int8_t *values;   /* q8, or */
    const uint8_t *nibbles; /* q4 */
    const uint16_t *scales, *minima;
    int32_t n_rows, head_dim;
} value_rows;

/* out[n_q, n] += w[n_q, n_rows] . rows[n_rows, n] for block b; is_q8 and n_q (at most 2) are
 * constants */
FORCE_INLINE void acc_block(const value_rows *r, bool is_q8_rows, int32_t b, const float *w,
                            int32_t ld_w, int32_t n_q, float *out)
{
    int32_t n = block_size(r->head_dim, b), n_blocks = kvass_kv_blocks(r->head_dim);
    size_t head_dim = (size_t)r->head_dim;
    size_t row_bytes = is_q8_rows ? head_dim : (size_t)kvass_kv_nibble_bytes(r->head_dim);
    __m256 a[2][N_VEC];
#pragma GCC unroll 2
    for (int32_t g = 0; g < n_q; g++) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < N_VEC; i++) {
            a[g][i] = load_part(out + (size_t)g * head_dim + i * VEC, n - i * VEC);
        }
    }
    for (int32_t j = 0; j < r->n_rows; j++) {
        __m256 v[N_VEC], step = spread_half(r->scales[j * n_blocks + b]);
        if (is_q8_rows) {
            load_block_q8(r->values + (size_t)j * row_bytes + b * KVASS_KV_BLOCK, n, v);
        } else {
            load_block_q4(r->nibbles + (size_t)j * row_bytes + b * (KVASS_KV_BLOCK / 2), n, v);
        }
        __m256 minimum = is_q8_rows ? step : spread_half(r->minima[j * n_blocks + b]);
#pragma GCC unroll 4
        for (int32_t i = 0; i < N_VEC; i++) {
            v[i] = is_q8_rows ? _mm256_mul_ps(v[i], step) : _mm256_fmadd_ps(v[i], step, minimum);
        }
#pragma GCC unroll 2
        for (int32_t g = 0; g < n_q; g++) {
            __m256 weight = _mm256_set1_ps(w[(size_t)g * (size_t)ld_w + (size_t)j]);
#pragma GCC unroll 4
            for (int32_t i = 0; i < N_VEC; i++) {
                a[g][i] = _mm256_fmadd_ps(weight, v[i], a[g][i]);
            }
        }
    }
#pragma GCC unroll 2
    for (int32_t g = 0; g < n_q; g++) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < N_VEC; i++) {
            store_part(out + (size_t)g * head_dim + i * VEC, n - i * VEC, a[g][i]);
        }
    }
}

FORCE_INLINE void acc_rows(const value_rows *r, bool is_q8_rows, const float *w, int32_t ld_w,
                           int32_t n_q, float *out)
{
    for (int32_t g = 0; g < n_q; g += 2) {
        const float *wg = w + (size_t)g * (size_t)ld_w;
        float *o = out + (size_t)g * (size_t)r->head_dim;
        for (int32_t b = 0; b < kvass_kv_blocks(r->head_dim); b++) {
            if (n_q - g >= 2) {
                acc_block(r, is_q8_rows, b, wg, ld_w, 2, o + b * KVASS_KV_BLOCK);
            } else {
                acc_block(r, is_q8_rows, b, wg, ld_w, 1, o + b * KVASS_KV_BLOCK);
            }
        }
    }
}

static void kv_acc_q8(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                      const int8_t *values, const uint16_t *scales, int32_t n_rows, float *out)
{
    value_rows r = {.values = values, .scales = scales, .n_rows = n_rows, .head_dim = head_dim};
    acc_rows(&r, true, w, ld_w, n_q, out);
}

static void kv_acc_q4(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                      const uint8_t *nibbles, const uint16_t *minima, const uint16_t *steps,
                      int32_t n_rows, float *out)
{
    value_rows r = {.nibbles = nibbles,
                    .scales = steps,
                    .minima = minima,
                    .n_rows = n_rows,
                    .head_dim = head_dim};
    acc_rows(&r, false, w, ld_w, n_q, out);
}

void kvass_avx2_fill_kv_quant(kvass_kernels *k)
{
    k->kv_dot_q8 = kv_dot_q8;
    k->kv_acc_q8 = kv_acc_q8;
    k->kv_dot_q4 = kv_dot_q4;
    k->kv_acc_q4 = kv_acc_q4;
    k->kv_bound = kv_bound;
}
