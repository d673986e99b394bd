/* checkpoint.h - a file format's answer: one directory of tensors and one configuration.
 * Every format reader (safetensors.c, llama2c.c, ...) yields this and nothing else, so that any family
 * loads from any format that can hold it. Names are those of Hugging Face files and the configuration
 * speaks config.json's language; a reader of another format translates once, here, and nowhere else.
 */
#ifndef KVASS_MODEL_CHECKPOINT_H
#define KVASS_MODEL_CHECKPOINT_H

#include "engine/base/file.h"
#include "engine/base/json.h"
#include "engine/base/map.h"
#include "engine/base/tensor.h"

/* One entry of the directory. Where its bytes lie in a file is all that is known until bind.c reads
 * (or views) them. */
typedef struct kvass_tensor {
    char *name;
    int32_t dtype;         /* kvass_dtype, or -1: a type this build cannot compute with */
    const char *type_name; /* as the file writes it: "BF16", "I64", ... */
    int32_t n_dims;
    int64_t shape[KVASS_MAX_DIMS]; /* slowest dimension first */
    int32_t file;          /* index into checkpoint.files */
    uint64_t offset;       /* from the start of that file */
    size_t n_bytes;
} kvass_tensor;

typedef struct kvass_checkpoint {
    const char *format;   /* "safetensors", "llama2.c v1", ...; static */
    char *path;           /* the path that was opened */
    kvass_file *files;    /* files[n_files], open while the checkpoint is */
    char **file_paths;    /* file_paths[n_files], owned: what files[i].path borrows */
    int32_t n_files;
    kvass_tensor *tensors; /* tensors[n_tensors], sorted by name */
    int32_t n_tensors;
    kvass_map *by_name;   /* name -> index into tensors */
    kvass_json *config;   /* an object in config.json's terms */
    char *config_path;    /* for messages: ".../config.json", or the file itself */
    bool rope_pairs;      /* wq, wk rows are laid out for rotating neighbours (2i, 2i+1), as llama2.c
                           * exports them; bind.c reorders them to "rotate half" */
    char **warnings;      /* warnings[n_warnings]: odd but harmless, as sentences */
    int32_t n_warnings;
} kvass_checkpoint;

/* Find out what `path` is and read its directory; no weight is read. */
kvass_status kvass_checkpoint_open(kvass_checkpoint **out, const char *path, kvass_error *err);
void kvass_checkpoint_close(kvass_checkpoint **ckpt);

/* The tensor called `name`, or NULL. */
const kvass_tensor *kvass_checkpoint_find(const kvass_checkpoint *ckpt, const char *name);

/* Remember a warning (formatted). Memory failing here loses the warning, nothing else. */
void kvass_checkpoint_warn(kvass_checkpoint *ckpt, const char *fmt, ...) KVASS_PRINTF(2, 3);

/* The format readers. Each fills an empty checkpoint; kvass_checkpoint_open closes it on failure. */
kvass_status kvass_safetensors_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err);
kvass_status kvass_llama2c_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err);

#endif
