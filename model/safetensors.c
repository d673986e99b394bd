/* safetensors.c - a safetensors file into the directory of tensors.
 * Called by checkpoint.c, and by index.c for each shard. The file is a length of 8
 * bytes, a JSON header of that length, and the data. The tensors must tile the data exactly:
 * without holes or overlaps, from its first byte to the end of the file.
 */
#include "model/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/map.h"
#include "engine/base/reader.h"
#include "model/scan.h"

enum { LENGTH_BYTES = 8, MAX_HEADER = 100000000, MAX_METADATA = 65536 };

/* Types of the format; the bits of one element. Those this build cannot compute with are still told
 * apart from nonsense: such a tensor is refused only when it is needed. */
static const struct {
    const char *name;
    int32_t dtype;
    uint32_t bits;
} types[] = {
    {"F32", KVASS_DTYPE_F32, 32},
    {"F16", KVASS_DTYPE_F16, 16},
    {"BF16", KVASS_DTYPE_BF16, 16},
    {"F64", -1, 64},
    {"I64", -1, 64},
    {"U64", -1, 64},
    {"I32", -1, 32},
    {"U32", -1, 32},
    {"I16", -1, 16},
    {"U16", -1, 16},
    {"I8", -1, 8},
    {"U8", -1, 8},
    {"BOOL", -1, 8},
    {"F8_E5M2", -1, 8},
    {"F8_E4M3", -1, 8},
    {"F8_E8M0", -1, 8},
    {"F8_E4M3FNUZ", -1, 8},
    {"F8_E5M2FNUZ", -1, 8},
    {"F6_E2M3", -1, 6},
    {"F6_E3M2", -1, 6},
    {"F4", -1, 4},
    {"C64", -1, 64},
};

/* What the header says about one tensor, besides its name. */
typedef struct entry {
    kvass_tensor tensor;
    int64_t begin, end; /* in the data */
    uint32_t bits;
    size_t at; /* of the entry in the header, for messages */
} entry;

static kvass_status scan_dtype(kvass_scan *s, entry *e)
{
    char *name;
    size_t n, at = s->at;
    kvass_status status = kvass_scan_string(s, &name, &n);
    if (status != KVASS_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(name, types[i].name) == 0) {
            e->tensor.dtype = types[i].dtype;
            e->tensor.type_name = types[i].name;
            e->bits = types[i].bits;
            return KVASS_OK;
        }
    }
    s->rule = "DTYPE_UNKNOWN";
    return kvass_scan_fail(s, at, "tensor \"%.128s\": no such type: \"%.32s\"", e->tensor.name,
                           name);
}

static kvass_status scan_shape(kvass_scan *s, entry *e)
{
    bool more;
    s->rule = "SHAPE";
    kvass_status status = kvass_scan_open(s, '[', &more);
    while (status == KVASS_OK && more) {
        if (e->tensor.n_dims == KVASS_MAX_DIMS) {
            return kvass_scan_fail(s, s->at, "tensor \"%.128s\": expected at most %d dimensions",
                                   e->tensor.name, KVASS_MAX_DIMS);
        }
        status = kvass_scan_int(s, &e->tensor.shape[e->tensor.n_dims++]);
        if (status == KVASS_OK) {
            status = kvass_scan_next(s, ']', &more);
        }
    }
    return status;
}

static kvass_status scan_offsets(kvass_scan *s, entry *e)
{
    int64_t *const to[] = {&e->begin, &e->end};
    bool more;
    size_t at = s->at, n = 0;
    s->rule = "OFFSET";
    kvass_status status = kvass_scan_open(s, '[', &more);
    while (status == KVASS_OK && more && n < 2) {
        status = kvass_scan_int(s, to[n++]);
        if (status == KVASS_OK) {
            status = kvass_scan_next(s, ']', &more);
        }
    }
    if (status == KVASS_OK && (n != 2 || more)) {
        status = kvass_scan_fail(s, at, "tensor \"%.128s\": expected two offsets", e->tensor.name);
    }
    return status;
}

/* {"dtype": ..., "shape": ..., "data_offsets": ...}, each once, in any order */
static kvass_status scan_entry(kvass_scan *s, entry *e)
{
    static const struct {
        const char *name;
        kvass_status (*scan)(kvass_scan *s, entry *e);
    } fields[] = {{"dtype", scan_dtype}, {"shape", scan_shape}, {"data_offsets", scan_offsets}};
    enum { N_FIELDS = sizeof fields / sizeof *fields };
    bool seen[N_FIELDS] = {false}, more;
    e->at = s->at;
    kvass_status status = kvass_scan_open(s, '{', &more);
    while (status == KVASS_OK && more) {
        char *key;
        size_t n, i = 0, at = s->at;
        status = kvass_scan_key(s, &key, &n);
        if (status != KVASS_OK) {
            break;
        }
        while (i < N_FIELDS && strcmp(key, fields[i].name) != 0) {
            i++;
        }
        if (i == N_FIELDS || seen[i]) {
            return kvass_scan_fail(s, at,
                                   "tensor \"%.128s\": expected dtype, shape and data_offsets once "
                                   "each, found \"%.32s\"%s",
                                   e->tensor.name, key, i < N_FIELDS ? " again" : "");
        }
        seen[i] = true;
        status = fields[i].scan(s, e);
        if (status == KVASS_OK) {
            s->rule = "HEADER_JSON";
            status = kvass_scan_next(s, '}', &more);
        }
    }
    for (size_t i = 0; i < N_FIELDS && status == KVASS_OK; i++) {
        if (!seen[i]) {
            status = kvass_scan_fail(s, e->at, "tensor \"%.128s\": \"%s\" is missing",
                                     e->tensor.name, fields[i].name);
        }
    }
    return status;
}

/* __metadata__ must map strings to strings; what they say is never interpreted. */
static kvass_status scan_metadata(kvass_scan *s)
{
    kvass_map *keys;
    bool more = false;
    int32_t n_keys = 0, old = -1;
    kvass_status status = kvass_map_open(&keys, s->err);
    if (status != KVASS_OK) {
        return status;
    }
    s->rule = "HEADER_METADATA";
    status = kvass_scan_open(s, '{', &more);
    while (status == KVASS_OK && more) {
        char *key, *value;
        size_t n, n_value, at = s->at;
        status = kvass_scan_key(s, &key, &n);
        if (status == KVASS_OK) {
            status = kvass_map_put(keys, key, n, n_keys++, &old, s->err);
        }
        if (status == KVASS_OK && (old >= 0 || n_keys > MAX_METADATA)) {
            status = kvass_scan_fail(s, at, "__metadata__: expected at most %d different keys",
                                     MAX_METADATA);
        }
        if (status == KVASS_OK) {
            status = kvass_scan_string(s, &value, &n_value);
        }
        if (status == KVASS_OK) {
            status = kvass_scan_next(s, '}', &more);
        }
    }
    kvass_map_close(&keys);
    s->rule = "HEADER_JSON";
    return status;
}

/* The span must be what shape and type make. */
static kvass_status check_span(kvass_scan *s, const entry *e, uint64_t n_data)
{
    uint64_t n_bits = e->bits;
    const kvass_tensor *t = &e->tensor;
    bool zero = false, fits = true;
    for (int32_t d = 0; d < t->n_dims; d++) {
        zero = zero || t->shape[d] == 0;
    }
    for (int32_t d = 0; d < t->n_dims && !zero && fits; d++) {
        fits = !__builtin_mul_overflow(n_bits, (uint64_t)t->shape[d], &n_bits);
    }
    n_bits = zero ? 0 : n_bits;
    s->rule = "OVERFLOW";
    if (!fits || n_bits / 8 > SIZE_MAX) {
        return kvass_scan_fail(s, e->at, "tensor \"%.128s\": the product of its shape is too large",
                               t->name);
    }
    s->rule = "OFFSET";
    if (e->begin > e->end || (uint64_t)e->end > n_data) {
        return kvass_scan_fail(s, e->at,
                               "tensor \"%.128s\": expected offsets in order within %" PRIu64
                               " bytes of data, found %" PRId64 " and %" PRId64,
                               t->name, n_data, e->begin, e->end);
    }
    if (n_bits % 8 != 0 || (uint64_t)(e->end - e->begin) != n_bits / 8) {
        return kvass_scan_fail(s, e->at,
                               "tensor \"%.128s\": its shape needs %" PRIu64
                               " bytes, its offsets span %" PRId64,
                               t->name, n_bits / 8, e->end - e->begin);
    }
    s->rule = "HEADER_JSON";
    return KVASS_OK;
}

/* All entries of the header into the directory; offsets count from data_at. */
static kvass_status scan_header(kvass_scan *s, kvass_checkpoint *ckpt, uint64_t data_at,
                                uint64_t n_data)
{
    bool more, seen_metadata = false;
    kvass_status status = kvass_scan_open(s, '{', &more);
    while (status == KVASS_OK && more) {
        entry e = {.tensor.file = ckpt->n_files - 1};
        size_t n;
        status = kvass_scan_key(s, &e.tensor.name, &n);
        if (status == KVASS_OK && strcmp(e.tensor.name, "__metadata__") == 0) {
            if (seen_metadata) {
                s->rule = "DUPLICATE_TENSOR";
                return kvass_scan_fail(s, s->at, "__metadata__ stands there twice");
            }
            seen_metadata = true;
            status = scan_metadata(s);
        } else if (status == KVASS_OK) {
            status = scan_entry(s, &e);
            if (status == KVASS_OK) {
                status = check_span(s, &e, n_data);
            }
            e.tensor.offset = data_at + (uint64_t)e.begin;
            e.tensor.n_bytes = (size_t)(e.end - e.begin);
            if (status == KVASS_OK) {
                status = kvass_checkpoint_add_tensor(ckpt, &e.tensor, s->err);
            }
        }
        if (status == KVASS_OK) {
            status = kvass_scan_next(s, '}', &more);
        }
    }
    return status == KVASS_OK ? kvass_scan_end(s) : status;
}

static int by_offset(const void *a, const void *b)
{
    const kvass_tensor *x = *(const kvass_tensor *const *)a, *y = *(const kvass_tensor *const *)b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes;
}

/* tensors[n] must tile [data_at, size): a hole could hide another file's content. */
static kvass_status check_tiling(const kvass_tensor *tensors, size_t n, uint64_t data_at,
                                 const kvass_file *file, kvass_error *err)
{
    const kvass_tensor **order = malloc((n > 0 ? n : 1) * sizeof *order);
    if (!order) {
        return kvass_fail_nomem(err, n * sizeof *order, "the order of tensors");
    }
    for (size_t i = 0; i < n; i++) {
        order[i] = &tensors[i];
    }
    qsort(order, n, sizeof *order, by_offset);
    uint64_t at = data_at;
    kvass_status status = KVASS_OK;
    for (size_t i = 0; i < n && status == KVASS_OK; i++) {
        if (order[i]->offset != at) {
            status = kvass_fail(err, KVASS_FORMAT, "OFFSET",
                                "%s: tensor \"%.128s\": expected its data at byte %" PRIu64
                                ", where the one before ends, found %" PRIu64 " (%s)",
                                file->path, order[i]->name, at, order[i]->offset,
                                order[i]->offset < at ? "overlap" : "hole");
        }
        at += order[i]->n_bytes;
    }
    if (status == KVASS_OK && at != file->size) {
        status =
            kvass_fail(err, KVASS_FORMAT, "OFFSET",
                       "%s: expected a file of %" PRIu64 " bytes by its header, found %" PRIu64,
                       file->path, at, file->size);
    }
    free(order);
    return status;
}

/* The length in front of the header, held against the file before anything is allocated. */
static kvass_status read_length(const kvass_file *file, size_t *length, kvass_error *err)
{
    unsigned char bytes[LENGTH_BYTES];
    uint64_t n = 0;
    if (file->size < LENGTH_BYTES) {
        return kvass_fail(err, KVASS_FORMAT, "HEADER_SIZE",
                          "%s: expected at least %d bytes, found %" PRIu64, file->path,
                          LENGTH_BYTES, file->size);
    }
    kvass_status status = kvass_file_read(file, 0, bytes, sizeof bytes, err);
    if (status != KVASS_OK) {
        return status;
    }
    kvass_reader r = {.bytes = bytes, .size = sizeof bytes};
    (void)kvass_reader_u64(&r, &n);
    if (n < 2 || n > MAX_HEADER || !kvass_range_inside(LENGTH_BYTES, n, file->size)) {
        return kvass_fail(
            err, KVASS_FORMAT, "HEADER_SIZE",
            "%s: byte 0: expected a header of 2 .. %d bytes inside the file's %" PRIu64
            ", found %" PRIu64,
            file->path, MAX_HEADER, file->size, n);
    }
    *length = (size_t)n;
    return KVASS_OK;
}

kvass_status kvass_safetensors_add(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    size_t n_header = 0;
    int32_t first = ckpt->n_tensors;
    kvass_status status = kvass_checkpoint_add_file(ckpt, path, err);
    if (status != KVASS_OK) {
        return status;
    }
    const kvass_file *file = &ckpt->files[ckpt->n_files - 1];
    status = read_length(file, &n_header, err);
    if (status != KVASS_OK) {
        return status;
    }
    char *text = malloc(n_header);
    if (!text) {
        return kvass_fail_nomem(err, n_header, "the header");
    }
    kvass_scan scan = {.text = text,
                       .size = n_header,
                       .base = LENGTH_BYTES,
                       .path = file->path,
                       .rule = "HEADER_JSON",
                       .err = err};
    uint64_t data_at = (uint64_t)LENGTH_BYTES + n_header;
    status = kvass_file_read(file, LENGTH_BYTES, text, n_header, err);
    if (status == KVASS_OK) {
        status = scan_header(&scan, ckpt, data_at, file->size - data_at);
    }
    free(text);
    if (status == KVASS_OK) {
        bool any = ckpt->n_tensors > first; /* without, there may be no list at all */
        status = check_tiling(any ? ckpt->tensors + first : NULL, (size_t)(ckpt->n_tensors - first),
                              data_at, file, err);
    }
    return status;
}

kvass_status kvass_safetensors_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    ckpt->format = "safetensors";
    kvass_status status = kvass_safetensors_add(ckpt, path, err);
    return status == KVASS_OK ? kvass_checkpoint_seal(ckpt, err) : status;
}
