/* block.c - the layer, straight through; every member of the team runs it and takes its share.
 * Between two steps stands a barrier exactly where the next one reads what other members wrote.
 */
#include "engine/block.h"

#include <string.h>

#include "engine/attention.h"
#include "engine/linear.h"

static void norm_rms(const kvass_kernels *k, const kvass_norm *norm, const float *x, int32_t n,
                     float eps, float *y)
{
    k->rmsnorm(x, norm->w, n, eps, y);
}

static void norm_layer(const kvass_kernels *k, const kvass_norm *norm, const float *x, int32_t n,
                       float eps, float *y)
{
    k->layernorm(x, norm->w, norm->b, n, eps, y);
}

static void norm_none(const kvass_kernels *k, const kvass_norm *norm, const float *x, int32_t n,
                      float eps, float *y)
{
    (void)k, (void)norm, (void)eps;
    if (y != x) {
        memcpy(y, x, (size_t)n * sizeof *y);
    }
}

/* y stays what it is: the norm of the branch before */
static void norm_shared(const kvass_kernels *k, const kvass_norm *norm, const float *x, int32_t n,
                        float eps, float *y)
{
    (void)k, (void)norm, (void)x, (void)n, (void)eps, (void)y;
}

kvass_norm_fn kvass_norm_get(kvass_norm_kind kind)
{
    static const kvass_norm_fn norms[] = {
        [KVASS_NORM_RMS] = norm_rms, [KVASS_NORM_LAYER] = norm_layer};
    size_t i = (size_t)kind;
    return i < sizeof norms / sizeof norms[0] ? norms[i] : NULL;
}

static kvass_act_fn act_of(const kvass_kernels *k, kvass_act_kind kind)
{
    switch (kind) {
    case KVASS_ACT_SILU:
        return k->silu;
    case KVASS_ACT_GELU_TANH:
        return k->gelu_tanh;
    case KVASS_ACT_GELU_ERF:
        return k->gelu_erf;
    case KVASS_ACT_RELU:
        return k->relu;
    case KVASS_N_ACTS:
        break;
    }
    return NULL;
}

void kvass_norm_rows(kvass_context *ctx, int32_t member, kvass_norm_op op)
{
    const kvass_config *c = &ctx->model->config;
    int32_t begin, end;
    kvass_team_share(&ctx->team, member, ctx->n_rows, &begin, &end);
    for (int32_t r = begin; r < end; r++) {
        size_t at = (size_t)r * (size_t)c->dim;
        op.fn(&ctx->kernels, op.norm, ctx->x + at, c->dim, c->norm_eps, ctx->xn + at);
    }
}

/* x[n_rows, dim] += residual_scale * post(y), for this member's rows */
static void add_branch(kvass_context *ctx, int32_t member, kvass_norm_op post)
{
    const kvass_config *c = &ctx->model->config;
    int32_t begin, end;
    kvass_team_share(&ctx->team, member, ctx->n_rows, &begin, &end);
    for (int32_t r = begin; r < end; r++) {
        size_t at = (size_t)r * (size_t)c->dim;
        post.fn(&ctx->kernels, post.norm, ctx->y + at, c->dim, c->norm_eps, ctx->y + at);
        if (c->residual_scale != 1.0f) {
            ctx->kernels.scale(ctx->y + at, c->residual_scale, c->dim);
        }
        ctx->kernels.add(ctx->x + at, ctx->y + at, c->dim);
    }
}

/* the MLP reads what attention has changed; a member norms the rows that it has changed itself */
static void join_in_turn(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    add_branch(ctx, member, block->attn_post_norm);
    kvass_norm_rows(ctx, member, block->mlp_norm);
}

/* the MLP reads what attention read */
static void join_parallel(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    kvass_norm_rows(ctx, member, block->mlp_norm);
    add_branch(ctx, member, block->attn_post_norm);
}

/* the kinds of block as the functions that stand at its four norms, NULL being the layer's own kind
 */
static const struct block_kind {
    kvass_norm_fn attn_norm, attn_post_norm, mlp_norm, mlp_post_norm;
    kvass_join_fn join;
} block_kinds[] = {
    [KVASS_BLOCK_PRE] = {NULL, norm_none, NULL, norm_none, join_in_turn},
    [KVASS_BLOCK_PARALLEL] = {NULL, norm_none, NULL, norm_none, join_parallel},
    [KVASS_BLOCK_ONE_NORM] = {NULL, norm_none, norm_shared, norm_none, join_parallel},
    [KVASS_BLOCK_POST] = {norm_none, NULL, norm_none, NULL, join_in_turn},
    [KVASS_BLOCK_SANDWICH] = {NULL, NULL, NULL, NULL, join_in_turn},
};

kvass_status kvass_block_bind(kvass_block *block, const kvass_context *ctx, int32_t layer,
                              kvass_error *err)
{
    const kvass_layer *l = &ctx->model->layers[layer];
    kvass_norm_fn norm = kvass_norm_get(l->spec.norm);
    size_t kind = (size_t)l->spec.block;
    block->layer = l;
    block->act = act_of(&ctx->kernels, l->spec.act);
    block->rope = -1;
    if (!norm || !block->act || kind >= sizeof block_kinds / sizeof block_kinds[0]) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "LAYER_SPEC",
                          "layer %d: no operation for its norm (%d), activation (%d) or block kind "
                          "(%d)",
                          layer, (int)l->spec.norm, (int)l->spec.act, (int)l->spec.block);
    }
    const struct block_kind *k = &block_kinds[kind];
    block->attn_norm = (kvass_norm_op){k->attn_norm ? k->attn_norm : norm, &l->attn_norm};
    block->attn_post_norm =
        (kvass_norm_op){k->attn_post_norm ? k->attn_post_norm : norm, &l->attn_post_norm};
    block->mlp_norm = (kvass_norm_op){k->mlp_norm ? k->mlp_norm : norm, &l->mlp_norm};
    block->mlp_post_norm =
        (kvass_norm_op){k->mlp_post_norm ? k->mlp_post_norm : norm, &l->mlp_post_norm};
    block->join = k->join;
    block->qk_norm = ctx->model->config.qk_norm == KVASS_QK_NORM_NONE ? NULL : norm;
    return KVASS_OK;
}

/* x[n_heads, head_dim]: all as one, or each head, by the same weights or by its own */
static void norm_heads(const kvass_context *ctx, kvass_norm_fn fn, const kvass_norm *norm,
                       int32_t n_heads, float *x)
{
    const kvass_config *c = &ctx->model->config;
    bool as_one = c->qk_norm == KVASS_QK_NORM_ROW;
    int32_t n = as_one ? n_heads * c->head_dim : c->head_dim;
    for (int32_t head = 0; head < (as_one ? 1 : n_heads); head++) {
        size_t at = (size_t)head * (size_t)n;
        size_t own = c->qk_norm == KVASS_QK_NORM_OWN_HEAD ? at : 0;
        kvass_norm of_head = {norm->w + own, norm->b ? norm->b + own : NULL};
        fn(&ctx->kernels, &of_head, x + at, n, c->norm_eps, x + at);
    }
}

/* q[n_rows, n_heads, head_dim] and k[n_rows, n_kv_heads, head_dim], this member's rows */
static void norm_queries_and_keys(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    const kvass_config *c = &ctx->model->config;
    int32_t begin, end;
    kvass_team_share(&ctx->team, member, ctx->n_rows, &begin, &end);
    for (int32_t r = begin; r < end; r++) {
        norm_heads(ctx, block->qk_norm, &block->layer->q_norm, c->n_heads,
                   ctx->q + (size_t)r * (size_t)kvass_q_dim(c));
        if (block->writes_cache) {
            norm_heads(ctx, block->qk_norm, &block->layer->k_norm, c->n_kv_heads,
                       ctx->k + (size_t)r * (size_t)kvass_kv_dim(c));
        }
    }
}

/* The n_group query heads at q, not yet rotated, as pinned keys see them: turned by the position,
 * or by the index in the cache once that is smaller. Stored keys stay as they are. */
static void rotate_for_pinned(kvass_context *ctx, const kvass_block *block, int32_t row,
                              const float *q)
{
    int32_t head_dim = ctx->model->config.head_dim;
    float *pinned = ctx->q_pinned + (q - ctx->q);
    memcpy(pinned, q, (size_t)ctx->n_group * (size_t)head_dim * sizeof *q);
    if (block->rope < 0) {
        return;
    }
    const kvass_rope_table *rope = &ctx->ropes[block->rope];
    size_t at = (size_t)row * (size_t)(rope->spec.n_rot / 2);
    bool behind = block->pinned_index >= 0 && ctx->pos[row] > block->pinned_index;
    ctx->kernels.rope(pinned, ctx->n_group, head_dim, rope->spec.n_rot,
                      behind ? block->pinned_cos : rope->cos + at,
                      behind ? block->pinned_sin : rope->sin + at);
}

/* Rotate q[n_rows, n_heads, head_dim] and k[n_rows, n_kv_heads, head_dim] by their rows' positions
 * and append k, v to the cache: first written, then read back by attention. */
static void rotate_and_append(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    const kvass_config *c = &ctx->model->config;
    int32_t q_dim = kvass_q_dim(c), kv_dim = kvass_kv_dim(c), head_dim = c->head_dim;
    const kvass_rope_table *rope = block->rope < 0 ? NULL : &ctx->ropes[block->rope];
    int64_t n_items = (int64_t)ctx->n_rows * c->n_kv_heads;
    int64_t begin = n_items * member / ctx->team.n_threads;
    int64_t end = n_items * (member + 1) / ctx->team.n_threads;
    for (int64_t i = begin; i < end; i++) {
        int32_t row = (int32_t)(i / c->n_kv_heads), kv_head = (int32_t)(i % c->n_kv_heads);
        size_t kv_at = (size_t)row * (size_t)kv_dim + (size_t)kv_head * (size_t)head_dim;
        float *q = ctx->q + (size_t)row * (size_t)q_dim +
                   (size_t)kv_head * (size_t)ctx->n_group * (size_t)head_dim;
        if (ctx->q_pinned) {
            rotate_for_pinned(ctx, block, row, q);
        }
        if (rope) {
            size_t at = (size_t)row * (size_t)(rope->spec.n_rot / 2);
            ctx->kernels.rope(q, ctx->n_group, head_dim, rope->spec.n_rot, rope->cos + at,
                              rope->sin + at);
        }
        if (rope && block->writes_cache) {
            size_t at = (size_t)row * (size_t)(rope->spec.n_rot / 2);
            ctx->kernels.rope(block->k + kv_at, 1, head_dim, rope->spec.n_rot, rope->cos + at,
                              rope->sin + at);
        }
        if (block->writes_cache) {
            kv_seq_put(&ctx->pool, ctx->runs[ctx->run_of_row[row]].kv, block->owner, kv_head,
                       ctx->pos[row], block->k + kv_at, block->v + kv_at);
        }
    }
}

/* Where the store quantizes full pages: those that the chunk's rows have filled, dealt to the team.
 * Later rows of the chunk read them so. */
static void seal_pages(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    int32_t n_kv_heads = ctx->model->config.n_kv_heads, item = 0;
    kvass_thread_scratch *scratch = &ctx->scratch[member];
    for (int32_t i = 0; i < ctx->n_runs; i++) {
        const kvass_run *run = &ctx->runs[i];
        kv_fresh fresh = kvass_run_fresh(ctx, block, run);
        int32_t page, end;
        kv_tail_full_pages(run->kv, &page, &end);
        for (; page < end; page++) {
            for (int32_t kv_head = 0; kv_head < n_kv_heads; kv_head++, item++) {
                if (item % ctx->team.n_threads == member) {
                    kv_tail_seal(&ctx->pool, run->kv, &fresh, block->owner, kv_head, page,
                                 scratch->keys, scratch->values);
                }
            }
        }
    }
}

/* h[n_rows, ffn_dim] = act(w_gate xn) * w_up xn, or act(w_up xn) without a gate. A member activates
 * the columns that it has just computed itself. */
static void mlp_hidden(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    const kvass_layer *l = block->layer;
    const kvass_kernels *k = &ctx->kernels;
    int32_t ffn_dim = ctx->model->config.ffn_dim, n_rows = ctx->n_rows;
    bool gated = l->spec.mlp == KVASS_MLP_GATED;
    kvass_product products[] = {{&l->w_up, ctx->h}, {&l->w_gate, ctx->h_gate}};
    kvass_linear_run(ctx, member, products, gated ? 2 : 1, ctx->xn, n_rows);
    int32_t column_block = 0, begin, end;
    while (kvass_linear_columns(ctx, member, ffn_dim, n_rows, &column_block, &begin, &end)) {
        for (int32_t r = 0; r < n_rows; r++) {
            size_t at = (size_t)r * (size_t)ffn_dim + (size_t)begin;
            block->act((gated ? ctx->h_gate : ctx->h) + at, end - begin);
            if (gated) {
                k->mul(ctx->h + at, ctx->h_gate + at, end - begin);
            }
        }
    }
}

/* Member 0 asks; everybody reads the answer after the next barrier. */
static void poll_cancel(kvass_context *ctx, int32_t member)
{
    if (member == 0 && ctx->cancel) {
        ctx->cancelled = ctx->cancel(ctx->cancel_user);
    }
}

bool kvass_block_run(kvass_context *ctx, int32_t member, const kvass_block *block,
                     kvass_norm_op next)
{
    const kvass_layer *l = block->layer;
    int32_t n_rows = ctx->n_rows;

    poll_cancel(ctx, member);
    /* q[n_rows, q_dim], k and v[n_rows, kv_dim] */
    kvass_product inputs[] = {{&l->wq, ctx->q}, {&l->wk, block->k}, {&l->wv, block->v}};
    kvass_linear_run(ctx, member, inputs, block->writes_cache ? 3 : 1, ctx->xn, n_rows);
    kvass_team_barrier(&ctx->team);
    if (ctx->cancelled) {
        return false;
    }

    if (block->qk_norm) {
        norm_queries_and_keys(ctx, member, block);
        kvass_team_barrier(&ctx->team);
    }
    rotate_and_append(ctx, member, block);
    kvass_team_barrier(&ctx->team);
    if (ctx->pool.dims.has_tail && block->writes_cache) {
        seal_pages(ctx, member, block);
        kvass_team_barrier(&ctx->team);
    }

    kvass_attention(ctx, member, block); /* ao[n_rows, q_dim] */
    kvass_team_barrier(&ctx->team);

    kvass_product output = {&l->wo, ctx->y}; /* y[n_rows, dim] */
    kvass_linear_run(ctx, member, &output, 1, ctx->ao, n_rows);
    kvass_team_barrier(&ctx->team);

    block->join(ctx, member, block);
    kvass_team_barrier(&ctx->team);

    mlp_hidden(ctx, member, block); /* h[n_rows, ffn_dim] */
    kvass_team_barrier(&ctx->team);

    kvass_product down = {&l->w_down, ctx->y}; /* y[n_rows, dim] */
    kvass_linear_run(ctx, member, &down, 1, ctx->h, n_rows);
    kvass_team_barrier(&ctx->team);

    add_branch(ctx, member, block->mlp_post_norm);
    kvass_norm_rows(ctx, member, next);
    kvass_team_barrier(&ctx->team);
    return true;
}
