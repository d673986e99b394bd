/* forward.c - the one layer loop: embeddings, blocks, final norm, output matrix.
 * Runs inside one team of threads; prefill, decode and mixed batches all come through here.
 */
#include "engine/forward.h"

#include <string.h>

#include "engine/base/packed.h"
#include "engine/block.h"
#include "engine/linear.h"
#include "engine/rope.h"

typedef struct forward_call {
    kvass_context *ctx;
    float *logits;
} forward_call;

/* out[n] = row r of an embedding matrix, in f32 */
static void embedding_row(const kvass_kernels *k, const kvass_weight *w, int32_t r, float *out)
{
    const unsigned char *rows = w->data;
    if (r >= kvass_packed_end(w)) {
        k->widen[w->dtype](rows + (size_t)r * w->row_bytes, w->n_in, out);
        return;
    }
    unsigned char block[KVASS_BLOCK_BYTES_MAX];
    int32_t n_block = kvass_dtype_get(w->dtype)->n_block;
    for (int32_t i = 0; i * n_block < w->n_in; i++) {
        k->widen[w->dtype](kvass_weight_block(w, r, i, block), n_block, out + i * n_block);
    }
}

/* x[n_rows, dim] = token embedding (+ position embedding); cos, sin of each row's position */
static void embed_rows(kvass_context *ctx, int32_t member)
{
    const kvass_model *model = ctx->model;
    const kvass_config *c = &model->config;
    const kvass_kernels *k = &ctx->kernels;
    int32_t begin, end;
    kvass_team_share(&ctx->team, member, ctx->n_rows, &begin, &end);
    for (int32_t r = begin; r < end; r++) {
        float *x = ctx->x + (size_t)r * (size_t)c->dim;
        if (ctx->tokens[r] < c->n_vocab) {
            embedding_row(k, &model->tok_embed, ctx->tokens[r], x);
        } else { /* ids from n_vocab on name the meta tokens; no caller can */
            embedding_row(k, &model->meta_embed, ctx->tokens[r] - c->n_vocab, x);
        }
        if (c->embed_scale != 1.0f) {
            k->scale(x, c->embed_scale, c->dim);
        }
        if (c->position == KVASS_POSITION_LEARNED) {
            float *row = ctx->y + (size_t)r * (size_t)c->dim; /* free until the first branch */
            embedding_row(k, &model->pos_embed, c->pos_offset + ctx->pos[r], row);
            k->add(x, row, c->dim);
        }
        for (int32_t i = 0; i < ctx->n_ropes; i++) {
            kvass_rope_table *rope = &ctx->ropes[i];
            size_t at = (size_t)r * (size_t)(rope->spec.n_rot / 2);
            kvass_rope_angles(&rope->spec, rope->freqs, ctx->pos[r], rope->cos + at,
                              rope->sin + at);
        }
    }
}

/* logits[n_wanted, n_vocab] of the wanted rows, whose xn is already final-normed. Their rows move
 * to the front of y so that the output matrix is multiplied once. */
static void output_rows(kvass_context *ctx, int32_t member, float *logits)
{
    const kvass_model *model = ctx->model;
    const kvass_config *c = &model->config;
    int32_t begin, end, n_wanted = ctx->n_wanted;
    if (n_wanted == 0) {
        return;
    }
    kvass_team_share(&ctx->team, member, n_wanted, &begin, &end);
    for (int32_t i = begin; i < end; i++) {
        memcpy(ctx->y + (size_t)i * (size_t)c->dim,
               ctx->xn + (size_t)ctx->wanted[i] * (size_t)c->dim, (size_t)c->dim * sizeof(float));
    }
    kvass_team_barrier(&ctx->team);
    kvass_product product = {&model->lm_head, logits};
    kvass_linear_run(ctx, member, &product, 1, ctx->y, n_wanted);
    int32_t block = 0, first, last;
    while ((c->logit_scale != 1.0f || c->logit_cap > 0.0f) &&
           kvass_linear_columns(ctx, member, c->n_vocab, n_wanted, &block, &first, &last)) {
        for (int32_t i = 0; i < n_wanted; i++) {
            float *columns = logits + (size_t)i * (size_t)c->n_vocab + first;
            ctx->kernels.scale(columns, c->logit_scale, last - first);
            if (c->logit_cap > 0.0f) {
                ctx->kernels.softcap(columns, c->logit_cap, last - first);
            }
        }
    }
}

static void forward_member(void *arg, int32_t member)
{
    forward_call *call = arg;
    kvass_context *ctx = call->ctx;
    const kvass_model *model = ctx->model;
    int32_t n_layers = model->config.n_layers;
    kvass_norm_op final_norm = {kvass_norm_get(model->config.final_norm), &model->final_norm};

    embed_rows(ctx, member);
    /* a member norms the rows it embedded itself: no barrier between */
    kvass_norm_rows(ctx, member, n_layers > 0 ? ctx->blocks[0].attn_norm : final_norm);
    kvass_team_barrier(&ctx->team);

    for (int32_t l = 0; l < n_layers; l++) {
        kvass_norm_op next = l + 1 < n_layers ? ctx->blocks[l + 1].attn_norm : final_norm;
        if (!kvass_block_run(ctx, member, &ctx->blocks[l], next)) {
            return;
        }
    }
    output_rows(ctx, member, call->logits);
}

kvass_status kvass_forward_chunk(kvass_context *ctx, float *logits, kvass_error *err)
{
    forward_call call = {ctx, logits};
    ctx->cancelled = false;
    kvass_team_run(&ctx->team, forward_member, &call);
    if (ctx->cancelled) {
        return kvass_fail(err, KVASS_CANCELLED, "CANCELLED",
                          "stopped by the caller after %d tokens of a sequence",
                          ctx->n_runs > 0 ? ctx->runs[0].pos : 0);
    }
    return KVASS_OK;
}
