/* gguf_out.c - see gguf_out.h. */
#include "engine/base/gguf_out.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

kvass_metadata *kvass_metadata_new(void)
{
    kvass_metadata *m = calloc(1, sizeof *m);
    if (m) {
        m->first = m->last = -1;
    }
    return m;
}

void kvass_metadata_close(kvass_metadata **metadata)
{
    if (metadata && *metadata) {
        free((*metadata)->bytes);
        free(*metadata);
        *metadata = NULL;
    }
}

kvass_status kvass_metadata_check(const kvass_metadata *m, kvass_error *err)
{
    return m->failed ? kvass_fail_nomem(err, m->n_bytes, "the metadata") : KVASS_OK;
}

void kvass_metadata_add_bytes(kvass_metadata *m, const void *bytes, size_t n)
{
    size_t end;
    if (m->failed || !kvass_add_size(m->n_bytes, n, &end)) {
        m->failed = true;
        return;
    }
    if (end > m->cap_bytes) {
        size_t cap = end < SIZE_MAX / 2 ? 2 * end : end;
        unsigned char *more = realloc(m->bytes, cap);
        if (!more) {
            m->failed = true;
            return;
        }
        m->bytes = more;
        m->cap_bytes = cap;
    }
    if (n > 0) {
        memcpy(m->bytes + m->n_bytes, bytes, n);
    }
    m->n_bytes = end;
}

/* the low n_bytes of value, lowest first */
static void add_number(kvass_metadata *m, uint64_t value, size_t n_bytes)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = (unsigned char)(value >> 8 * i);
    }
    kvass_metadata_add_bytes(m, bytes, n_bytes);
}

void kvass_metadata_add_u32(kvass_metadata *m, uint32_t value)
{
    add_number(m, value, 4);
}

void kvass_metadata_add_u64(kvass_metadata *m, uint64_t value)
{
    add_number(m, value, 8);
}

void kvass_metadata_add_i32(kvass_metadata *m, int32_t value)
{
    add_number(m, (uint32_t)value, 4);
}

void kvass_metadata_add_f32(kvass_metadata *m, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    add_number(m, bits, 4);
}

void kvass_metadata_add_string(kvass_metadata *m, const char *text, size_t n)
{
    kvass_metadata_add_u64(m, n);
    kvass_metadata_add_bytes(m, text, n);
}

/* the front of every value */
static void put_key(kvass_metadata *m, const char *key, kvass_gguf_kind kind)
{
    kvass_metadata_add_string(m, key, strlen(key));
    kvass_metadata_add_u32(m, (uint32_t)kind);
    m->n_values++;
}

void kvass_metadata_put_u32(kvass_metadata *m, const char *key, uint32_t value)
{
    put_key(m, key, KVASS_GGUF_U32);
    kvass_metadata_add_u32(m, value);
}

void kvass_metadata_put_f32(kvass_metadata *m, const char *key, float value)
{
    put_key(m, key, KVASS_GGUF_F32);
    kvass_metadata_add_f32(m, value);
}

void kvass_metadata_put_bool(kvass_metadata *m, const char *key, bool value)
{
    put_key(m, key, KVASS_GGUF_BOOL);
    add_number(m, value ? 1 : 0, 1);
}

void kvass_metadata_put_string(kvass_metadata *m, const char *key, const char *text, size_t n)
{
    put_key(m, key, KVASS_GGUF_STRING);
    kvass_metadata_add_string(m, text, n);
}

void kvass_metadata_put_list(kvass_metadata *m, const char *key, kvass_gguf_kind kind, uint64_t n)
{
    put_key(m, key, KVASS_GGUF_ARRAY);
    kvass_metadata_add_u32(m, (uint32_t)kind);
    kvass_metadata_add_u64(m, n);
}
