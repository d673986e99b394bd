/* index.c - a model in several safetensors or PyTorch files, listed by an *.index.json.
 * Called by checkpoint.c. The index maps each tensor to the shard that holds it; shards lie beside
 * the index (symbolic links are followed: a Hugging Face cache consists of them), and a shard's
 * name is never a path. Index and shards must agree on every tensor.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/map.h"
#include "model/limits.h"
#include "model/safetensors.h"
#include "model/scan.h"
#include "model/torch.h"

enum { MAX_INDEX_BYTES = 32 * 1024 * 1024 };

typedef struct index {
    const char *path;
    kvass_map *shard_ids; /* shard name -> index into names */
    char **names;         /* names[n_shards] */
    int32_t n_shards;
    int32_t *first_files; /* [n_shards]: of the checkpoint's files, the first that is the shard's */
    kvass_map *shard_of;  /* tensor name -> shard */
    int64_t total_size;   /* -1: not given */
} index_file;

static const char *const tails[] = {".safetensors", ".bin"};

static bool ends_with(const char *name, size_t n, const char *tail)
{
    size_t n_tail = strlen(tail);
    return n > n_tail && strcmp(name + n - n_tail, tail) == 0;
}

/* "x.safetensors" or "x.bin", and nothing that could lead elsewhere; of one kind with the first */
static bool is_plain_name(const index_file *x, const char *name, size_t n)
{
    size_t n_first = x->n_shards > 0 ? strlen(x->names[0]) : 0;
    bool known = false;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        known = known || (ends_with(name, n, tails[i]) &&
                          (n_first == 0 || ends_with(x->names[0], n_first, tails[i])));
    }
    return known && n < 256 && strlen(name) == n && !strchr(name, '/');
}

static kvass_status add_shard(kvass_scan *s, index_file *x, const char *name, size_t n, int32_t *id)
{
    int32_t old;
    *id = kvass_map_get(x->shard_ids, name, n);
    if (*id >= 0) {
        return KVASS_OK;
    }
    if (!is_plain_name(x, name, n)) {
        s->rule = "INDEX_NAME";
        return kvass_scan_fail(
            s, s->at, "expected the name of a %s file in this folder, found \"%.128s\"",
            x->n_shards > 0 && ends_with(x->names[0], strlen(x->names[0]), ".bin") ? ".bin"
                                                                                   : ".safetensors",
            name);
    }
    if (x->n_shards == KVASS_MAX_SHARDS) {
        s->rule = "INDEX_SHARDS";
        return kvass_scan_fail(s, s->at, "expected at most %d shards", KVASS_MAX_SHARDS);
    }
    char **more = realloc(x->names, ((size_t)x->n_shards + 1) * sizeof *more);
    if (more) {
        x->names = more;
    }
    char *copy = strdup(name);
    if (!more || !copy) {
        free(copy);
        return kvass_fail_nomem(s->err, n, "a shard's name");
    }
    x->names[x->n_shards] = copy;
    *id = x->n_shards++;
    return kvass_map_put(x->shard_ids, name, n, *id, &old, s->err);
}

/* {"tensor": "shard", ...} */
static kvass_status scan_weight_map(kvass_scan *s, index_file *x)
{
    bool more;
    kvass_status status = kvass_scan_open(s, '{', &more);
    while (status == KVASS_OK && more) {
        char *tensor, *shard;
        size_t n_tensor, n_shard, at = s->at;
        int32_t id, old = -1;
        status = kvass_scan_key(s, &tensor, &n_tensor);
        if (status == KVASS_OK) {
            status = kvass_scan_string(s, &shard, &n_shard);
        }
        if (status == KVASS_OK) {
            status = add_shard(s, x, shard, n_shard, &id);
        }
        if (status == KVASS_OK) {
            status = kvass_map_put(x->shard_of, tensor, n_tensor, id, &old, s->err);
        }
        if (status == KVASS_OK && old >= 0) {
            s->rule = "DUPLICATE_TENSOR";
            return kvass_scan_fail(s, at, "tensor \"%.128s\" stands there twice", tensor);
        }
        if (status == KVASS_OK && kvass_map_size(x->shard_of) > KVASS_MAX_TENSORS) {
            s->rule = "TENSOR_COUNT";
            return kvass_scan_fail(s, at, "expected at most %d tensors", KVASS_MAX_TENSORS);
        }
        if (status == KVASS_OK) {
            status = kvass_scan_next(s, '}', &more);
        }
    }
    return status;
}

/* {"total_size": bytes, ...}; anything else in it is passed over */
static kvass_status scan_metadata(kvass_scan *s, index_file *x)
{
    bool more;
    kvass_status status = kvass_scan_open(s, '{', &more);
    while (status == KVASS_OK && more) {
        char *key;
        size_t n;
        status = kvass_scan_key(s, &key, &n);
        if (status == KVASS_OK && strcmp(key, "total_size") == 0) {
            kvass_scan number = *s; /* some writers give a fraction: then it counts as not given */
            number.err = NULL;
            if (kvass_scan_int(&number, &x->total_size) != KVASS_OK) {
                x->total_size = -1;
            }
        }
        if (status == KVASS_OK) {
            status = kvass_scan_skip(s);
        }
        if (status == KVASS_OK) {
            status = kvass_scan_next(s, '}', &more);
        }
    }
    return status;
}

static kvass_status scan_index(kvass_scan *s, index_file *x)
{
    bool more, seen = false, seen_metadata = false;
    kvass_status status = kvass_scan_open(s, '{', &more);
    while (status == KVASS_OK && more) {
        char *key;
        size_t n, at = s->at;
        status = kvass_scan_key(s, &key, &n);
        if (status != KVASS_OK) {
            break;
        }
        bool weights = strcmp(key, "weight_map") == 0, metadata = strcmp(key, "metadata") == 0;
        if ((weights && seen) || (metadata && seen_metadata)) {
            return kvass_scan_fail(s, at, "\"%s\" stands there twice", key);
        }
        seen = seen || weights;
        seen_metadata = seen_metadata || metadata;
        status = weights    ? scan_weight_map(s, x)
                 : metadata ? scan_metadata(s, x)
                            : kvass_scan_skip(s);
        if (status == KVASS_OK) {
            status = kvass_scan_next(s, '}', &more);
        }
    }
    if (status == KVASS_OK) {
        status = kvass_scan_end(s);
    }
    if (status == KVASS_OK && x->n_shards == 0) {
        status = kvass_scan_fail(s, 0, "\"weight_map\": expected an object that lists tensors");
    }
    return status;
}

/* The shard that a file of the checkpoint belongs to: tensors that a PyTorch shard has in another
 * order than files have lie in one more file. */
static int32_t shard_of_file(const index_file *x, int32_t file)
{
    int32_t shard = x->n_shards - 1;
    while (shard > 0 && x->first_files[shard] > file) {
        shard--;
    }
    return shard;
}

/* Each tensor read so far must be where the index says. */
static kvass_status compare(const kvass_checkpoint *ckpt, const index_file *x, kvass_error *err)
{
    size_t n_listed = kvass_map_size(x->shard_of);
    for (int32_t i = 0; i < ckpt->n_tensors; i++) {
        const kvass_tensor *t = &ckpt->tensors[i];
        int32_t listed = kvass_map_get(x->shard_of, t->name, strlen(t->name));
        int32_t found = shard_of_file(x, t->file);
        if (listed != found) {
            return kvass_fail(err, KVASS_FORMAT, "INDEX_TENSOR",
                              "%s: tensor \"%.128s\": expected it in %s, found it in %s", x->path,
                              t->name, listed < 0 ? "no shard" : x->names[listed], x->names[found]);
        }
    }
    if (n_listed != (size_t)ckpt->n_tensors) {
        return kvass_fail(err, KVASS_FORMAT, "INDEX_TENSOR",
                          "%s: expected the %zu tensors it lists, found %d in its shards", x->path,
                          n_listed, ckpt->n_tensors);
    }
    return KVASS_OK;
}

static kvass_status read_shards(kvass_checkpoint *ckpt, index_file *x, kvass_error *err)
{
    const char *slash = strrchr(x->path, '/');
    size_t n_folder = slash ? (size_t)(slash - x->path) + 1 : 0;
    kvass_status status = KVASS_OK;
    ckpt->format = ends_with(x->names[0], strlen(x->names[0]), ".bin") ? "PyTorch (sharded)"
                                                                       : "safetensors (sharded)";
    for (int32_t i = 0; i < x->n_shards && status == KVASS_OK; i++) {
        size_t n_name = strlen(x->names[i]);
        char *path = malloc(n_folder + n_name + 1);
        if (!path) {
            return kvass_fail_nomem(err, n_folder + n_name + 1, "a path");
        }
        memcpy(path, x->path, n_folder);
        memcpy(path + n_folder, x->names[i], n_name + 1);
        x->first_files[i] = ckpt->n_files;
        status = ends_with(path, n_folder + n_name, ".bin")
                     ? kvass_torch_add_shard(ckpt, path, err)
                     : kvass_safetensors_add(ckpt, path, err);
        free(path);
    }
    if (status == KVASS_OK) {
        status = kvass_checkpoint_seal(ckpt, err);
    }
    return status == KVASS_OK ? compare(ckpt, x, err) : status;
}

static void check_total(kvass_checkpoint *ckpt, const index_file *x)
{
    uint64_t total = 0;
    for (int32_t i = 0; i < ckpt->n_tensors; i++) {
        total += ckpt->tensors[i].n_bytes;
    }
    if (x->total_size >= 0 && (uint64_t)x->total_size != total) {
        kvass_checkpoint_warn(ckpt, "%s: total_size is %lld, but the tensors have %llu bytes",
                              x->path, (long long)x->total_size, (unsigned long long)total);
    }
}

kvass_status kvass_index_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    index_file x = {.path = path, .total_size = -1};
    char *text = NULL;
    size_t n = 0;
    kvass_status status = kvass_file_slurp(path, MAX_INDEX_BYTES, &text, &n, err);
    if (status == KVASS_OK) {
        status = kvass_map_open(&x.shard_ids, err);
    }
    if (status == KVASS_OK) {
        status = kvass_map_open(&x.shard_of, err);
    }
    kvass_scan scan = {.text = text, .size = n, .path = path, .rule = "INDEX_JSON", .err = err};
    if (status == KVASS_OK) {
        status = scan_index(&scan, &x);
    }
    free(text);
    if (status == KVASS_OK) {
        x.first_files = calloc((size_t)x.n_shards, sizeof *x.first_files);
        status = x.first_files ? read_shards(ckpt, &x, err)
                               : kvass_fail_nomem(err, sizeof *x.first_files, "the shards");
    }
    if (status == KVASS_OK) {
        check_total(ckpt, &x);
    }
    for (int32_t i = 0; i < x.n_shards; i++) {
        free(x.names[i]);
    }
    free(x.names);
    free(x.first_files);
    kvass_map_close(&x.shard_ids);
    kvass_map_close(&x.shard_of);
    return status;
}
