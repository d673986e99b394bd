/* gemm_own.c - general matrix products for builds without BLAS.
 *
 * Plain C in a shape that compilers turn into vectors. Every output element is a fixed recipe over
 * k, so its bits depend on its own row of a and its own row or column of b alone.
 */
#include "engine/kernels/kernels.h"

#define LANES 16 /* partial sums of one dot product: k goes to sum k % LANES */
#define ROWS  4  /* rows of b that stay in the first cache while all rows of a pass */
#define COLS  64 /* columns of c that are summed up together */

static float dot(const float *a, const float *b, int32_t k)
{
    float sum[LANES] = {0};
    int32_t i = 0;
    for (; i + LANES <= k; i += LANES) {
        for (int32_t j = 0; j < LANES; j++) {
            sum[j] += a[i + j] * b[i + j];
        }
    }
    for (int32_t j = 0; i + j < k; j++) {
        sum[j] += a[i + j] * b[i + j];
    }
    for (int32_t width = LANES / 2; width > 0; width /= 2) {
        for (int32_t j = 0; j < width; j++) {
            sum[j] += sum[j + width];
        }
    }
    return sum[0];
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
            const float *row = a + (size_t)i * (size_t)lda;
            float *out = c + (size_t)i * (size_t)ldc + j;
            for (int32_t r = 0; r < n_rows; r++) {
                float sum = dot(row, b + (size_t)(j + r) * (size_t)ldb, k);
                out[r] = combine(alpha, sum, beta, beta == 0.0f ? 0.0f : out[r]);
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
