/* linear.h - one weight matrix times all rows of the chunk, shared out over the team.
 * Quantized weights: sums of integers, whose rows have the same bits in any company; the rows of x
 * are rounded to 8 bits first. Floats: for few rows, or --deterministic, the kernels' matmul, whose
 * rows have the bits of a matrix-vector product; for many rows BLAS, in tiles of output columns
 * whose shape depends on the matrix alone, one call a tile, f16 and bf16 widened tile by tile
 * first.
 */
#ifndef KVASS_ENGINE_LINEAR_H
#define KVASS_ENGINE_LINEAR_H

#include "engine/context.h"

enum { KVASS_PRODUCTS_MAX = 3 };

/* y[n_rows, n_out] = x[n_rows, n_in] . w[n_out, n_in]^T + b */
typedef struct kvass_product {
    const kvass_linear *linear;
    float *y;
} kvass_product;

/* This member's share of n products with the same x. Every member calls it with the same arguments;
 * all have to have come here before any x changes. With many rows of integers there is a barrier
 * inside. */
void kvass_linear_run(kvass_context *ctx, int32_t member, const kvass_product *products, int32_t n,
                      const float *x, int32_t n_rows);

/* Walk the blocks of output columns [*begin, *end) that kvass_linear_run gives this member in a
 * product of such a shape; start with *block = 0; false when there is none left. Two matrices of
 * one shape have the same blocks, so what was just computed can be worked on before any barrier. */
bool kvass_linear_columns(const kvass_context *ctx, int32_t member, int32_t n_out, int32_t n_rows,
                          int32_t *block, int32_t *begin, int32_t *end);

/* Rows of x up to this number each member rounds for itself. */
enum { KVASS_OWN_ACTS = 4 };

/* Floats that one thread needs to widen a tile of w; 0 for f32 and for integers. */
size_t kvass_linear_scratch(const kvass_weight *w);

#endif
