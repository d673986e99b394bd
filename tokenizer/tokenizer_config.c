/* tokenizer_config.c - the small file beside a tokenizer that names its BOS and EOS.
 * It is optional, and so is each of its keys; what it names and the vocabulary lacks is left out,
 * as configurations are often copied from a model with more tokens.
 */
#include "tokenizer/build.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_CONFIG_BYTES ((size_t)16 << 20)

char *kvass_path_beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    size_t n_folder = slash ? (size_t)(slash + 1 - path) : 0, n_name = strlen(name);
    char *beside = malloc(n_folder + n_name + 1);
    if (beside) {
        memcpy(beside, path, n_folder);
        memcpy(beside + n_folder, name, n_name + 1);
    }
    return beside;
}

kvass_status kvass_config_open(kvass_json **config, const char *path, kvass_error *err)
{
    *config = NULL;
    char *beside = kvass_path_beside(path, "tokenizer_config.json");
    if (!beside) {
        return kvass_fail_nomem(err, strlen(path), "a path");
    }
    kvass_status status = KVASS_OK;
    if (access(beside, F_OK) == 0) {
        status = kvass_json_open(config, beside, MAX_CONFIG_BYTES, err);
    }
    free(beside);
    return status;
}

/* The id of the token that config[key] names, a string or {"content": string}; else `otherwise`. */
static int32_t named(const kvass_tokenizer *tok, const kvass_json *config, const char *key,
                     int32_t otherwise)
{
    const kvass_json *value = kvass_json_get(config, key);
    const kvass_json *content = kvass_json_get(value, "content");
    size_t n = 0;
    const char *name = kvass_json_as_string(content ? content : value, &n);
    int32_t id = name ? kvass_tokenizer_find(tok, name, n) : -1;
    return id < 0 ? otherwise : id;
}

kvass_status kvass_config_apply(kvass_tokenizer *tok, const kvass_json *config, kvass_error *err)
{
    /* without a name, what the template puts first is BOS */
    int32_t first = tok->prefix.n > 0 ? tok->prefix.data[0] : tok->bos;
    tok->bos = named(tok, config, "bos_token", first);
    tok->eos = named(tok, config, "eos_token", tok->eos);
    bool add_bos = false;
    (void)kvass_json_as_bool(kvass_json_get(config, "add_bos_token"), &add_bos);
    if (add_bos && tok->bos >= 0 && tok->prefix.n == 0 && !kvass_ids_push(&tok->prefix, tok->bos)) {
        return kvass_fail_nomem(err, sizeof tok->bos, "token ids");
    }
    return KVASS_OK;
}
