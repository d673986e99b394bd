/* budget.c - what fits a cache of a given size, in words: for the errors that say that something
 * does not.
 */
#include "engine/budget.h"

/* Positions that each of n_seqs sequences finds pages for at once, beside the prefix that they all
 * share; 0 when a window already does not fit so often. */
static int32_t positions_of_each(const kvass_context *ctx, int32_t n_seqs)
{
    int32_t n_begin = ctx->keeps_rows ? ctx->n_meta + ctx->n_prefix : 0;
    int32_t n_shared = n_begin / KV_PAGE_ROWS;
    int32_t n_open = n_begin % KV_PAGE_ROWS != 0; /* its last page, which every one copies */
    int32_t most = ctx->pool.dims.n_ctx;
    for (int32_t i = 0; i < ctx->pool.dims.n_owners; i++) {
        const kv_owner *owner = &ctx->owners[i];
        /* at most INT32_MAX / 64 pages */
        int32_t each = (owner->n_pages - n_shared - n_open) / n_seqs + n_shared;
        if (owner->policy.window > 0) {
            most = each < owner->n_entries ? 0 : most;
        } else {
            most = each * KV_PAGE_ROWS < most ? each * KV_PAGE_ROWS : most;
        }
    }
    return most > n_begin + ctx->n_meta ? most - ctx->n_meta : 0;
}

/* sequences of n_ctx positions that fit at once */
static int32_t most_sequences(const kvass_context *ctx)
{
    int32_t n = ctx->n_seqs;
    while (n > 0 && positions_of_each(ctx, n) < ctx->n_ctx) {
        n--;
    }
    return n;
}

kvass_status kvass_budget_fail_pages(const kvass_context *ctx, int64_t n_positions,
                                     kvass_error *err)
{
    size_t kept = ctx->pool.reserved + kvass_context_tail_bytes(ctx);
    if (!ctx->keeps_rows) {
        return kvass_fail(err, KVASS_BUDGET, "KV_PAGES",
                          "%lld positions do not fit the cache's %zu bytes, which hold %d; %zu "
                          "bytes hold all %d",
                          (long long)n_positions, kept, positions_of_each(ctx, 1), ctx->full_bytes,
                          ctx->n_ctx);
    }
    return kvass_fail(err, KVASS_BUDGET, "KV_PAGES",
                      "%lld more positions do not fit the cache's %zu bytes: these hold one "
                      "sequence of %d, %d of %d each, or %d of %d; %zu bytes hold all %d of %d",
                      (long long)n_positions, kept, positions_of_each(ctx, 1), ctx->n_seqs,
                      positions_of_each(ctx, ctx->n_seqs), most_sequences(ctx), ctx->n_ctx,
                      ctx->full_bytes, ctx->n_seqs, ctx->n_ctx);
}
