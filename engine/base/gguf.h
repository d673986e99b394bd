/* gguf.h - the GGUF container: typed metadata and a directory of tensors, versions 2 and 3.
 * Read by model/gguf.c and tokenizer/gguf_vocab.c, which give it meaning. The header is copied into
 * memory piece by piece as it proves to be there; every count is held against the bytes that are
 * left before anything is sized by it. Little-endian only.
 */
#ifndef KVASS_BASE_GGUF_H
#define KVASS_BASE_GGUF_H

#include "engine/base/file.h"
#include "engine/base/map.h"
#include "engine/base/reader.h"

#define KVASS_GGUF_MAX_DIMS 4

/* Kinds of metadata values, by the file's numbers. */
typedef enum kvass_gguf_kind {
    KVASS_GGUF_U8,
    KVASS_GGUF_I8,
    KVASS_GGUF_U16,
    KVASS_GGUF_I16,
    KVASS_GGUF_U32,
    KVASS_GGUF_I32,
    KVASS_GGUF_F32,
    KVASS_GGUF_BOOL,
    KVASS_GGUF_STRING,
    KVASS_GGUF_ARRAY,
    KVASS_GGUF_U64,
    KVASS_GGUF_I64,
    KVASS_GGUF_F64,
    KVASS_GGUF_N_KINDS
} kvass_gguf_kind;

/* One value: where it lies in the header's bytes. All its bytes are there and well-formed. */
typedef struct kvass_gguf_value {
    kvass_gguf_kind kind; /* of an array: of its elements, which are no arrays */
    bool is_array;
    uint32_t n; /* elements; 1 when it is no array */
    size_t at, n_bytes;
} kvass_gguf_value;

/* A kind of tensor elements, by the file's number. */
typedef struct kvass_gguf_type {
    const char *name;             /* "Q4_K" */
    int32_t n_block, block_bytes; /* elements and bytes of a block */
    int32_t dtype;                /* kvass_dtype, or -1: not supported */
} kvass_gguf_type;

typedef struct kvass_gguf_tensor {
    size_t name_at;
    uint32_t n_name;
    int32_t n_dims;
    int64_t dims[KVASS_GGUF_MAX_DIMS]; /* as stored: the fastest first */
    const kvass_gguf_type *type;
    uint64_t offset; /* from the start of the file */
    uint64_t n_bytes;
} kvass_gguf_tensor;

typedef struct kvass_gguf {
    unsigned char *bytes; /* the header, bytes[n_bytes] */
    size_t n_bytes;
    uint32_t version, alignment;
    kvass_gguf_value *values; /* values[n_values], in the file's order */
    uint32_t n_values;
    kvass_map *keys;            /* key -> index into values */
    kvass_gguf_tensor *tensors; /* tensors[n_tensors], in the file's order, tiling the data */
    uint32_t n_tensors;
    uint64_t data_end; /* behind the last tensor */
} kvass_gguf;

/* Read the header of an open file. FORMAT and UNSUPPORTED (GGUF_MAGIC, GGUF_ENDIAN, GGUF_VERSION,
 * GGUF_COUNT, GGUF_TRUNCATED, GGUF_HEADER, GGUF_KEY, GGUF_VALUE, GGUF_STRING, GGUF_ARRAY,
 * GGUF_ALIGNMENT, GGUF_TENSOR, GGUF_TYPE, GGUF_SHAPE, GGUF_OFFSET, GGUF_DATA), IO, NOMEM. */
kvass_status kvass_gguf_open(kvass_gguf **out, const kvass_file *file, kvass_error *err);
void kvass_gguf_close(kvass_gguf **gguf);

/* *path is the GGUF file of a folder, in fresh memory; NULL when there is none, or more than one.
 * *n_files: how many there are, the parts of a split one counted as one, which its first part
 * stands for. IO (FILE_OPEN), NOMEM. */
kvass_status kvass_gguf_in_folder(const char *folder, char **path, int *n_files, kvass_error *err);

/* The value of a key, or NULL. */
const kvass_gguf_value *kvass_gguf_find(const kvass_gguf *gguf, const char *key);

/* "a string", "an array of 3 x u32", ... into text[n_bytes]; returns text. value may be NULL. */
const char *kvass_gguf_describe(const kvass_gguf_value *value, char *text, size_t n_bytes);

/* Element i (0 when it is no array), i < value->n. Each is true, and writes, only when the value
 * has a kind that holds such a thing: integers of any width, reals of both, booleans of 0 and 1. A
 * u64 above INT64_MAX is no int. */
bool kvass_gguf_as_int(const kvass_gguf *gguf, const kvass_gguf_value *value, uint32_t i,
                       int64_t *out);
bool kvass_gguf_as_real(const kvass_gguf *gguf, const kvass_gguf_value *value, uint32_t i,
                        double *out);
bool kvass_gguf_as_bool(const kvass_gguf *gguf, const kvass_gguf_value *value, uint32_t i,
                        bool *out);

/* text[*n_bytes] of a string that is no array, not NUL-terminated; NULL when it is something else.
 */
const char *kvass_gguf_as_string(const kvass_gguf *gguf, const kvass_gguf_value *value,
                                 size_t *n_bytes);

/* Walk the strings of a value: begin with kvass_gguf_walk, then one call for each element. */
kvass_reader kvass_gguf_walk(const kvass_gguf *gguf, const kvass_gguf_value *value);
const char *kvass_gguf_next_string(kvass_reader *walk, size_t *n_bytes);

/* The type of a number, or NULL when there is none, or none any more. */
const kvass_gguf_type *kvass_gguf_type_get(uint32_t number);

#endif
