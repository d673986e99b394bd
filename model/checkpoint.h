/* checkpoint.h - a file format's answer: one directory of tensors and one configuration.
 * Every format reader (safetensors.c, llama2c.c, ...) yields this and nothing else, so that any
 * family loads from any format that can hold it. Names are those of Hugging Face files and the
 * configuration speaks config.json's language; a reader of another format translates once, here,
 * and nowhere else.
 */
#ifndef KVASS_MODEL_CHECKPOINT_H
#define KVASS_MODEL_CHECKPOINT_H

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/tensor.h"

/* One entry of the directory. Where its bytes lie in a file is all that is known until bind.c reads
 * (or views) them. */
typedef struct kvass_tensor {
    char *name;
    int32_t dtype;         /* kvass_dtype, or -1: a type this build cannot compute with */
    const char *type_name; /* as the file writes it: "BF16", "I64", ... */
    int32_t n_dims;
    int64_t shape[KVASS_MAX_DIMS]; /* slowest dimension first */
    int32_t file;                  /* index into checkpoint.files */
    uint64_t offset;               /* from the start of that file */
    size_t n_bytes;
} kvass_tensor;

typedef struct kvass_checkpoint {
    const char *format; /* "safetensors", "llama2.c v1", ...; static */
    char *path;         /* the path that was opened */
    kvass_file *files;  /* files[n_files], open while the checkpoint is */
    char **file_paths;  /* file_paths[n_files], owned: what files[i].path borrows */
    int32_t n_files;
    kvass_tensor *tensors; /* tensors[n_tensors], sorted by name */
    int32_t n_tensors, cap_tensors;
    kvass_json *config;     /* an object in config.json's terms */
    kvass_json *key_names;  /* what the file itself calls config's keys, for messages, or NULL */
    char *config_path;      /* for messages: ".../config.json", or the file itself */
    kvass_json *generation; /* the object in generation_config.json, or NULL */
    char *generation_path;
    bool rope_pairs;  /* wq, wk rows are laid out for rotating neighbours (2i, 2i+1), as llama2.c
                       * exports them; bind.c reorders them to "rotate half" */
    bool laid_out;    /* matrices lie in rows, parts of a fused one after each other and norms
                       * whole, whatever the family says of its own files; and every tensor has a
                       * use: one without is refused. As GGUF files are */
    int32_t q8_group; /* not 0: a q8_f32 tensor lies in the file as int8[n], then f32[n / q8_group];
                       * a multiple of KVASS_QBLOCK that divides every row */
    char **warnings;  /* warnings[n_warnings]: odd but harmless, as sentences */
    int32_t n_warnings;
} kvass_checkpoint;

/* Find out what `path` is and read its directory; no weight is read. */
kvass_status kvass_checkpoint_open(kvass_checkpoint **out, const char *path, kvass_error *err);
void kvass_checkpoint_close(kvass_checkpoint **ckpt);

/* The tensor called `name`, or NULL. */
const kvass_tensor *kvass_checkpoint_find(const kvass_checkpoint *ckpt, const char *name);

/* Remember a warning (formatted). Memory failing here loses the warning, nothing else. */
void kvass_checkpoint_warn(kvass_checkpoint *ckpt, const char *fmt, ...) KVASS_PRINTF(2, 3);

/* What format readers build a checkpoint with. */

/* Open a file and append it to ckpt->files; its index is n_files - 1 then. IO, NOMEM. */
kvass_status kvass_checkpoint_add_file(kvass_checkpoint *ckpt, const char *path, kvass_error *err);
/* Append a copy of *tensor; its name is copied, too. FORMAT (TENSOR_COUNT), NOMEM. */
kvass_status kvass_checkpoint_add_tensor(kvass_checkpoint *ckpt, const kvass_tensor *tensor,
                                         kvass_error *err);
/* All tensors are there: sort them. FORMAT (DUPLICATE_TENSOR) when two have one name. */
kvass_status kvass_checkpoint_seal(kvass_checkpoint *ckpt, kvass_error *err);

/* The format readers. Each fills an empty checkpoint; kvass_checkpoint_open closes it on failure.
 */
kvass_status kvass_safetensors_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err);
kvass_status kvass_index_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err);
kvass_status kvass_llama2c_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err);
kvass_status kvass_torch_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err);
kvass_status kvass_gguf_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err);

/* Whether a file of `size` bytes that starts with head[n_bytes] is a llama2.c v0 file: that format
 * has no magic number, but its header determines its size exactly. */
bool kvass_llama2c_is_v0(const unsigned char *head, size_t n_bytes, uint64_t size);

#endif
