/* attention.c - the branch on the phase, and what both paths share. */
#include "engine/attention.h"

#include <math.h>

bool kvass_attn_is_decode(const kvass_context *ctx, const kvass_run *run)
{
    return run->phase == KVASS_DECODE || ctx->deterministic;
}

kv_fresh kvass_run_fresh(const kvass_context *ctx, const kvass_block *block, const kvass_run *run)
{
    int32_t kv_dim = kvass_kv_dim(&ctx->model->config);
    size_t at = (size_t)run->first_row * (size_t)kv_dim;
    return (kv_fresh){block->k + at, block->v + at, kv_dim};
}

static int32_t pinned_segments(kv_view view)
{
    return (view.n_pinned + KVASS_SEGMENT_ROWS - 1) / KVASS_SEGMENT_ROWS;
}

/* the first segment behind the pinned ones */
static int32_t moving_segment(kv_view view)
{
    int32_t n_pinned = pinned_segments(view), first = view.lo / KVASS_SEGMENT_ROWS;
    return first > n_pinned ? first : n_pinned;
}

int32_t kvass_attn_n_segments(kv_view view)
{
    int32_t end = (view.hi + KVASS_SEGMENT_ROWS - 1) / KVASS_SEGMENT_ROWS;
    int32_t first = moving_segment(view);
    return pinned_segments(view) + (end > first ? end - first : 0);
}

int32_t kvass_attn_segment(kv_view view, int32_t i)
{
    int32_t n_pinned = pinned_segments(view);
    return i < n_pinned ? i : moving_segment(view) + (i - n_pinned);
}

void kvass_attn_merge(const kvass_kernels *k, float *max, float *sum, float *out, float seg_max,
                      float seg_sum, const float *seg_out, int32_t n)
{
    if (seg_sum == 0.0f) {
        return; /* nothing visible in that segment */
    }
    if (*sum == 0.0f) {
        *max = seg_max;
        *sum = seg_sum;
        for (int32_t d = 0; d < n; d++) {
            out[d] = seg_out[d];
        }
        return;
    }
    float new_max = *max > seg_max ? *max : seg_max;
    float old_weight = expf(*max - new_max), seg_weight = expf(seg_max - new_max);
    *max = new_max;
    *sum = *sum * old_weight + seg_sum * seg_weight;
    k->scale(out, old_weight, n);
    for (int32_t d = 0; d < n; d++) {
        out[d] += seg_out[d] * seg_weight;
    }
}

void kvass_attention(kvass_context *ctx, int32_t member, const kvass_block *block)
{
    bool any_decode = false, any_prefill = false;
    for (int32_t i = 0; i < ctx->n_runs; i++) {
        bool decode = kvass_attn_is_decode(ctx, &ctx->runs[i]);
        any_decode |= decode;
        any_prefill |= !decode;
    }
    if (any_decode) {
        kvass_attn_decode(ctx, member, block);
    }
    if (any_prefill) {
        kvass_attn_prefill(ctx, member, block);
    }
}
