/* config_ids.c - the tokens that begin and end a text, out of config.json and
 * generation_config.json; see config.h.
 */
#include "model/config.h"

static const kvass_json *lookup(const kvass_json *object, const char *key)
{
    const kvass_json *value = kvass_json_get(object, key);
    return kvass_json_get_kind(value) == KVASS_JSON_NULL ? NULL : value;
}

/* generation_config.json is not the file that kvass_config_fail() names */
static void wrong_type(kvass_config_in *in, const char *path, const char *key, const char *expected,
                       const kvass_json *found)
{
    if (in->status == KVASS_OK) {
        in->status =
            kvass_fail(in->err, KVASS_FORMAT, "CONFIG_TYPE", "%s: \"%s\": expected %s, found %s",
                       path, key, expected, kvass_json_kind_name(found));
    }
}

/* Append id to config->eos unless it is there already. */
static void add_eos(kvass_checkpoint *ckpt, const char *path, int64_t id, kvass_config *config)
{
    if (id < 0 || id >= config->n_vocab) {
        kvass_checkpoint_warn(ckpt,
                              "%s: \"eos_token_id\": %lld is outside the vocabulary of %d and "
                              "is ignored",
                              path, (long long)id, config->n_vocab);
        return;
    }
    for (int32_t i = 0; i < config->n_eos; i++) {
        if (config->eos[i] == id) {
            return;
        }
    }
    if (config->n_eos == KVASS_MAX_EOS) {
        kvass_checkpoint_warn(ckpt, "%s: \"eos_token_id\": more than %d ids; %lld is ignored", path,
                              KVASS_MAX_EOS, (long long)id);
        return;
    }
    config->eos[config->n_eos++] = (int32_t)id;
}

/* An id or a list of ids. */
static void read_eos(kvass_config_in *in, const kvass_json *object, const char *path,
                     kvass_config *config)
{
    const kvass_json *value = lookup(object, "eos_token_id");
    bool list = kvass_json_get_kind(value) == KVASS_JSON_ARRAY;
    size_t n = list ? kvass_json_size(value) : value != NULL;
    for (size_t i = 0; i < n && in->status == KVASS_OK; i++) {
        const kvass_json *item = list ? kvass_json_at(value, i) : value;
        int64_t id;
        if (kvass_json_as_int(item, &id)) {
            add_eos(in->ckpt, path, id, config);
        } else {
            wrong_type(in, path, "eos_token_id",
                       list ? "a list of integers" : "an integer or a list of them", item);
        }
    }
}

void kvass_config_ids(kvass_config_in *in, int32_t default_bos, int32_t default_eos,
                      kvass_config *config)
{
    const kvass_json *value = kvass_json_get(in->ckpt->config, "bos_token_id");
    bool is_null = kvass_json_get_kind(value) == KVASS_JSON_NULL;
    int64_t bos = is_null ? -1 : default_bos;
    if (in->status != KVASS_OK) {
        return;
    }
    if (value && !is_null && !kvass_json_as_int(value, &bos)) {
        wrong_type(in, in->ckpt->config_path, "bos_token_id", "an integer", value);
        return;
    }
    if (value && !is_null && (bos < 0 || bos >= config->n_vocab)) {
        kvass_checkpoint_warn(in->ckpt,
                              "%s: \"bos_token_id\": %lld is outside the vocabulary of %d and is "
                              "ignored",
                              in->ckpt->config_path, (long long)bos, config->n_vocab);
    }
    config->bos = bos >= 0 && bos < config->n_vocab ? (int32_t)bos : -1;
    config->n_eos = 0;
    if (!kvass_json_get(in->ckpt->config, "eos_token_id") && default_eos >= 0 &&
        default_eos < config->n_vocab) {
        config->eos[config->n_eos++] = default_eos;
    }
    read_eos(in, in->ckpt->config, in->ckpt->config_path, config);
    read_eos(in, in->ckpt->generation, in->ckpt->generation_path, config);
}
