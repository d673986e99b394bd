/* team.c - the threads of a context, their barrier, and how they wait: spin a little, then sleep.
 */
#include "engine/team.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h> /* OpenBLAS asks it how many threads to use */
#endif

enum { SPINS_BEFORE_SLEEP = 1000 }; /* 10 to 50 us: longer than an operation's usual imbalance */

struct kvass_member {
    pthread_t thread;
    kvass_team *team;
    int32_t index;
};

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ---- signals --------------------------------------------------------------------------------- */

/* n_asleep is raised before the value is looked at again, and read after the value was changed:
 * with both in one total order no sleeper is missed. */
static void signal_change(kvass_signal *s, int value)
{
    atomic_store(&s->value, value);
    if (atomic_load(&s->n_asleep) > 0) {
        (void)syscall(SYS_futex, &s->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
}

static void signal_wait(kvass_signal *s, int old, int spins)
{
    for (; spins > 0; spins--) {
        if (atomic_load_explicit(&s->value, memory_order_acquire) != old) {
            return;
        }
        pause_cpu();
    }
    atomic_fetch_add(&s->n_asleep, 1);
    while (atomic_load(&s->value) == old) {
        (void)syscall(SYS_futex, &s->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    }
    atomic_fetch_sub(&s->n_asleep, 1);
}

void kvass_team_barrier(kvass_team *team)
{
    if (team->n_threads == 1) {
        return;
    }
    int round = atomic_load_explicit(&team->round.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == team->n_threads - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        signal_change(&team->round, (int)((unsigned)round + 1));
    } else {
        signal_wait(&team->round, round, team->spins);
    }
}

/* ---- members --------------------------------------------------------------------------------- */

/* a member's BLAS products stay on its thread */
static void *work(void *arg)
{
    struct kvass_member *self = arg;
    kvass_team *team = self->team;
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    for (int job = 0;; job = (int)((unsigned)job + 1)) {
        signal_wait(&team->job, job, team->spins);
        if (team->stop) {
            return NULL;
        }
        team->body(team->arg, self->index);
        kvass_team_barrier(team);
    }
}

kvass_status kvass_team_open(kvass_team *team, int32_t n_threads, int32_t n_cpus, kvass_error *err)
{
    *team = (kvass_team){.n_threads = 1,
                         .spins = n_threads > n_cpus ? 0 : SPINS_BEFORE_SLEEP,
                         .owner_pid = (int32_t)getpid()};
    if (n_threads < 2) {
        return KVASS_OK;
    }
    size_t n_workers = (size_t)n_threads - 1;
    team->members = calloc(n_workers, sizeof *team->members);
    if (!team->members) {
        return kvass_fail_nomem(err, n_workers * sizeof *team->members, "threads");
    }
    sigset_t all; /* signals are the caller's: workers block them */
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) {
        return KVASS_OK; /* the caller works alone */
    }
    (void)sigfillset(&all);
    (void)pthread_attr_setsigmask_np(&attr, &all);
    for (size_t i = 0; i < n_workers; i++) {
        struct kvass_member *member = &team->members[i];
        *member = (struct kvass_member){.team = team, .index = team->n_threads};
        if (pthread_create(&member->thread, &attr, work, member) != 0) {
            break;
        }
        team->n_threads++; /* workers read it when the first job has begun */
    }
    (void)pthread_attr_destroy(&attr);
    return KVASS_OK;
}

static void begin_job(kvass_team *team)
{
    signal_change(&team->job, (int)((unsigned)atomic_load(&team->job.value) + 1));
}

void kvass_team_close(kvass_team *team)
{
    if (team->members && team->owner_pid == (int32_t)getpid()) {
        team->stop = true;
        begin_job(team);
        for (int32_t i = 0; i + 1 < team->n_threads; i++) {
            (void)pthread_join(team->members[i].thread, NULL);
        }
    }
    free(team->members);
    team->members = NULL;
}

/* the caller alone: what is left of the team in a child of fork() */
static void leave_others_behind(kvass_team *team)
{
    if (team->n_threads > 1 && team->owner_pid != (int32_t)getpid()) {
        team->n_threads = 1;
    }
}

void kvass_team_run(kvass_team *team, void (*body)(void *arg, int32_t member), void *arg)
{
    leave_others_behind(team);
    team->body = body;
    team->arg = arg;
#ifdef _OPENMP
    int callers = omp_get_max_threads();
    omp_set_num_threads(1);
#endif
    if (team->n_threads > 1) {
        begin_job(team);
    }
    body(arg, 0);
    kvass_team_barrier(team);
#ifdef _OPENMP
    omp_set_num_threads(callers);
#endif
}
