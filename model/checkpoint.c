/* checkpoint.c - finds out what a path is, and keeps what its format reader found.
 * Called by model.c. A path that no reader takes is refused by saying what it looks like. The
 * directory of tensors is sorted once, by kvass_checkpoint_seal, and never changes afterwards.
 */
#include "model/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/gguf.h"
#include "model/limits.h"

enum { HEAD_BYTES = 512, MAX_CONFIG_BYTES = 512 * 1024 };

static bool ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), n_tail = strlen(tail);
    return n >= n_tail && memcmp(text + n - n_tail, tail, n_tail) == 0;
}

/* folder/name in fresh memory; `folder` counts up to its first n_folder bytes */
static char *join(const char *folder, size_t n_folder, const char *name)
{
    while (n_folder > 1 && folder[n_folder - 1] == '/') {
        n_folder--;
    }
    size_t n_name = strlen(name);
    char *path = malloc(n_folder + 1 + n_name + 1);
    if (path) {
        memcpy(path, folder, n_folder);
        path[n_folder] = '/';
        memcpy(path + n_folder + 1, name, n_name + 1);
    }
    return path;
}

/* name beside the file `path`. Links are not followed: a Hugging Face cache is made of them. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return slash ? join(path, (size_t)(slash - path) + (slash == path), name) : join(".", 1, name);
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

kvass_status kvass_checkpoint_add_file(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    size_t n = (size_t)ckpt->n_files + 1;
    kvass_file *files = realloc(ckpt->files, n * sizeof *files);
    if (files) {
        ckpt->files = files;
    }
    char **paths = realloc(ckpt->file_paths, n * sizeof *paths);
    if (paths) {
        ckpt->file_paths = paths;
    }
    char *copy = strdup(path);
    if (!files || !paths || !copy) {
        free(copy);
        return kvass_fail_nomem(err, n * sizeof *files, path);
    }
    kvass_status status = kvass_file_open(&files[ckpt->n_files], copy, err);
    if (status != KVASS_OK) {
        free(copy);
        return status;
    }
    paths[ckpt->n_files++] = copy;
    return KVASS_OK;
}

kvass_status kvass_checkpoint_add_tensor(kvass_checkpoint *ckpt, const kvass_tensor *tensor,
                                         kvass_error *err)
{
    int32_t n = ckpt->n_tensors;
    if (n >= KVASS_MAX_TENSORS) {
        return kvass_fail(err, KVASS_FORMAT, "TENSOR_COUNT", "%s: expected at most %d tensors",
                          ckpt->path, KVASS_MAX_TENSORS);
    }
    if (n >= ckpt->cap_tensors) {
        int32_t cap = n < 64 ? 64 : n + n / 2;
        kvass_tensor *more = realloc(ckpt->tensors, (size_t)cap * sizeof *more);
        if (!more) {
            return kvass_fail_nomem(err, (size_t)cap * sizeof *more, "the tensor directory");
        }
        ckpt->tensors = more;
        ckpt->cap_tensors = cap;
    }
    char *name = strdup(tensor->name);
    if (!name) {
        return kvass_fail_nomem(err, strlen(tensor->name) + 1, "a tensor's name");
    }
    ckpt->tensors[n] = *tensor;
    ckpt->tensors[n].name = name;
    ckpt->n_tensors++;
    return KVASS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const kvass_tensor *)a)->name, ((const kvass_tensor *)b)->name);
}

kvass_status kvass_checkpoint_seal(kvass_checkpoint *ckpt, kvass_error *err)
{
    if (ckpt->n_tensors == 0) {
        return kvass_fail(err, KVASS_FORMAT, "NO_TENSORS",
                          "%s: expected the tensors of a model, found none", ckpt->path);
    }
    qsort(ckpt->tensors, (size_t)ckpt->n_tensors, sizeof *ckpt->tensors, by_name);
    for (int32_t i = 1; i < ckpt->n_tensors; i++) {
        const kvass_tensor *a = &ckpt->tensors[i - 1], *b = &ckpt->tensors[i];
        if (strcmp(a->name, b->name) == 0) {
            return kvass_fail(err, KVASS_FORMAT, "DUPLICATE_TENSOR",
                              "%s: tensor \"%s\" is defined twice (first in %s)",
                              ckpt->file_paths[b->file], b->name, ckpt->file_paths[a->file]);
        }
    }
    return KVASS_OK;
}

const kvass_tensor *kvass_checkpoint_find(const kvass_checkpoint *ckpt, const char *name)
{
    int32_t lo = 0, hi = ckpt->n_tensors;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        int order = strcmp(name, ckpt->tensors[mid].name);
        if (order == 0) {
            return &ckpt->tensors[mid];
        }
        if (order < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}

void kvass_checkpoint_warn(kvass_checkpoint *ckpt, const char *fmt, ...)
{
    char text[512];
    if (ckpt->n_warnings >= KVASS_MAX_WARNINGS) {
        return;
    }
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char *copy = strdup(text);
    char **more = realloc(ckpt->warnings, ((size_t)ckpt->n_warnings + 1) * sizeof *more);
    if (more) {
        ckpt->warnings = more;
    }
    if (!copy || !more) {
        free(copy);
        return;
    }
    more[ckpt->n_warnings++] = copy;
}

/* config.json beside the weights, and generation_config.json if there is one */
static kvass_status read_config(kvass_checkpoint *ckpt, const char *weights_path, kvass_error *err)
{
    ckpt->config_path = beside(weights_path, "config.json");
    ckpt->generation_path = beside(weights_path, "generation_config.json");
    if (!ckpt->config_path || !ckpt->generation_path) {
        return kvass_fail_nomem(err, strlen(weights_path), "a path");
    }
    if (!is_file(ckpt->config_path)) {
        return kvass_fail(err, KVASS_IO, "CONFIG_FILE",
                          "%s: expected the model's configuration beside %s, found no such file",
                          ckpt->config_path, weights_path);
    }
    kvass_status status = kvass_json_open(&ckpt->config, ckpt->config_path, MAX_CONFIG_BYTES, err);
    if (status == KVASS_OK && kvass_json_get_kind(ckpt->config) != KVASS_JSON_OBJECT) {
        status = kvass_fail(err, KVASS_FORMAT, "CONFIG_TYPE", "%s: expected an object, found %s",
                            ckpt->config_path, kvass_json_kind_name(ckpt->config));
    }
    if (status == KVASS_OK && is_file(ckpt->generation_path)) {
        status = kvass_json_open(&ckpt->generation, ckpt->generation_path, MAX_CONFIG_BYTES, err);
    }
    return status;
}

typedef kvass_status (*read_fn)(kvass_checkpoint *ckpt, const char *path, kvass_error *err);

static kvass_status refuse(const char *path, const char *found, kvass_error *err)
{
    return kvass_fail(
        err, KVASS_UNSUPPORTED, "CHECKPOINT_KIND",
        "%s: expected a folder with config.json and model.safetensors, a "
        ".safetensors file, a model.safetensors.index.json, a .gguf, a PyTorch file (since 1.6) or "
        "a llama2.c .bin, "
        "found "
        "%s",
        path, found);
}

/* The reader for the file `path`, by its first bytes and then by its name. */
static kvass_status sniff_file(const char *path, read_fn *reader, kvass_error *err)
{
    unsigned char head[HEAD_BYTES];
    kvass_file file;
    kvass_status status = kvass_file_open(&file, path, err);
    if (status != KVASS_OK) {
        return status;
    }
    size_t n = file.size < sizeof head ? (size_t)file.size : sizeof head;
    status = kvass_file_read(&file, 0, head, n, err);
    kvass_file_close(&file);
    if (status != KVASS_OK) {
        return status;
    }
    const char *like = kvass_file_looks_like(head, n);
    if ((n >= 4 && memcmp(head, "24ka", 4) == 0) || kvass_llama2c_is_v0(head, n, file.size)) {
        *reader = kvass_llama2c_read;
    } else if (strcmp(like, "JSON text") == 0 && ends_with(path, ".index.json")) {
        *reader = kvass_index_read;
    } else if (strcmp(like, "a safetensors file") == 0) {
        *reader = kvass_safetensors_read;
    } else if (strcmp(like, "a zip archive (PyTorch?)") == 0) {
        *reader = kvass_torch_read;
    } else if (strcmp(like, "a GGUF file") == 0) {
        *reader = kvass_gguf_read;
    } else if (strcmp(like, KVASS_LOOKS_UNKNOWN) != 0) {
        status = refuse(path, like, err);
    } else if (ends_with(path, ".safetensors")) {
        *reader = kvass_safetensors_read;
    } else if (ends_with(path, ".bin")) {
        *reader = kvass_llama2c_read;
    } else {
        status = refuse(path, like, err);
    }
    return status;
}

/* What in a folder is read, most wanted first, and what else people keep there. */
static kvass_status sniff_folder(const char *path, char **file, kvass_error *err)
{
    static const char *const readable[] = {"model.safetensors", "model.safetensors.index.json",
                                           "pytorch_model.bin", "pytorch_model.bin.index.json",
                                           "ckpt.pt"};
    static const char *const others[] = {"consolidated.00.pth", "tf_model.h5", "flax_model.msgpack",
                                         "adapter_model.safetensors"};
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++) {
        *file = join(path, strlen(path), readable[i]);
        if (!*file) {
            return kvass_fail_nomem(err, strlen(path), "a path");
        }
        if (is_file(*file)) {
            return KVASS_OK;
        }
        free(*file);
        *file = NULL;
    }
    int n_gguf = 0;
    kvass_status status = kvass_gguf_in_folder(path, file, &n_gguf, err);
    if (status != KVASS_OK || n_gguf == 1) {
        return status;
    }
    if (n_gguf > 1) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "CHECKPOINT_KIND",
                          "%s: expected one GGUF file, found %d: name one of them", path, n_gguf);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *other = join(path, strlen(path), others[i]);
        bool there = other && is_file(other);
        free(other);
        if (there) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "CHECKPOINT_KIND",
                              "%s: expected model.safetensors, found only %s; save the model as "
                              "safetensors",
                              path, others[i]);
        }
    }
    return refuse(path, "a folder with none of them", err);
}

kvass_status kvass_checkpoint_open(kvass_checkpoint **out, const char *path, kvass_error *err)
{
    *out = NULL;
    kvass_status status;
    char *inner = NULL; /* the file inside, when path is a folder */
    kvass_checkpoint *ckpt = calloc(1, sizeof *ckpt);
    if (!ckpt || !(ckpt->path = strdup(path))) {
        status = kvass_fail_nomem(err, sizeof *ckpt, "a checkpoint");
        goto fail;
    }
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        status = sniff_folder(path, &inner, err);
        if (status != KVASS_OK) {
            goto fail;
        }
        path = inner;
    }
    read_fn reader = NULL;
    status = sniff_file(path, &reader, err);
    if (status != KVASS_OK) {
        goto fail;
    }
    status = reader(ckpt, path, err);
    if (status == KVASS_OK && !ckpt->config) {
        status = read_config(ckpt, path, err);
    }
    if (status != KVASS_OK) {
        goto fail;
    }
    free(inner);
    *out = ckpt;
    return KVASS_OK;
fail:
    free(inner);
    kvass_checkpoint_close(&ckpt);
    return status;
}

void kvass_checkpoint_close(kvass_checkpoint **ckpt)
{
    kvass_checkpoint *c = *ckpt;
    if (!c) {
        return;
    }
    for (int32_t i = 0; i < c->n_tensors; i++) {
        free(c->tensors[i].name);
    }
    for (int32_t i = 0; i < c->n_files; i++) {
        kvass_file_close(&c->files[i]);
        free(c->file_paths[i]);
    }
    for (int32_t i = 0; i < c->n_warnings; i++) {
        free(c->warnings[i]);
    }
    kvass_json_close(&c->config);
    kvass_json_close(&c->generation);
    kvass_json_close(&c->key_names);
    free(c->tensors);
    free(c->files);
    free(c->file_paths);
    free(c->warnings);
    free(c->config_path);
    free(c->generation_path);
    free(c->path);
    free(c);
    *ckpt = NULL;
}
