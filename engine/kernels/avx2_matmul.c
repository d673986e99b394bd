/* avx2_matmul.c - products with weights of every stored type, and their widening.
 *
 * Two recipes define the bits of one dot product, whatever the blocking around them:
 *  - f32, f16, bf16: element k goes by fused multiply-add to partial sum k % 16, held in two
 * vectors a0 and a1; the result is reduce(a0 + a1).
 *  - q8_f32: a block of 32 gives t = q0*x0 + q1*x1 + q2*x2 + q3*x3 over its four vectors of
 * integers, and the one vector of partial sums takes a = d*t + a; the result is reduce(a). Up to
 * FEW vectors are multiplied straight from the stored weights, a few rows at a time, while the rows
 * that come next are fetched: memory is the limit. For more, see avx2_panel.c.
 */
#include "engine/kernels/avx2.h"

#define FEW      4 /* vectors */
#define MAX_ROWS 4 /* rows at a time */

/* y[n_x, n_rows] from sums[n_rows, n_x] */
FORCE_INLINE void store_tile(__m256 sums[MAX_ROWS][FEW], int32_t n_rows, int32_t n_x, float *y,
                             int32_t ldy)
{
    if (n_rows == 4 && n_x == 1) {
        _mm_storeu_ps(y, reduce4(sums[0][0], sums[1][0], sums[2][0], sums[3][0]));
        return;
    }
#pragma GCC unroll 4
    for (int32_t i = 0; i < n_x; i++) {
#pragma GCC unroll 4
        for (int32_t r = 0; r < n_rows; r++) {
            y[(size_t)i * (size_t)ldy + (size_t)r] = reduce(sums[r][i]);
        }
    }
}

/* y[n_x, n_rows] = x[n_x, n_in] . w[n_rows, n_in]^T for floats; n_rows and n_x are constants, their
 * product is at most 6 */
FORCE_INLINE void tile_floats(kvass_dtype dtype, const uint8_t *w, size_t row_bytes, int32_t n_rows,
                              int32_t n_in, const float *x, int32_t ldx, int32_t n_x, float *y,
                              int32_t ldy)
{
    __m256 a[MAX_ROWS][FEW][2];
    int32_t k = 0;
#pragma GCC unroll 4
    for (int32_t r = 0; r < n_rows; r++) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < n_x; i++) {
            a[r][i][0] = a[r][i][1] = _mm256_setzero_ps();
        }
    }
    for (; k + 2 * VEC <= n_in; k += 2 * VEC) {
#pragma GCC unroll 4
        for (int32_t r = 0; r < n_rows; r++) {
            const uint8_t *row = w + (size_t)r * row_bytes;
            fetch(row, (size_t)n_rows * row_bytes + bytes_of(dtype, k));
            __m256 v0 = load_vec(dtype, row, k);
            __m256 v1 = load_vec(dtype, row, k + VEC);
#pragma GCC unroll 4
            for (int32_t i = 0; i < n_x; i++) {
                const float *xi = x + (size_t)i * (size_t)ldx + k;
                a[r][i][0] = _mm256_fmadd_ps(v0, _mm256_loadu_ps(xi), a[r][i][0]);
                a[r][i][1] = _mm256_fmadd_ps(v1, _mm256_loadu_ps(xi + VEC), a[r][i][1]);
            }
        }
    }
#pragma GCC unroll 2
    for (int32_t h = 0; h < 2; h++) {
        int32_t n_left = n_in - k - h * VEC;
        if (n_left > 0) {
#pragma GCC unroll 4
            for (int32_t r = 0; r < n_rows; r++) {
                const uint8_t *row = w + (size_t)r * row_bytes;
                __m256 v = load_vec_part(dtype, row, k + h * VEC, n_left);
#pragma GCC unroll 4
                for (int32_t i = 0; i < n_x; i++) {
                    __m256 xv = load_part(x + (size_t)i * (size_t)ldx + k + h * VEC, n_left);
                    a[r][i][h] = _mm256_fmadd_ps(v, xv, a[r][i][h]);
                }
            }
        }
    }
    __m256 sums[MAX_ROWS][FEW];
#pragma GCC unroll 4
    for (int32_t r = 0; r < n_rows; r++) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < n_x; i++) {
            sums[r][i] = _mm256_add_ps(a[r][i][0], a[r][i][1]);
        }
    }
    store_tile(sums, n_rows, n_x, y, ldy);
}

/* the same for q8 */
FORCE_INLINE void tile_q8(kvass_dtype dtype, const uint8_t *w, size_t row_bytes, int32_t n_rows,
                          int32_t n_in, const float *x, int32_t ldx, int32_t n_x, float *y,
                          int32_t ldy)
{
    __m256 a[MAX_ROWS][FEW];
#pragma GCC unroll 4
    for (int32_t r = 0; r < n_rows; r++) {
#pragma GCC unroll 4
        for (int32_t i = 0; i < n_x; i++) {
            a[r][i] = _mm256_setzero_ps();
        }
    }
    for (int32_t k = 0; k < n_in; k += KVASS_QBLOCK) {
#pragma GCC unroll 4
        for (int32_t r = 0; r < n_rows; r++) {
            const uint8_t *block = w + (size_t)r * row_bytes + bytes_of(dtype, k);
            const uint8_t *q;
            __m256 d = load_scale(block, &q);
            fetch(block, (size_t)n_rows * row_bytes);
            __m256 q0 = load_q8(q, 0), q1 = load_q8(q, 1), q2 = load_q8(q, 2), q3 = load_q8(q, 3);
#pragma GCC unroll 4
            for (int32_t i = 0; i < n_x; i++) {
                const float *xi = x + (size_t)i * (size_t)ldx + k;
                __m256 t = _mm256_mul_ps(q0, _mm256_loadu_ps(xi));
                t = _mm256_fmadd_ps(q1, _mm256_loadu_ps(xi + VEC), t);
                t = _mm256_fmadd_ps(q2, _mm256_loadu_ps(xi + 2 * VEC), t);
                t = _mm256_fmadd_ps(q3, _mm256_loadu_ps(xi + 3 * VEC), t);
                a[r][i] = _mm256_fmadd_ps(d, t, a[r][i]);
            }
        }
    }
    store_tile(a, n_rows, n_x, y, ldy);
}

/* y[n_x, row0..row1-1], `step` rows at a time; n_x and step are constants */
FORCE_INLINE void rows_by(int32_t step, kvass_dtype dtype, const uint8_t *w, size_t row_bytes,
                          int32_t n_in, int32_t row0, int32_t row1, const float *x, int32_t ldx,
                          int32_t n_x, float *y, int32_t ldy)
{
    int32_t r = row0;
    for (; r + step <= row1; r += step) {
        const uint8_t *rows = w + (size_t)r * row_bytes;
        if (dtype == KVASS_DTYPE_Q8_F32) {
            tile_q8(dtype, rows, row_bytes, step, n_in, x, ldx, n_x, y + r, ldy);
        } else {
            tile_floats(dtype, rows, row_bytes, step, n_in, x, ldx, n_x, y + r, ldy);
        }
    }
    for (; step > 1 && r < row1; r++) {
        const uint8_t *rows = w + (size_t)r * row_bytes;
        if (dtype == KVASS_DTYPE_Q8_F32) {
            tile_q8(dtype, rows, row_bytes, 1, n_in, x, ldx, n_x, y + r, ldy);
        } else {
            tile_floats(dtype, rows, row_bytes, 1, n_in, x, ldx, n_x, y + r, ldy);
        }
    }
}

FORCE_INLINE void matmul(kvass_dtype dtype, const void *w, size_t row_bytes, int32_t n_in,
                         int32_t row0, int32_t row1, const float *x, int32_t ldx, int32_t m,
                         float *y, int32_t ldy)
{
    switch (m) {
    case 1:
        rows_by(4, dtype, w, row_bytes, n_in, row0, row1, x, ldx, 1, y, ldy);
        break;
    case 2:
        rows_by(2, dtype, w, row_bytes, n_in, row0, row1, x, ldx, 2, y, ldy);
        break;
    case 3:
        rows_by(2, dtype, w, row_bytes, n_in, row0, row1, x, ldx, 3, y, ldy);
        break;
    case FEW:
        rows_by(1, dtype, w, row_bytes, n_in, row0, row1, x, ldx, FEW, y, ldy);
        break;
    default:
        kvass_avx2_matmul_panel(dtype, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
    }
}

static void matmul_f32(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                       const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_F32, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_f16(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                       const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_F16, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_bf16(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                        const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_BF16, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_q8_f32(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                          const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_Q8_F32, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

/* ---- widening -------------------------------------------------------------------------------- */

FORCE_INLINE void widen_halves(kvass_dtype dtype, const void *in, int32_t n, float *out)
{
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        _mm256_storeu_ps(out + i, load_vec(dtype, in, i));
    }
    store_part(out + i, n - i, load_vec_part(dtype, in, i, n - i));
}

static void widen_f16(const void *in, int32_t n, float *out)
{
    widen_halves(KVASS_DTYPE_F16, in, n, out);
}

static void widen_bf16(const void *in, int32_t n, float *out)
{
    widen_halves(KVASS_DTYPE_BF16, in, n, out);
}

static void widen_q8_f32(const void *in, int32_t n, float *out)
{
    for (int32_t i = 0; i < n; i += KVASS_QBLOCK) {
        const uint8_t *q;
        __m256 d = load_scale((const uint8_t *)in + bytes_of(KVASS_DTYPE_Q8_F32, i), &q);
        for (int32_t j = 0; j < KVASS_QBLOCK / VEC; j++) {
            _mm256_storeu_ps(out + i + j * VEC, _mm256_mul_ps(d, load_q8(q, j)));
        }
    }
}

void kvass_avx2_fill_matmul(kvass_kernels *k)
{
    k->matmul[KVASS_DTYPE_F32] = matmul_f32;
    k->matmul[KVASS_DTYPE_F16] = matmul_f16;
    k->matmul[KVASS_DTYPE_BF16] = matmul_bf16;
    k->matmul[KVASS_DTYPE_Q8_F32] = matmul_q8_f32;
    k->widen[KVASS_DTYPE_F16] = widen_f16; /* f32 is a copy: scalar's */
    k->widen[KVASS_DTYPE_BF16] = widen_bf16;
    k->widen[KVASS_DTYPE_Q8_F32] = widen_q8_f32;
}
