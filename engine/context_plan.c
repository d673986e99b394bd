/* context_plan.c - from options to what each layer keeps, before any memory is taken.
 * The network proposes a window and an owner for each layer; the options may narrow the window and
 * pair layers up. Everything that does not fit together is refused here, with the layer named.
 */
#include <stdlib.h>

#include "engine/base/options.h"
#include "engine/context.h"
#include "engine/reuse.h"

enum { DEFAULT_TOPK = 16 };
enum { MAX_CTX = 1 << 24, MAX_BATCH = 1 << 16, MAX_SEQS = 1 << 12, MAX_THREADS = 1 << 10 };

kvass_context_options kvass_context_options_default(void)
{
    return (kvass_context_options){
        .struct_size = sizeof(kvass_context_options),
        .n_batch = 512,
        .n_seqs = 1,
        .retain = KVASS_RETAIN_FULL,
        .store = KVASS_STORE_F16,
        .select = KVASS_SELECT_ALL,
        .isa = ~0u,
    };
}

static kvass_status check_range(const char *name, int32_t value, int32_t lo, int32_t hi,
                                kvass_error *err)
{
    if (value < lo || value > hi) {
        return kvass_fail(err, KVASS_INVALID, "CONTEXT_OPTION", "%s is %d, expected %d to %d", name,
                          value, lo, hi);
    }
    return KVASS_OK;
}

static kvass_status check_prefix(const kvass_model *model, const kvass_context_options *o,
                                 kvass_error *err)
{
    int32_t n_vocab = model->config.n_vocab;
    if (o->n_prefix > 0 && !o->prefix) {
        return kvass_fail(err, KVASS_INVALID, "PREFIX", "n_prefix is %d, prefix is NULL",
                          o->n_prefix);
    }
    for (int32_t i = 0; i < o->n_prefix; i++) {
        if (o->prefix[i] < 0 || o->prefix[i] >= n_vocab) {
            return kvass_fail(err, KVASS_INVALID, "TOKEN_RANGE",
                              "prefix[%d]: token id %d, expected 0 to %d", i, o->prefix[i],
                              n_vocab - 1);
        }
    }
    return KVASS_OK;
}

/* which pages are read */
static kvass_status check_select(const kvass_context_options *o, kvass_error *err)
{
    bool topk = o->select == KVASS_SELECT_TOPK;
    kvass_status status;
    if (topk && o->retain == KVASS_RETAIN_NONE) {
        return kvass_fail(err, KVASS_INVALID, "SELECT",
                          "select topk chooses among pages that are kept; retain none keeps none");
    }
    if (o->offload_path && o->retain == KVASS_RETAIN_NONE) {
        return kvass_fail(err, KVASS_INVALID, "OFFLOAD",
                          "pages go to an offload file when they are kept; retain none keeps none");
    }
    if ((status = check_range("n_topk", o->n_topk, 0, topk ? MAX_CTX : 0, err)) ||
        (status = check_range("n_dense_layers", o->n_dense_layers, 0, topk ? INT32_MAX : 0, err))) {
        return status;
    }
    return check_range("n_recent", o->n_recent, 0, topk || o->offload_path ? MAX_CTX : 0, err);
}

/* the cache's choices, one by one and together */
static kvass_status check_cache(const kvass_model *model, const kvass_context_options *o,
                                kvass_error *err)
{
    kvass_status status;
    bool window = o->retain == KVASS_RETAIN_WINDOW;
    if ((int)o->retain < 0 || o->retain > KVASS_RETAIN_WINDOW || !kv_store_get(o->store) ||
        !kv_select_get(o->select) || (int)o->positions < 0 ||
        o->positions > KVASS_POSITIONS_CACHE || (int)o->share < 0 || o->share > KVASS_SHARE_PAIRS) {
        return kvass_fail(err, KVASS_INVALID, "CACHE_CHOICE",
                          "retain %d, store %d, select %d, positions %d, share %d: no such cache",
                          (int)o->retain, (int)o->store, (int)o->select, (int)o->positions,
                          (int)o->share);
    }
    if ((status = check_range("window", o->window, window, window ? MAX_CTX : 0, err)) ||
        (status = check_range("n_sinks", o->n_sinks, 0, window ? o->n_ctx : 0, err)) ||
        (status = check_range("n_prefix", o->n_prefix, 0, o->n_ctx, err)) ||
        (status = check_prefix(model, o, err)) || (status = check_select(o, err))) {
        return status;
    }
    if (o->positions == KVASS_POSITIONS_CACHE && model->config.position != KVASS_POSITION_ROPE) {
        return kvass_fail(
            err, KVASS_UNSUPPORTED, "POSITIONS",
            "positions in the cache need rotary positions; this network's cannot be placed "
            "anew");
    }
    if (o->positions == KVASS_POSITIONS_CACHE && !window) {
        return kvass_fail(err, KVASS_INVALID, "POSITIONS",
                          "positions in the cache need a window: nothing else leaves gaps");
    }
    return KVASS_OK;
}

/* defaults filled in, every number checked */
static kvass_status resolve_options(const kvass_model *model, const kvass_context_options *given,
                                    kvass_context_options *o, kvass_error *err)
{
    const kvass_config *c = &model->config;
    kvass_status status;
    *o = kvass_context_options_default();
    if ((status = kvass_options_take(o, sizeof *o, given, "kvass_context_options", err))) {
        return status;
    }
    o->n_ctx = o->n_ctx == 0 ? c->n_ctx : o->n_ctx;
    o->n_logits = o->n_logits == 0 ? o->n_seqs : o->n_logits;
    o->n_threads = o->n_threads == 0 ? kvass_default_threads() : o->n_threads;
    bool bound = c->ctx_bound || c->position == KVASS_POSITION_LEARNED;
    int32_t max_ctx = bound ? c->n_ctx : MAX_CTX;
    if ((status = check_range("n_ctx", o->n_ctx, 1, max_ctx, err)) ||
        (status = check_range("n_batch", o->n_batch, 1, MAX_BATCH, err)) ||
        (status = check_range("n_seqs", o->n_seqs, 1, MAX_SEQS, err)) ||
        (status = check_range("n_reuse", o->n_reuse, 0, MAX_SEQS, err)) ||
        (status = check_range("n_logits", o->n_logits, 1, MAX_CTX, err)) ||
        (status = check_range("n_threads", o->n_threads, 1, MAX_THREADS, err))) {
        return status;
    }
    /* rows of one call are at most n_seqs * n_ctx, so a wider chunk is never filled */
    int64_t most_rows = (int64_t)o->n_seqs * o->n_ctx;
    if (o->n_batch > most_rows) {
        o->n_batch = (int32_t)most_rows;
    }
    return check_cache(model, o, err);
}

int32_t kvass_context_owner(const kvass_model *model, const kvass_context_options *o, int32_t l)
{
    if (o->share == KVASS_SHARE_PAIRS) {
        l -= l % 2;
    }
    return model->layers[l].spec.owner;
}

kv_policy kvass_context_policy(const kvass_model *model, const kvass_context_options *o, int32_t l)
{
    kv_policy policy = {.n_pinned = model->config.n_meta + o->n_prefix,
                        .window = model->layers[l].spec.window};
    bool narrower = policy.window == 0 || o->window < policy.window;
    if (o->retain == KVASS_RETAIN_WINDOW && narrower) {
        policy.window = o->window;
        if (o->n_sinks > o->n_prefix) {
            policy.n_pinned = model->config.n_meta + o->n_sinks;
        }
    }
    return policy;
}

/* a layer that reads another's rows must not look for what that one has let go */
static kvass_status check_sharing(const kvass_model *model, const kvass_context_options *o,
                                  kvass_error *err)
{
    for (int32_t l = 0; l < model->config.n_layers; l++) {
        int32_t owner = kvass_context_owner(model, o, l);
        kv_policy own = kvass_context_policy(model, o, l);
        kv_policy theirs = kvass_context_policy(model, o, owner);
        if (theirs.window > 0 &&
            (own.window == 0 || own.window > theirs.window || own.n_pinned > theirs.n_pinned)) {
            return kvass_fail(
                err, KVASS_INVALID, "SHARED_WINDOW",
                "layer %d sees %d keys (0 = all) but reads the rows of layer %d, which keeps "
                "%d",
                l, own.window, owner, theirs.window);
        }
    }
    return KVASS_OK;
}

size_t kvass_context_tail_bytes(const kvass_context *ctx)
{
    /* each open sequence, each closed one that is remembered, and a prefix; or the one at work */
    bool has_prefix = ctx->n_meta + ctx->n_prefix > 0;
    size_t n = ctx->keeps_rows ? (size_t)ctx->n_seqs + (size_t)ctx->n_reuse + has_prefix : 1;
    return n * kv_tail_bytes(&ctx->pool.dims);
}

/* Pages of an owner layer that must be in memory together: of every sequence the pinned and recent
 * ones, those that it has open or copies, and the rows of one chunk. */
static int32_t least_frames(const kvass_context *ctx, const kvass_context_options *o,
                            const kv_owner *owner)
{
    enum { OPEN_PAGES = 4 };
    const kv_dims *dims = &ctx->pool.dims;
    int64_t n_pinned = kv_pages_for(owner->policy.n_pinned);
    int64_t n_seqs = (int64_t)o->n_seqs + o->n_reuse;
    int64_t n = n_seqs * (n_pinned + kv_pages_for(dims->n_recent) + OPEN_PAGES) + n_pinned +
                kv_pages_for(dims->n_batch);
    return n < owner->n_pages && owner->policy.window == 0 ? (int32_t)n : owner->n_pages;
}

/* With an offload file every page has a number, and those of layers without a window as many places
 * in memory as the budget leaves beside the index and the readers' slots. */
static kvass_status fit_offload(kvass_context *ctx, const kvass_context_options *o, size_t page,
                                size_t total, size_t tails, kvass_error *err)
{
    const kv_dims *dims = &ctx->pool.dims;
    size_t least = total + tails;
    int64_t n_full = 0;
    for (int32_t i = 0; i < dims->n_owners; i++) {
        const kv_owner *owner = &ctx->owners[i];
        least -= (size_t)(owner->n_pages - least_frames(ctx, o, owner)) * page;
        n_full += owner->policy.window == 0;
    }
    if (o->kv_budget < least) {
        return kvass_fail(err, KVASS_BUDGET, "KV_BUDGET",
                          "a cache budget of %zu bytes is too small: %zu bytes hold what must stay "
                          "in memory beside the offload file, %zu bytes hold everything",
                          o->kv_budget, least, total + tails);
    }
    int64_t more = n_full > 0 ? (int64_t)((o->kv_budget - least) / page) / n_full : 0;
    for (int32_t i = 0; i < dims->n_owners; i++) {
        kv_owner *owner = &ctx->owners[i];
        int64_t n = least_frames(ctx, o, owner) + more;
        owner->n_away = n < owner->n_pages ? owner->n_pages - (int32_t)n : 0;
    }
    return KVASS_OK;
}

/* As many pages as the budget pays for: layers with a window first get what one sequence needs. */
static kvass_status fit_budget(kvass_context *ctx, const kvass_context_options *o, kvass_error *err)
{
    kv_dims *dims = &ctx->pool.dims;
    size_t total, page = kv_store_get(o->store)->key.page_bytes(dims->head_dim) +
                         kv_store_get(o->store)->value.page_bytes(dims->head_dim);
    page *= (size_t)dims->n_kv_heads;
    (void)kv_pool_bytes(dims, ctx->owners, kv_store_get(o->store), &total); /* plan_pool: it fits */
    size_t tails = kvass_context_tail_bytes(ctx);
    if (o->kv_budget == 0 || (total <= o->kv_budget && tails <= o->kv_budget - total)) {
        return KVASS_OK;
    }
    if (o->offload_path) {
        return fit_offload(ctx, o, page, total, tails, err);
    }
    page += dims->indexed ? kv_index_page_bytes(dims) : 0;
    size_t budget = o->kv_budget > tails ? o->kv_budget - tails : 0;
    int64_t left = (int64_t)(budget / page), n_full = 0, least = 0;
    /* beside the pages of what every sequence begins with, of which it copies the last */
    int32_t n_begin = ctx->keeps_rows ? ctx->n_meta + o->n_prefix : 0;
    int32_t n_open = n_begin % KV_PAGE_ROWS != 0, least_full = kv_pages_for(n_begin) + 1;
    for (int32_t i = 0; i < dims->n_owners; i++) {
        kv_owner *owner = &ctx->owners[i];
        bool full = owner->policy.window == 0;
        int32_t scaled = (int32_t)((double)owner->n_pages * (double)budget / (double)total);
        int32_t window = owner->n_entries + n_open;
        owner->n_pages = full || scaled < window ? window : scaled;
        left -= full ? 0 : owner->n_pages;
        least += full ? least_full : window;
        n_full += full;
    }
    if (left < n_full * least_full) {
        return kvass_fail(
            err, KVASS_BUDGET, "KV_BUDGET",
            "a cache budget of %zu bytes is too small: %zu bytes hold one sequence's windows and "
            "%d positions of every other layer, %zu bytes hold all %d sequences of %d",
            o->kv_budget, (size_t)least * page + tails,
            (least_full - n_open) * KV_PAGE_ROWS - ctx->n_meta, total + tails, o->n_seqs, o->n_ctx);
    }
    for (int32_t i = 0; n_full > 0 && i < dims->n_owners; i++) {
        if (ctx->owners[i].policy.window == 0) {
            ctx->owners[i].n_pages = (int32_t)(left / n_full);
        }
    }
    return KVASS_OK;
}

/* whether another layer reads layer l's rows */
static bool is_shared(const kvass_model *model, const kvass_context_options *o, int32_t l)
{
    bool shared = false;
    for (int32_t reader = l + 1; reader < model->config.n_layers; reader++) {
        shared = shared || kvass_context_owner(model, o, reader) == l;
    }
    return shared;
}

/* the pool: which layers own rows, and pages for every sequence and the prefix they share */
static kvass_status plan_pool(kvass_context *ctx, const kvass_context_options *o, kvass_error *err)
{
    const kvass_config *c = &ctx->model->config;
    kv_dims *dims = &ctx->pool.dims;
    *dims = (kv_dims){.n_kv_heads = c->n_kv_heads,
                      .head_dim = c->head_dim,
                      .n_ctx = c->n_meta + o->n_ctx,
                      .n_batch = o->n_batch,
                      .has_tail = kv_store_get(o->store)->has_tail,
                      .exact_bounds = kv_store_get(o->store)->exact_bounds,
                      .indexed = o->select == KVASS_SELECT_TOPK,
                      .n_readers = o->offload_path ? o->n_threads : 0,
                      .n_recent = o->n_recent};
    ctx->owners = calloc((size_t)c->n_layers, sizeof *ctx->owners);
    if (!ctx->owners) {
        return kvass_fail_nomem(err, (size_t)c->n_layers * sizeof *ctx->owners, "layer plans");
    }
    int64_t n_seqs = ctx->keeps_rows ? o->n_seqs + o->n_reuse : 1;
    for (int32_t l = 0; l < c->n_layers; l++) {
        if (kvass_context_owner(ctx->model, o, l) != l) {
            continue;
        }
        kv_owner *owner = &ctx->owners[dims->n_owners++];
        kv_owner_plan(owner, dims, kvass_context_policy(ctx->model, o, l));
        owner->shared = is_shared(ctx->model, o, l);
        int64_t n_pages = n_seqs * owner->n_entries;
        n_pages += ctx->keeps_rows ? kv_pages_for(c->n_meta + o->n_prefix) : 0;
        if (n_pages > INT32_MAX / 64) {
            return kvass_fail(err, KVASS_INVALID, "CACHE_SIZE",
                              "%d sequences of %d positions: too many pages", o->n_seqs, o->n_ctx);
        }
        owner->n_pages = (int32_t)n_pages;
    }
    size_t total;
    if (!kv_pool_bytes(dims, ctx->owners, kv_store_get(o->store), &total)) {
        return kvass_fail(err, KVASS_INVALID, "CACHE_SIZE", "the cache's size overflows");
    }
    ctx->full_bytes = total + kvass_context_tail_bytes(ctx);
    return fit_budget(ctx, o, err);
}

/* segments that the widest view of any layer touches */
static int32_t most_segments(const kvass_context *ctx)
{
    int32_t most = 0;
    for (int32_t i = 0; i < ctx->pool.dims.n_owners; i++) {
        const kv_owner *owner = &ctx->owners[i];
        int32_t n_rows = owner->policy.window > 0 && owner->policy.window < ctx->pool.dims.n_ctx
                             ? owner->policy.window
                             : ctx->pool.dims.n_ctx;
        int32_t n =
            n_rows / KVASS_SEGMENT_ROWS + 2 + owner->policy.n_pinned / KVASS_SEGMENT_ROWS + 1;
        most = n > most ? n : most;
    }
    return most;
}

kvass_status kvass_context_plan(kvass_context *ctx, const kvass_model *model,
                                const kvass_context_options *given, kvass_context_options *o,
                                kvass_error *err)
{
    kvass_status status;
    if ((status = resolve_options(model, given, o, err)) ||
        (status = check_sharing(model, o, err))) {
        return status;
    }
    ctx->model = model;
    ctx->retain = o->retain;
    ctx->positions = o->positions;
    ctx->select = kv_select_get(o->select);
    ctx->n_topk = o->n_topk > 0 ? o->n_topk : DEFAULT_TOPK;
    ctx->n_recent = o->n_recent;
    ctx->kv_budget = o->kv_budget;
    ctx->keeps_rows = o->retain != KVASS_RETAIN_NONE;
    ctx->deterministic = o->deterministic;
    ctx->n_ctx = o->n_ctx;
    ctx->n_batch = o->n_batch;
    ctx->n_seqs = o->n_seqs;
    ctx->n_reuse = ctx->keeps_rows ? o->n_reuse : 0;
    ctx->reuse_hash = kvass_reuse_hash;
    ctx->n_logits = o->n_logits;
    ctx->n_threads = o->n_threads;
    ctx->n_meta = model->config.n_meta;
    ctx->n_prefix = o->n_prefix;
    ctx->n_group = model->config.n_heads / model->config.n_kv_heads;
    if ((status = plan_pool(ctx, o, err))) {
        return status;
    }
    ctx->n_segments = most_segments(ctx);
    ctx->arena = (kvass_arena){0};
    kvass_context_carve(ctx, &ctx->arena);
    if (ctx->arena.overflow) {
        return kvass_fail(err, KVASS_INVALID, "CONTEXT_SIZE", "the context's size overflows");
    }
    return KVASS_OK;
}
