/* test_team.c - the team's shares and barrier, and that BLAS stays on the thread that calls it.
 * cmocka's asserts never sit inside the team: members write down what they saw.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/kernels/kernels.h"
#include "engine/team.h"

#ifdef _OPENMP
#include <omp.h>
#endif

enum { MAX_MEMBERS = 8, N_ROUNDS = 500, N = 192 };

static kvass_team team;
static int32_t counters[MAX_MEMBERS];
static atomic_int mistakes;

/* after each barrier every member must see every other's count */
static void count_rounds(void *arg, int32_t member)
{
    (void)arg;
    for (int32_t round = 1; round <= N_ROUNDS; round++) {
        counters[member] = round;
        kvass_team_barrier(&team);
        for (int32_t m = 0; m < team.n_threads; m++) {
            if (counters[m] != round) {
                atomic_fetch_add(&mistakes, 1);
            }
        }
        kvass_team_barrier(&team);
    }
}

/* open a team of n for one job */
static void run_team(int32_t n, void (*body)(void *arg, int32_t member), void *arg)
{
    kvass_error err;
    assert_int_equal(kvass_team_open(&team, n, 2, &err), KVASS_OK);
    assert_int_equal(team.n_threads, n);
    kvass_team_run(&team, body, arg);
    kvass_team_close(&team);
}

static void barrier_separates_rounds(void **unused)
{
    (void)unused;
    for (int32_t n = 1; n <= 5; n++) {
        memset(counters, 0, sizeof counters);
        run_team(n, count_rounds, NULL);
        assert_int_equal(atomic_load(&mistakes), 0);
    }
}

static void count_job(void *arg, int32_t member)
{
    (void)arg;
    counters[member]++;
}

/* jobs follow at once, or when every member has long been asleep */
static void members_miss_no_job(void **unused)
{
    (void)unused;
    kvass_error err;
    memset(counters, 0, sizeof counters);
    assert_int_equal(kvass_team_open(&team, 3, 3, &err), KVASS_OK);
    for (int32_t job = 1; job <= 300; job++) {
        kvass_team_run(&team, count_job, NULL);
        for (int32_t m = 0; m < team.n_threads; m++) {
            assert_int_equal(counters[m], job);
        }
        if (job % 100 == 0) {
            (void)usleep(2000);
        }
    }
    kvass_team_close(&team);
}

/* after fork() the child has the caller's thread alone, and works with it */
static void a_forked_child_works_alone(void **unused)
{
    (void)unused;
    kvass_error err;
    memset(counters, 0, sizeof counters);
    assert_int_equal(kvass_team_open(&team, 3, 3, &err), KVASS_OK);
    pid_t child = fork();
    if (child == 0) {
        kvass_team_run(&team, count_rounds, NULL);
        bool right = team.n_threads == 1 && counters[0] == N_ROUNDS && counters[1] == 0;
        kvass_team_close(&team);
        _exit(right ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    kvass_team_close(&team);
}

static void shares_cover_everything_once(void **unused)
{
    (void)unused;
    for (team.n_threads = 1; team.n_threads < 9; team.n_threads++) {
        for (int32_t n = 0; n < 40; n++) {
            int32_t at = 0, begin, end;
            for (int32_t m = 0; m < team.n_threads; m++) {
                kvass_team_share(&team, m, n, &begin, &end);
                assert_int_equal(begin, at);
                assert_true(end >= begin && end - begin <= n / team.n_threads + 1);
                at = end;
            }
            assert_int_equal(at, n);
        }
    }
}

static int32_t threads_of_process(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int32_t n = 0;
    for (struct dirent *e = tasks ? readdir(tasks) : NULL; e; e = readdir(tasks)) {
        n += e->d_name[0] != '.';
    }
    if (tasks) {
        (void)closedir(tasks);
    }
    return n;
}

typedef struct products {
    kvass_kernels kernels;
    float *a, *b, *c[MAX_MEMBERS];
} products;

static void multiply(void *arg, int32_t member)
{
    products *p = arg;
    /* c[N, N] = a[N, N] . b[N, N]^T */
    p->kernels.gemm_nt(N, N, N, 1.0f, p->a, N, p->b, N, 0.0f, p->c[member], N);
}

/* large enough that BLAS called from serial code would start threads */
static void blas_stays_on_its_thread(void **unused)
{
    (void)unused;
    products p = {.kernels = kvass_kernels_get(~0u)};
    p.a = calloc((size_t)N * N, sizeof(float));
    p.b = calloc((size_t)N * N, sizeof(float));
    assert_true(p.a && p.b);
    for (int32_t i = 0; i < N * N; i++) {
        p.a[i] = (float)(i % 17) - 8.0f + (float)i / 977.0f;
        p.b[i] = (float)(i % 23) - 11.0f + (float)i / 1013.0f;
    }
    for (int32_t m = 0; m < MAX_MEMBERS; m++) {
        p.c[m] = calloc((size_t)N * N, sizeof(float));
        assert_non_null(p.c[m]);
    }
    int32_t before = threads_of_process();
    run_team(1, multiply, &p);
    assert_int_equal(threads_of_process(), before); /* a team of one, and BLAS started none */
    float *alone = p.c[MAX_MEMBERS - 1];
    memcpy(alone, p.c[0], (size_t)N * N * sizeof(float));
    for (int32_t n = 2; n <= 4; n++) {
        kvass_error err;
        assert_int_equal(kvass_team_open(&team, n, n, &err), KVASS_OK);
        before = threads_of_process();
        kvass_team_run(&team, multiply, &p);
        assert_int_equal(threads_of_process(), before);
        for (int32_t m = 0; m < team.n_threads; m++) { /* and the bits are those of one thread */
            assert_memory_equal(p.c[m], alone, (size_t)N * N * sizeof(float));
        }
        kvass_team_close(&team);
    }
    for (int32_t m = 0; m < MAX_MEMBERS; m++) {
        free(p.c[m]);
    }
    free(p.a);
    free(p.b);
}

/* the caller's own OpenMP settings are left alone */
static void caller_keeps_its_threads(void **unused)
{
    (void)unused;
#ifdef _OPENMP
    omp_set_num_threads(3);
    run_team(1, count_rounds, NULL);
    run_team(2, count_rounds, NULL);
    assert_int_equal(omp_get_max_threads(), 3);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barrier_separates_rounds),
        cmocka_unit_test(members_miss_no_job),
        cmocka_unit_test(a_forked_child_works_alone),
        cmocka_unit_test(shares_cover_everything_once),
        cmocka_unit_test(blas_stays_on_its_thread),
        cmocka_unit_test(caller_keeps_its_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
