/* gguf_value.c - what a metadata value says; see gguf.h.
 * Every value was checked to lie inside the header when it was found.
 */
#include "engine/base/gguf.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t n_bytes;
} kinds[KVASS_GGUF_N_KINDS] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2},    {"u32", 4},
                               {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 0}, {"array", 0},
                               {"u64", 8}, {"i64", 8}, {"f64", 8}};

const kvass_gguf_value *kvass_gguf_find(const kvass_gguf *gguf, const char *key)
{
    int32_t i = kvass_map_get(gguf->keys, key, strlen(key));
    return i < 0 ? NULL : &gguf->values[i];
}

const char *kvass_gguf_describe(const kvass_gguf_value *value, char *text, size_t n_bytes)
{
    if (!value) {
        (void)snprintf(text, n_bytes, "no such key");
    } else if (value->is_array) {
        (void)snprintf(text, n_bytes, "an array of %u x %s", (unsigned)value->n,
                       kinds[value->kind].name);
    } else {
        (void)snprintf(text, n_bytes, "the kind %s", kinds[value->kind].name);
    }
    return text;
}

/* The little-endian bits of element i, for kinds of a fixed size. */
static uint64_t bits_of(const kvass_gguf *gguf, const kvass_gguf_value *value, uint32_t i)
{
    size_t n = kinds[value->kind].n_bytes;
    const unsigned char *p = gguf->bytes + value->at + (size_t)i * n;
    uint64_t bits = 0;
    for (size_t b = 0; b < n; b++) {
        bits |= (uint64_t)p[b] << 8 * b;
    }
    return bits;
}

bool kvass_gguf_as_int(const kvass_gguf *gguf, const kvass_gguf_value *value, uint32_t i,
                       int64_t *out)
{
    if (!value || i >= value->n) {
        return false;
    }
    switch (value->kind) {
    case KVASS_GGUF_I8:
        *out = (int8_t)bits_of(gguf, value, i);
        return true;
    case KVASS_GGUF_I16:
        *out = (int16_t)bits_of(gguf, value, i);
        return true;
    case KVASS_GGUF_I32:
        *out = (int32_t)bits_of(gguf, value, i);
        return true;
    case KVASS_GGUF_U8:
    case KVASS_GGUF_U16:
    case KVASS_GGUF_U32:
    case KVASS_GGUF_U64:
    case KVASS_GGUF_I64: {
        uint64_t bits = bits_of(gguf, value, i);
        if (value->kind == KVASS_GGUF_U64 && bits > INT64_MAX) {
            return false;
        }
        *out = (int64_t)bits;
        return true;
    }
    default:
        return false;
    }
}

bool kvass_gguf_as_real(const kvass_gguf *gguf, const kvass_gguf_value *value, uint32_t i,
                        double *out)
{
    if (!value || i >= value->n) {
        return false;
    }
    uint64_t bits;
    if (value->kind == KVASS_GGUF_F32) {
        uint32_t low = (uint32_t)bits_of(gguf, value, i);
        float f;
        memcpy(&f, &low, sizeof f);
        *out = (double)f;
        return true;
    }
    if (value->kind == KVASS_GGUF_F64) {
        bits = bits_of(gguf, value, i);
        memcpy(out, &bits, sizeof *out);
        return true;
    }
    return false;
}

bool kvass_gguf_as_bool(const kvass_gguf *gguf, const kvass_gguf_value *value, uint32_t i,
                        bool *out)
{
    if (!value || i >= value->n || value->kind != KVASS_GGUF_BOOL) {
        return false;
    }
    uint64_t bits = bits_of(gguf, value, i);
    *out = bits == 1;
    return bits <= 1;
}

const char *kvass_gguf_as_string(const kvass_gguf *gguf, const kvass_gguf_value *value,
                                 size_t *n_bytes)
{
    if (!value || value->is_array || value->kind != KVASS_GGUF_STRING) {
        return NULL;
    }
    kvass_reader walk = kvass_gguf_walk(gguf, value);
    return kvass_gguf_next_string(&walk, n_bytes);
}

kvass_reader kvass_gguf_walk(const kvass_gguf *gguf, const kvass_gguf_value *value)
{
    return (kvass_reader){gguf->bytes + value->at, value->n_bytes, 0};
}

const char *kvass_gguf_next_string(kvass_reader *walk, size_t *n_bytes)
{
    uint64_t n = 0;
    *n_bytes = 0;
    if (!kvass_reader_u64(walk, &n) || n > kvass_reader_left(walk)) {
        return NULL;
    }
    *n_bytes = (size_t)n;
    return (const char *)kvass_reader_take(walk, (size_t)n);
}
