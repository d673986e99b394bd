/* bench_kernels.c - rates of the products with weights beside what the memory and BLAS give.
 *
 * A benchmark, never a test; nothing is asserted. One thread, timed by its own CPU clock. Weights
 * rotate through a set of --mb MiB (default 256: larger than the caches), the kinds are taken in
 * turn, and the best of --rounds passes counts: a slow phase of the machine hits all of them alike.
 * The plain read that stands beside them fetches nothing ahead, so a product can be faster.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "engine/kernels/kernels.h"

typedef struct shape {
    int32_t n_out, n_in;
} shape;

static const shape shapes[] = {{768, 768}, {2048, 768}, {768, 2048}};
#define N_SHAPES ((int32_t)(sizeof shapes / sizeof shapes[0]))
#define MAX_M    256

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other processes do not count */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *take(size_t n_bytes)
{
    void *p = aligned_alloc(64, (n_bytes + 63) & ~(size_t)63);
    if (!p) {
        fprintf(stderr, "bench_kernels: out of memory\n");
        exit(2);
    }
    return p;
}

/* Every byte of the set is a small number for every dtype: 0x2222 is 0.012 as f16, 2e-18 as bf16.
 */
static uint8_t *take_weights(size_t n_bytes)
{
    uint8_t *w = take(n_bytes);
    memset(w, 0x22, n_bytes);
    return w;
}

static double best(double a, double b)
{
    return a > b ? a : b;
}

/* GB/s of reading the set once in order; the sum keeps the reads alive */
static double stream_rate(const uint8_t *set, size_t n_bytes, uint64_t *sum)
{
    double start = seconds();
    uint64_t s[8] = {0};
    const uint64_t *p = (const uint64_t *)(const void *)set;
    for (size_t i = 0; i + 8 <= n_bytes / 8; i += 8) {
        for (size_t j = 0; j < 8; j++) {
            s[j] += p[i + j];
        }
    }
    for (size_t j = 0; j < 8; j++) {
        *sum += s[j];
    }
    return (double)n_bytes / (seconds() - start) / 1e9;
}

/* One pass over the set as matrices of this shape; GB/s of weights, and *flops per second. */
static double product_rate(const kvass_kernels *k, kvass_dtype dtype, shape s, const uint8_t *set,
                           size_t n_bytes, const float *x, int32_t m, float *y, double *flops)
{
    size_t row_bytes = 0;
    kvass_dtype_row_bytes(dtype, s.n_in, &row_bytes);
    size_t step = row_bytes * (size_t)s.n_out;
    size_t n = 0;
    static int8_t q[MAX_M * 2048];
    static float d[sizeof q / KVASS_QBLOCK];
    static int32_t sum[sizeof q / KVASS_QHALF];
    kvass_acts acts = {q, d, sum};
    double start = seconds();
    for (size_t at = 0; at + step <= n_bytes; at += step, n++) {
        if (kvass_dtype_is_integer(dtype)) {
            kvass_weight w = {dtype, s.n_out, s.n_in, row_bytes, set + at, true};
            k->quantize(x, m * s.n_in, acts.q, acts.d, acts.sum);
            k->matmul_int[dtype](&w, 0, s.n_out, &acts, m, y, s.n_out);
            continue;
        }
        k->matmul[dtype](set + at, row_bytes, s.n_in, 0, s.n_out, x, s.n_in, m, y, s.n_out);
    }
    double time = seconds() - start;
    *flops = 2.0 * (double)n * (double)s.n_out * (double)s.n_in * (double)m / time;
    return (double)(n * step) / time / 1e9;
}

static double gemm_flops(const kvass_kernels *k, shape s, const uint8_t *set, size_t n_bytes,
                         const float *x, int32_t m, float *y)
{
    size_t step = (size_t)s.n_in * (size_t)s.n_out * sizeof(float);
    size_t n = 0;
    double start = seconds();
    for (size_t at = 0; at + step <= n_bytes; at += step, n++) {
        const float *w = (const float *)(const void *)(set + at);
        k->gemm_nt(m, s.n_out, s.n_in, 1.0f, x, s.n_in, w, s.n_in, 0.0f, y, s.n_out);
    }
    return 2.0 * (double)n * (double)s.n_out * (double)s.n_in * (double)m / (seconds() - start);
}

static void bench_vector(const kvass_kernels *k, const uint8_t *set, size_t n_bytes, int32_t rounds,
                         const float *x, float *y)
{
    uint64_t sum = 0;
    printf("%-8s %-12s %8s %8s %7s\n", "dtype", "n_out x n_in", "GB/s", "read", "share");
    for (int32_t s = 0; s < N_SHAPES; s++) {
        double rate[KVASS_N_DTYPES] = {0};
        double read = 0.0;
        double flops;
        for (int32_t round = 0; round < rounds; round++) {
            read = best(read, stream_rate(set, n_bytes, &sum));
            for (int dtype = 0; dtype < KVASS_N_DTYPES; dtype++) {
                rate[dtype] = best(rate[dtype], product_rate(k, (kvass_dtype)dtype, shapes[s], set,
                                                             n_bytes, x, 1, y, &flops));
            }
        }
        for (int dtype = 0; dtype < KVASS_N_DTYPES; dtype++) {
            printf("%-8s %5d x %-4d %8.1f %8.1f %6.0f%%\n", kvass_dtype_name((kvass_dtype)dtype),
                   (int)shapes[s].n_out, (int)shapes[s].n_in, rate[dtype], read,
                   100.0 * rate[dtype] / read);
        }
    }
    printf("(%u)\n", (unsigned)(sum & 1u));
}

static void bench_matrix(const kvass_kernels *k, const uint8_t *set, size_t n_bytes, int32_t rounds,
                         const float *x, float *y)
{
    static const int32_t ms[] = {2, 4, 8, 16, 64, 256};
    printf("%-12s %4s %9s", "n_out x n_in", "m", "gemm_nt");
    for (int dtype = 0; dtype < KVASS_N_DTYPES; dtype++) {
        printf(" %7s", kvass_dtype_name((kvass_dtype)dtype));
    }
    printf("   GFLOP/s\n");
    for (int32_t s = 0; s < N_SHAPES; s++) {
        for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
            double rate[KVASS_N_DTYPES] = {0};
            double gemm = 0.0;
            double flops;
            for (int32_t round = 0; round < rounds; round++) {
                gemm = best(gemm, gemm_flops(k, shapes[s], set, n_bytes, x, ms[i], y));
                for (int dtype = 0; dtype < KVASS_N_DTYPES; dtype++) {
                    product_rate(k, (kvass_dtype)dtype, shapes[s], set, n_bytes, x, ms[i], y,
                                 &flops);
                    rate[dtype] = best(rate[dtype], flops);
                }
            }
            printf("%5d x %-4d %4d %9.1f", (int)shapes[s].n_out, (int)shapes[s].n_in, (int)ms[i],
                   gemm / 1e9);
            for (int dtype = 0; dtype < KVASS_N_DTYPES; dtype++) {
                printf(" %7.1f", rate[dtype] / 1e9);
            }
            printf("\n");
        }
    }
}

int main(int argc, char **argv)
{
    size_t mb = 256;
    int32_t rounds = 5;
    uint32_t isa = ~0u;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--mb") == 0) {
            mb = (size_t)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--rounds") == 0) {
            rounds = (int32_t)strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--isa") == 0) {
            isa = strcmp(argv[i + 1], "scalar") == 0 ? KVASS_ISA_SCALAR
                  : strcmp(argv[i + 1], "avx2") == 0 ? KVASS_ISA_SCALAR | KVASS_ISA_AVX2
                                                     : ~0u;
        }
    }
#ifdef _OPENMP
    omp_set_num_threads(1); /* or sgemm would bring its own threads */
#endif
    kvass_kernels k = kvass_kernels_get(isa);
    size_t n_bytes = mb << 20;
    uint8_t *set = take_weights(n_bytes);
    float *x = take((size_t)MAX_M * 2048 * sizeof *x);
    float *y = take((size_t)MAX_M * 2048 * sizeof *y);
    for (size_t i = 0; i < (size_t)MAX_M * 2048; i++) {
        x[i] = 1.0f / (float)(1 + i % 7);
    }
    printf("kernels %s, weights %zu MiB, best of %d\n", k.name, mb, (int)rounds);
    bench_vector(&k, set, n_bytes, rounds, x, y);
    bench_matrix(&k, set, n_bytes, rounds > 2 ? 2 : rounds, x, y);
    free(y);
    free(x);
    free(set);
    return 0;
}
