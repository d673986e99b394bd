/* avx2_quants.c - the AVX2 kernels of the quantized types of quants.h.
 *
 * Blocks are taken apart by quants.h, whose byte loops the compiler turns into vectors, and widened
 * to the bits that the scalar kernels give. A product has the recipe of floats (avx2_matmul.c):
 * element k of the widened row goes by fused multiply-add to partial sum k % 16.
 */
#include "engine/kernels/avx2.h"
#include "engine/kernels/quants.h"

#define FEW 4 /* vectors that are multiplied as the row is widened; for more, see avx2_panel.c */

/* d * q + m for 8 integers */
FORCE_INLINE __m256 values(const int8_t *q, __m256 d, __m256 m)
{
    __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)q)));
    return _mm256_add_ps(_mm256_mul_ps(d, v), m);
}

#define X(NAME, name, n_block, n_group, n_bytes)                                                   \
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
    }
KVASS_QUANTS_MAP(X)
#undef X

void kvass_avx2_widen_quants(kvass_dtype dtype, const void *in, int32_t n, float *out)
{
    switch (dtype) {
#define X(NAME, name, n_block, n_group, n_bytes)                                                   \
    case KVASS_DTYPE_##NAME:                                                                       \
        widen_##name(in, n, out);                                                                  \
        break;
        KVASS_QUANTS_MAP(X)
#undef X
    default: /* the other types have kernels of their own */
        break;
    }
}

/* y[n_x, row0..row1-1] = x[n_x, n_in] . w^T; widen and n_x are constants where this is inlined */
FORCE_INLINE void rows_few(kvass_dtype dtype, void (*widen)(const void *, int32_t, float *),
                           const uint8_t *w, size_t row_bytes, int32_t n_in, int32_t row0,
                           int32_t row1, const float *x, int32_t ldx, int32_t n_x, float *y,
                           int32_t ldy)
{
    float v[KVASS_SUPER];
    for (int32_t r = row0; r < row1; r++) {
        const uint8_t *row = w + (size_t)r * row_bytes;
        __m256 a[FEW][2];
#pragma GCC unroll 4
        for (int32_t i = 0; i < n_x; i++) {
            a[i][0] = a[i][1] = _mm256_setzero_ps();
        }
        for (int32_t k = 0; k < n_in; k += KVASS_SUPER) {
            int32_t n = min_i32(KVASS_SUPER, n_in - k);
            widen(row + bytes_of(dtype, k), n, v);
            for (int32_t j = 0; j < n; j += 2 * VEC) {
                __m256 v0 = _mm256_loadu_ps(v + j), v1 = _mm256_loadu_ps(v + j + VEC);
#pragma GCC unroll 4
                for (int32_t i = 0; i < n_x; i++) {
                    const float *xi = x + (size_t)i * (size_t)ldx + k + j;
                    a[i][0] = _mm256_fmadd_ps(v0, _mm256_loadu_ps(xi), a[i][0]);
                    a[i][1] = _mm256_fmadd_ps(v1, _mm256_loadu_ps(xi + VEC), a[i][1]);
                }
            }
        }
#pragma GCC unroll 4
        for (int32_t i = 0; i < n_x; i++) {
            y[(size_t)i * (size_t)ldy + (size_t)r] = reduce(_mm256_add_ps(a[i][0], a[i][1]));
        }
    }
}

FORCE_INLINE void matmul(kvass_dtype dtype, void (*widen)(const void *, int32_t, float *),
                         const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                         const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    switch (m) {
    case 1:
        rows_few(dtype, widen, w, row_bytes, n_in, row0, row1, x, ldx, 1, y, ldy);
        break;
    case 2:
        rows_few(dtype, widen, w, row_bytes, n_in, row0, row1, x, ldx, 2, y, ldy);
        break;
    case 3:
        rows_few(dtype, widen, w, row_bytes, n_in, row0, row1, x, ldx, 3, y, ldy);
        break;
    case FEW:
        rows_few(dtype, widen, w, row_bytes, n_in, row0, row1, x, ldx, FEW, y, ldy);
        break;
    default:
        kvass_avx2_matmul_panel(dtype, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
    }
}

#define X(NAME, name, n_block, n_group, n_bytes)                                                   \
    static void matmul_##name(const void *w, size_t row_bytes, int32_t n_in, int32_t row0,         \
                              int32_t row1, const float *x, int32_t ldx, int32_t m, float *y,      \
                              int32_t ldy)                                                         \
    {                                                                                              \
        matmul(KVASS_DTYPE_##NAME, widen_##name, w, row_bytes, n_in, row0, row1, x, ldx, m, y,     \
               ldy);                                                                               \
    }
KVASS_QUANTS_MAP(X)
#undef X

void kvass_avx2_fill_quants(kvass_kernels *k)
{
#define X(NAME, name, n_block, n_group, n_bytes)                                                   \
    k->widen[KVASS_DTYPE_##NAME] = widen_##name;                                                   \
    k->matmul[KVASS_DTYPE_##NAME] = matmul_##name;
    KVASS_QUANTS_MAP(X)
#undef X
}
