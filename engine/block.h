/* block.h - one layer: norm, attention, norm, MLP, each joined to the residual.
 */
#ifndef KVASS_ENGINE_BLOCK_H
#define KVASS_ENGINE_BLOCK_H

#include "engine/context.h"

/* Turn the layer's spec into functions. UNSUPPORTED names what no operation exists for. */
kvass_status kvass_block_bind(kvass_block *block, const kvass_context *ctx, int32_t layer,
                              kvass_error *err);

/* The norm of a kind, for the final one; NULL when unknown. */
kvass_norm_fn kvass_norm_get(kvass_norm_kind kind);

/* Run a layer over the chunk: x[n_rows, dim] is updated; xn[n_rows, dim] holds attn_norm(x) on
 * entry and `next` of the new x on exit. Every member calls it. false: the caller's cancel() said
 * stop. */
bool kvass_block_run(kvass_context *ctx, int32_t member, const kvass_block *block,
                     kvass_norm_op next);

/* xn[rows of this member, dim] = norm(x) */
void kvass_norm_rows(kvass_context *ctx, int32_t member, kvass_norm_op op);

#endif
