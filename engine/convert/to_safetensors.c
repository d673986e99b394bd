/* to_safetensors.c - a Hugging Face folder: model.safetensors, config.json, and the tokenizer's
 * files as they are; see convert.h. All is written into a folder of another name beside it, which
 * gets its name when it is whole and reads back; where a folder is replaced, its files are, one by
 * one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/convert/convert.h"

enum { PATH_BYTES = 4096, MAX_COPIED = 12, N_USES = 3 };

static const char weights_name[] = "model.safetensors", config_name[] = "config.json";

/* What belongs to how the model is used, the first N_USES; to a tokenizer. */
static const char *const copied[MAX_COPIED] = {"generation_config.json",
                                               "chat_template.json",
                                               "chat_template.jinja",
                                               "tokenizer.json",
                                               "tokenizer_config.json",
                                               "special_tokens_map.json",
                                               "added_tokens.json",
                                               "vocab.json",
                                               "merges.txt",
                                               "tokenizer.model",
                                               "tokenizer.bin",
                                               "meta.pkl"};

typedef struct folder {
    char path[PATH_BYTES];               /* the name it has until it is whole */
    const char *written[MAX_COPIED + 2]; /* names in it */
    int32_t n_written;
} folder;

static kvass_status join(char *out, const char *path, size_t n_path, const char *name,
                         kvass_error *err)
{
    int n = snprintf(out, PATH_BYTES, "%.*s/%s", (int)n_path, path, name);
    return n > 0 && n < PATH_BYTES
               ? KVASS_OK
               : kvass_fail(err, KVASS_IO, "SAVE_OPEN", "%s: the path is too long", path);
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* ---- one file -------------------------------------------------------------------------------- */

/* Open folder/name for writing. */
static kvass_status begin(kvass_converter *c, folder *f, const char *name, char *path,
                          kvass_error *err)
{
    kvass_status status = join(path, f->path, strlen(f->path), name, err);
    return status == KVASS_OK ? kvass_out_file_open(c->file, path, err) : status;
}

static kvass_status end(kvass_converter *c, folder *f, const char *name, kvass_status status,
                        kvass_error *err)
{
    if (status != KVASS_OK) {
        c->file->status = status; /* so that nothing of it stays */
        (void)kvass_out_file_finish(c->file, NULL);
        return status;
    }
    f->written[f->n_written++] = name;
    return kvass_out_file_finish(c->file, err);
}

/* ---- weights --------------------------------------------------------------------------------- */

/* text as a JSON string, quotes included */
static void add_quoted(kvass_metadata *m, const char *text)
{
    kvass_metadata_add_bytes(m, "\"", 1);
    for (; *text; text++) {
        char escape[8];
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\' || byte < 0x20) {
            int n = snprintf(escape, sizeof escape, "\\u%04x", byte);
            kvass_metadata_add_bytes(m, escape, (size_t)n);
        } else {
            kvass_metadata_add_bytes(m, text, 1);
        }
    }
    kvass_metadata_add_bytes(m, "\"", 1);
}

static void add_entry(kvass_metadata *m, const kvass_out_tensor *t, uint64_t offset)
{
    const char *type = t->dtype == KVASS_DTYPE_F16    ? "F16"
                       : t->dtype == KVASS_DTYPE_BF16 ? "BF16"
                                                      : "F32";
    char text[160], shape[64];
    (void)(t->n_dims == 2 ? snprintf(shape, sizeof shape, "%lld,%lld", (long long)t->shape[0],
                                     (long long)t->shape[1])
                          : snprintf(shape, sizeof shape, "%lld", (long long)t->shape[0]));
    int n = snprintf(text, sizeof text,
                     ":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}", type, shape,
                     (unsigned long long)offset, (unsigned long long)(offset + t->n_bytes));
    kvass_metadata_add_bytes(m, ",", 1);
    add_quoted(m, t->name);
    kvass_metadata_add_bytes(m, text, (size_t)n);
}

/* The header, filled up with spaces so that the data is aligned. */
static kvass_status put_header(kvass_converter *c, kvass_error *err)
{
    static const char front[] = "{\"__metadata__\":{\"format\":\"pt\"}";
    unsigned char size[8];
    kvass_metadata *m = kvass_metadata_new();
    if (!m) {
        return kvass_fail_nomem(err, sizeof *m, "the header");
    }
    uint64_t offset = 0;
    kvass_metadata_add_bytes(m, front, sizeof front - 1);
    for (int32_t i = 0; i < c->n_tensors; i++) {
        add_entry(m, &c->tensors[i], offset);
        offset += c->tensors[i].n_bytes;
    }
    kvass_metadata_add_bytes(m, "}", 1);
    while (!m->failed && m->n_bytes % sizeof size != 0) {
        kvass_metadata_add_bytes(m, " ", 1);
    }
    for (size_t i = 0; i < sizeof size; i++) {
        size[i] = (unsigned char)((uint64_t)m->n_bytes >> 8 * i);
    }
    kvass_status status = kvass_metadata_check(m, err);
    if (status == KVASS_OK) {
        status = kvass_out_file_put(c->file, size, sizeof size, err);
    }
    if (status == KVASS_OK) {
        status = kvass_out_file_put(c->file, m->bytes, m->n_bytes, err);
    }
    kvass_metadata_close(&m);
    return status;
}

static kvass_status write_weights(kvass_converter *c, folder *f, kvass_error *err)
{
    char path[PATH_BYTES];
    kvass_status status = begin(c, f, weights_name, path, err);
    if (status != KVASS_OK) {
        return status;
    }
    status = put_header(c, err);
    for (int32_t i = 0; i < c->n_tensors && status == KVASS_OK; i++) {
        status = kvass_convert_put(c, &c->tensors[i], err);
    }
    return end(c, f, weights_name, status, err);
}

static kvass_status write_text(kvass_converter *c, folder *f, const char *name,
                               const unsigned char *text, size_t n, kvass_error *err)
{
    char path[PATH_BYTES];
    kvass_status status = begin(c, f, name, path, err);
    if (status == KVASS_OK) {
        status = kvass_out_file_put(c->file, text, n, err);
        status = end(c, f, name, status, err);
    }
    return status;
}

/* ---- configuration --------------------------------------------------------------------------- */

static kvass_status write_config(kvass_converter *c, folder *f, kvass_error *err)
{
    static const char *const types[] = {[KVASS_DTYPE_F32] = "float32",
                                        [KVASS_DTYPE_F16] = "float16",
                                        [KVASS_DTYPE_BF16] = "bfloat16"};
    char *text = NULL;
    size_t n = 0;
    kvass_dtype widest = KVASS_DTYPE_F32;
    for (int32_t i = 0; i < c->n_tensors; i++) {
        widest = c->tensors[i].n_dims == 2 ? c->tensors[i].dtype : widest;
    }
    kvass_json *config = kvass_json_copy(c->model->ckpt->config);
    const char *key = kvass_json_get(config, "dtype") ? "dtype" : "torch_dtype";
    if (!config || !kvass_json_set_string(config, key, types[widest]) ||
        !kvass_json_set_bool(config, "tie_word_embeddings", c->model->config.tied) ||
        !kvass_json_print(config, &text, &n)) {
        kvass_json_close(&config);
        return kvass_fail_nomem(err, n, "a configuration");
    }
    kvass_json_close(&config);
    kvass_status status = write_text(c, f, config_name, (unsigned char *)text, n, err);
    free(text);
    return status;
}

/* ---- what is copied -------------------------------------------------------------------------- */

static kvass_status copy(kvass_converter *c, folder *f, const char *from, const char *name,
                         kvass_error *err)
{
    char path[PATH_BYTES];
    kvass_in_file *in = malloc(sizeof *in);
    kvass_status status =
        in ? kvass_in_file_open(in, from, err) : kvass_fail_nomem(err, sizeof *in, "a file");
    if (status != KVASS_OK) {
        free(in);
        return status;
    }
    status = begin(c, f, name, path, err);
    if (status == KVASS_OK) {
        unsigned char bytes[4096];
        while (in->at < in->file.size && status == KVASS_OK) {
            uint64_t left = in->file.size - in->at;
            size_t n = left < sizeof bytes ? (size_t)left : sizeof bytes;
            status = kvass_in_file_take(in, bytes, n, err);
            if (status == KVASS_OK) {
                status = kvass_out_file_put(c->file, bytes, n, err);
            }
        }
        status = end(c, f, name, status, err);
    }
    kvass_in_file_close(in);
    free(in);
    return status;
}

/* The folder that `path` is, or lies in. */
static size_t folder_bytes(const char *path)
{
    struct stat st;
    size_t n = strlen(path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        return n;
    }
    while (n > 0 && path[n - 1] != '/') {
        n--;
    }
    return n > 1 ? n - 1 : n;
}

static kvass_status copy_file_named(kvass_converter *c, folder *f, const char *path,
                                    kvass_error *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (int i = 0; i < MAX_COPIED; i++) {
        if (strcmp(name, copied[i]) == 0) {
            return copy(c, f, path, copied[i], err);
        }
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_TOKENIZER",
                      "%s: expected a tokenizer by one of the names that folders have for it, such "
                      "as tokenizer.json",
                      path);
}

/* The files of a tokenizer that lies in none. */
static kvass_status write_tokenizer(kvass_converter *c, folder *f, kvass_error *err)
{
    const kvass_metadata *m = c->opt->tokenizer;
    kvass_status status = write_text(c, f, "tokenizer.json", m->bytes, m->n_json, err);
    return status == KVASS_OK ? write_text(c, f, "tokenizer_config.json", m->bytes + m->n_json,
                                           m->n_bytes - m->n_json, err)
                              : status;
}

static kvass_status copy_files(kvass_converter *c, folder *f, kvass_error *err)
{
    const char *source = c->opt->tokenizer_path;
    struct stat st;
    if (source && !c->opt->tokenizer && stat(source, &st) == 0 && !S_ISDIR(st.st_mode)) {
        return copy_file_named(c, f, source, err);
    }
    source = source && !c->opt->tokenizer ? source : c->model->ckpt->path;
    size_t n_source = folder_bytes(source);
    kvass_status status = c->opt->tokenizer ? write_tokenizer(c, f, err) : KVASS_OK;
    int n = c->opt->tokenizer ? N_USES : MAX_COPIED;
    for (int i = 0; i < n && status == KVASS_OK; i++) {
        char from[PATH_BYTES];
        status = n_source > 0 ? join(from, source, n_source, copied[i], err)
                              : join(from, ".", 1, copied[i], err);
        if (status == KVASS_OK && is_file(from)) {
            status = copy(c, f, from, copied[i], err);
        }
    }
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static kvass_status fail_system(const char *path, const char *what, kvass_error *err)
{
    char reason[128];
    return kvass_fail(err, KVASS_IO, "SAVE_OPEN", "%s: cannot be %s: %s", path, what,
                      strerror_r(errno, reason, sizeof reason));
}

/* A folder that nobody has, beside `path`. */
static kvass_status make_folder(folder *f, const char *path, kvass_error *err)
{
    size_t n_path = strlen(path);
    while (n_path > 1 && path[n_path - 1] == '/') {
        n_path--;
    }
    for (int i = 0; i < 100; i++) {
        int n = snprintf(f->path, sizeof f->path, "%.*s.part-%ld-%d", (int)n_path, path,
                         (long)getpid(), i);
        if (n < 0 || n >= PATH_BYTES) {
            errno = ENAMETOOLONG;
            break;
        }
        if (mkdir(f->path, 0777) == 0) {
            return KVASS_OK;
        }
        if (errno != EEXIST) {
            break;
        }
    }
    f->path[0] = '\0';
    return fail_system(path, "created", err);
}

static void drop_folder(const folder *f)
{
    for (int32_t i = 0; i < f->n_written; i++) {
        char path[PATH_BYTES];
        if (join(path, f->path, strlen(f->path), f->written[i], NULL) == KVASS_OK) {
            (void)unlink(path);
        }
    }
    (void)rmdir(f->path);
}

/* Nothing stands in the way of `path`, or it may be replaced. */
static kvass_status check_place(const kvass_converter *c, const char *path, kvass_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        return KVASS_OK;
    }
    if (!c->opt->replace) {
        return kvass_fail(err, KVASS_IO, "CONVERT_EXISTS", "%s: is there already", path);
    }
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode)
               ? KVASS_OK
               : kvass_fail(err, KVASS_IO, "SAVE_KIND", "%s: expected a folder or nothing", path);
}

/* The folder gets its name, or its files get into the one that has it. */
static kvass_status give_name(folder *f, const char *path, kvass_error *err)
{
    if (rename(f->path, path) == 0) {
        return KVASS_OK;
    }
    if (errno != ENOTEMPTY && errno != EEXIST) {
        return fail_system(path, "given its name", err);
    }
    for (int32_t i = 0; i < f->n_written; i++) {
        char from[PATH_BYTES], to[PATH_BYTES];
        kvass_status status = join(from, f->path, strlen(f->path), f->written[i], err);
        if (status == KVASS_OK) {
            status = join(to, path, strlen(path), f->written[i], err);
        }
        if (status == KVASS_OK && rename(from, to) != 0) {
            status = fail_system(to, "replaced", err);
        }
        if (status != KVASS_OK) {
            return status;
        }
    }
    return rmdir(f->path) == 0 ? KVASS_OK : fail_system(f->path, "removed", err);
}

kvass_status kvass_convert_to_safetensors(kvass_converter *c, const char *path, kvass_error *err)
{
    folder *f = calloc(1, sizeof *f);
    if (!f) {
        return kvass_fail_nomem(err, sizeof *f, "a folder");
    }
    kvass_status status = check_place(c, path, err);
    if (status == KVASS_OK) {
        status = make_folder(f, path, err);
    }
    if (status == KVASS_OK) {
        status = write_weights(c, f, err);
    }
    if (status == KVASS_OK) {
        status = write_config(c, f, err);
    }
    if (status == KVASS_OK) {
        status = copy_files(c, f, err);
    }
    if (status == KVASS_OK) {
        status = kvass_convert_check(c, f->path, path, err);
    }
    if (status == KVASS_OK) {
        status = give_name(f, path, err);
    }
    if (status != KVASS_OK && f->path[0]) {
        drop_folder(f);
    }
    free(f);
    return status;
}
