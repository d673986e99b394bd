/* retain_full.c - every position stays: a query sees all keys up to its own. */
#include "engine/cache/kv.h"

static kv_view view(const kv_policy *policy, int32_t q_pos)
{
    (void)policy;
    return (kv_view){.n_pinned = 0, .lo = 0, .hi = q_pos + 1};
}

const kv_retain_ops kv_retain_full = {.name = "full", .view = view};
