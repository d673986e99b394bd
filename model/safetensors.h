/* safetensors.h - one file of the format, for the single file and for each shard of an index. */
#ifndef KVASS_MODEL_SAFETENSORS_H
#define KVASS_MODEL_SAFETENSORS_H

#include "model/checkpoint.h"

/* Open the file and append its tensors to the checkpoint's directory, which stays unsealed.
 * IO, NOMEM, FORMAT: HEADER_SIZE, HEADER_JSON, HEADER_METADATA, DTYPE_UNKNOWN, SHAPE, OVERFLOW,
 * OFFSET, TENSOR_COUNT. */
kvass_status kvass_safetensors_add(kvass_checkpoint *ckpt, const char *path, kvass_error *err);

#endif
