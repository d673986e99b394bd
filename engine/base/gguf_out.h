/* gguf_out.h - the metadata of a GGUF file under construction: keys and values as its bytes; or,
 * for a folder, the text of the tokenizer's files. Filled by tokenizer/gguf_put.c and
 * engine/convert/, written by the latter. A failed allocation is remembered, so that whoever puts
 * values asks once, at the end.
 */
#ifndef KVASS_BASE_GGUF_OUT_H
#define KVASS_BASE_GGUF_OUT_H

#include "engine/base/gguf.h"

struct kvass_metadata {
    unsigned char *bytes; /* bytes[n_bytes] */
    size_t n_bytes, cap_bytes;
    uint32_t n_values;
    size_t n_json; /* text instead: of tokenizer.json; tokenizer_config.json's follows. Else 0 */
    bool failed;   /* memory ran out: the rest is worth nothing */
    int32_t first, last; /* the ids that a tokenizer puts around a text, -1: none */
};

/* Empty; NULL when out of memory. */
kvass_metadata *kvass_metadata_new(void);

void kvass_metadata_put_u32(kvass_metadata *m, const char *key, uint32_t value);
void kvass_metadata_put_f32(kvass_metadata *m, const char *key, float value);
void kvass_metadata_put_bool(kvass_metadata *m, const char *key, bool value);
void kvass_metadata_put_string(kvass_metadata *m, const char *key, const char *text, size_t n);

/* A list of n elements, which are added by as many calls after this one. */
void kvass_metadata_put_list(kvass_metadata *m, const char *key, kvass_gguf_kind kind, uint64_t n);
void kvass_metadata_add_i32(kvass_metadata *m, int32_t value);
void kvass_metadata_add_f32(kvass_metadata *m, float value);
void kvass_metadata_add_string(kvass_metadata *m, const char *text, size_t n);

/* Numbers as every part of a GGUF file has them: little-endian. */
void kvass_metadata_add_u32(kvass_metadata *m, uint32_t value);
void kvass_metadata_add_u64(kvass_metadata *m, uint64_t value);
void kvass_metadata_add_bytes(kvass_metadata *m, const void *bytes, size_t n);

/* NOMEM if any call failed. */
kvass_status kvass_metadata_check(const kvass_metadata *m, kvass_error *err);

#endif
