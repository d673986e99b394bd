/* torch.c - a PyTorch file (torch.save since 1.6) into the directory of tensors: a zip archive with
 * a pickle and, for each storage, an entry with its bytes. It holds the weights alone
 * (pytorch_model.bin, with config.json beside it) or what a training program saved: the weights
 * under "model", the network's arguments under "model_args".
 */
#include "model/torch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PICKLE_BYTES = 64 << 20, MAX_NAME_BYTES = 512, MAX_PREFIX_BYTES = 256 };

static void close_torch(kvass_torch *t)
{
    if (t->gathered >= 0) {
        (void)close(t->gathered);
    }
    kvass_pickle_close(&t->pickle);
    kvass_zip_close(&t->zip);
    free(t->prefix);
}

/* The entry "PREFIX/data.pkl", and its prefix with the slash. */
static kvass_status find_pickle(kvass_torch *t, int32_t *entry, kvass_error *err)
{
    static const char name[] = "data.pkl";
    for (int32_t i = 0; i < kvass_zip_size(t->zip); i++) {
        const char *path = kvass_zip_name(t->zip, i);
        size_t n = path ? strlen(path) : 0, n_name = sizeof name - 1;
        if (n < n_name || n > MAX_PREFIX_BYTES || strcmp(path + n - n_name, name) != 0 ||
            (n > n_name && path[n - n_name - 1] != '/')) {
            continue;
        }
        t->prefix = strndup(path, n - n_name);
        if (!t->prefix) {
            return kvass_fail_nomem(err, n, "a name");
        }
        *entry = i;
        return KVASS_OK;
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "CHECKPOINT_KIND",
                      "%s: expected a PyTorch file, found a zip archive without data.pkl", t->path);
}

/* PyTorch says in an entry of its own which byte comes first; older versions do not. */
static kvass_status check_byte_order(kvass_torch *t, kvass_error *err)
{
    char name[MAX_PREFIX_BYTES + 16], *text;
    size_t n = strlen(t->prefix);
    memcpy(name, t->prefix, n);
    memcpy(name + n, "byteorder", sizeof "byteorder");
    int32_t entry = kvass_zip_find(t->zip, name);
    if (entry < 0) {
        return KVASS_OK;
    }
    kvass_status status = kvass_zip_slurp(t->zip, entry, 64, &text, &n, err);
    if (status == KVASS_OK && (n != 6 || memcmp(text, "little", 6) != 0)) {
        status = kvass_fail(err, KVASS_UNSUPPORTED, "BYTE_ORDER",
                            "%s: byte order \"%.16s\", expected \"little\"", t->path, text);
    }
    free(text);
    return status;
}

/* The dictionary of tensors, and the arguments of the network if they are there. */
static kvass_status find_state(kvass_torch *t, kvass_pickle_node *arguments, kvass_error *err)
{
    static const char *const keys[] = {"model", "state_dict", "model_state_dict"};
    const kvass_pickle *p = t->pickle;
    kvass_pickle_node root = kvass_pickle_root(p), found = 0;
    if (kvass_pickle_get_kind(p, root) != KVASS_PICKLE_DICT) {
        return kvass_fail(err, KVASS_FORMAT, "TENSOR_KIND",
                          "%s: expected a dictionary of tensors, found %s", t->path,
                          kvass_pickle_kind_name(p, root));
    }
    t->state = root;
    *arguments = kvass_pickle_get(p, root, "model_args");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        found = kvass_pickle_get(p, root, keys[i]);
        if (kvass_pickle_get_kind(p, found) == KVASS_PICKLE_DICT) {
            t->state = found;
            break;
        }
    }
    return KVASS_OK;
}

/* What torch.compile puts before every name is none of the name. */
static kvass_status add_tensors(kvass_torch *t, kvass_error *err)
{
    static const char wrapper[] = "_orig_mod.";
    const kvass_pickle *p = t->pickle;
    kvass_status status = KVASS_OK;
    for (kvass_pickle_item i = kvass_pickle_first(p, t->state); i && status == KVASS_OK;
         i = kvass_pickle_next(p, i)) {
        size_t n = 0;
        const char *key = kvass_pickle_text(p, kvass_pickle_key(p, i), &n);
        if (!key || n == 0 || n >= MAX_NAME_BYTES || memchr(key, '\0', n)) {
            return kvass_fail(err, KVASS_FORMAT, "TENSOR_NAME",
                              "%s: expected tensors by names of 1 .. %d bytes, found %s", t->path,
                              MAX_NAME_BYTES - 1,
                              kvass_pickle_kind_name(p, kvass_pickle_key(p, i)));
        }
        size_t skip = n > sizeof wrapper && memcmp(key, wrapper, sizeof wrapper - 1) == 0
                          ? sizeof wrapper - 1
                          : 0;
        char name[MAX_NAME_BYTES];
        memcpy(name, key + skip, n - skip);
        name[n - skip] = '\0';
        status = kvass_torch_add(t, name, kvass_pickle_value(p, i), err);
    }
    return status;
}

static kvass_status read_pickle(kvass_torch *t, char **text, bool with_config, kvass_error *err)
{
    int32_t entry = -1;
    size_t n = 0;
    kvass_pickle_node arguments = 0;
    kvass_status status = kvass_zip_open(&t->zip, &t->ckpt->files[t->file], err);
    if (status == KVASS_OK) {
        status = find_pickle(t, &entry, err);
    }
    if (status == KVASS_OK) {
        status = check_byte_order(t, err);
    }
    if (status == KVASS_OK) {
        status = kvass_zip_slurp(t->zip, entry, MAX_PICKLE_BYTES, text, &n, err);
    }
    if (status == KVASS_OK) {
        status = kvass_pickle_read(&t->pickle, *text, n, kvass_torch_functions, t->path, err);
    }
    if (status == KVASS_OK) {
        status = find_state(t, &arguments, err);
    }
    if (status == KVASS_OK) {
        status = add_tensors(t, err);
    }
    if (status == KVASS_OK) {
        status = kvass_torch_end(t, err);
    }
    if (status == KVASS_OK && arguments && with_config) {
        status = kvass_torch_make_config(t, arguments, err);
    }
    return status;
}

/* One file's tensors, and with_config what its arguments say. */
static kvass_status read_file(kvass_checkpoint *ckpt, const char *path, bool with_config,
                              kvass_error *err)
{
    kvass_torch t = {.ckpt = ckpt, .path = path, .file = ckpt->n_files, .gathered = -1};
    char *text = NULL;
    kvass_status status = kvass_checkpoint_add_file(ckpt, path, err);
    if (status == KVASS_OK) {
        status = read_pickle(&t, &text, with_config, err);
    }
    close_torch(&t);
    free(text);
    return status;
}

kvass_status kvass_torch_add_shard(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    return read_file(ckpt, path, false, err);
}

kvass_status kvass_torch_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    ckpt->format = "PyTorch";
    kvass_status status = read_file(ckpt, path, true, err);
    return status == KVASS_OK ? kvass_checkpoint_seal(ckpt, err) : status;
}
