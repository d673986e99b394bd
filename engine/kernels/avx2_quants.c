/* avx2_quants.c - AVX2 kernels of the quantized types of quants.h whose rows lie as files have
 * them.
 *
 * Blocks are taken apart by quants.h, whose byte loops the compiler turns into vectors, and widened
 * or multiplied to the bits that the scalar kernels give: sums of integers are exact, and floats
 * are added in the same order. A block is taken apart once for up to MANY vectors.
 */
#include <math.h>

#include "engine/base/packed.h"
#include "engine/kernels/avx2.h"
#include "engine/kernels/quants.h"

#define MANY 32 /* vectors */

/* d * q + m for 8 integers */
FORCE_INLINE __m256 values(const int8_t *q, __m256 d, __m256 m)
{
    __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)q)));
    return _mm256_add_ps(_mm256_mul_ps(d, v), m);
}

/* the sum of 4 integers */
FORCE_INLINE int32_t sum4(__m128i v)
{
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
    v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1));
    return _mm_cvtsi128_si32(v);
}

/* 8 sums of 4 products each: q[32] * x[32] */
FORCE_INLINE __m256i products(__m256i q, __m256i x)
{
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* y + one group's product */
FORCE_INLINE float add_group(float y, float d, float m, bool offset, float xd, int32_t s,
                             int32_t sum)
{
    y += d * xd * (float)s;
    return offset ? y + m * xd * (float)sum : y;
}

/* y + the product of a block with the integers xq, their scales and sums; the numbers of the type
 * are constants where this is inlined */
FORCE_INLINE float add_block(const kvass_quants *w, int32_t n_block, int32_t n_group, bool offset,
                             const int8_t *xq, const float *xd, const int32_t *xsum, float y)
{
    for (int32_t k = 0; k < n_block; k += KVASS_QBLOCK) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(xq + k));
        __m256i p = products(_mm256_loadu_si256((const __m256i *)(w->q + k)), x);
        __m128i low = _mm256_castsi256_si128(p), high = _mm256_extracti128_si256(p, 1);
        int32_t b = k / KVASS_QBLOCK, g = k / n_group, first = xsum[2 * b], last = xsum[2 * b + 1];
        if (n_group == KVASS_QBLOCK) {
            int32_t s = sum4(_mm_add_epi32(low, high));
            y = add_group(y, w->d[g], w->m[g], offset, xd[b], s, first + last);
        } else {
            y = add_group(y, w->d[g], w->m[g], offset, xd[b], sum4(low), first);
            y = add_group(y, w->d[g + 1], w->m[g + 1], offset, xd[b], sum4(high), last);
        }
    }
    return y;
}

#define X(NAME, name, n_block, n_group, n_bytes, offset)                                           \
    static void widen_##name(const void *in, int32_t n, float *out)                                \
    {                                                                                              \
        const uint8_t *block = in;                                                                 \
        kvass_quants quants;                                                                       \
        for (int32_t at = 0; at < n; at += n_block, block += n_bytes) {                            \
            kvass_quants_##name(block, &quants);                                                   \
            for (int32_t i = 0; i < n_block; i += n_group) {                                       \
                __m256 d = _mm256_set1_ps(quants.d[i / n_group]);                                  \
                __m256 m = _mm256_set1_ps(quants.m[i / n_group]);                                  \
                for (int32_t j = i; j < i + n_group; j += VEC) {                                   \
                    _mm256_storeu_ps(out + at + j, values(quants.q + j, d, m));                    \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static void matmul_##name(const kvass_weight *w, int32_t row0, int32_t row1,                   \
                              const kvass_acts *x, int32_t m, float *y, int32_t ldy)               \
    {                                                                                              \
        kvass_quants quants;                                                                       \
        for (int32_t r = row0; r < row1; r++) {                                                    \
            const uint8_t *row = (const uint8_t *)w->data + (size_t)r * w->row_bytes;              \
            for (int32_t i0 = 0; i0 < m; i0 += MANY) {                                             \
                int32_t n = min_i32(MANY, m - i0);                                                 \
                float sums[MANY] = {0};                                                            \
                for (int32_t k = 0; k < w->n_in; k += n_block) {                                   \
                    kvass_quants_##name(row + k / n_block * n_bytes, &quants);                     \
                    for (int32_t i = 0; i < n; i++) {                                              \
                        size_t at = (size_t)(i0 + i) * (size_t)w->n_in + (size_t)k;                \
                        size_t b = at / KVASS_QBLOCK;                                              \
                        sums[i] = add_block(&quants, n_block, n_group, offset, x->q + at,          \
                                            x->d + b, x->sum + 2 * b, sums[i]);                    \
                    }                                                                              \
                }                                                                                  \
                for (int32_t i = 0; i < n; i++) {                                                  \
                    y[(size_t)(i0 + i) * (size_t)ldy + (size_t)r] = sums[i];                       \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
KVASS_QUANTS_MAP(X)
#undef X

void kvass_avx2_matmul_rows(const kvass_weight *w, int32_t row0, int32_t row1, const kvass_acts *x,
                            int32_t m, float *y, int32_t ldy)
{
    switch (w->dtype) {
#define X(NAME, name, n_block, n_group, n_bytes, offset)                                           \
    case KVASS_DTYPE_##NAME:                                                                       \
        matmul_##name(w, row0, row1, x, m, y, ldy);                                                \
        break;
        KVASS_QUANTS_MAP(X)
#undef X
    default: /* the other types are multiplied as floats */
        break;
    }
}

/* the largest bits of 8 sizes */
FORCE_INLINE uint32_t largest(__m256i v)
{
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

static void quantize(const float *x, int32_t n, int8_t *q, float *d, int32_t *sum)
{
    const __m256i size = _mm256_set1_epi32(0x7fffffff);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int32_t b = 0; b < n / KVASS_QBLOCK; b++, x += KVASS_QBLOCK, q += KVASS_QBLOCK) {
        __m256 v[4];
        __m256i most = _mm256_setzero_si256(), r[4];
        for (int32_t i = 0; i < 4; i++) {
            v[i] = _mm256_loadu_ps(x + i * VEC);
            most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(v[i]), size));
        }
        float max = kvass_bits_f32(largest(most));
        bool usable = max >= KVASS_ACT_MIN && max <= KVASS_ACT_MAX;
        if (!usable) {
            d[b] = max < KVASS_ACT_MIN ? 0.0f : NAN;
            sum[2 * b] = sum[2 * b + 1] = 0;
            memset(q, 0, KVASS_QBLOCK);
            continue;
        }
        __m256 scale = _mm256_set1_ps(127.0f / max);
        for (int32_t i = 0; i < 4; i++) {
            r[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], scale));
        }
        __m256i bytes =
            _mm256_packs_epi16(_mm256_packs_epi32(r[0], r[1]), _mm256_packs_epi32(r[2], r[3]));
        _mm256_storeu_si256((__m256i *)q, _mm256_permutevar8x32_epi32(bytes, order));
        d[b] = max / 127.0f;
        for (int32_t i = 0; i < 2; i++) {
            __m256i half = _mm256_add_epi32(r[2 * i], r[2 * i + 1]);
            __m128i high = _mm256_extracti128_si256(half, 1);
            sum[2 * b + i] = sum4(_mm_add_epi32(_mm256_castsi256_si128(half), high));
        }
    }
}

void kvass_avx2_fill_quants(kvass_kernels *k)
{
    k->quantize = quantize;
#define X(NAME, name, n_block, n_group, n_bytes, offset)                                           \
    k->widen[KVASS_DTYPE_##NAME] = widen_##name;
    KVASS_QUANTS_MAP(X)
#undef X
}
