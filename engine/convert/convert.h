/* convert.h - a model on its way into files of another kind.
 * convert.c makes the list of tensors and checks what is asked for; to_gguf.c and
 * to_safetensors.c write them in their container, rows.c makes their bytes out of the weights in
 * memory, same.c compares what was written with the model. Nothing here knows a family by name.
 */
#ifndef KVASS_ENGINE_CONVERT_H
#define KVASS_ENGINE_CONVERT_H

#include "engine/base/gguf_out.h"
#include "engine/base/stream_file.h"
#include "engine/kernels/kernels.h"
#include "model/gguf.h"
#include "model/plan.h"

enum { KVASS_CONVERT_NAME = 256 };

/* A tensor as it will be written. */
typedef struct kvass_out_tensor {
    char name[KVASS_CONVERT_NAME];
    kvass_dtype dtype;
    int32_t n_dims;
    int64_t shape[2]; /* slowest first; a vector has shape[0] alone */
    size_t n_bytes;
    const kvass_slot *slot; /* where it comes from; NULL: values */
    bool is_bias;           /* of the slot */
    const float *values;    /* values[shape[0]] of a tensor that no weight stands behind */
} kvass_out_tensor;

typedef struct kvass_converter {
    const kvass_model *model;
    const kvass_convert_options *opt;
    const kvass_gguf_arch *arch; /* NULL: to safetensors */
    kvass_out_tensor *tensors;   /* tensors[n_tensors], in the order of the file */
    int32_t n_tensors, cap_tensors;
    kvass_kernels kernels;
    float *floats;         /* a row; all rows of a tensor that is written transposed */
    unsigned char *packed; /* a row */
    kvass_out_file *file;  /* that is being written */
    float *factors;        /* of rotations, which GGUF has as tensors */
    uint64_t done, total;  /* bytes of tensors */
} kvass_converter;

/* Append a tensor of the computed kind; `values` outlives the converter's run. NOMEM. */
kvass_status kvass_convert_add(kvass_converter *c, const kvass_out_tensor *tensor,
                               kvass_error *err);

/* The bytes of one tensor to c->file. UNSUPPORTED (CONVERT_RANGE), IO, CANCELLED. */
kvass_status kvass_convert_put(kvass_converter *c, const kvass_out_tensor *tensor,
                               kvass_error *err);

/* What an architecture's metadata says of the configuration, and tensors that belong to it.
 * NOMEM. */
kvass_status kvass_convert_keys(kvass_converter *c, kvass_metadata *m, kvass_error *err);

/* Open `path`, which holds what will be called `name`, and compare: UNSUPPORTED (CONVERT_LOSS)
 * when it means another network. */
kvass_status kvass_convert_check(const kvass_converter *c, const char *path, const char *name,
                                 kvass_error *err);

kvass_status kvass_convert_to_gguf(kvass_converter *c, const char *path, kvass_error *err);
kvass_status kvass_convert_to_safetensors(kvass_converter *c, const char *path, kvass_error *err);

#endif
