/* retain_full.c - every position stays: a query sees all keys up to its own. */
#include "engine/cache/kv.h"

static kv_view view(const kv_policy *policy, int32_t q_pos)
{
    (void)policy;
    return (kv_view){.n_pinned = 0, .lo = 0, .hi = q_pos + 1};
}

static int32_t most_rows(const kv_policy *policy, int32_t n_ctx, int32_t n_batch)
{
    (void)n_batch;
    return n_ctx - policy->n_pinned;
}

static int32_t lowest_query(const kv_policy *policy, int32_t oldest)
{
    (void)policy;
    return oldest;
}

const kv_retain_ops kv_retain_full = {
    .name = "full", .view = view, .most_rows = most_rows, .lowest_query = lowest_query};
