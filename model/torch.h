/* torch.h - the parts of PyTorch's reader: torch.c opens the file and makes the directory,
 * torch_tensor.c reads what the pickle says of one tensor, torch_config.c makes config.json out of
 * the arguments that training programs put beside the weights.
 */
#ifndef KVASS_MODEL_TORCH_H
#define KVASS_MODEL_TORCH_H

#include "engine/base/pickle.h"
#include "engine/base/archive.h"
#include "model/checkpoint.h"

/* A file while it is read. */
typedef struct kvass_torch {
    kvass_checkpoint *ckpt;
    const char *path; /* of the file, for messages */
    int32_t file;     /* its place among the checkpoint's; what is gathered comes after it */
    kvass_zip *zip;
    kvass_pickle *pickle;
    char *prefix;            /* of all its entries: "archive/" */
    kvass_pickle_node state; /* the dictionary of tensors */
    int gathered; /* a file in memory for tensors that lie otherwise than row by row; -1 */
    uint64_t n_gathered;
} kvass_torch;

extern const char *const kvass_torch_functions[]; /* what its pickle may name */

/* Append the tensor that `value` describes. FORMAT (TENSOR_KIND, SHAPE, OVERFLOW, STORAGE),
 * UNSUPPORTED (ZIP_ENTRY, TENSOR_STRIDES), IO, NOMEM. */
kvass_status kvass_torch_add(kvass_torch *t, const char *name, kvass_pickle_node value,
                             kvass_error *err);

/* All of them are there: what was gathered becomes a file of the checkpoint. */
kvass_status kvass_torch_end(kvass_torch *t, kvass_error *err);

/* Open one file of weights and append its tensors to the checkpoint's directory, which stays
 * unsealed: a shard of an index. As kvass_torch_read. */
kvass_status kvass_torch_add_shard(kvass_checkpoint *ckpt, const char *path, kvass_error *err);

/* ckpt->config from the dictionary of arguments; the tensors are there, under the names of the
 * file. Renames them where the family has others. FORMAT (CONFIG_TYPE, CONFIG_MISSING), UNSUPPORTED
 * (FAMILY), NOMEM. */
kvass_status kvass_torch_make_config(kvass_torch *t, kvass_pickle_node arguments, kvass_error *err);

#endif
