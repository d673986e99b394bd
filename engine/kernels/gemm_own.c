/* gemm_own.c - general matrix products for builds without BLAS.
 *
 * Plain C in a shape that compilers turn into vectors: every output element is a fixed recipe over
 * k, so its bits depend on its own row of a and column of b alone. Blocks only order the work: a
 * tile of c[ROWS, COLS] is kept in registers or the first cache while k runs.
 */
#include "engine/kernels/kernels.h"

#define LANES 8 /* partial sums of one dot product: k goes to sum k % LANES */
#define ROWS  4 /* rows of a, or of b, that share one pass over the other side */
#define COLS  64

/* out[ROWS] = a[k] . b[r, k]; r < n_rows <= ROWS */
static void dot_rows(const float *a, const float *b, int32_t ldb, int32_t n_rows, int32_t k,
                     float *out)
{
    for (int32_t r = 0; r < n_rows; r++) {
        const float *row = b + (size_t)r * (size_t)ldb;
        float sum[LANES] = {0};
        int32_t i = 0;
        for (; i + LANES <= k; i += LANES) {
            for (int32_t j = 0; j < LANES; j++) {
                sum[j] += a[i + j] * row[i + j];
            }
        }
        for (int32_t j = 0; i + j < k; j++) {
            sum[j] += a[i + j] * row[i + j];
        }
        for (int32_t width = LANES / 2; width > 0; width /= 2) {
            for (int32_t j = 0; j < width; j++) {
                sum[j] += sum[j + width];
            }
        }
        out[r] = sum[0];
    }
}

/* beta 0 must not read c, which may hold anything */
static float combine(float alpha, float sum, float beta, float c)
{
    return beta == 0.0f ? alpha * sum : alpha * sum + beta * c;
}

static void gemm_nt(int32_t m, int32_t n, int32_t k, float alpha, const float *a, int32_t lda,
                    const float *b, int32_t ldb, float beta, float *c, int32_t ldc)
{
    for (int32_t j = 0; j < n; j += ROWS) {
        int32_t n_rows = n - j < ROWS ? n - j : ROWS;
        for (int32_t i = 0; i < m; i++) {
            float sum[ROWS];
            float *out = c + (size_t)i * (size_t)ldc + j;
            dot_rows(a + (size_t)i * (size_t)lda, b + (size_t)j * (size_t)ldb, ldb, n_rows, k, sum);
            for (int32_t r = 0; r < n_rows; r++) {
                out[r] = combine(alpha, sum[r], beta, beta == 0.0f ? 0.0f : out[r]);
            }
        }
    }
}

/* sum[n_cols] += a[k] . b[k, n_cols], n_cols <= COLS */
static void row_times_panel(const float *a, const float *b, int32_t ldb, int32_t n_cols, int32_t k,
                            float *sum)
{
    for (int32_t p = 0; p < k; p++) {
        const float *row = b + (size_t)p * (size_t)ldb;
        for (int32_t j = 0; j < n_cols; j++) {
            sum[j] += a[p] * row[j];
        }
    }
}

static void gemm_nn(int32_t m, int32_t n, int32_t k, float alpha, const float *a, int32_t lda,
                    const float *b, int32_t ldb, float beta, float *c, int32_t ldc)
{
    for (int32_t j = 0; j < n; j += COLS) {
        int32_t n_cols = n - j < COLS ? n - j : COLS;
        for (int32_t i = 0; i < m; i++) {
            float sum[COLS] = {0};
            float *out = c + (size_t)i * (size_t)ldc + j;
            row_times_panel(a + (size_t)i * (size_t)lda, b + j, ldb, n_cols, k, sum);
            for (int32_t r = 0; r < n_cols; r++) {
                out[r] = combine(alpha, sum[r], beta, beta == 0.0f ? 0.0f : out[r]);
            }
        }
    }
}

void kvass_kernels_fill_gemm(kvass_kernels *k)
{
    k->gemm_nt = gemm_nt;
    k->gemm_nn = gemm_nn;
}
