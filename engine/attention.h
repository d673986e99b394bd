/* attention.h - softmax(q . K^T) . V over the cache.
 * The one branch of the engine is in kvass_attention(): decode rows take the cached single-token
 * path (attn_decode.c), prefill rows the full-sequence path (attn_prefill.c), or the decode path
 * row by row when the context is deterministic. Both read K and V back through the cache, both take
 * what a query may see from the retain table's view().
 *
 * Both reduce in segments of 256 positions counted from position 0: within a segment a softmax with
 * its own maximum, then a merge in segment order (Milakov & Gimelshein 2018). So spans, pages,
 * threads and chunks leave the decode path's bits alone.
 */
#ifndef KVASS_ENGINE_ATTENTION_H
#define KVASS_ENGINE_ATTENTION_H

#include "engine/context.h"

/* ao[n_rows, q_dim] from q[n_rows, q_dim] for this layer; every member calls it. Barriers may pass
 * inside, none at the end. */
void kvass_attention(kvass_context *ctx, int32_t member, const kvass_block *block);

/* The two paths. decode: the rows of runs for which kvass_attn_is_decode() holds; prefill: those of
 * the others. */
void kvass_attn_decode(kvass_context *ctx, int32_t member, const kvass_block *block);
void kvass_attn_prefill(kvass_context *ctx, int32_t member, const kvass_block *block);

/* Whether a run's rows take the decode path. */
bool kvass_attn_is_decode(const kvass_context *ctx, const kvass_run *run);

/* The chunk's unquantized rows of a run, as the layer's owner left them. */
kv_fresh kvass_run_fresh(const kvass_context *ctx, const kvass_block *block, const kvass_run *run);

/* The segments that `view` touches, in order: how many, and the i-th one. */
int32_t kvass_attn_n_segments(kv_view view);
int32_t kvass_attn_segment(kv_view view, int32_t i);

/* Merge a segment (max, sum, out[n]) into an accumulated one, in place; sum 0 is "nothing yet". */
void kvass_attn_merge(const kvass_kernels *k, float *max, float *sum, float *out, float seg_max,
                      float seg_sum, const float *seg_out, int32_t n);

/* Floats of ctx->partials for n_segments of n_group heads. */
size_t kvass_attn_partial_floats(int32_t n_group, int32_t head_dim);
/* Items (row, KV head) up to which decode attention may be split over segments. */
int32_t kvass_attn_split_items(int32_t n_threads);

/* Query rows of one sequence that prefill attention takes at a time. */
enum { KVASS_PREFILL_ROWS = 64 };

#endif
