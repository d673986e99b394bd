/* gemm_blas.c - general matrix products through OpenBLAS; prefill uses them tile by tile.
 *
 * The trap: Debian's OpenBLAS is the OpenMP build, which ignores openblas_set_num_threads() and
 * opens a team of its own when sgemm is called from serial code, and then the bits of the result
 * depend on the number of threads. Called inside a parallel region it works on the calling thread
 * alone. So these entries are for code that runs in the engine's team; the team's code keeps that
 * true for a team of one as well, by omp_set_num_threads(1) around it.
 */
#include <cblas.h>

#include "engine/kernels/kernels.h"

static void gemm(enum CBLAS_TRANSPOSE trans_b, int32_t m, int32_t n, int32_t k, float alpha,
                 const float *a, int32_t lda, const float *b, int32_t ldb, float beta, float *c,
                 int32_t ldc)
{
    if (m > 0 && n > 0) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c,
                    ldc);
    }
}

static void gemm_nt(int32_t m, int32_t n, int32_t k, float alpha, const float *a, int32_t lda,
                    const float *b, int32_t ldb, float beta, float *c, int32_t ldc)
{
    gemm(CblasTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

static void gemm_nn(int32_t m, int32_t n, int32_t k, float alpha, const float *a, int32_t lda,
                    const float *b, int32_t ldb, float beta, float *c, int32_t ldc)
{
    gemm(CblasNoTrans, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void kvass_kernels_fill_gemm(kvass_kernels *k)
{
    k->gemm_nt = gemm_nt;
    k->gemm_nn = gemm_nn;
    k->gemm_is_blas = true;
}
