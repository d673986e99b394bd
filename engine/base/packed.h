/* packed.h - weight rows interleaved for integer products.
 * Made by model/bind.c when weights are read, looked at by the kernels and by who wants one row.
 *
 * Rows of types that are multiplied as integers are packed in groups of 16, in place: a group takes
 * the bytes that its rows took. Block after block it holds the 16 scales (then the 16 minima of
 * types that have some), and then, for each 4 of a block's other bytes in turn, those 4 bytes of
 * the 16 rows. So 64 bytes in a row belong to 16 rows and the same columns. The fifth bits of q5_0
 * and q5_1 change places: bit i of byte j is that of column 4i + j. Rows that fill no group stay as
 * they are, behind.
 */
#ifndef KVASS_BASE_PACKED_H
#define KVASS_BASE_PACKED_H

#include "engine/base/tensor.h"

enum { KVASS_PACK_ROWS = 16, KVASS_PACK_UNIT = 4, KVASS_BLOCK_BYTES_MAX = 210 };

/* bytes of a block's halves (a scale, then a minimum), which are packed in front of the rest */
static inline int32_t kvass_packed_head(kvass_dtype dtype)
{
    bool minimum = dtype == KVASS_DTYPE_Q4_1 || dtype == KVASS_DTYPE_Q5_1 ||
                   dtype == KVASS_DTYPE_Q2_K || dtype == KVASS_DTYPE_Q4_K ||
                   dtype == KVASS_DTYPE_Q5_K;
    return minimum ? 4 : 2;
}

/* rows[n_rows, row_bytes] of an integer type, each group through
 * scratch[KVASS_PACK_ROWS * row_bytes] */
void kvass_pack_rows(kvass_dtype dtype, void *rows, size_t row_bytes, int32_t n_rows,
                     void *scratch);

/* rows before this one are packed */
static inline int32_t kvass_packed_end(const kvass_weight *w)
{
    return w->packed ? w->n_out / KVASS_PACK_ROWS * KVASS_PACK_ROWS : 0;
}

/* Block number i of a row as its type has it; copied to out[block_bytes] when it lies packed. */
const void *kvass_weight_block(const kvass_weight *w, int32_t row, int32_t i, void *out);

#endif
