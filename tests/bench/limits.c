/* limits.c - what the machine gives: streaming read per size and number of threads, f32 GEMM.
 *
 *     bench_limits [--mb 512] [--rounds 9] [--threads 2]
 *
 * Prints one JSON object. The best round counts: other processes only take away. GEMM is the one
 * that the kernels are built with, called from each thread on a tile of its own.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "engine/kernels/kernels.h"

enum { MAX_THREADS = 64, N_PASSES = 3, GEMM_M = 512, GEMM_N = 256, GEMM_K = 768, AHEAD = 1024 };

typedef struct worker {
    pthread_barrier_t *start;
    const uint8_t *set;
    size_t n_bytes;
    int32_t n_passes;
    uint64_t sum;
    const kvass_kernels *k;
    float *a, *b, *c;
} worker;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *take(size_t n_bytes)
{
    void *p = aligned_alloc(64, (n_bytes + 63) & ~(size_t)63);
    if (!p) {
        (void)fprintf(stderr, "bench_limits: out of memory\n");
        exit(2);
    }
    memset(p, 1, n_bytes);
    return p;
}

static void *read_set(void *arg)
{
    worker *w = arg;
    uint64_t s[16] = {0};
    pthread_barrier_wait(w->start);
    for (int32_t pass = 0; pass < w->n_passes; pass++) {
        for (size_t at = 0; at + 128 <= w->n_bytes; at += 128) {
            const uint64_t *p = (const uint64_t *)(const void *)(w->set + at);
            __builtin_prefetch((const void *)((uintptr_t)p + AHEAD));
            __builtin_prefetch((const void *)((uintptr_t)p + AHEAD + 64));
            for (size_t j = 0; j < 16; j++) {
                s[j] += p[j];
            }
        }
    }
    for (size_t j = 0; j < 16; j++) {
        w->sum += s[j];
    }
    return NULL;
}

static void *multiply(void *arg)
{
    worker *w = arg;
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    pthread_barrier_wait(w->start);
    for (int32_t pass = 0; pass < w->n_passes; pass++) {
        w->k->gemm_nt(GEMM_M, GEMM_N, GEMM_K, 1.0f, w->a, GEMM_K, w->b, GEMM_K, 0.0f, w->c, GEMM_N);
    }
    return NULL;
}

/* seconds of the best round in which all workers run `body` */
static double best_time(worker *workers, int32_t n, int32_t rounds, void *(*body)(void *))
{
    double best = 1e30;
    for (int32_t round = 0; round < rounds; round++) {
        pthread_t threads[MAX_THREADS];
        pthread_barrier_t start;
        pthread_barrier_init(&start, NULL, (unsigned)n + 1);
        for (int32_t i = 0; i < n; i++) {
            workers[i].start = &start;
            if (pthread_create(&threads[i], NULL, body, &workers[i]) != 0) {
                (void)fprintf(stderr, "bench_limits: no thread\n");
                exit(2);
            }
        }
        double begin = seconds();
        pthread_barrier_wait(&start);
        for (int32_t i = 0; i < n; i++) {
            pthread_join(threads[i], NULL);
        }
        double time = seconds() - begin;
        best = time < best ? time : best;
        pthread_barrier_destroy(&start);
    }
    return best;
}

static double read_rate(const uint8_t *set, size_t n_bytes, int32_t n_threads, int32_t rounds)
{
    worker workers[MAX_THREADS] = {0};
    size_t share = n_bytes / (size_t)n_threads / 128 * 128;
    int32_t n_passes = n_bytes > 100u << 20 ? 1 : (int32_t)((200u << 20) / n_bytes);
    for (int32_t i = 0; i < n_threads; i++) {
        workers[i].set = set + (size_t)i * share;
        workers[i].n_bytes = share;
        workers[i].n_passes = n_passes;
    }
    double time = best_time(workers, n_threads, rounds, read_set);
    return (double)share * (double)n_threads * (double)n_passes / time / 1e9;
}

static double gemm_rate(const kvass_kernels *k, int32_t n_threads, int32_t rounds)
{
    worker workers[MAX_THREADS] = {0};
    for (int32_t i = 0; i < n_threads; i++) {
        workers[i].k = k;
        workers[i].n_passes = N_PASSES;
        workers[i].a = take((size_t)GEMM_M * GEMM_K * sizeof(float));
        workers[i].b = take((size_t)GEMM_N * GEMM_K * sizeof(float));
        workers[i].c = take((size_t)GEMM_M * GEMM_N * sizeof(float));
    }
    double time = best_time(workers, n_threads, rounds, multiply);
    for (int32_t i = 0; i < n_threads; i++) {
        free(workers[i].a);
        free(workers[i].b);
        free(workers[i].c);
    }
    return 2.0 * GEMM_M * GEMM_N * GEMM_K * (double)N_PASSES * (double)n_threads / time / 1e9;
}

int main(int argc, char **argv)
{
    size_t mb = 512;
    int32_t rounds = 9, most = 2;
    for (int i = 1; i + 1 < argc; i += 2) {
        long value = strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--mb") == 0) {
            mb = (size_t)value;
        } else if (strcmp(argv[i], "--rounds") == 0) {
            rounds = (int32_t)value;
        } else if (strcmp(argv[i], "--threads") == 0) {
            most = (int32_t)value;
        }
    }
    most = most > MAX_THREADS ? MAX_THREADS : most < 1 ? 1 : most;
    const size_t sizes[] = {mb, 110, 12, 1};
    uint8_t *set = take((mb > 110 ? mb : 110) << 20);
    kvass_kernels k = kvass_kernels_get(~0u);
    printf("{\"kernels\": \"%s\", \"limits\": [", k.name);
    for (int32_t n = 1; n <= most; n++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            printf("%s\n  {\"what\": \"read\", \"threads\": %d, \"mb\": %zu, \"gb_per_s\": %.1f}",
                   n > 1 || i > 0 ? "," : "", (int)n, sizes[i],
                   read_rate(set, sizes[i] << 20, n, rounds));
        }
        printf(",\n  {\"what\": \"gemm f32\", \"threads\": %d, \"gflop_per_s\": %.1f}", (int)n,
               gemm_rate(&k, n, rounds));
    }
    printf("\n]}\n");
    free(set);
    return 0;
}
