/* pack.h - f32 values into the element types that files hold, as the reference quantizers of GGUF
 * do it, bit for bit. Used by engine/convert/; the other way is kvass_kernels.widen.
 */
#ifndef KVASS_KERNELS_PACK_H
#define KVASS_KERNELS_PACK_H

#include "engine/base/tensor.h"

/* Whether kvass_pack makes that type: f32, f16, bf16, q8_0, q4_0, q4_1. */
bool kvass_pack_knows(kvass_dtype dtype);

/* out = the n values x[n] as elements of dtype; n is a multiple of its block. The place of the
 * first value that the type cannot hold (f16: finite ones too large; blocks: infinities, NaN), or
 * -1. */
int32_t kvass_pack(kvass_dtype dtype, const float *x, int32_t n, void *out);

#endif
