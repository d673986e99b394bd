/* avx2_packed_k.h - the product of a packed group of a k-quant with one or two vectors.
 *
 * Included by avx2_packed.c. As there, a vector holds 4 columns of 8 rows. Integers are raised to 0
 * or more, which is taken off again through the sums of the activations. Scales become floats once
 * for each block; 32 columns after another are multiplied and scaled.
 */
#ifndef KVASS_KERNELS_AVX2_PACKED_K_H
#define KVASS_KERNELS_AVX2_PACKED_K_H

#include "engine/kernels/avx2.h"
#include "engine/kernels/packed_k.h"

/* the numbers of a block at w */
KVASS_EACH void scales_k(kvass_dtype dtype, const uint8_t *w, const uint8_t *lines,
                         kvass_packed_scales *out)
{
    float d[2][KVASS_PACK_ROWS] = {{0}};
    for (int32_t i = 0; i < kvass_packed_head(dtype) / 2; i++) {
        const __m128i *halves = (const __m128i *)(const void *)w + HALVES * i;
        _mm256_storeu_ps(d[i], _mm256_cvtph_ps(_mm_loadu_si128(halves)));
        _mm256_storeu_ps(d[i] + VEC, _mm256_cvtph_ps(_mm_loadu_si128(halves + 1)));
    }
    kvass_packed_scale(dtype, d[0], d[1], lines, out);
}

/* bytes moved n bits down, or up for n < 0; bits of other bytes come in */
FORCE_INLINE __m256i moved(__m256i v, int32_t n)
{
    return n > 0 ? _mm256_srli_epi16(v, n) : n < 0 ? _mm256_slli_epi16(v, -n) : v;
}

/* 4 columns of 8 rows, raised; lines points to the first 4 of the 32 at place p */
FORCE_INLINE __m256i quads(kvass_packed_form form, const uint8_t *lines, kvass_packed_place p)
{
    const int mask = (1 << form.n_low) - 1, high_mask = ((1 << form.n_high) - 1) << form.n_low;
    const void *low = lines + LINE * p.low, *high = lines + LINE * p.high;
    __m256i v = moved(_mm256_loadu_si256(low), p.low_bit);
    v = _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
    if (form.n_high == 0) {
        return v;
    }
    __m256i up = moved(_mm256_loadu_si256(high), p.high_bit - form.n_low);
    return _mm256_or_si256(v, _mm256_and_si256(up, _mm256_set1_epi8((char)high_mask)));
}

/* s[n_x] += the sums of n_units times 4 columns, from number u0 of place p on, of half h of the
 * rows. Pairs of products of at most 2 * 63 * 127 each fit 16 bits, 4 of 2 * 31 * 127. */
KVASS_EACH void sums_k(kvass_packed_form form, const uint8_t *lines, kvass_packed_place p,
                       int32_t u0, int32_t n_units, int32_t h, int32_t n_x,
                       const int8_t *const x[2], __m256i s[2])
{
    const int32_t n_at_once = form.n_low + form.n_high > 5 ? 2 : 4;
    KVASS_UNROLL(4)
    for (int32_t u1 = u0; u1 < u0 + n_units; u1 += n_at_once) {
        __m256i pairs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        KVASS_UNROLL(4)
        for (int32_t u = u1; u < u1 + n_at_once; u++) {
            __m256i v = quads(form, lines + LINE / HALVES * h + LINE * u, p);
            KVASS_UNROLL(2)
            for (int32_t i = 0; i < n_x; i++) {
                __m256i product = _mm256_maddubs_epi16(v, four(x[i] + KVASS_PACK_UNIT * u));
                pairs[i] = _mm256_add_epi16(pairs[i], product);
            }
        }
        KVASS_UNROLL(2)
        for (int32_t i = 0; i < n_x; i++) {
            s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(pairs[i], _mm256_set1_epi16(1)));
        }
    }
}

/* a[n_x][HALVES] += the products of group g, which starts at column 4*u0 of the 32 at place p; xd
 * and sum are the vectors' scales and the sums of their integers in this group */
KVASS_EACH void group_k(kvass_packed_form form, const uint8_t *lines, kvass_packed_place p,
                        int32_t u0, const float *d, const float *m, int32_t n_x,
                        const int8_t *const x[2], const float xd[2], const int32_t sum[2],
                        __m256 a[2][HALVES])
{
    KVASS_UNROLL(2)
    for (int32_t h = 0; h < HALVES; h++) {
        __m256i s[2];
        KVASS_UNROLL(2)
        for (int32_t i = 0; i < n_x; i++) {
            s[i] = _mm256_set1_epi32(-form.raised * sum[i]);
        }
        sums_k(form, lines, p, u0, form.n_group / KVASS_PACK_UNIT, h, n_x, x, s);
        __m256 dh = _mm256_loadu_ps(d + VEC * h);
        KVASS_UNROLL(2)
        for (int32_t i = 0; i < n_x; i++) {
            __m256 scale = _mm256_mul_ps(dh, _mm256_set1_ps(xd[i]));
            a[i][h] = _mm256_add_ps(a[i][h], _mm256_mul_ps(scale, _mm256_cvtepi32_ps(s[i])));
            if (form.offset) {
                scale = _mm256_mul_ps(_mm256_loadu_ps(m + VEC * h), _mm256_set1_ps(xd[i]));
                __m256 total = _mm256_set1_ps((float)sum[i]);
                a[i][h] = _mm256_add_ps(a[i][h], _mm256_mul_ps(scale, total));
            }
        }
    }
}

/* as tile() of avx2_packed.c */
KVASS_EACH void tile_k(kvass_dtype dtype, const uint8_t *w, int32_t n_blocks, const kvass_acts *x,
                       size_t i0, int32_t n_x, float *y, size_t ldy)
{
    const kvass_packed_form form = kvass_packed_form_of(dtype);
    const size_t n_bytes = (size_t)form.n_bytes * KVASS_PACK_ROWS;
    const size_t n_fetch = (n_bytes / LINE + 7) / 8 * LINE; /* for 32 columns */
    const size_t stride = (size_t)n_blocks;
    __m256 a[2][HALVES];
    KVASS_UNROLL(2)
    for (int32_t i = 0; i < n_x; i++) {
        a[i][0] = a[i][1] = _mm256_setzero_ps();
    }
    for (size_t b = i0 * stride; b < (i0 + 1) * stride; w += n_bytes) {
        const uint8_t *lines = w + kvass_packed_head(dtype) * KVASS_PACK_ROWS;
        kvass_packed_scales scales;
        scales_k(dtype, w, lines, &scales);
        KVASS_UNROLL(8)
        for (int32_t k = 0; k < KVASS_SUPER_K / KVASS_QBLOCK; k++, b++) {
            const kvass_packed_place p = kvass_packed_find(dtype, k);
            for (size_t at = 0; at < n_fetch; at += LINE) {
                fetch(w, n_bytes + (size_t)k * n_fetch + at);
            }
            KVASS_UNROLL(2)
            for (int32_t g = 0; g < KVASS_QBLOCK / form.n_group; g++) {
                const int8_t *q[2] = {NULL, NULL};
                float xd[2] = {0};
                int32_t sum[2] = {0}, in_block = k * (KVASS_QBLOCK / form.n_group) + g;
                KVASS_UNROLL(2)
                for (int32_t i = 0; i < n_x; i++) {
                    size_t at = b + (size_t)i * stride;
                    const int32_t *sums = x->sum + 2 * at;
                    q[i] = x->q + at * KVASS_QBLOCK;
                    xd[i] = x->d[at];
                    sum[i] = form.n_group == KVASS_QBLOCK ? sums[0] + sums[1] : sums[g];
                }
                group_k(form, lines, p, g * (KVASS_QHALF / KVASS_PACK_UNIT), scales.d[in_block],
                        scales.m[in_block], n_x, q, xd, sum, a);
            }
        }
    }
    KVASS_UNROLL(2)
    for (int32_t i = 0; i < n_x; i++) {
        _mm256_storeu_ps(y + (size_t)i * ldy, a[i][0]);
        _mm256_storeu_ps(y + (size_t)i * ldy + VEC, a[i][1]);
    }
}

#endif
