/* to_gguf.c - a GGUF file, version 3: metadata, directory, tensors; see convert.h and
 * engine/base/gguf.c for the layout.
 */
#include <string.h>
#include <sys/stat.h>

#include "engine/base/checked.h"
#include "engine/convert/convert.h"

enum { ALIGNMENT = 32, VERSION = 3 };

/* The number of a type in GGUF files. */
static uint32_t type_number(kvass_dtype dtype)
{
    uint32_t number = 0;
    const kvass_gguf_type *type = kvass_gguf_type_get(number);
    while (!type || type->dtype != (int32_t)dtype) {
        type = kvass_gguf_type_get(++number);
    }
    return number;
}

/* Everything in front of the data. */
static kvass_status put_header(kvass_converter *c, kvass_metadata *front, kvass_error *err)
{
    kvass_metadata *m = kvass_metadata_new();
    if (!m) {
        return kvass_fail_nomem(err, sizeof *m, "the metadata");
    }
    kvass_status status = kvass_convert_keys(c, m, err);
    const kvass_metadata *tokenizer = c->opt->tokenizer;
    if (!tokenizer) {
        kvass_metadata_put_string(m, "tokenizer.ggml.model", "none", 4);
    }
    uint64_t offset = 0;
    kvass_metadata_add_bytes(front, "GGUF", 4);
    kvass_metadata_add_u32(front, VERSION);
    kvass_metadata_add_u64(front, (uint64_t)c->n_tensors);
    kvass_metadata_add_u64(front, (uint64_t)m->n_values + (tokenizer ? tokenizer->n_values : 0));
    kvass_metadata_add_bytes(front, m->bytes, m->n_bytes);
    if (tokenizer) {
        kvass_metadata_add_bytes(front, tokenizer->bytes, tokenizer->n_bytes);
    }
    for (int32_t i = 0; i < c->n_tensors; i++) {
        const kvass_out_tensor *t = &c->tensors[i];
        kvass_metadata_add_string(front, t->name, strlen(t->name));
        kvass_metadata_add_u32(front, (uint32_t)t->n_dims);
        for (int32_t d = t->n_dims - 1; d >= 0; d--) { /* the fastest first */
            kvass_metadata_add_u64(front, (uint64_t)t->shape[d]);
        }
        kvass_metadata_add_u32(front, type_number(t->dtype));
        kvass_metadata_add_u64(front, offset);
        offset += (t->n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    kvass_metadata_close(&m);
    return status == KVASS_OK ? kvass_metadata_check(front, err) : status;
}

static kvass_status put_padding(kvass_converter *c, size_t n_bytes, kvass_error *err)
{
    static const unsigned char zeros[ALIGNMENT];
    size_t over = n_bytes % ALIGNMENT;
    return over > 0 ? kvass_out_file_put(c->file, zeros, ALIGNMENT - over, err) : KVASS_OK;
}

static kvass_status write_file(kvass_converter *c, kvass_error *err)
{
    kvass_metadata *front = kvass_metadata_new();
    if (!front) {
        return kvass_fail_nomem(err, sizeof *front, "the metadata");
    }
    kvass_status status = put_header(c, front, err);
    if (status == KVASS_OK) {
        status = kvass_out_file_put(c->file, front->bytes, front->n_bytes, err);
    }
    if (status == KVASS_OK) {
        status = put_padding(c, front->n_bytes, err);
    }
    kvass_metadata_close(&front);
    for (int32_t i = 0; i < c->n_tensors && status == KVASS_OK; i++) {
        status = kvass_convert_put(c, &c->tensors[i], err);
        if (status == KVASS_OK) {
            status = put_padding(c, c->tensors[i].n_bytes, err);
        }
    }
    return status;
}

kvass_status kvass_convert_to_gguf(kvass_converter *c, const char *path, kvass_error *err)
{
    struct stat st;
    if (!c->opt->replace && lstat(path, &st) == 0) {
        return kvass_fail(err, KVASS_IO, "CONVERT_EXISTS", "%s: is there already", path);
    }
    kvass_status status = kvass_out_file_open(c->file, path, err);
    if (status != KVASS_OK) {
        return status;
    }
    status = write_file(c, err);
    if (status == KVASS_OK) {
        status = kvass_out_file_sync(c->file, err);
    }
    if (status == KVASS_OK) {
        status = kvass_convert_check(c, c->file->temp, path, err);
    }
    if (status != KVASS_OK) {
        c->file->status = status; /* so that nothing of it stays */
        (void)kvass_out_file_finish(c->file, NULL);
        return status;
    }
    return kvass_out_file_finish(c->file, err);
}
