/* avx2.h - what the AVX2 files share: loads of every stored type, tails, reductions, exp.
 *
 * Included by avx2*.c alone, which are compiled with -mavx2 -mfma -mf16c. A tail of n < 8 elements
 * is loaded under a mask into a full vector, the missing lanes being zero, and goes through the
 * same code as any other vector: bits do not depend on the lane.
 */
#ifndef KVASS_KERNELS_AVX2_H
#define KVASS_KERNELS_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "engine/kernels/kernels.h"

#define VEC          8  /* floats in a vector */
#define LINE         64 /* bytes of a cache line */
#define HALVES       2  /* vectors of 8 for the rows of a packed group */
#define FORCE_INLINE static inline __attribute__((always_inline))

/* The parts of kvass_kernels_fill_avx2() that live in files of their own. */
void kvass_avx2_fill_matmul(kvass_kernels *k);
void kvass_avx2_fill_quants(kvass_kernels *k);
void kvass_avx2_fill_packed(kvass_kernels *k);
void kvass_avx2_fill_cache(kvass_kernels *k);
void kvass_avx2_fill_kv_quant(kvass_kernels *k);

/* A matmul entry for m >= 2, with the bits of the entry for m = 1; see avx2_panel.c. */
void kvass_avx2_matmul_panel(kvass_dtype dtype, const void *w, size_t row_bytes, int32_t n_in,
                             int32_t row0, int32_t row1, const float *x, int32_t ldx, int32_t m,
                             float *y, int32_t ldy);

FORCE_INLINE int32_t min_i32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* all bits set in the first n lanes; none for n <= 0 */
FORCE_INLINE __m256i first_lanes(int32_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* p[0..n-1], then zeros; n <= 0 reads nothing */
FORCE_INLINE __m256 load_part(const float *p, int32_t n)
{
    return _mm256_maskload_ps(p, first_lanes(n));
}

FORCE_INLINE void store_part(float *p, int32_t n, __m256 v)
{
    _mm256_maskstore_ps(p, first_lanes(n), v);
}

/* 8 halves, of which the first n are read; n <= 0 reads nothing */
FORCE_INLINE __m128i load_halves(const uint16_t *p, int32_t n)
{
    uint16_t halves[VEC] = {0};
    for (int32_t i = 0; i < n && i < VEC; i++) {
        halves[i] = p[i];
    }
    return _mm_loadu_si128((const __m128i *)halves);
}

FORCE_INLINE __m256 widen_bf16_vec(__m128i halves)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

/* elements i .. i+7 of a row of dtype f32, f16 or bf16; dtype is a constant where this is inlined
 */
FORCE_INLINE __m256 load_vec(kvass_dtype dtype, const void *row, int32_t i)
{
    if (dtype == KVASS_DTYPE_F32) {
        return _mm256_loadu_ps((const float *)row + i);
    }
    __m128i halves = _mm_loadu_si128((const __m128i *)((const uint16_t *)row + i));
    return dtype == KVASS_DTYPE_F16 ? _mm256_cvtph_ps(halves) : widen_bf16_vec(halves);
}

/* elements i .. i+n-1, then zeros; n <= 0 reads nothing */
FORCE_INLINE __m256 load_vec_part(kvass_dtype dtype, const void *row, int32_t i, int32_t n)
{
    if (dtype == KVASS_DTYPE_F32) {
        return load_part((const float *)row + i, n);
    }
    __m128i halves = load_halves((const uint16_t *)row + i, n);
    return dtype == KVASS_DTYPE_F16 ? _mm256_cvtph_ps(halves) : widen_bf16_vec(halves);
}

/* bytes of n elements in front of a block's start */
FORCE_INLINE size_t bytes_of(kvass_dtype dtype, int32_t n)
{
    switch (dtype) {
#define X(name, text, n_block, n_bytes)                                                            \
    case KVASS_DTYPE_##name:                                                                       \
        return (size_t)n / n_block * n_bytes;
        KVASS_DTYPE_MAP(X)
#undef X
    default:
        return 0;
    }
}

/* the scale of a q8_f32 block in all lanes; *q is where its integers start */
FORCE_INLINE __m256 load_scale(const uint8_t *block, const uint8_t **q)
{
    float d;
    memcpy(&d, block, sizeof d);
    *q = block + sizeof d;
    return _mm256_set1_ps(d);
}

/* integers 8*i .. 8*i+7 of a q8_f32 block */
FORCE_INLINE __m256 load_q8(const uint8_t *q, int32_t i)
{
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(q + VEC * i));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

/* Asks for the line at p, which may lie past the weights: a fetch never faults. */
FORCE_INLINE void fetch(const uint8_t *p, size_t offset)
{
    _mm_prefetch((const char *)((uintptr_t)p + offset), _MM_HINT_T0);
}

/* 4 activations in all lanes */
FORCE_INLINE __m256i four(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm256_set1_epi32(v);
}

/* ((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7)): the one tree of every reduction */
FORCE_INLINE float reduce(__m256 v)
{
    v = _mm256_hadd_ps(v, v);
    v = _mm256_hadd_ps(v, v);
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}

/* the same for four vectors at once */
FORCE_INLINE __m128 reduce4(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 v = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
}

/* exp(x), within 1.01 ulp; 1 at 0; 0 below about -104, infinity above about 88.7, NaN for NaN.
 * x = n ln2 + r, exp(r) = 1 + r + r^2 q(r) with q minimax on |r| <= ln2 / 2, relative error 3e-9.
 * 2^n is applied in two factors: n reaches -150 for subnormal results and 128 before overflow. */
FORCE_INLINE __m256 exp_vec(__m256 x)
{
    /* the operand order lets a NaN in x through */
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), x);
    x = _mm256_max_ps(_mm256_set1_ps(-104.0f), x);

    __m256i n = _mm256_cvtps_epi32(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p0f)));
    __m256 nf = _mm256_cvtepi32_ps(n);
    __m256 r = _mm256_fnmadd_ps(nf, _mm256_set1_ps(0x1.62e43p-1f), x);
    r = _mm256_fmadd_ps(nf, _mm256_set1_ps(0x1.05c61p-29f), r);

    __m256 q = _mm256_set1_ps(0x1.6a23ccp-10f);
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.123a2p-7f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.5558f2p-5f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.555492p-3f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.fffffcp-2f));
    __m256 p = _mm256_fmadd_ps(_mm256_mul_ps(r, r), q, r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0f));

    __m256i bias = _mm256_set1_epi32(127);
    __m256i n1 = _mm256_srai_epi32(n, 1);
    __m256i n2 = _mm256_sub_epi32(n, n1);
    __m256 s1 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n1, bias), 23));
    __m256 s2 = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n2, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(p, s1), s2);
}

#endif
