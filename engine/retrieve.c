/* retrieve.c - a sequence's pages as the caller finds them: index, search, and the way to the file.
 */
#include <math.h>

#include "engine/context.h"

kvass_status kvass_seq_build_index(kvass_seq *seq, kvass_error *err)
{
    if (!seq || !seq->open || !seq->ctx->keeps_rows) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "an open sequence that keeps its rows is needed");
    }
    kv_pool *pool = &seq->ctx->pool;
    size_t budget = seq->ctx->kv_budget, n_bytes = kv_index_bytes(pool);
    size_t taken = pool->reserved + kvass_context_tail_bytes(seq->ctx); /* at most the budget */
    if (!pool->index && budget > 0 && n_bytes > budget - taken) {
        return kvass_fail(err, KVASS_BUDGET, "KV_BUDGET",
                          "a cache budget of %zu bytes has no room for an index: the cache takes "
                          "%zu bytes, the index %zu",
                          budget, taken, n_bytes);
    }
    kvass_status status = kv_index_open(pool, err);
    for (int32_t owner = 0; owner < pool->dims.n_owners && !status; owner++) {
        int32_t begin, end, n_pinned = kv_seq_full_pages(pool, &seq->kv, owner, &begin, &end);
        kv_index_pages(pool, &seq->kv, owner, 0, n_pinned);
        kv_index_pages(pool, &seq->kv, owner, begin, end);
        status = kv_cold_check(pool, err);
    }
    return status;
}

/* scores[n_pinned + end - begin] of pages [0, n_pinned) and [begin, end) for one KV head */
static void score(const kvass_seq *seq, int32_t owner, kv_query *query, int32_t n_pinned,
                  int32_t begin, int32_t end, kv_pick_scratch *scratch)
{
    kv_pick_scratch behind = *scratch;
    behind.scores += n_pinned;
    kv_index_score(&seq->ctx->pool, &seq->kv, owner, query, 0, n_pinned, scratch);
    kv_index_score(&seq->ctx->pool, &seq->kv, owner, query, begin, end, &behind);
}

static kvass_status check_search(const kvass_seq *seq, int32_t layer, int32_t kv_head,
                                 int32_t top_k, kvass_error *err)
{
    if (!seq->open || !seq->ctx->keeps_rows) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "an open sequence that keeps its rows is needed");
    }
    const kvass_config *c = &seq->ctx->model->config;
    if (layer < 0 || layer >= c->n_layers || kv_head < -1 || kv_head >= c->n_kv_heads ||
        top_k < 0) {
        return kvass_fail(err, KVASS_INVALID, "SEARCH",
                          "layer %d (0 to %d), KV head %d (-1 to %d) or %d pages are out of range",
                          layer, c->n_layers - 1, kv_head, c->n_kv_heads - 1, top_k);
    }
    return KVASS_OK;
}

kvass_status kvass_seq_search(const kvass_seq *seq, int32_t layer, int32_t kv_head, const float *q,
                              int32_t top_k, int32_t *pages, int32_t *n_pages, kvass_error *err)
{
    if (!seq || !q || !pages || !n_pages) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "a sequence, queries and room for pages are needed");
    }
    kvass_status status = check_search(seq, layer, kv_head, top_k, err);
    if (status) {
        return status;
    }
    kvass_context *ctx = seq->ctx;
    int32_t head_dim = ctx->model->config.head_dim, owner = ctx->blocks[layer].owner, begin, end;
    int32_t n_pinned = kv_seq_full_pages(&ctx->pool, &seq->kv, owner, &begin, &end);
    int32_t n = n_pinned + (end - begin), first = kv_head < 0 ? 0 : kv_head;
    int32_t last = kv_head < 0 ? ctx->model->config.n_kv_heads - 1 : kv_head;
    kv_pick_scratch *scratch = &ctx->scratch[0].pick;
    for (int32_t i = 0; i < n; i++) {
        scratch->any[i] = -INFINITY;
    }
    for (int32_t head = first; head <= last; head++) {
        kv_query query = {.q = q + (size_t)(head - first) * (size_t)ctx->n_group * (size_t)head_dim,
                          .n_q = ctx->n_group,
                          .kv_head = head};
        score(seq, owner, &query, n_pinned, begin, end, scratch);
        for (int32_t i = 0; i < n; i++) {
            float *best = &scratch->any[i];
            *best = scratch->scores[i] > *best ? scratch->scores[i] : *best;
        }
    }
    if ((status = kv_cold_check(&ctx->pool, err))) {
        return status;
    }
    *n_pages = top_k < n ? top_k : n;
    kv_select_best(scratch->any, n, *n_pages, scratch->best);
    kv_select_sort(scratch->any, *n_pages, scratch->best);
    for (int32_t i = 0; i < *n_pages; i++) {
        int32_t at = scratch->best[i];
        pages[i] = at < n_pinned ? at : begin + (at - n_pinned);
    }
    return KVASS_OK;
}

kvass_status kvass_seq_offload(kvass_seq *seq, kvass_error *err)
{
    if (!seq || !seq->open) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "an open sequence is needed");
    }
    if (!seq->ctx->pool.cold) {
        return kvass_fail(err, KVASS_INVALID, "OFFLOAD",
                          "the context was opened without an offload file");
    }
    if (!kv_cold_offload(&seq->ctx->pool, &seq->kv)) {
        return kv_cold_check(&seq->ctx->pool, err);
    }
    return KVASS_OK;
}
