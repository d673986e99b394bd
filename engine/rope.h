/* rope.h - rotary positions: frequencies of a spec, cosines and sines of a position.
 * Angles are formed in double precision from the position itself: no table as long as the context,
 * and no drift far into a text.
 */
#ifndef KVASS_ENGINE_ROPE_H
#define KVASS_ENGINE_ROPE_H

#include "model/model.h"

/* freqs[n_rot/2]: angle per position of each pair, scaling applied, in a context of n_ctx */
void kvass_rope_frequencies(const kvass_rope_spec *spec, int32_t n_ctx, double *freqs);

/* cos[n_rot/2], sin[n_rot/2] at pos */
void kvass_rope_angles(const kvass_rope_spec *spec, const double *freqs, int32_t pos,
                       float *cos_out, float *sin_out);

bool kvass_rope_same(const kvass_rope_spec *a, const kvass_rope_spec *b);

#endif
