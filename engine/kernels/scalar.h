/* scalar.h - what the portable kernels' files share.
 */
#ifndef KVASS_KERNELS_SCALAR_H
#define KVASS_KERNELS_SCALAR_H

#include "engine/kernels/kernels.h"

/* y[m, row0..row1-1] = x[m, n_in] . w[n_out, n_in]^T. A row is widened a few hundred elements at a
 * time, and each y adds up the dot products of these chunks in order. */
void kvass_scalar_matmul(kvass_dtype dtype, void (*widen)(const void *, int32_t, float *),
                         const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                         const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy);

/* The entries of the types of quants.h. */
void kvass_scalar_fill_quants(kvass_kernels *k);

#endif
