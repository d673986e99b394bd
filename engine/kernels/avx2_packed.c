/* avx2_packed.c - integer products with packed weights (engine/base/packed.h).
 *
 * A vector holds 4 columns of 8 rows: each row has a lane of its own, so nothing is added across
 * lanes, and the integers of a block are exact in any order. 16 rows are multiplied with one or two
 * vectors at a time, while what comes next is fetched. The k-quants' tiles are in
 * avx2_packed_k.h.
 */
#include "engine/base/packed.h"
#include "engine/kernels/avx2.h"
#include "engine/kernels/avx2_packed_k.h"
#include "engine/kernels/quants.h"

#define AHEAD 1024 /* bytes */
#define MANY  32   /* vectors that a group is multiplied with before the next: they stay in cache */

/* s[n_x][HALVES] = the sums of one block of q8_0 */
KVASS_EACH void sums_q8(const uint8_t *w, int32_t n_x, const int8_t *const x[2],
                        __m256i s[2][HALVES])
{
    const __m256i ones = _mm256_set1_epi16(1);
    KVASS_UNROLL(8)
    for (int32_t u = 0; u < KVASS_QBLOCK / KVASS_PACK_UNIT; u++) {
        KVASS_UNROLL(2)
        for (int32_t h = 0; h < HALVES; h++) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(w + LINE * u + LINE / HALVES * h));
            __m256i size = _mm256_abs_epi8(v);
            KVASS_UNROLL(2)
            for (int32_t i = 0; i < n_x; i++) {
                __m256i xv = four(x[i] + KVASS_PACK_UNIT * u);
                __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(xv, v));
                s[i][h] = _mm256_add_epi32(s[i][h], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
}

/* the same for 4 bits, 0 .. 15 each: 8 pairs of products of at most 2 * 15 * 127 fit 16 bits, and
 * 4 where the fifth bits lie in front */
KVASS_EACH void sums_q4(const uint8_t *w, bool fifth, int32_t n_x, const int8_t *const x[2],
                        __m256i s[2][HALVES])
{
    const __m256i nibble = _mm256_set1_epi8(15), bit = _mm256_set1_epi8(16);
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *bits = w;
    w += fifth ? LINE : 0;
    KVASS_UNROLL(2)
    for (int32_t h = 0; h < HALVES; h++) {
        __m256i first[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        __m256i last[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        __m256i up = _mm256_loadu_si256((const __m256i *)(bits + LINE / HALVES * h));
        KVASS_UNROLL(4)
        for (int32_t u = 0; u < KVASS_QBLOCK / 2 / KVASS_PACK_UNIT; u++) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(w + LINE * u + LINE / HALVES * h));
            __m256i low = _mm256_and_si256(v, nibble);
            __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble);
            if (fifth) {
                low = _mm256_or_si256(low, _mm256_and_si256(_mm256_slli_epi16(up, 4 - u), bit));
                high = _mm256_or_si256(high, _mm256_and_si256(_mm256_srli_epi16(up, u), bit));
            }
            KVASS_UNROLL(2)
            for (int32_t i = 0; i < n_x; i++) {
                const int8_t *xi = x[i] + KVASS_PACK_UNIT * u;
                first[i] = _mm256_add_epi16(first[i], _mm256_maddubs_epi16(low, four(xi)));
                last[i] =
                    _mm256_add_epi16(last[i], _mm256_maddubs_epi16(high, four(xi + KVASS_QHALF)));
            }
        }
        KVASS_UNROLL(2)
        for (int32_t i = 0; i < n_x; i++) {
            if (fifth) {
                s[i][h] = _mm256_add_epi32(s[i][h], _mm256_madd_epi16(first[i], ones));
                s[i][h] = _mm256_add_epi32(s[i][h], _mm256_madd_epi16(last[i], ones));
            } else {
                first[i] = _mm256_add_epi16(first[i], last[i]);
                s[i][h] = _mm256_add_epi32(s[i][h], _mm256_madd_epi16(first[i], ones));
            }
        }
    }
}

/* of all integers of block number b */
FORCE_INLINE int32_t sum_of(const kvass_acts *x, size_t b)
{
    return x->sum[2 * b] + x->sum[2 * b + 1];
}

/* a[n_x][HALVES] += the sums s of a block at w, scaled; xd points to the first vector's scale,
 * `sum` holds the sums of their integers */
KVASS_EACH void add_block(bool offset, const uint8_t *w, int32_t n_x, __m256i s[2][HALVES],
                          const int32_t sum[2], const float *xd, size_t stride, __m256 a[2][HALVES])
{
    KVASS_UNROLL(2)
    for (int32_t h = 0; h < HALVES; h++) {
        const __m128i *scales = (const __m128i *)(const void *)w + h;
        __m256 d = _mm256_cvtph_ps(_mm_loadu_si128(scales)), m = d;
        if (offset) {
            m = _mm256_cvtph_ps(_mm_loadu_si128(scales + HALVES));
        }
        KVASS_UNROLL(2)
        for (int32_t i = 0; i < n_x; i++) {
            __m256 xs = _mm256_set1_ps(xd[(size_t)i * stride]);
            __m256 p = _mm256_mul_ps(_mm256_mul_ps(d, xs), _mm256_cvtepi32_ps(s[i][h]));
            a[i][h] = _mm256_add_ps(a[i][h], p);
            if (offset) {
                p = _mm256_mul_ps(_mm256_mul_ps(m, xs), _mm256_set1_ps((float)sum[i]));
                a[i][h] = _mm256_add_ps(a[i][h], p);
            }
        }
    }
}

/* y[n_x, 16] of the group at w with the vectors from number i0 on; dtype and n_x are constants */
KVASS_EACH void tile(kvass_dtype dtype, const uint8_t *w, int32_t n_blocks, const kvass_acts *x,
                     size_t i0, int32_t n_x, float *y, size_t ldy)
{
    const size_t head = (size_t)kvass_packed_head(dtype) * KVASS_PACK_ROWS;
    const size_t block_bytes = bytes_of(dtype, KVASS_QBLOCK) * KVASS_PACK_ROWS;
    const bool fifth = dtype == KVASS_DTYPE_Q5_0 || dtype == KVASS_DTYPE_Q5_1;
    const bool offset = dtype == KVASS_DTYPE_Q4_1 || dtype == KVASS_DTYPE_Q5_1;
    const int32_t raised = dtype == KVASS_DTYPE_Q4_0 ? 8 : dtype == KVASS_DTYPE_Q5_0 ? 16 : 0;
    __m256 a[2][HALVES];
    const int8_t *q[2] = {NULL, NULL};
    KVASS_UNROLL(2)
    for (int32_t i = 0; i < n_x; i++) {
        a[i][0] = a[i][1] = _mm256_setzero_ps();
        q[i] = x->q + (i0 + (size_t)i) * (size_t)n_blocks * KVASS_QBLOCK;
    }
    for (int32_t b = 0; b < n_blocks; b++, w += block_bytes) {
        __m256i s[2][HALVES];
        int32_t sum[2];
        KVASS_UNROLL(16)
        for (size_t at = 0; at < block_bytes; at += LINE) {
            fetch(w, at + AHEAD);
        }
        KVASS_UNROLL(2)
        for (int32_t i = 0; i < n_x; i++) {
            sum[i] = sum_of(x, (i0 + (size_t)i) * (size_t)n_blocks + (size_t)b);
            s[i][0] = s[i][1] = _mm256_set1_epi32(-raised * sum[i]);
        }
        if (dtype == KVASS_DTYPE_Q8_0) {
            sums_q8(w + head, n_x, q, s);
        } else {
            sums_q4(w + head, fifth, n_x, q, s);
        }
        add_block(offset, w, n_x, s, sum, x->d + i0 * (size_t)n_blocks + (size_t)b,
                  (size_t)n_blocks, a);
        KVASS_UNROLL(2)
        for (int32_t i = 0; i < n_x; i++) {
            q[i] += KVASS_QBLOCK;
        }
    }
    KVASS_UNROLL(2)
    for (int32_t i = 0; i < n_x; i++) {
        _mm256_storeu_ps(y + (size_t)i * ldy, a[i][0]);
        _mm256_storeu_ps(y + (size_t)i * ldy + VEC, a[i][1]);
    }
}

/* the whole of a group with n vectors */
KVASS_EACH void group_product(kvass_dtype dtype, int32_t n_block, const uint8_t *w,
                              int32_t n_blocks, const kvass_acts *x, size_t i, size_t n, float *y,
                              size_t ldy)
{
    for (; n >= 2; n -= 2, i += 2, y += 2 * ldy) {
        if (n_block == KVASS_SUPER) {
            tile_k(dtype, w, n_blocks, x, i, 2, y, ldy);
        } else {
            tile(dtype, w, n_blocks, x, i, 2, y, ldy);
        }
    }
    if (n == 1 && n_block == KVASS_SUPER) {
        tile_k(dtype, w, n_blocks, x, i, 1, y, ldy);
    } else if (n == 1) {
        tile(dtype, w, n_blocks, x, i, 1, y, ldy);
    }
}

KVASS_EACH void matmul(kvass_dtype dtype, int32_t n_block, const kvass_weight *w, int32_t row0,
                       int32_t row1, const kvass_acts *x, int32_t m, float *y, int32_t ldy)
{
    int32_t end = min_i32(row1, kvass_packed_end(w)), n_blocks = w->n_in / KVASS_QBLOCK;
    for (int32_t i = 0; i < m; i += MANY) {
        for (int32_t r = row0; r < end; r += KVASS_PACK_ROWS) {
            group_product(dtype, n_block, (const uint8_t *)w->data + (size_t)r * w->row_bytes,
                          n_blocks, x, (size_t)i, (size_t)min_i32(MANY, m - i),
                          y + (size_t)i * (size_t)ldy + (size_t)r, (size_t)ldy);
        }
    }
    row0 = row0 > end ? row0 : end;
    if (row0 < row1) {
        kvass_avx2_matmul_rows(w, row0, row1, x, m, y, ldy);
    }
}

#define X(NAME, name, n_block, n_group, n_bytes, offset)                                           \
    static void matmul_##name(const kvass_weight *w, int32_t row0, int32_t row1,                   \
                              const kvass_acts *x, int32_t m, float *y, int32_t ldy)               \
    {                                                                                              \
        matmul(KVASS_DTYPE_##NAME, n_block, w, row0, row1, x, m, y, ldy);                          \
    }
KVASS_QUANTS_MAP(X)
#undef X

void kvass_avx2_fill_packed(kvass_kernels *k)
{
#define X(NAME, name, n_block, n_group, n_bytes, offset)                                           \
    k->matmul_int[KVASS_DTYPE_##NAME] = matmul_##name;
    KVASS_QUANTS_MAP(X)
#undef X
}
