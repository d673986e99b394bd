/* avx512_packed.c - integer products with packed weights (engine/base/packed.h) for AVX-512 VNNI.
 *
 * A vector holds 4 columns of the 16 rows of a group. The instruction multiplies unsigned by signed
 * bytes: q8_0's integers are raised by 128, and the sum of the activations takes that off again, as
 * it does for the 8 of q4_0 and the 16 of q5_0. Sums of integers are exact, floats are added as
 * everywhere: the bits are those of the scalar kernels.
 */
#include "engine/kernels/avx512.h"
#include "engine/kernels/avx512_packed_k.h"
#include "engine/kernels/quants.h"

#define AHEAD 1024 /* bytes */
#define MANY  32   /* vectors that a group is multiplied with before the next */

/* v and bit 4 of each byte of up */
FORCE_INLINE __m512i with_bit(__m512i v, __m512i up)
{
    return _mm512_or_si512(v, _mm512_and_si512(up, _mm512_set1_epi8(16)));
}

/* a[n_x] += the sums s of a block at w, scaled; xd points to the first vector's scale, `sum` holds
 * the sums of their integers */
KVASS_EACH void add_block(bool offset, const uint8_t *w, int32_t n_x, const __m512i s[MOST],
                          const int32_t sum[MOST], const float *xd, size_t stride, __m512 a[MOST])
{
    const __m256i *scales = (const __m256i *)(const void *)w;
    __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256(scales)), m = d;
    if (offset) {
        m = _mm512_cvtph_ps(_mm256_loadu_si256(scales + 1));
    }
    KVASS_UNROLL(8)
    for (int32_t i = 0; i < n_x; i++) {
        __m512 xs = _mm512_set1_ps(xd[(size_t)i * stride]);
        __m512 p = _mm512_mul_ps(_mm512_mul_ps(d, xs), _mm512_cvtepi32_ps(s[i]));
        a[i] = _mm512_add_ps(a[i], p);
        if (offset) {
            p = _mm512_mul_ps(_mm512_mul_ps(m, xs), _mm512_set1_ps((float)sum[i]));
            a[i] = _mm512_add_ps(a[i], p);
        }
    }
}

/* y[n_x, 16] of the group at w with the vectors from number i0 on; dtype and n_x are constants */
KVASS_EACH void tile(kvass_dtype dtype, const uint8_t *w, int32_t n_blocks, const kvass_acts *x,
                     size_t i0, int32_t n_x, float *y, size_t ldy)
{
    const bool nibbles = dtype != KVASS_DTYPE_Q8_0;
    const size_t head = (size_t)kvass_packed_head(dtype) * KVASS_PACK_ROWS;
    const bool fifth = dtype == KVASS_DTYPE_Q5_0 || dtype == KVASS_DTYPE_Q5_1;
    const bool offset = dtype == KVASS_DTYPE_Q4_1 || dtype == KVASS_DTYPE_Q5_1;
    const size_t bits = fifth ? LINE : 0; /* the fifth ones lie in front */
    const size_t n_lines = nibbles ? 4 : 8, block_bytes = head + bits + n_lines * LINE;
    const int32_t raised = dtype == KVASS_DTYPE_Q8_0   ? 128
                           : dtype == KVASS_DTYPE_Q4_0 ? 8
                           : dtype == KVASS_DTYPE_Q5_0 ? 16
                                                       : 0;
    const __m512i low = _mm512_set1_epi8(15), flip = _mm512_set1_epi8(-128);
    const size_t stride = (size_t)n_blocks;
    __m512 a[MOST];
    KVASS_UNROLL(8)
    for (int32_t i = 0; i < n_x; i++) {
        a[i] = _mm512_setzero_ps();
    }
    for (int32_t b = 0; b < n_blocks; b++, w += block_bytes) {
        const size_t at = i0 * stride + (size_t)b;
        const int8_t *q = x->q + at * KVASS_QBLOCK;
        const __m512i up = load(w + head);
        __m512i s[MOST];
        int32_t sum[MOST];
        KVASS_UNROLL(8)
        for (int32_t i = 0; i < n_x; i++) {
            const int32_t *sums = x->sum + 2 * (at + (size_t)i * stride);
            sum[i] = sums[0] + sums[1];
            s[i] = _mm512_set1_epi32(-raised * sum[i]);
        }
        if (fifth) {
            fetch(w, AHEAD);
        }
        KVASS_UNROLL(8)
        for (size_t u = 0; u < n_lines; u++) {
            fetch(w, AHEAD + bits + u * LINE);
            __m512i v = load(w + head + bits + u * LINE);
            __m512i first = nibbles ? _mm512_and_si512(v, low) : _mm512_xor_si512(v, flip);
            __m512i second = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
            if (fifth) {
                first = with_bit(first, _mm512_slli_epi32(up, 4 - (unsigned)u));
                second = with_bit(second, _mm512_srli_epi32(up, (unsigned)u));
            }
            KVASS_UNROLL(8)
            for (int32_t i = 0; i < n_x; i++) {
                const int8_t *xi = q + (size_t)i * stride * KVASS_QBLOCK + u * KVASS_PACK_UNIT;
                s[i] = _mm512_dpbusd_epi32(s[i], first, four(xi));
                if (nibbles) {
                    s[i] = _mm512_dpbusd_epi32(s[i], second, four(xi + KVASS_QBLOCK / 2));
                }
            }
        }
        add_block(offset, w, n_x, s, sum, x->d + at, stride, a);
    }
    KVASS_UNROLL(8)
    for (int32_t i = 0; i < n_x; i++) {
        _mm512_storeu_ps(y + (size_t)i * ldy, a[i]);
    }
}

KVASS_EACH void any_tile(kvass_dtype dtype, int32_t n_block, const uint8_t *w, int32_t n_blocks,
                         const kvass_acts *x, size_t i, int32_t n_x, float *y, size_t ldy)
{
    if (n_block == KVASS_SUPER) {
        tile_k(dtype, w, n_blocks, x, i, n_x, y, ldy);
    } else {
        tile(dtype, w, n_blocks, x, i, n_x, y, ldy);
    }
}

/* the whole of a group with n vectors, 8, 4, 2 and 1 at a time */
KVASS_EACH void group_product(kvass_dtype dtype, int32_t n_block, const uint8_t *w,
                              int32_t n_blocks, const kvass_acts *x, size_t i, size_t n, float *y,
                              size_t ldy)
{
    for (; n >= 8; n -= 8, i += 8, y += 8 * ldy) {
        any_tile(dtype, n_block, w, n_blocks, x, i, 8, y, ldy);
    }
    if (n >= 4) {
        any_tile(dtype, n_block, w, n_blocks, x, i, 4, y, ldy);
        n -= 4, i += 4, y += 4 * ldy;
    }
    if (n >= 2) {
        any_tile(dtype, n_block, w, n_blocks, x, i, 2, y, ldy);
        n -= 2, i += 2, y += 2 * ldy;
    }
    if (n >= 1) {
        any_tile(dtype, n_block, w, n_blocks, x, i, 1, y, ldy);
    }
}

KVASS_EACH void matmul(kvass_dtype dtype, int32_t n_block, const kvass_weight *w, int32_t row0,
                       int32_t row1, const kvass_acts *x, int32_t m, float *y, int32_t ldy)
{
    int32_t n_blocks = w->n_in / KVASS_QBLOCK, end = kvass_packed_end(w);
    end = row1 < end ? row1 : end;
    for (int32_t i = 0; i < m; i += MANY) {
        int32_t n = m - i < MANY ? m - i : MANY;
        for (int32_t r = row0; r < end; r += KVASS_PACK_ROWS) {
            group_product(dtype, n_block, (const uint8_t *)w->data + (size_t)r * w->row_bytes,
                          n_blocks, x, (size_t)i, (size_t)n,
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

void kvass_kernels_fill_avx512(kvass_kernels *k)
{
    k->name = "avx512";
#define X(NAME, name, n_block, n_group, n_bytes, offset)                                           \
    k->matmul_int[KVASS_DTYPE_##NAME] = matmul_##name;
    KVASS_QUANTS_MAP(X)
#undef X
}
