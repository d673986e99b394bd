/* context_carve.c - what a context's arena holds; run once to count and once to carve (arena.h). */
#include "engine/attention.h"
#include "engine/context.h"
#include "engine/linear.h"
#include "engine/reuse.h"
#include "engine/rope.h"

static float *take_floats(kvass_arena *arena, int32_t rows, int32_t columns)
{
    return kvass_arena_take(arena, (size_t)rows, (size_t)columns * sizeof(float));
}

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* the most that any weight matrix needs */
static size_t most_of(const kvass_model *model, size_t (*needs)(const kvass_weight *w))
{
    size_t most = needs(&model->lm_head.w);
    for (int32_t l = 0; l < model->config.n_layers; l++) {
        const kvass_layer *y = &model->layers[l];
        const kvass_linear *all[] = {&y->wq,   &y->wk,     &y->wv,    &y->wo,
                                     &y->w_up, &y->w_gate, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            size_t n = all[i]->w.n_out > 0 ? needs(&all[i]->w) : 0;
            most = n > most ? n : most;
        }
    }
    return most;
}

static size_t rounded_inputs(const kvass_weight *w)
{
    return kvass_dtype_is_integer(w->dtype) ? (size_t)w->n_in : 0;
}

/* inputs[n_rows, n_in] of the products with integers */
static kvass_acts carve_acts(const kvass_context *ctx, kvass_arena *arena, size_t n_rows)
{
    size_t n_in = most_of(ctx->model, rounded_inputs), n_blocks = n_in / KVASS_QBLOCK;
    return (kvass_acts){.q = kvass_arena_take(arena, n_rows, n_in),
                        .d = kvass_arena_take(arena, n_rows, n_blocks * sizeof(float)),
                        .sum = kvass_arena_take(arena, n_rows, 2 * n_blocks * sizeof(int32_t))};
}

/* the first thread's are for kvass_seq_search, too */
static kv_pick_scratch carve_pick(const kvass_context *ctx, kvass_arena *arena)
{
    int32_t head_dim = ctx->model->config.head_dim, n_group = ctx->n_group;
    size_t n_pages = (size_t)kv_max_spans(&ctx->pool);
    size_t n_blocks = (size_t)n_group * (size_t)kvass_kv_blocks(head_dim);
    return (kv_pick_scratch){
        .tile = take_floats(arena, KV_PAGE_ROWS, head_dim),
        .halves = take_floats(arena, n_group, 2 * head_dim),
        .probe = {.w = kvass_arena_take(arena, n_blocks, KVASS_KV_BLOCK * sizeof(int16_t)),
                  .d = kvass_arena_take(arena, n_blocks, sizeof(float)),
                  .lost = kvass_arena_take(arena, n_blocks, sizeof(float))},
        .bounds = kvass_arena_take(arena, 1, kv_index_page_bytes(&ctx->pool.dims)),
        .each = take_floats(arena, n_group, KV_INDEX_EACH),
        .scores = kvass_arena_take(arena, n_pages, sizeof(float)),
        .best = kvass_arena_take(arena, n_pages, sizeof(int32_t)),
        .any = kvass_arena_take(arena, n_pages, sizeof(float)),
    };
}

static void carve_thread(kvass_context *ctx, int32_t member, kvass_arena *arena)
{
    int32_t head_dim = ctx->model->config.head_dim, n_group = ctx->n_group;
    size_t n_spans = (size_t)kv_max_spans(&ctx->pool);
    kvass_thread_scratch carved = {
        .widened =
            kvass_arena_take(arena, most_of(ctx->model, kvass_linear_scratch), sizeof(float)),
        .acts = carve_acts(ctx, arena, KVASS_OWN_ACTS),
        .spans = kvass_arena_take(arena, n_spans, sizeof(kv_span)),
        .scores = take_floats(arena, max_of(n_group, KVASS_PREFILL_ROWS), KVASS_SEGMENT_ROWS),
        .keys = take_floats(arena, KVASS_SEGMENT_ROWS, head_dim),
        .values = take_floats(arena, KVASS_SEGMENT_ROWS, head_dim),
        .out = take_floats(arena, n_group * KVASS_PREFILL_ROWS, head_dim),
        .part = take_floats(arena, max_of(n_group, KVASS_PREFILL_ROWS), head_dim),
        .max = take_floats(arena, n_group + 1, KVASS_PREFILL_ROWS),
        .sum = take_floats(arena, n_group + 1, KVASS_PREFILL_ROWS),
    };
    if (member == 0 || ctx->select != &kv_select_all) {
        carved.pick = carve_pick(ctx, arena);
    }
    if (ctx->pool.readers) {
        carved.reader = carved.pick.reader = &ctx->pool.readers[member];
    }
    if (ctx->scratch) {
        ctx->scratch[member] = carved;
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
            kv_seq_carve(&seq.kv, &ctx->pool.dims, ctx->owners, arena);
        }
        if (ctx->seqs) {
            ctx->seqs[i] = seq;
        }
    }
    if (ctx->keeps_rows) {
        kvass_reuse_carve(ctx, arena);
    }
    kv_dims dims = ctx->pool.dims;
    dims.has_tail = dims.has_tail && (!ctx->keeps_rows || ctx->n_meta + ctx->n_prefix > 0);
    kv_seq_carve(ctx->keeps_rows ? &ctx->prefix : &ctx->transient, &dims, ctx->owners, arena);
    ctx->prefix_tokens = kvass_arena_take(arena, (size_t)ctx->n_prefix, sizeof *ctx->prefix_tokens);
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

static void carve_kept_rows(kvass_context *ctx, kvass_arena *arena)
{
    int32_t kv_dim = kvass_kv_dim(&ctx->model->config);
    ctx->kept = kvass_arena_take(arena, (size_t)ctx->pool.dims.n_owners, sizeof *ctx->kept);
    for (int32_t i = 0; i < ctx->pool.dims.n_owners; i++) {
        if (ctx->pool.dims.has_tail && ctx->owners[i].shared) {
            float *k = take_floats(arena, ctx->n_batch, kv_dim);
            float *v = take_floats(arena, ctx->n_batch, kv_dim);
            if (ctx->kept) {
                ctx->kept[i] = (kvass_kept_rows){k, v};
            }
        }
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
    ctx->q_pinned =
        ctx->positions == KVASS_POSITIONS_CACHE ? take_floats(arena, n, kvass_q_dim(c)) : NULL;
    ctx->k = take_floats(arena, n, kvass_kv_dim(c));
    ctx->v = take_floats(arena, n, kvass_kv_dim(c));
    carve_kept_rows(ctx, arena);
    ctx->h = take_floats(arena, n, c->ffn_dim);
    ctx->h_gate = take_floats(arena, n, c->ffn_dim);
    ctx->acts = carve_acts(ctx, arena, rows);
    /* a lone wanted row goes straight into its sequence */
    ctx->logits = ctx->n_logits > 1 ? take_floats(arena, ctx->n_logits, c->n_vocab) : NULL;
    size_t split = (size_t)kvass_attn_split_items(ctx->n_threads) * (size_t)ctx->n_segments;
    ctx->partials = kvass_arena_take(
        arena, split, kvass_attn_partial_floats(ctx->n_group, c->head_dim) * sizeof(float));
}

static void carve_blocks(kvass_context *ctx, kvass_arena *arena)
{
    size_t n_layers = (size_t)ctx->model->config.n_layers;
    ctx->blocks = kvass_arena_take(arena, n_layers, sizeof *ctx->blocks);
    for (size_t l = 0; l < n_layers && ctx->positions == KVASS_POSITIONS_CACHE; l++) {
        int32_t n_pairs = ctx->model->layers[l].spec.rope.n_rot / 2;
        float *cos_row = take_floats(arena, 1, n_pairs), *sin_row = take_floats(arena, 1, n_pairs);
        if (ctx->blocks) {
            ctx->blocks[l].pinned_cos = cos_row;
            ctx->blocks[l].pinned_sin = sin_row;
        }
    }
}

void kvass_context_carve(kvass_context *ctx, kvass_arena *arena)
{
    kv_dims dims = ctx->pool.dims;
    kv_pool_carve(&ctx->pool, &dims, ctx->owners, arena);
    carve_blocks(ctx, arena);
    carve_seqs(ctx, arena);
    carve_ropes(ctx, arena);
    carve_rows(ctx, arena);
    ctx->scratch = kvass_arena_take(arena, (size_t)ctx->n_threads, sizeof *ctx->scratch);
    for (int32_t t = 0; t < ctx->n_threads; t++) {
        carve_thread(ctx, t, arena);
    }
}
