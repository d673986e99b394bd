/* check_gemm.c - checks of the general matrix products, through BLAS or our own. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

enum { MAX_DIM = 65, GAP = 3 };

typedef struct gemm_case {
    bool transposed; /* b[n, k] instead of b[k, n] */
    int32_t m, n, k;
    float alpha, beta;
    int32_t place;
    fill fill;
} gemm_case;

static void check_gemm_case(check *c, const kvass_kernels *k, gemm_case t)
{
    static float before[MAX_DIM * (MAX_DIM + GAP)];
    const char *what = t.transposed ? "gemm_nt" : "gemm_nn";
    const int32_t lda = t.k + GAP, ldc = t.n + GAP;
    const int32_t b_rows = t.transposed ? t.n : t.k;
    const int32_t ldb = (t.transposed ? t.k : t.n) + GAP;
    float *a = check_take_floats(c, 0, (size_t)(t.m * lda), t.place, t.fill);
    float *b = check_take_floats(c, 1, (size_t)(b_rows * ldb), t.place, t.fill);
    float *out = check_take_floats(c, 2, (size_t)(t.m * ldc), t.place, FILL_NORMAL);
    memcpy(before, out, (size_t)(t.m * ldc) * sizeof *out);
    check_freeze(c, 0);
    check_freeze(c, 1);
    for (int32_t i = 0; t.beta == 0.0f && i < t.m * ldc; i++) {
        out[i] = i % ldc < t.n ? NAN : out[i]; /* beta 0 ignores c */
    }
    (t.transposed ? k->gemm_nt : k->gemm_nn)(t.m, t.n, t.k, t.alpha, a, lda, b, ldb, t.beta, out,
                                             ldc);
    for (int32_t i = 0; i < t.m * ldc; i++) {
        int32_t row = i / ldc, column = i % ldc;
        if (column >= t.n) {
            check_close_to(c, what, t.k, i, out[i], before[i], 0.0);
            continue;
        }
        double sum = 0.0, size = 0.0;
        for (int32_t p = 0; p < t.k; p++) {
            double other = t.transposed ? b[column * ldb + p] : b[p * ldb + column];
            sum += (double)a[row * lda + p] * other;
            size += fabs((double)a[row * lda + p] * other);
        }
        double kept = t.beta == 0.0f ? 0.0 : (double)t.beta * before[i];
        double bound = (t.k + 4) * UNIT_ROUNDOFF * (fabs((double)t.alpha) * size + fabs(kept));
        check_close_to(c, what, t.k, i, out[i], t.alpha * sum + kept, bound + (t.k + 2) * TINY);
    }
    check_guards(c, what, t.k);
}

static void check_gemm(check *c, const kvass_kernels *k, bool transposed)
{
    static const int32_t dims[] = {0, 1, 2, 3, 7, 16, 17, 64, 65};
    static const float factors[][2] = {{1.0f, 0.0f}, {0.125f, 0.0f}, {1.0f, 1.0f}, {-1.5f, 0.25f}};
    const int32_t n = (int32_t)(sizeof dims / sizeof dims[0]);
    for (int32_t i = 0; i < n * n * n && !c->failed; i++) {
        gemm_case t = {.transposed = transposed,
                       .m = dims[i % n],
                       .n = dims[i / n % n],
                       .k = dims[i / n / n],
                       .alpha = factors[i % 4][0],
                       .beta = factors[i % 4][1],
                       .place = i % c->n_places,
                       .fill = (fill)(i % 7 < N_FILLS ? i % 7 : FILL_NORMAL)};
        check_gemm_case(c, k, t);
    }
}

void check_gemm_nt(check *c, const kvass_kernels *k)
{
    check_gemm(c, k, true);
}

void check_gemm_nn(check *c, const kvass_kernels *k)
{
    check_gemm(c, k, false);
}
