/* team.h - the threads of one context.
 * A forward runs on one team; every member executes the whole layer loop and takes its share of
 * each operation. Work is split over output rows, heads or fixed tiles, never so that a sum depends
 * on the number of threads. The members are created once, when the context opens; between forwards
 * they sleep. Waiting is a bounded spin and then sleep: who spins on, or yields and stays runnable,
 * takes the CPU from the member he waits for when another process is busy (libgomp's own team loses
 * milliseconds a token so).
 */
#ifndef KVASS_ENGINE_TEAM_H
#define KVASS_ENGINE_TEAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/error.h"

/* A number that threads wait to see changed. */
typedef struct kvass_signal {
    atomic_int value;
    atomic_int n_asleep;
} kvass_signal;

typedef struct kvass_team {
    int32_t n_threads;  /* members, the caller included */
    int32_t spins;      /* before a waiting member sleeps; none when CPUs are fewer than members */
    atomic_int arrived; /* members waiting at the barrier */
    kvass_signal round; /* barriers passed */
    kvass_signal job;   /* jobs begun */
    bool stop;          /* the next job is to end */
    void (*body)(void *arg, int32_t member);
    void *arg;
    int32_t owner_pid;            /* threads do not outlive a fork */
    struct kvass_member *members; /* members[n_threads - 1], allocated */
} kvass_team;

/* Create n_threads - 1 threads. Where the system gives fewer, the team is smaller: results do not
 * depend on it. NOMEM for the table of members. */
kvass_status kvass_team_open(kvass_team *team, int32_t n_threads, int32_t n_cpus, kvass_error *err);
/* End them. Accepts a team of zeros. */
void kvass_team_close(kvass_team *team);

/* Run body(arg, member) on all members, member 0 .. team->n_threads-1; 0 is the caller. Inside it a
 * BLAS product stays on the thread that calls it. In a child of fork() the caller works alone. */
void kvass_team_run(kvass_team *team, void (*body)(void *arg, int32_t member), void *arg);

/* Wait until every member has come here. What was written before is seen by all after. */
void kvass_team_barrier(kvass_team *team);

/* Member's contiguous share [*begin, *end) of n items. */
static inline void kvass_team_share(const kvass_team *team, int32_t member, int32_t n,
                                    int32_t *begin, int32_t *end)
{
    *begin = (int32_t)((int64_t)n * member / team->n_threads);
    *end = (int32_t)((int64_t)n * (member + 1) / team->n_threads);
}

#endif
