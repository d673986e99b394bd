/* team.h - the threads of one forward.
 * A forward runs inside one OpenMP team; every member executes the whole layer loop and takes its
 * share of each operation. Work is split over output rows, heads or fixed tiles, never so that a
 * sum depends on the number of threads. Between operations stands kvass_team_barrier(): a bounded
 * spin, then yielding, because libgomp's own barrier loses milliseconds when another process is
 * busy.
 */
#ifndef KVASS_ENGINE_TEAM_H
#define KVASS_ENGINE_TEAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct kvass_team {
    int32_t n_threads;  /* members of the running team */
    int32_t n_cpus;     /* CPUs they have, 0 = enough; with fewer than members spinning is waste */
    atomic_int arrived; /* members waiting at the barrier */
    atomic_int round;   /* barriers passed */
} kvass_team;

/* Run body(arg, member) on `n_threads` threads, member 0 .. team->n_threads-1. Inside it a BLAS
 * product stays on the thread that calls it, for a team of one, too. */
void kvass_team_run(kvass_team *team, int32_t n_threads, void (*body)(void *arg, int32_t member),
                    void *arg);

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
