/* avx2_packed.c - integer products with packed weights (engine/base/packed.h): q8_0, q4_0, q4_1.
 *
 * A vector holds 4 columns of 8 rows: each row has a lane of its own, so nothing is added across
 * lanes, and the integers of a block are exact in any order. 16 rows are multiplied with one or two
 * vectors at a time, while what comes next is fetched.
 */
#include "engine/base/packed.h"
#include "engine/kernels/avx2.h"

#define HALVES 2    /* of the 16 rows */
#define AHEAD  1024 /* bytes */
#define MANY   32 /* vectors that a group is multiplied with before the next: they stay in cache */

/* 4 activations in all lanes */
FORCE_INLINE __m256i four(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return _mm256_set1_epi32(v);
}

/* s[n_x][HALVES] = the sums of one block of q8_0 */
FORCE_INLINE void sums_q8(const uint8_t *w, int32_t n_x, const int8_t *const x[2],
                          __m256i s[2][HALVES])
{
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
    for (int32_t u = 0; u < KVASS_QBLOCK / KVASS_PACK_UNIT; u++) {
#pragma GCC unroll 2
        for (int32_t h = 0; h < HALVES; h++) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(w + LINE * u + LINE / HALVES * h));
            __m256i size = _mm256_abs_epi8(v);
#pragma GCC unroll 2
            for (int32_t i = 0; i < n_x; i++) {
                __m256i xv = four(x[i] + KVASS_PACK_UNIT * u);
                __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(xv, v));
                s[i][h] = _mm256_add_epi32(s[i][h], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
}

/* the same for 4 bits, 0 .. 15 each: 8 products of at most 2 * 15 * 127 fit 16 bits */
FORCE_INLINE void sums_q4(const uint8_t *w, int32_t n_x, const int8_t *const x[2],
                          __m256i s[2][HALVES])
{
    const __m256i nibble = _mm256_set1_epi8(15);
#pragma GCC unroll 2
    for (int32_t h = 0; h < HALVES; h++) {
        __m256i pairs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
#pragma GCC unroll 4
        for (int32_t u = 0; u < KVASS_QBLOCK / 2 / KVASS_PACK_UNIT; u++) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(w + LINE * u + LINE / HALVES * h));
            __m256i low = _mm256_and_si256(v, nibble);
            __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
#pragma GCC unroll 2
            for (int32_t i = 0; i < n_x; i++) {
                const int8_t *xi = x[i] + KVASS_PACK_UNIT * u;
                pairs[i] = _mm256_add_epi16(pairs[i], _mm256_maddubs_epi16(low, four(xi)));
                pairs[i] = _mm256_add_epi16(
                    pairs[i], _mm256_maddubs_epi16(high, four(xi + KVASS_QBLOCK / 2)));
            }
        }
#pragma GCC unroll 2
        for (int32_t i = 0; i < n_x; i++) {
            s[i][h] = _mm256_add_epi32(s[i][h], _mm256_madd_epi16(pairs[i], _mm256_set1_epi16(1)));
        }
    }
}

/* y[n_x, 16] of the group at w with the vectors from number i0 on; dtype and n_x are constants */
FORCE_INLINE void tile(kvass_dtype dtype, const uint8_t *w, int32_t n_blocks, const kvass_acts *x,
                       size_t i0, int32_t n_x, float *y, size_t ldy)
{
    const size_t head = (size_t)kvass_packed_head(dtype) * KVASS_PACK_ROWS;
    const size_t block_bytes = bytes_of(dtype, KVASS_QBLOCK) * KVASS_PACK_ROWS;
    __m256 a[2][HALVES];
    const int8_t *q[2] = {NULL, NULL};
#pragma GCC unroll 2
    for (int32_t i = 0; i < n_x; i++) {
        a[i][0] = a[i][1] = _mm256_setzero_ps();
        q[i] = x->q + (i0 + (size_t)i) * (size_t)n_blocks * KVASS_QBLOCK;
    }
    for (int32_t b = 0; b < n_blocks; b++, w += block_bytes) {
        __m256i s[2][HALVES];
#pragma GCC unroll 16
        for (size_t at = 0; at < block_bytes; at += LINE) {
            fetch(w, at + AHEAD);
        }
#pragma GCC unroll 2
        for (int32_t i = 0; i < n_x; i++) {
            int32_t sum = x->sum[(i0 + (size_t)i) * (size_t)n_blocks + (size_t)b];
            s[i][0] = s[i][1] = _mm256_set1_epi32(dtype == KVASS_DTYPE_Q4_0 ? -8 * sum : 0);
        }
        if (dtype == KVASS_DTYPE_Q8_0) {
            sums_q8(w + head, n_x, q, s);
        } else {
            sums_q4(w + head, n_x, q, s);
        }
#pragma GCC unroll 2
        for (int32_t h = 0; h < HALVES; h++) {
            const __m128i *scales = (const __m128i *)(const void *)w + h;
            __m256 d = _mm256_cvtph_ps(_mm_loadu_si128(scales)), m = d;
            if (dtype == KVASS_DTYPE_Q4_1) {
                m = _mm256_cvtph_ps(_mm_loadu_si128(scales + HALVES));
            }
#pragma GCC unroll 2
            for (int32_t i = 0; i < n_x; i++) {
                size_t at = (i0 + (size_t)i) * (size_t)n_blocks + (size_t)b;
                __m256 xd = _mm256_set1_ps(x->d[at]);
                __m256 p = _mm256_mul_ps(_mm256_mul_ps(d, xd), _mm256_cvtepi32_ps(s[i][h]));
                a[i][h] = _mm256_add_ps(a[i][h], p);
                if (dtype == KVASS_DTYPE_Q4_1) {
                    p = _mm256_mul_ps(_mm256_mul_ps(m, xd), _mm256_set1_ps((float)x->sum[at]));
                    a[i][h] = _mm256_add_ps(a[i][h], p);
                }
            }
        }
#pragma GCC unroll 2
        for (int32_t i = 0; i < n_x; i++) {
            q[i] += KVASS_QBLOCK;
        }
    }
#pragma GCC unroll 2
    for (int32_t i = 0; i < n_x; i++) {
        _mm256_storeu_ps(y + (size_t)i * ldy, a[i][0]);
        _mm256_storeu_ps(y + (size_t)i * ldy + VEC, a[i][1]);
    }
}

FORCE_INLINE void matmul(kvass_dtype dtype, const kvass_weight *w, int32_t row0, int32_t row1,
                         const kvass_acts *x, int32_t m, float *y, int32_t ldy)
{
    int32_t end = min_i32(row1, kvass_packed_end(w)), n_blocks = w->n_in / KVASS_QBLOCK;
    for (int32_t i0 = 0; i0 < m; i0 += MANY) {
        int32_t i1 = min_i32(i0 + MANY, m);
        for (int32_t r = row0; r < end; r += KVASS_PACK_ROWS) {
            const uint8_t *group = (const uint8_t *)w->data + (size_t)r * w->row_bytes;
            for (int32_t i = i0; i < i1; i += 2) {
                float *out = y + (size_t)i * (size_t)ldy + (size_t)r;
                if (i + 1 < i1) {
                    tile(dtype, group, n_blocks, x, (size_t)i, 2, out, (size_t)ldy);
                } else {
                    tile(dtype, group, n_blocks, x, (size_t)i, 1, out, (size_t)ldy);
                }
            }
        }
    }
    row0 = row0 > end ? row0 : end;
    if (row0 < row1) {
        kvass_avx2_matmul_rows(w, row0, row1, x, m, y, ldy);
    }
}

static void matmul_q8_0(const kvass_weight *w, int32_t row0, int32_t row1, const kvass_acts *x,
                        int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_Q8_0, w, row0, row1, x, m, y, ldy);
}

static void matmul_q4_0(const kvass_weight *w, int32_t row0, int32_t row1, const kvass_acts *x,
                        int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_Q4_0, w, row0, row1, x, m, y, ldy);
}

static void matmul_q4_1(const kvass_weight *w, int32_t row0, int32_t row1, const kvass_acts *x,
                        int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_Q4_1, w, row0, row1, x, m, y, ldy);
}

void kvass_avx2_fill_packed(kvass_kernels *k)
{
    k->matmul_int[KVASS_DTYPE_Q8_0] = matmul_q8_0;
    k->matmul_int[KVASS_DTYPE_Q4_0] = matmul_q4_0;
    k->matmul_int[KVASS_DTYPE_Q4_1] = matmul_q4_1;
}
