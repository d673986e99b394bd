/* gguf.c - reading the header of a GGUF file; see gguf.h.
 *
 *   "GGUF"  u32 version  u64 n_tensors  u64 n_values
 *   n_values x  { string key, u32 kind, value }    array: u32 kind, u64 n, n values
 *   n_tensors x { string name, u32 n_dims, u64 dims[n_dims], u32 type, u64 offset }
 *   padding to the alignment, then the data; string: u64 n, bytes
 */
#include "engine/base/gguf_take.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"

enum {
    MAX_VALUES = 1 << 16,
    MAX_TENSORS = 1000000,
    MAX_KEY = 65535,
    MAX_NAME = 127, /* of a tensor; ggml allows 63 */
    MAX_STRING = 16 << 20,
    MAX_ALIGNMENT = 64 << 10,
    MIN_VALUE_BYTES = 8 + 1 + 4 + 1, /* a key of one letter and a value of one byte */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8
};

static const int32_t kind_bytes[KVASS_GGUF_N_KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static const char *const kind_names[KVASS_GGUF_N_KINDS] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

/* ---- metadata -------------------------------------------------------------------------------- */

static kvass_status take_kind(gguf_parse *p, kvass_gguf_kind *kind)
{
    uint32_t number = 0;
    size_t start = p->at;
    kvass_status status = kvass_gguf_take_u32(p, &number);
    if (status == KVASS_OK && number >= KVASS_GGUF_N_KINDS) {
        status = kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_VALUE", start,
                                 "kind of a value: expected 0 .. %d, found %" PRIu32,
                                 KVASS_GGUF_N_KINDS - 1, number);
    }
    *kind = (kvass_gguf_kind)number;
    return status;
}

static kvass_status skip_strings(gguf_parse *p, uint64_t n)
{
    size_t at;
    uint32_t length;
    kvass_status status = KVASS_OK;
    for (uint64_t i = 0; i < n && status == KVASS_OK; i++) {
        status = kvass_gguf_take_string(p, "a string", "GGUF_STRING", 0, MAX_STRING, &at, &length);
    }
    return status;
}

static kvass_status take_array(gguf_parse *p, kvass_gguf_value *v)
{
    uint64_t n = 0;
    kvass_status status = take_kind(p, &v->kind);
    size_t start = p->at;
    if (status == KVASS_OK && v->kind == KVASS_GGUF_ARRAY) {
        status = kvass_gguf_fail(p, KVASS_UNSUPPORTED, "GGUF_ARRAY", start,
                                 "expected an array of single values, found an array of arrays");
    }
    if (status == KVASS_OK) {
        status = kvass_gguf_take_u64(p, &n);
    }
    if (status != KVASS_OK) {
        return status;
    }
    uint64_t each = v->kind == KVASS_GGUF_STRING ? 8 : (uint64_t)kind_bytes[v->kind];
    if (n > kvass_gguf_left(p) / each) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_ARRAY", start,
                               "an array of %" PRIu64 " x %s: found only %" PRIu64
                               " bytes left in the file",
                               n, kind_names[v->kind], kvass_gguf_left(p));
    }
    v->at = p->at;
    v->n = n <= UINT32_MAX ? (uint32_t)n : 0;
    if (v->kind == KVASS_GGUF_STRING) {
        status = skip_strings(p, n);
    } else {
        status = kvass_gguf_need(p, n * each);
        p->at += status == KVASS_OK ? (size_t)(n * each) : 0;
    }
    return status;
}

static kvass_status take_value(gguf_parse *p, kvass_gguf_value *v)
{
    kvass_gguf_kind kind = KVASS_GGUF_U8;
    kvass_status status = take_kind(p, &kind);
    *v = (kvass_gguf_value){.kind = kind, .n = 1, .at = p->at};
    if (status != KVASS_OK) {
        return status;
    }
    if (kind == KVASS_GGUF_ARRAY) {
        v->is_array = true;
        status = take_array(p, v);
    } else if (kind == KVASS_GGUF_STRING) {
        status = skip_strings(p, 1);
    } else {
        status = kvass_gguf_need(p, (uint64_t)kind_bytes[kind]);
        p->at += status == KVASS_OK ? (size_t)kind_bytes[kind] : 0;
    }
    v->n_bytes = p->at - v->at;
    return status;
}

static kvass_status take_values(gguf_parse *p)
{
    kvass_gguf *g = p->g;
    uint32_t count = g->n_values;
    kvass_status status = kvass_map_open(&g->keys, p->err);
    g->values = calloc((size_t)count + 1, sizeof *g->values);
    if (status == KVASS_OK && !g->values) {
        status = kvass_fail_nomem(p->err, count * sizeof *g->values, "the metadata");
    }
    for (uint32_t i = 0; i < count && status == KVASS_OK; i++) {
        size_t key_at = 0, start = p->at;
        uint32_t n_key = 0;
        int32_t old = -1;
        status = kvass_gguf_take_string(p, "a key", "GGUF_KEY", 1, MAX_KEY, &key_at, &n_key);
        if (status == KVASS_OK) {
            status = take_value(p, &g->values[i]);
        }
        if (status == KVASS_OK) {
            const char *key = (const char *)g->bytes + key_at;
            status = kvass_map_put(g->keys, key, n_key, (int32_t)i, &old, p->err);
        }
        if (status == KVASS_OK && old >= 0) {
            status = kvass_gguf_fail(
                p, KVASS_FORMAT, "GGUF_KEY", start, "the key \"%.*s\" stands there twice",
                (int)(n_key < 100 ? n_key : 100), (const char *)g->bytes + key_at);
        }
    }
    return status;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* Shape and type; n_bytes follows from them. */
static kvass_status take_tensor_form(gguf_parse *p, kvass_gguf_tensor *t, const char *name)
{
    uint32_t n_dims = 0, number = 0;
    size_t start = p->at, n = 1;
    kvass_status status = kvass_gguf_take_u32(p, &n_dims);
    if (status == KVASS_OK && (n_dims < 1 || n_dims > KVASS_GGUF_MAX_DIMS)) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_SHAPE", start,
                               "tensor \"%s\": expected 1 .. %d dimensions, found %" PRIu32, name,
                               KVASS_GGUF_MAX_DIMS, n_dims);
    }
    t->n_dims = (int32_t)n_dims;
    for (uint32_t i = 0; i < n_dims && status == KVASS_OK; i++) {
        uint64_t dim = 0;
        status = kvass_gguf_take_u64(p, &dim);
        if (status == KVASS_OK &&
            (dim < 1 || dim > INT64_MAX || !kvass_mul_size(n, (size_t)dim, &n) || n > INT64_MAX)) {
            return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_SHAPE", start,
                                   "tensor \"%s\": dimension %" PRIu32
                                   ": expected 1 or more and a product "
                                   "below 2^63, found %" PRIu64,
                                   name, i, dim);
        }
        t->dims[i] = (int64_t)dim;
    }
    start = p->at;
    if (status == KVASS_OK) {
        status = kvass_gguf_take_u32(p, &number);
    }
    if (status != KVASS_OK) {
        return status;
    }
    t->type = kvass_gguf_type_get(number);
    if (!t->type) {
        return kvass_gguf_fail(p, KVASS_UNSUPPORTED, "GGUF_TYPE", start,
                               "tensor \"%s\": type %" PRIu32
                               " is unknown, or was withdrawn from the format",
                               name, number);
    }
    size_t n_bytes;
    if (t->dims[0] % t->type->n_block != 0) {
        return kvass_gguf_fail(
            p, KVASS_FORMAT, "GGUF_SHAPE", p->at,
            "tensor \"%s\": type %s: expected rows of whole blocks of %d, found rows of "
            "%" PRId64,
            name, t->type->name, t->type->n_block, t->dims[0]);
    }
    if (!kvass_mul_size(n / (size_t)t->type->n_block, (size_t)t->type->block_bytes, &n_bytes)) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_SHAPE", p->at,
                               "tensor \"%s\": its size in bytes overflows", name);
    }
    t->n_bytes = n_bytes;
    return KVASS_OK;
}

static kvass_status take_tensor(gguf_parse *p, kvass_gguf_tensor *t)
{
    size_t start = p->at;
    kvass_status status = kvass_gguf_take_string(p, "the name of a tensor", "GGUF_TENSOR", 1,
                                                 MAX_NAME, &t->name_at, &t->n_name);
    if (status != KVASS_OK) {
        return status;
    }
    char name[MAX_NAME + 1] = "";
    memcpy(name, p->g->bytes + t->name_at, t->n_name);
    if (strlen(name) != t->n_name) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_TENSOR", start,
                               "the name of a tensor: expected no NUL, found one after \"%s\"",
                               name);
    }
    status = take_tensor_form(p, t, name);
    return status == KVASS_OK ? kvass_gguf_take_u64(p, &t->offset) : status;
}

/* The tensors' data must follow each other, each beginning at the next multiple of the alignment,
 * and lie inside the file: an overlap or a hole means that the directory is not this data's. */
static kvass_status place_tensors(gguf_parse *p)
{
    kvass_gguf *g = p->g;
    size_t start, at = 0, unit = g->alignment;
    if (!kvass_round_up_size(p->at, unit, &start)) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_OFFSET", p->at,
                               "the start of the data overflows");
    }
    g->data_end = start;
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        kvass_gguf_tensor *t = &g->tensors[i];
        int n_name = (int)t->n_name;
        const char *name = (const char *)g->bytes + t->name_at;
        if (t->offset != at) {
            return kvass_gguf_fail(
                p, KVASS_FORMAT, "GGUF_OFFSET", p->at,
                "tensor \"%.*s\": expected its data at offset %zu, where the one before "
                "ends, found %" PRIu64 " (%s)",
                n_name, name, at, t->offset,
                t->offset % unit != 0 ? "unaligned"
                : t->offset < at      ? "overlap"
                                      : "hole");
        }
        t->offset += start;
        if (!kvass_range_inside(t->offset, t->n_bytes, p->file->size)) {
            return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_DATA", p->at,
                                   "tensor \"%.*s\": expected its %" PRIu64
                                   " bytes at byte %" PRIu64 ", found a file of %" PRIu64 " bytes",
                                   n_name, name, t->n_bytes, t->offset, p->file->size);
        }
        g->data_end = t->offset + t->n_bytes;
        (void)kvass_round_up_size((size_t)(g->data_end - start), unit, &at); /* inside the file */
    }
    return KVASS_OK;
}

static kvass_status take_tensors(gguf_parse *p)
{
    kvass_gguf *g = p->g;
    kvass_status status = KVASS_OK;
    if (g->n_tensors > kvass_gguf_left(p) / MIN_TENSOR_BYTES) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_COUNT", p->at,
                               "%" PRIu32 " tensors: found only %" PRIu64 " bytes left in the file",
                               g->n_tensors, kvass_gguf_left(p));
    }
    g->tensors = calloc((size_t)g->n_tensors + 1, sizeof *g->tensors);
    if (!g->tensors) {
        return kvass_fail_nomem(p->err, g->n_tensors * sizeof *g->tensors, "the tensor directory");
    }
    for (uint32_t i = 0; i < g->n_tensors && status == KVASS_OK; i++) {
        status = take_tensor(p, &g->tensors[i]);
    }
    return status == KVASS_OK ? place_tensors(p) : status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static kvass_status take_front(gguf_parse *p)
{
    kvass_gguf *g = p->g;
    uint32_t magic = 0;
    uint64_t n_tensors = 0, n_values = 0;
    kvass_status status = kvass_gguf_take_u32(p, &magic);
    if (status == KVASS_OK && memcmp(g->bytes, "GGUF", 4) != 0) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_MAGIC", 0, "expected \"GGUF\", found %s",
                               kvass_file_looks_like(g->bytes, 4));
    }
    if (status == KVASS_OK) {
        status = kvass_gguf_take_u32(p, &g->version);
    }
    if (status != KVASS_OK) {
        return status;
    }
    if (g->version != 0 && (g->version & 0xffffu) == 0) {
        return kvass_gguf_fail(p, KVASS_UNSUPPORTED, "GGUF_ENDIAN", 4,
                               "expected a little-endian GGUF file, found a big-endian one");
    }
    if (g->version != 2 && g->version != 3) {
        return kvass_gguf_fail(p, KVASS_UNSUPPORTED, "GGUF_VERSION", 4,
                               "version: expected 2 or 3, found %" PRIu32, g->version);
    }
    status = kvass_gguf_take_u64(p, &n_tensors);
    if (status == KVASS_OK) {
        status = kvass_gguf_take_u64(p, &n_values);
    }
    if (status != KVASS_OK) {
        return status;
    }
    if (n_tensors > MAX_TENSORS || n_values > MAX_VALUES ||
        n_values > kvass_gguf_left(p) / MIN_VALUE_BYTES) {
        return kvass_gguf_fail(p, KVASS_FORMAT, "GGUF_COUNT", 8,
                               "expected at most %d tensors and %d values that fit the %" PRIu64
                               " bytes left, found %" PRIu64 " and %" PRIu64,
                               MAX_TENSORS, MAX_VALUES, kvass_gguf_left(p), n_tensors, n_values);
    }
    g->n_tensors = (uint32_t)n_tensors;
    g->n_values = (uint32_t)n_values;
    return KVASS_OK;
}

static kvass_status settle_alignment(gguf_parse *p)
{
    const kvass_gguf_value *v = kvass_gguf_find(p->g, "general.alignment");
    int64_t n = 32;
    char found[64];
    if (v && (v->is_array || v->kind != KVASS_GGUF_U32 || !kvass_gguf_as_int(p->g, v, 0, &n) ||
              n < 1 || n > MAX_ALIGNMENT || (n & (n - 1)) != 0)) {
        return kvass_gguf_fail(
            p, KVASS_FORMAT, "GGUF_ALIGNMENT", v->at,
            "\"general.alignment\": expected a u32, a power of two of at most %d, found %s "
            "%" PRId64,
            MAX_ALIGNMENT, kvass_gguf_describe(v, found, sizeof found), n);
    }
    p->g->alignment = (uint32_t)n;
    return KVASS_OK;
}

kvass_status kvass_gguf_open(kvass_gguf **out, const kvass_file *file, kvass_error *err)
{
    *out = NULL;
    kvass_gguf *g = calloc(1, sizeof *g);
    if (!g) {
        return kvass_fail_nomem(err, sizeof *g, "a GGUF header");
    }
    gguf_parse p = {.g = g, .file = file, .err = err};
    kvass_status status = take_front(&p);
    if (status == KVASS_OK) {
        status = take_values(&p);
    }
    if (status == KVASS_OK) {
        status = settle_alignment(&p);
    }
    if (status == KVASS_OK) {
        status = take_tensors(&p);
    }
    if (status != KVASS_OK) {
        kvass_gguf_close(&g);
    }
    *out = g;
    return status;
}

void kvass_gguf_close(kvass_gguf **gguf)
{
    if (gguf && *gguf) {
        kvass_map_close(&(*gguf)->keys);
        free((*gguf)->values);
        free((*gguf)->tensors);
        free((*gguf)->bytes);
        free(*gguf);
        *gguf = NULL;
    }
}
