/* context.c - opening a context: options checked, memory counted, then taken once.
 * The same carving code runs twice, to count and to carve (arena.h); the page pool is address space
 * beside the arena. After kvass_context_open nothing allocates.
 */
#include "engine/context.h"

#include <stdlib.h>

#include "engine/attention.h"
#include "engine/base/options.h"
#include "engine/block.h"
#include "engine/linear.h"
#include "engine/rope.h"

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
    int32_t max_ctx = c->position == KVASS_POSITION_LEARNED ? c->n_ctx : MAX_CTX;
    if ((status = check_range("n_ctx", o->n_ctx, 1, max_ctx, err)) ||
        (status = check_range("n_batch", o->n_batch, 1, MAX_BATCH, err)) ||
        (status = check_range("n_seqs", o->n_seqs, 1, MAX_SEQS, err)) ||
        (status = check_range("n_logits", o->n_logits, 1, MAX_CTX, err)) ||
        (status = check_range("n_threads", o->n_threads, 1, MAX_THREADS, err))) {
        return status;
    }
    /* rows of one call are at most n_seqs * n_ctx, so a wider chunk is never filled */
    int64_t most_rows = (int64_t)o->n_seqs * o->n_ctx;
    if (o->n_batch > most_rows) {
        o->n_batch = (int32_t)most_rows;
    }
    if (!kv_retain_get(o->retain) || !kv_store_get(o->store) || !kv_select_get(o->select)) {
        return kvass_fail(err, KVASS_INVALID, "CACHE_CHOICE",
                          "retain %d, store %d, select %d: no such cache", (int)o->retain,
                          (int)o->store, (int)o->select);
    }
    return KVASS_OK;
}

/* the pool's dimensions; fewer pages when a budget says so */
static kvass_status plan_pool(const kvass_model *model, const kvass_context_options *o,
                              kv_dims *dims, kvass_error *err)
{
    const kvass_config *c = &model->config;
    *dims = (kv_dims){.n_kv_heads = c->n_kv_heads, .head_dim = c->head_dim, .n_ctx = o->n_ctx};
    for (int32_t l = 0; l < c->n_layers; l++) {
        dims->n_owners += model->layers[l].spec.owner == l;
    }
    int64_t n_pages = kv_max_pages(dims);
    n_pages *= o->retain == KVASS_RETAIN_NONE ? 1 : o->n_seqs;
    dims->n_pages = 1;
    size_t one_page;
    if (n_pages > INT32_MAX / 64 || !kv_pool_bytes(dims, kv_store_get(o->store), &one_page)) {
        return kvass_fail(err, KVASS_INVALID, "CACHE_SIZE",
                          "%d sequences of %d positions: too many pages", o->n_seqs, o->n_ctx);
    }
    if (o->kv_budget > 0 && o->kv_budget / one_page < (size_t)n_pages) {
        n_pages = (int64_t)(o->kv_budget / one_page);
    }
    if (n_pages < 1) {
        return kvass_fail(err, KVASS_BUDGET, "KV_BUDGET",
                          "a cache budget of %zu bytes holds no page: %d positions take %zu bytes",
                          o->kv_budget, KV_PAGE_ROWS, one_page);
    }
    dims->n_pages = (int32_t)n_pages;
    return KVASS_OK;
}

static float *take_floats(kvass_arena *arena, int32_t rows, int32_t columns)
{
    return kvass_arena_take(arena, (size_t)rows, (size_t)columns * sizeof(float));
}

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static size_t widened_floats(const kvass_model *model)
{
    size_t most = kvass_linear_scratch(&model->lm_head.w);
    for (int32_t l = 0; l < model->config.n_layers; l++) {
        const kvass_layer *y = &model->layers[l];
        const kvass_linear *all[] = {&y->wq,   &y->wk,     &y->wv,    &y->wo,
                                     &y->w_up, &y->w_gate, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            size_t n = all[i]->w.n_out > 0 ? kvass_linear_scratch(&all[i]->w) : 0;
            most = n > most ? n : most;
        }
    }
    return most;
}

static void carve_thread(kvass_context *ctx, kvass_thread_scratch *s, kvass_arena *arena)
{
    int32_t head_dim = ctx->model->config.head_dim, n_group = ctx->n_group;
    size_t n_spans = (size_t)kv_max_pages(&ctx->pool.dims) + 1;
    kvass_thread_scratch carved = {
        .widened = kvass_arena_take(arena, widened_floats(ctx->model), sizeof(float)),
        .spans = kvass_arena_take(arena, n_spans, sizeof(kv_span)),
        .picked = kvass_arena_take(arena, n_spans, sizeof(kv_span)),
        .scores = take_floats(arena, max_of(n_group, KVASS_PREFILL_ROWS), KVASS_SEGMENT_ROWS),
        .keys = take_floats(arena, KVASS_SEGMENT_ROWS, head_dim),
        .values = take_floats(arena, KVASS_SEGMENT_ROWS, head_dim),
        .out = take_floats(arena, n_group * KVASS_PREFILL_ROWS, head_dim),
        .part = take_floats(arena, max_of(n_group, KVASS_PREFILL_ROWS), head_dim),
        .max = take_floats(arena, n_group + 1, KVASS_PREFILL_ROWS),
        .sum = take_floats(arena, n_group + 1, KVASS_PREFILL_ROWS),
    };
    if (s) {
        *s = carved;
    }
}

static void carve_seqs(kvass_context *ctx, kvass_arena *arena)
{
    int32_t n_vocab = ctx->model->config.n_vocab;
    ctx->seqs = kvass_arena_take(arena, (size_t)ctx->n_seqs, sizeof *ctx->seqs);
    for (int32_t i = 0; i < ctx->n_seqs; i++) {
        kvass_seq seq = {.ctx = ctx};
        seq.tokens = kvass_arena_take(arena, (size_t)ctx->n_ctx, sizeof *seq.tokens);
        seq.logits = take_floats(arena, 1, n_vocab);
        if (ctx->keeps_rows) {
            kv_seq_carve(&seq.kv, &ctx->pool.dims, arena);
        }
        if (ctx->seqs) {
            ctx->seqs[i] = seq;
        }
    }
    if (!ctx->keeps_rows) {
        kv_seq_carve(&ctx->transient, &ctx->pool.dims, arena);
    }
    size_t n_seqs = (size_t)ctx->n_seqs;
    ctx->call_runs = kvass_arena_take(arena, n_seqs, sizeof *ctx->call_runs);
    ctx->call_kv = kvass_arena_take(arena, n_seqs, sizeof *ctx->call_kv);
    ctx->call_counts = kvass_arena_take(arena, n_seqs, sizeof *ctx->call_counts);
}

static void carve_ropes(kvass_context *ctx, kvass_arena *arena)
{
    size_t n_layers = (size_t)ctx->model->config.n_layers;
    ctx->ropes = kvass_arena_take(arena, n_layers, sizeof *ctx->ropes);
    ctx->n_ropes = 0;
    for (size_t l = 0; l < n_layers; l++) {
        const kvass_rope_spec *spec = &ctx->model->layers[l].spec.rope;
        bool known = spec->n_rot == 0;
        for (size_t earlier = 0; earlier < l && !known; earlier++) {
            known = kvass_rope_same(spec, &ctx->model->layers[earlier].spec.rope);
        }
        if (known) {
            continue;
        }
        int32_t n_pairs = spec->n_rot / 2;
        kvass_rope_table table = {.spec = *spec};
        table.freqs = kvass_arena_take(arena, (size_t)n_pairs, sizeof *table.freqs);
        table.cos = take_floats(arena, ctx->n_batch, n_pairs);
        table.sin = take_floats(arena, ctx->n_batch, n_pairs);
        if (ctx->ropes) {
            ctx->ropes[ctx->n_ropes] = table;
        }
        ctx->n_ropes++;
    }
}

static void carve_rows(kvass_context *ctx, kvass_arena *arena)
{
    const kvass_config *c = &ctx->model->config;
    int32_t n = ctx->n_batch;
    size_t rows = (size_t)n;
    ctx->runs = kvass_arena_take(arena, rows, sizeof *ctx->runs);
    ctx->run_of_row = kvass_arena_take(arena, rows, sizeof *ctx->run_of_row);
    ctx->tokens = kvass_arena_take(arena, rows, sizeof *ctx->tokens);
    ctx->pos = kvass_arena_take(arena, rows, sizeof *ctx->pos);
    ctx->wanted = kvass_arena_take(arena, rows, sizeof *ctx->wanted);
    ctx->x = take_floats(arena, n, c->dim);
    ctx->xn = take_floats(arena, n, c->dim);
    ctx->y = take_floats(arena, n, c->dim);
    ctx->q = take_floats(arena, n, kvass_q_dim(c));
    ctx->ao = take_floats(arena, n, kvass_q_dim(c));
    ctx->k = take_floats(arena, n, kvass_kv_dim(c));
    ctx->v = take_floats(arena, n, kvass_kv_dim(c));
    ctx->h = take_floats(arena, n, c->ffn_dim);
    ctx->h_gate = take_floats(arena, n, c->ffn_dim);
    /* a lone wanted row goes straight into its sequence */
    ctx->logits = ctx->n_logits > 1 ? take_floats(arena, ctx->n_logits, c->n_vocab) : NULL;
    size_t split = (size_t)kvass_attn_split_items(ctx->n_threads) * (size_t)ctx->n_segments;
    ctx->partials = kvass_arena_take(
        arena, split, kvass_attn_partial_floats(ctx->n_group, c->head_dim) * sizeof(float));
}

static void carve(kvass_context *ctx, kvass_arena *arena)
{
    kv_dims dims = ctx->pool.dims;
    kv_pool_carve(&ctx->pool, &dims, arena);
    ctx->blocks = kvass_arena_take(arena, (size_t)ctx->model->config.n_layers, sizeof *ctx->blocks);
    carve_seqs(ctx, arena);
    carve_ropes(ctx, arena);
    carve_rows(ctx, arena);
    ctx->scratch = kvass_arena_take(arena, (size_t)ctx->n_threads, sizeof *ctx->scratch);
    for (int32_t t = 0; t < ctx->n_threads; t++) {
        carve_thread(ctx, ctx->scratch ? &ctx->scratch[t] : NULL, arena);
    }
}

/* everything that is known before memory is taken */
static kvass_status plan(kvass_context *ctx, const kvass_model *model,
                         const kvass_context_options *given, kvass_context_options *o,
                         kvass_error *err)
{
    kvass_status status;
    if ((status = resolve_options(model, given, o, err)) ||
        (status = plan_pool(model, o, &ctx->pool.dims, err))) {
        return status;
    }
    ctx->model = model;
    ctx->retain = kv_retain_get(o->retain);
    ctx->select = kv_select_get(o->select);
    ctx->keeps_rows = o->retain != KVASS_RETAIN_NONE;
    ctx->deterministic = o->deterministic;
    ctx->n_ctx = o->n_ctx;
    ctx->n_batch = o->n_batch;
    ctx->n_seqs = o->n_seqs;
    ctx->n_logits = o->n_logits;
    ctx->n_threads = o->n_threads;
    ctx->n_group = model->config.n_heads / model->config.n_kv_heads;
    ctx->n_segments = (o->n_ctx + KVASS_SEGMENT_ROWS - 1) / KVASS_SEGMENT_ROWS;
    ctx->arena = (kvass_arena){0};
    carve(ctx, &ctx->arena);
    if (ctx->arena.overflow) {
        return kvass_fail(err, KVASS_INVALID, "CONTEXT_SIZE", "the context's size overflows");
    }
    return KVASS_OK;
}

kvass_status kvass_context_bytes(const kvass_model *model, const kvass_context_options *opt,
                                 size_t *scratch, size_t *cache, kvass_error *err)
{
    kvass_context ctx = {0};
    kvass_context_options o;
    if (!model || !scratch || !cache) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "model, scratch and cache must be given");
    }
    kvass_status status = plan(&ctx, model, opt, &o, err);
    if (status) {
        return status;
    }
    *scratch = ctx.arena.used;
    (void)kv_pool_bytes(&ctx.pool.dims, kv_store_get(o.store),
                        cache); /* plan_pool proved it fits */
    return KVASS_OK;
}

/* specs to functions, layers to pool owners and rope tables */
static kvass_status bind_blocks(kvass_context *ctx, kvass_error *err)
{
    int32_t n_owners = 0;
    for (int32_t i = 0; i < ctx->n_ropes; i++) {
        kvass_rope_frequencies(&ctx->ropes[i].spec, ctx->ropes[i].freqs);
    }
    for (int32_t l = 0; l < ctx->model->config.n_layers; l++) {
        kvass_block *block = &ctx->blocks[l];
        kvass_status status = kvass_block_bind(block, ctx, l, err);
        if (status) {
            return status;
        }
        block->owner =
            block->writes_cache ? n_owners++ : ctx->blocks[block->layer->spec.owner].owner;
        for (int32_t i = 0; i < ctx->n_ropes && block->layer->spec.rope.n_rot > 0; i++) {
            if (kvass_rope_same(&block->layer->spec.rope, &ctx->ropes[i].spec)) {
                block->rope = i;
            }
        }
    }
    return KVASS_OK;
}

kvass_status kvass_context_open(kvass_context **out, const kvass_model *model,
                                const kvass_context_options *opt, kvass_error *err)
{
    kvass_context_options o;
    if (!out) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "out must be given");
    }
    *out = NULL;
    if (!model || model->header_only) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "a model with its weights must be given");
    }
    kvass_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) {
        return kvass_fail_nomem(err, sizeof *ctx, "a context");
    }
    kvass_status status = plan(ctx, model, opt, &o, err);
    if (status) {
        goto fail;
    }
    size_t n_bytes = ctx->arena.used;
    if (!kvass_arena_commit(&ctx->arena)) {
        status = kvass_fail_nomem(err, n_bytes, "a context's buffers");
        goto fail;
    }
    carve(ctx, &ctx->arena);
    ctx->kernels = kvass_kernels_get(o.isa);
    ctx->team.n_cpus = kvass_default_threads();
    if ((status =
             kv_pool_open(&ctx->pool, kv_store_get(o.store), &ctx->kernels, o.page_seed, err)) ||
        (status = bind_blocks(ctx, err))) {
        goto fail;
    }
    *out = ctx;
    return KVASS_OK;
fail:
    kvass_context_close(&ctx);
    return status;
}

void kvass_context_close(kvass_context **ctx)
{
    if (!ctx || !*ctx) {
        return;
    }
    kv_pool_close(&(*ctx)->pool);
    kvass_arena_release(&(*ctx)->arena);
    free(*ctx);
    *ctx = NULL;
}

void kvass_context_set_cancel(kvass_context *ctx, bool (*cancel)(void *user), void *user)
{
    ctx->cancel = cancel;
    ctx->cancel_user = user;
}

void kvass_context_get_info(const kvass_context *ctx, kvass_context_info *info)
{
    *info = (kvass_context_info){
        .n_ctx = ctx->n_ctx,
        .n_batch = ctx->n_batch,
        .n_seqs = ctx->n_seqs,
        .n_logits = ctx->n_logits,
        .n_threads = ctx->n_threads,
        .isa = ctx->kernels.name,
        .retain = ctx->keeps_rows ? ctx->retain->name : "none",
        .store = ctx->pool.store->name,
        .select = ctx->select->name,
        .deterministic = ctx->deterministic,
        .scratch_bytes = ctx->arena.size,
    };
}

void kvass_context_get_usage(const kvass_context *ctx, kvass_cache_usage *usage)
{
    kv_pool_get_usage(&ctx->pool, usage);
    usage->recomputed_tokens = ctx->recomputed_tokens;
    if (!ctx->keeps_rows) {
        usage->bytes_per_token = 0; /* only its id is kept */
        usage->bytes_transient = ctx->transient_bytes;
    }
}
