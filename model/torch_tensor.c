/* torch_tensor.c - one tensor of a PyTorch file.
 * The pickle calls _rebuild_tensor_v2(storage, offset, size, stride, ...), a storage being an entry
 * of the archive. Tensors that lie row by row are left where they are; others (transposed views)
 * are gathered into a file in memory.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/checked.h"
#include "model/torch.h"

enum { ALIGNMENT = 64, CHUNK_BYTES = 1 << 16 };

static const char rebuild_tensor[] = "torch._utils _rebuild_tensor_v2";
static const char rebuild_parameter[] = "torch._utils _rebuild_parameter";

static const struct {
    const char *function, *name;
    int32_t dtype;
    uint32_t n_bytes; /* of one element */
} types[] = {
    {"torch FloatStorage", "F32", KVASS_DTYPE_F32, 4},
    {"torch HalfStorage", "F16", KVASS_DTYPE_F16, 2},
    {"torch BFloat16Storage", "BF16", KVASS_DTYPE_BF16, 2},
    {"torch DoubleStorage", "F64", -1, 8},
    {"torch LongStorage", "I64", -1, 8},
    {"torch IntStorage", "I32", -1, 4},
    {"torch ShortStorage", "I16", -1, 2},
    {"torch CharStorage", "I8", -1, 1},
    {"torch ByteStorage", "U8", -1, 1},
    {"torch BoolStorage", "BOOL", -1, 1},
};

const char *const kvass_torch_functions[] = {"collections OrderedDict", rebuild_tensor,
                                             rebuild_parameter,         "torch FloatStorage",
                                             "torch HalfStorage",       "torch BFloat16Storage",
                                             "torch DoubleStorage",     "torch LongStorage",
                                             "torch IntStorage",        "torch ShortStorage",
                                             "torch CharStorage",       "torch ByteStorage",
                                             "torch BoolStorage",       NULL};

/* What the pickle says of a tensor. */
typedef struct view {
    const char *name; /* of the tensor, for messages */
    int64_t stride[KVASS_MAX_DIMS];
    int64_t first;      /* element of the storage */
    int64_t n_elements; /* of the tensor */
    int64_t n_storage;
    uint32_t n_element;  /* bytes of one */
    kvass_tensor tensor; /* type and shape */
    uint64_t storage_at; /* in the file */
} view;

static kvass_status fail_tensor(const kvass_torch *t, const view *v, const char *rule,
                                const char *what, kvass_error *err)
{
    return kvass_fail(err, KVASS_FORMAT, rule, "%s: tensor \"%.128s\": %s", t->path, v->name, what);
}

/* ---- reading the pickle ---------------------------------------------------------------------- */

/* ('storage', torch.FloatStorage, '0', 'cpu', 1024) */
static kvass_status read_storage(kvass_torch *t, view *v, kvass_pickle_node node, kvass_error *err)
{
    const kvass_pickle *p = t->pickle;
    size_t i = 0, n_key = 0, n_types = sizeof types / sizeof *types;
    kvass_pickle_node type = kvass_pickle_at(p, node, 1);
    const char *key = kvass_pickle_text(p, kvass_pickle_at(p, node, 2), &n_key);
    while (i < n_types && !kvass_pickle_is(p, type, types[i].function)) {
        i++;
    }
    if (kvass_pickle_get_kind(p, node) != KVASS_PICKLE_PERSISTENT || i == n_types || !key ||
        !kvass_pickle_is(p, kvass_pickle_at(p, node, 0), "storage") ||
        !kvass_pickle_int(p, kvass_pickle_at(p, node, 4), &v->n_storage) || n_key > 64) {
        return fail_tensor(t, v, "STORAGE", "expected a storage of a known type", err);
    }
    v->tensor.dtype = types[i].dtype;
    v->tensor.type_name = types[i].name;
    v->n_element = types[i].n_bytes;
    char name[512];
    (void)snprintf(name, sizeof name, "%sdata/%.*s", t->prefix, (int)n_key, key);
    int32_t entry = kvass_zip_find(t->zip, name);
    uint64_t size = 0;
    if (entry < 0) {
        return kvass_fail(err, KVASS_FORMAT, "STORAGE",
                          "%s: tensor \"%.128s\": its data is \"%.200s\", which the archive lacks",
                          t->path, v->name, name);
    }
    kvass_status status = kvass_zip_place(t->zip, entry, &v->storage_at, &size, err);
    uint64_t expected;
    if (status == KVASS_OK &&
        (v->n_storage < 0 ||
         __builtin_mul_overflow((uint64_t)v->n_storage, v->n_element, &expected) ||
         expected != size)) {
        status = kvass_fail(err, KVASS_FORMAT, "STORAGE",
                            "%s: tensor \"%.128s\": its storage has %" PRId64
                            " elements of %u bytes, but \"%.128s\" has %" PRIu64 " bytes",
                            t->path, v->name, v->n_storage, v->n_element, name, size);
    }
    return status;
}

/* Sizes and strides, and that all elements lie in the storage. */
static kvass_status read_shape(kvass_torch *t, view *v, kvass_pickle_node sizes,
                               kvass_pickle_node strides, kvass_error *err)
{
    const kvass_pickle *p = t->pickle;
    size_t n = kvass_pickle_size(p, sizes);
    if (kvass_pickle_get_kind(p, sizes) != KVASS_PICKLE_TUPLE || n > KVASS_MAX_DIMS ||
        kvass_pickle_get_kind(p, strides) != KVASS_PICKLE_TUPLE ||
        kvass_pickle_size(p, strides) != n) {
        return fail_tensor(t, v, "SHAPE", "expected at most 8 sizes and as many strides", err);
    }
    v->n_elements = 1;
    int64_t last = v->first;
    bool fits = v->first >= 0;
    v->tensor.n_dims = (int32_t)n;
    for (size_t d = 0; d < n; d++) {
        int64_t *size = &v->tensor.shape[d], reach = 0;
        if (!kvass_pickle_int(p, kvass_pickle_at(p, sizes, d), size) || *size < 0 ||
            !kvass_pickle_int(p, kvass_pickle_at(p, strides, d), &v->stride[d]) ||
            v->stride[d] < 0) {
            return fail_tensor(t, v, "SHAPE", "expected sizes and strides of 0 or more", err);
        }
        fits = fits && !__builtin_mul_overflow(v->n_elements, *size, &v->n_elements);
        fits = fits && (*size == 0 || !__builtin_mul_overflow(*size - 1, v->stride[d], &reach));
        fits = fits && !__builtin_add_overflow(last, reach, &last);
    }
    if (!fits || (v->n_elements > 0 && last >= v->n_storage)) {
        return fail_tensor(t, v, "OVERFLOW", "it reaches beyond its storage", err);
    }
    return KVASS_OK;
}

static kvass_status read_view(kvass_torch *t, view *v, kvass_pickle_node value, kvass_error *err)
{
    const kvass_pickle *p = t->pickle;
    if (kvass_pickle_get_kind(p, value) == KVASS_PICKLE_CALL &&
        kvass_pickle_is(p, value, rebuild_parameter)) {
        value = kvass_pickle_at(p, value, 0);
    }
    if (kvass_pickle_get_kind(p, value) != KVASS_PICKLE_CALL ||
        !kvass_pickle_is(p, value, rebuild_tensor)) {
        return kvass_fail(err, KVASS_FORMAT, "TENSOR_KIND",
                          "%s: \"%.128s\": expected a tensor, found %s", t->path, v->name,
                          kvass_pickle_kind_name(p, value));
    }
    if (!kvass_pickle_int(p, kvass_pickle_at(p, value, 1), &v->first)) {
        return fail_tensor(t, v, "SHAPE", "expected the place of its first element", err);
    }
    kvass_status status = read_storage(t, v, kvass_pickle_at(p, value, 0), err);
    return status == KVASS_OK
               ? read_shape(t, v, kvass_pickle_at(p, value, 2), kvass_pickle_at(p, value, 3), err)
               : status;
}

/* ---- data ------------------------------------------------------------------------------------ */

static bool is_row_by_row(const view *v)
{
    int64_t expected = 1;
    for (int32_t d = v->tensor.n_dims - 1; d >= 0; d--) {
        if (v->tensor.shape[d] != 1 && v->stride[d] != expected) {
            return false;
        }
        expected *= v->tensor.shape[d]; /* no more than n_elements */
    }
    return true;
}

static kvass_status write_all(kvass_torch *t, const char *bytes, size_t n, kvass_error *err)
{
    while (n > 0) {
        ssize_t done = write(t->gathered, bytes, n);
        if (done <= 0) {
            return kvass_fail(err, KVASS_IO, "FILE_WRITE",
                              "%s: no room in memory for a transposed tensor", t->path);
        }
        bytes += done;
        n -= (size_t)done;
        t->n_gathered += (uint64_t)done;
    }
    return KVASS_OK;
}

/* The elements of `storage` (from v->first on) in order, to the file in memory. */
static kvass_status gather_elements(kvass_torch *t, const view *v, const char *storage, char *chunk,
                                    kvass_error *err)
{
    int64_t index[KVASS_MAX_DIMS] = {0}, place = 0;
    size_t n = 0;
    for (int64_t i = 0; i < v->n_elements; i++) {
        memcpy(chunk + n, storage + (size_t)place * v->n_element, v->n_element);
        n += v->n_element;
        if (n == CHUNK_BYTES || i + 1 == v->n_elements) {
            kvass_status status = write_all(t, chunk, n, err);
            if (status != KVASS_OK) {
                return status;
            }
            n = 0;
        }
        for (int32_t d = v->tensor.n_dims - 1; d >= 0; d--) {
            place += v->stride[d];
            if (++index[d] < v->tensor.shape[d]) {
                break;
            }
            place -= v->stride[d] * v->tensor.shape[d];
            index[d] = 0;
        }
    }
    return KVASS_OK;
}

/* A tensor that lies otherwise than row by row; it becomes one of the file after. */
static kvass_status gather(kvass_torch *t, view *v, kvass_error *err)
{
    static const char zeros[ALIGNMENT] = {0};
    if (v->n_elements > v->n_storage - v->first) { /* more elements than there are: a bomb */
        return kvass_fail(err, KVASS_UNSUPPORTED, "TENSOR_STRIDES",
                          "%s: tensor \"%.128s\": elements that lie in one place are not supported",
                          t->path, v->name);
    }
    if (t->gathered < 0) {
        t->gathered = memfd_create("kvass", MFD_CLOEXEC);
        if (t->gathered < 0) {
            return kvass_fail(err, KVASS_IO, "FILE_OPEN",
                              "%s: no file in memory for a transposed tensor", t->path);
        }
    }
    size_t n_bytes = (size_t)(v->n_storage - v->first) * v->n_element;
    char *storage = malloc(n_bytes), *chunk = malloc(CHUNK_BYTES);
    kvass_status status = storage && chunk ? KVASS_OK : kvass_fail_nomem(err, n_bytes, v->name);
    if (status == KVASS_OK) {
        status = kvass_file_read(&t->ckpt->files[t->file],
                                 v->storage_at + (uint64_t)v->first * v->n_element, storage,
                                 n_bytes, err);
    }
    if (status == KVASS_OK) {
        size_t n_pad = (ALIGNMENT - t->n_gathered % ALIGNMENT) % ALIGNMENT;
        status = write_all(t, zeros, n_pad, err);
    }
    v->tensor.file = t->file + 1;
    v->tensor.offset = t->n_gathered;
    if (status == KVASS_OK) {
        status = gather_elements(t, v, storage, chunk, err);
    }
    free(storage);
    free(chunk);
    return status;
}

kvass_status kvass_torch_add(kvass_torch *t, const char *name, kvass_pickle_node value,
                             kvass_error *err)
{
    view v = {.name = name, .tensor.file = t->file};
    kvass_status status = read_view(t, &v, value, err);
    if (status != KVASS_OK) {
        return status;
    }
    v.tensor.name = (char *)(uintptr_t)name; /* it is copied */
    v.tensor.n_bytes = (size_t)v.n_elements * v.n_element;
    v.tensor.offset = v.n_elements > 0 ? v.storage_at + (uint64_t)v.first * v.n_element : 0;
    if (v.n_elements > 0 && !is_row_by_row(&v)) {
        status = gather(t, &v, err);
    }
    return status == KVASS_OK ? kvass_checkpoint_add_tensor(t->ckpt, &v.tensor, err) : status;
}

kvass_status kvass_torch_end(kvass_torch *t, kvass_error *err)
{
    if (t->gathered < 0) {
        return KVASS_OK;
    }
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", t->gathered);
    return kvass_checkpoint_add_file(t->ckpt, path, err);
}
