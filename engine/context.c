/* context.c - opening a context: memory counted, then taken once; layers bound to functions.
 * The same carving code runs twice, to count and to carve (arena.h); the page pool is address space
 * beside the arena. After kvass_context_open nothing allocates.
 */
#include "engine/context.h"

#include <stdlib.h>
#include <string.h>

#include "engine/block.h"
#include "engine/rope.h"
#include "engine/watch.h"

kvass_status kvass_context_bytes(const kvass_model *model, const kvass_context_options *opt,
                                 size_t *scratch, size_t *cache, kvass_error *err)
{
    kvass_context ctx = {0};
    kvass_context_options o;
    if (!model || !scratch || !cache) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "model, scratch and cache must be given");
    }
    kvass_status status = kvass_context_plan(&ctx, model, opt, &o, err);
    if (!status) {
        *scratch = ctx.arena.used;
        (void)kv_pool_bytes(&ctx.pool.dims, ctx.owners, kv_store_get(o.store),
                            cache); /* the plan proved it fits */
    }
    free(ctx.owners);
    return status;
}

/* what a query looks from at pinned keys once its window has left them behind */
static void bind_pinned_index(const kvass_context *ctx, kvass_block *block)
{
    block->pinned_index = -1;
    if (ctx->positions == KVASS_POSITIONS_CACHE && block->policy.window > 0 && block->rope >= 0) {
        const kvass_rope_table *rope = &ctx->ropes[block->rope];
        block->pinned_index = block->policy.n_pinned + block->policy.window - 1;
        kvass_rope_angles(&rope->spec, rope->freqs, block->pinned_index, block->pinned_cos,
                          block->pinned_sin);
    }
}

/* specs to functions, layers to pool owners and rope tables */
static kvass_status bind_blocks(kvass_context *ctx, const kvass_context_options *o,
                                kvass_error *err)
{
    int32_t n_owners = 0;
    for (int32_t i = 0; i < ctx->n_ropes; i++) {
        kvass_rope_frequencies(&ctx->ropes[i].spec, ctx->n_ctx, ctx->ropes[i].freqs);
    }
    for (int32_t l = 0; l < ctx->model->config.n_layers; l++) {
        kvass_block *block = &ctx->blocks[l];
        int32_t owner = kvass_context_owner(ctx->model, o, l);
        kvass_status status = kvass_block_bind(block, ctx, l, err);
        if (status) {
            return status;
        }
        block->policy = kvass_context_policy(ctx->model, o, l);
        block->retain = kv_retain_of(&block->policy);
        block->select =
            l < o->n_dense_layers || block->layer->spec.window > 0 ? &kv_select_all : ctx->select;
        block->writes_cache = owner == l;
        block->owner = block->writes_cache ? n_owners++ : ctx->blocks[owner].owner;
        block->k = ctx->kept[block->owner].k ? ctx->kept[block->owner].k : ctx->k;
        block->v = ctx->kept[block->owner].v ? ctx->kept[block->owner].v : ctx->v;
        for (int32_t i = 0; i < ctx->n_ropes && block->layer->spec.rope.n_rot > 0; i++) {
            if (kvass_rope_same(&block->layer->spec.rope, &ctx->ropes[i].spec)) {
                block->rope = i;
            }
        }
        bind_pinned_index(ctx, block);
    }
    return KVASS_OK;
}

/* the file for pages that leave memory, and whose they may be */
static kvass_status open_file(kvass_context *ctx, const char *path, kvass_error *err)
{
    if (!path) {
        return KVASS_OK;
    }
    kv_seq_join(&ctx->pool, &ctx->prefix);
    for (int32_t i = 0; i < ctx->n_seqs; i++) {
        kv_seq_join(&ctx->pool, &ctx->seqs[i].kv);
    }
    for (int32_t i = 0; i < ctx->n_reuse; i++) {
        kv_seq_join(&ctx->pool, &ctx->retired[i].kv);
    }
    return kv_cold_open(&ctx->pool, path, err);
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
    kvass_status status = kvass_context_plan(ctx, model, opt, &o, err);
    if (status) {
        goto fail;
    }
    size_t n_bytes = ctx->arena.used;
    if (!kvass_arena_commit(&ctx->arena)) {
        status = kvass_fail_nomem(err, n_bytes, "a context's buffers");
        goto fail;
    }
    kvass_context_carve(ctx, &ctx->arena);
    if (o.n_prefix > 0) {
        memcpy(ctx->prefix_tokens, o.prefix, (size_t)o.n_prefix * sizeof *o.prefix);
    }
    ctx->kernels = kvass_kernels_get(o.isa);
    if ((status = kvass_team_open(&ctx->team, ctx->n_threads, kvass_default_threads(), err)) ||
        (status =
             kv_pool_open(&ctx->pool, kv_store_get(o.store), &ctx->kernels, o.page_seed, err)) ||
        (status = open_file(ctx, o.offload_path, err)) || (status = bind_blocks(ctx, &o, err)) ||
        (status = kvass_context_run_prefix(ctx, err))) {
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
    kvass_watch_close(*ctx);
    kvass_team_close(&(*ctx)->team);
    kv_pool_close(&(*ctx)->pool);
    kvass_arena_release(&(*ctx)->arena);
    free((*ctx)->owners);
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
    static const char *const retain_names[] = {[KVASS_RETAIN_FULL] = "full",
                                               [KVASS_RETAIN_NONE] = "none",
                                               [KVASS_RETAIN_WINDOW] = "window"};
    *info = (kvass_context_info){
        .n_ctx = ctx->n_ctx,
        .n_batch = ctx->n_batch,
        .n_seqs = ctx->n_seqs,
        .n_logits = ctx->n_logits,
        .n_threads = ctx->n_threads,
        .isa = ctx->kernels.name,
        .retain = retain_names[ctx->retain],
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
    usage->evicted_tokens = ctx->evicted_tokens;
    usage->reused_tokens = ctx->reused_tokens;
    usage->tail_bytes = kvass_context_tail_bytes(ctx);
    for (int32_t t = 0; t < ctx->n_threads; t++) {
        usage->pages_read += ctx->scratch[t].pages_read;
    }
    if (!ctx->keeps_rows) {
        usage->bytes_per_token = 0; /* only its id is kept */
        usage->bytes_transient = ctx->transient_bytes;
    }
}
