/* reuse.h - what closed sequences leave behind for later ones that begin alike; see reuse.c.
 */
#ifndef KVASS_ENGINE_REUSE_H
#define KVASS_ENGINE_REUSE_H

#include "engine/context.h"

/* The hash of a page of tokens behind one whose hash is `parent`. */
uint64_t kvass_reuse_hash(uint64_t parent, const int32_t *tokens, int32_t n);
/* Take or count what n_reuse retired sequences need. */
void kvass_reuse_carve(kvass_context *ctx, kvass_arena *arena);
/* Remember a sequence that is about to be closed, in the place of the one longest not used. */
void kvass_reuse_retire(kvass_context *ctx, const kvass_seq *seq);
/* Give back the pages of the retired sequence longest not used; false when there is none. */
bool kvass_reuse_release(kvass_context *ctx);

#endif
