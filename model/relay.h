/* relay.h - weights out of a file into the layout the engine runs.
 * Used by bind.c. A source is one tensor of the file, read in strips through a scratch buffer, so
 * that no second copy of a large matrix ever exists. All ranges were checked by validate.c.
 */
#ifndef KVASS_MODEL_RELAY_H
#define KVASS_MODEL_RELAY_H

#include "model/checkpoint.h"

typedef struct kvass_relay {
    const kvass_file *file;
    const kvass_tensor *tensor;
    void *scratch;    /* scratch[n_scratch] */
    size_t n_scratch; /* at least kvass_relay_scratch() of every tensor */
    int32_t q8_group; /* of the checkpoint */
} kvass_relay;

/* The scratch that a tensor needs whose rows (in the file) have n_row elements; head_bytes is the
 * size of the rows of one head where those are reordered, else 0. */
size_t kvass_relay_scratch(size_t n_row, size_t head_bytes);

/* out[n] = elements first .. first + n - 1, widened to f32 */
kvass_status kvass_relay_floats(const kvass_relay *r, int64_t first, int64_t n, float *out,
                                kvass_error *err);

/* Rows row .. row + n_rows - 1 as they are: out[n_rows, row_bytes] */
kvass_status kvass_relay_rows(const kvass_relay *r, int64_t row, int64_t n_rows, size_t row_bytes,
                              void *out, kvass_error *err);

/* The same out of int8[n] and f32[n / q8_group], as blocks of q8_f32. */
kvass_status kvass_relay_q8(const kvass_relay *r, int64_t row, int64_t n_rows, int32_t n_in,
                            void *out, kvass_error *err);

/* One part of a transposed tensor: out[n_out, n_in] from columns column .. column + n_out - 1. */
typedef struct kvass_relay_part {
    int64_t column, n_out;
    void *out;
} kvass_relay_part;

/* tensor[n_in, n_columns] -> parts[n_parts], all in one pass over the file. */
kvass_status kvass_relay_transposed(const kvass_relay *r, int64_t n_in, int64_t n_columns,
                                    const kvass_relay_part *parts, int32_t n_parts,
                                    kvass_error *err);

/* In each head of head_dim rows, bring the first n_rot from neighbours (2i, 2i+1) to halves
 * (i, i + n_rot/2). */
void kvass_relay_halves(void *rows, int64_t n_rows, size_t row_bytes, int32_t head_dim,
                        int32_t n_rot, void *scratch);

#endif
