/* tensor.h - element types and views of tensors; blocks are described by KVASS_DTYPE_MAP.
 */
#ifndef KVASS_BASE_TENSOR_H
#define KVASS_BASE_TENSOR_H

#include "engine/kvass.h"

#define KVASS_MAX_DIMS 8
#define KVASS_QBLOCK   32 /* elements in a block of q8_0 and q8_f32 */
#define KVASS_QHALF    16

typedef struct kvass_dtype_traits {
    const char *name;
    int32_t n_block;     /* elements per block */
    int32_t block_bytes; /* bytes per block */
} kvass_dtype_traits;

/* dtype must be inside the enum */
const kvass_dtype_traits *kvass_dtype_get(kvass_dtype dtype);

/* Products with such weights are sums of integers: activations are rounded to 8 bits. The other
 * types are multiplied as floats. */
static inline bool kvass_dtype_is_integer(kvass_dtype dtype)
{
    return dtype == KVASS_DTYPE_Q8_0 || dtype > KVASS_DTYPE_Q8_F32;
}

/* Bytes of a row of n elements; false when n is no multiple of the block or the size overflows. */
bool kvass_dtype_row_bytes(kvass_dtype dtype, int64_t n, size_t *n_bytes);

/* A matrix w[n_out, n_in], rows contiguous; y[n_out] = w . x[n_in]. A view: it owns nothing. */
typedef struct kvass_weight {
    kvass_dtype dtype;
    int32_t n_out, n_in;
    size_t row_bytes;
    const void *data; /* NULL: this weight is absent (or the model was opened header_only) */
    bool packed;      /* rows are interleaved: packed.h */
} kvass_weight;

#endif
