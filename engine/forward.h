/* forward.h - one pass over the layers for one chunk of rows.
 */
#ifndef KVASS_ENGINE_FORWARD_H
#define KVASS_ENGINE_FORWARD_H

#include "engine/context.h"

/* Run the chunk set up in ctx (runs, tokens, pos, wanted; pages reserved): K and V are appended,
 * logits of the wanted rows go to logits[n_wanted, n_vocab]. CANCELLED: rows were written but none
 * committed. */
kvass_status kvass_forward_chunk(kvass_context *ctx, float *logits, kvass_error *err);

#endif
