/* retain_window.c - the pinned positions and the newest `window` ones, the query's own included.
 * Inclusive count: a window of W sees W keys, as in transformers' masks (kv > q - W). While a chunk
 * of C rows is worked on W + C - 1 rows are held, because its first row still sees W - 1 older
 * ones.
 */
#include "engine/cache/kv.h"

static kv_view view(const kv_policy *policy, int32_t q_pos)
{
    int32_t lo = q_pos - policy->window + 1;
    if (lo <= policy->n_pinned) {
        return (kv_view){.n_pinned = 0, .lo = 0, .hi = q_pos + 1}; /* nothing is missing yet */
    }
    return (kv_view){.n_pinned = policy->n_pinned, .lo = lo, .hi = q_pos + 1};
}

static int32_t most_rows(const kv_policy *policy, int32_t n_ctx, int32_t n_batch)
{
    int64_t n = (int64_t)policy->window + n_batch - 1;
    int64_t all = (int64_t)n_ctx - policy->n_pinned;
    return (int32_t)(n < all ? n : all);
}

static int32_t lowest_query(const kv_policy *policy, int32_t oldest)
{
    return oldest + policy->window - 1;
}

const kv_retain_ops kv_retain_window = {
    .name = "window", .view = view, .most_rows = most_rows, .lowest_query = lowest_query};
