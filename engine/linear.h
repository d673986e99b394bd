/* linear.h - one weight matrix times all rows of the chunk, shared out over the team.
 * Few rows, or --deterministic: the kernels' matmul, whose rows have the bits of a matrix-vector
 * product. Many rows: BLAS, in tiles of output columns whose shape depends on the matrix alone, one
 * call a tile; other element types are widened tile by tile first, so that there is one gemm to
 * trust.
 */
#ifndef KVASS_ENGINE_LINEAR_H
#define KVASS_ENGINE_LINEAR_H

#include "engine/context.h"

/* This member's share of y[n_rows, n_out] = x[n_rows, n_in] . w[n_out, n_in]^T + b. Every member
 * calls it with the same arguments; no barrier inside. */
void kvass_linear_run(kvass_context *ctx, int32_t member, const kvass_linear *linear,
                      const float *x, int32_t n_rows, float *y);

/* Walk the blocks of output columns [*begin, *end) that kvass_linear_run gives this member in a
 * product of such a shape; start with *block = 0; false when there is none left. Two matrices of
 * one shape have the same blocks, so what was just computed can be worked on before any barrier. */
bool kvass_linear_columns(const kvass_context *ctx, int32_t member, int32_t n_out, int32_t n_rows,
                          int32_t *block, int32_t *begin, int32_t *end);

/* Floats that one thread needs to widen a tile of w; 0 for f32. */
size_t kvass_linear_scratch(const kvass_weight *w);

#endif
