/* team.c - one OpenMP team per forward, and its barrier. */
#include "engine/team.h"

#include <sched.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { SPINS_BEFORE_YIELD = 1000 }; /* 10 to 50 us: longer than an operation's usual imbalance */

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void kvass_team_barrier(kvass_team *team)
{
    if (team->n_threads == 1) {
        return;
    }
    int round = atomic_load_explicit(&team->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == team->n_threads - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->round, round + 1, memory_order_release);
        return;
    }
    int most_spins = team->n_cpus > 0 && team->n_threads > team->n_cpus ? 0 : SPINS_BEFORE_YIELD;
    for (int spins = 0; atomic_load_explicit(&team->round, memory_order_acquire) == round;
         spins++) {
        if (spins < most_spins) {
            pause_cpu();
        } else {
            (void)sched_yield();
        }
    }
}

void kvass_team_run(kvass_team *team, int32_t n_threads, void (*body)(void *arg, int32_t member),
                    void *arg)
{
    atomic_store(&team->arrived, 0);
    atomic_store(&team->round, 0);
#ifdef _OPENMP
#pragma omp parallel num_threads(n_threads)
    {
        /* a team of one is no "active" region: without this OpenBLAS would start threads of its
         * own, and its sums would depend on how many */
        omp_set_num_threads(1);
#pragma omp single
        team->n_threads = omp_get_num_threads(); /* fewer when the runtime has no more to give */
        body(arg, omp_get_thread_num());
    }
#else
    (void)n_threads;
    team->n_threads = 1;
    body(arg, 0);
#endif
}
