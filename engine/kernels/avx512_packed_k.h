/* avx512_packed_k.h - the product of a packed group of a k-quant with up to eight vectors.
 *
 * Included by avx512_packed.c. As there, a vector holds 4 columns of 16 rows. Integers are raised
 * to 0 or more, which is taken off again through the sums of the activations. Scales become floats
 * once for each block; 32 columns after another are multiplied and scaled.
 */
#ifndef KVASS_KERNELS_AVX512_PACKED_K_H
#define KVASS_KERNELS_AVX512_PACKED_K_H

#include "engine/kernels/avx512.h"
#include "engine/kernels/packed_k.h"

/* the numbers of a block at w */
KVASS_EACH void scales_k(kvass_dtype dtype, const uint8_t *w, const uint8_t *lines,
                         kvass_packed_scales *out)
{
    float d[2][KVASS_PACK_ROWS] = {{0}};
    for (int32_t i = 0; i < kvass_packed_head(dtype) / 2; i++) {
        const __m256i *halves = (const __m256i *)(const void *)w + i;
        _mm512_storeu_ps(d[i], _mm512_cvtph_ps(_mm256_loadu_si256(halves)));
    }
    kvass_packed_scale(dtype, d[0], d[1], lines, out);
}

/* 4 columns of 16 rows, raised; low and high point to those bits of theirs, low_bit says where in
 * a byte, high_bit how far to turn them to lie above the low ones */
FORCE_INLINE __m512i quads(kvass_packed_form form, const uint8_t *low, __m512i low_bit,
                           const uint8_t *high, __m512i high_bit)
{
    __m512i v = _mm512_srlv_epi32(load(low), low_bit);
    v = _mm512_and_si512(v, _mm512_set1_epi8((char)((1 << form.n_low) - 1)));
    if (form.n_high == 0) {
        return v;
    }
    __m512i up = _mm512_rorv_epi32(load(high), high_bit);
    const int mask = ((1 << form.n_high) - 1) << form.n_low;
    return _mm512_or_si512(v, _mm512_and_si512(up, _mm512_set1_epi8((char)mask)));
}

/* a[n_x] += the products of a group that starts at column 4*u0 of the 32 at place p, of which q is
 * the first vector's; sum[n_x] are the sums of their integers in this group, xd their scales, both
 * `stride` blocks apart */
KVASS_EACH void group_k(kvass_packed_form form, const uint8_t *lines, kvass_packed_place p,
                        int32_t u0, const float *d, const float *m, int32_t n_x, const int8_t *q,
                        const float *xd, const int32_t *sums, size_t stride, __m512 a[MOST])
{
    const __m512i low_bit = _mm512_set1_epi32(p.low_bit);
    const __m512i high_bit = _mm512_set1_epi32((p.high_bit - form.n_low) & 31);
    const bool whole = form.n_group == KVASS_QBLOCK;
    __m512i s[MOST];
    int32_t sum[MOST];
    KVASS_UNROLL(8)
    for (int32_t i = 0; i < n_x; i++) {
        const int32_t *here = sums + (size_t)i * stride * 2;
        sum[i] = whole ? here[0] + here[1] : here[0];
        s[i] = _mm512_set1_epi32(-form.raised * sum[i]);
    }
    KVASS_UNROLL(8)
    for (int32_t u = u0; u < u0 + form.n_group / KVASS_PACK_UNIT; u++) {
        const uint8_t *at = lines + LINE * u;
        __m512i v = quads(form, at + LINE * p.low, low_bit, at + LINE * p.high, high_bit);
        KVASS_UNROLL(8)
        for (int32_t i = 0; i < n_x; i++) {
            const int8_t *xi = q + (size_t)i * stride * KVASS_QBLOCK + u * KVASS_PACK_UNIT;
            s[i] = _mm512_dpbusd_epi32(s[i], v, four(xi));
        }
    }
    KVASS_UNROLL(8)
    for (int32_t i = 0; i < n_x; i++) {
        __m512 scale = _mm512_set1_ps(xd[(size_t)i * stride]);
        __m512 product = _mm512_mul_ps(_mm512_loadu_ps(d), scale);
        a[i] = _mm512_add_ps(a[i], _mm512_mul_ps(product, _mm512_cvtepi32_ps(s[i])));
        if (form.offset) {
            product = _mm512_mul_ps(_mm512_loadu_ps(m), scale);
            a[i] = _mm512_add_ps(a[i], _mm512_mul_ps(product, _mm512_set1_ps((float)sum[i])));
        }
    }
}

/* as tile() of avx512_packed.c */
KVASS_EACH void tile_k(kvass_dtype dtype, const uint8_t *w, int32_t n_blocks, const kvass_acts *x,
                       size_t i0, int32_t n_x, float *y, size_t ldy)
{
    const kvass_packed_form form = kvass_packed_form_of(dtype);
    const size_t n_bytes = (size_t)form.n_bytes * KVASS_PACK_ROWS;
    const size_t n_fetch = (n_bytes / LINE + 7) / 8 * LINE; /* for 32 columns */
    const size_t stride = (size_t)n_blocks;
    const int32_t n_groups = KVASS_QBLOCK / form.n_group;
    __m512 a[MOST];
    KVASS_UNROLL(8)
    for (int32_t i = 0; i < n_x; i++) {
        a[i] = _mm512_setzero_ps();
    }
    for (size_t b = i0 * stride; b < (i0 + 1) * stride; w += n_bytes) {
        const uint8_t *lines = w + kvass_packed_head(dtype) * KVASS_PACK_ROWS;
        kvass_packed_scales scales;
        scales_k(dtype, w, lines, &scales);
        for (int32_t k = 0; k < KVASS_SUPER_K / KVASS_QBLOCK; k++, b++) {
            const kvass_packed_place p = kvass_packed_find(dtype, k);
            for (size_t at = 0; at < n_fetch; at += LINE) {
                fetch(w, n_bytes + (size_t)k * n_fetch + at);
            }
            KVASS_UNROLL(2)
            for (int32_t g = 0; g < n_groups; g++) {
                group_k(form, lines, p, g * (KVASS_QHALF / KVASS_PACK_UNIT),
                        scales.d[k * n_groups + g], scales.m[k * n_groups + g], n_x,
                        x->q + b * KVASS_QBLOCK, x->d + b, x->sum + 2 * b + g, stride, a);
            }
        }
    }
    KVASS_UNROLL(8)
    for (int32_t i = 0; i < n_x; i++) {
        _mm512_storeu_ps(y + (size_t)i * ldy, a[i]);
    }
}

#endif
