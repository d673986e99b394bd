/* config.c - numbers, flags, activations and ids out of config.json; see config.h. */
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The value of `key`, NULL when it is absent or null: both mean "use the default". */
static const kvass_json *lookup(const kvass_json *object, const char *key)
{
    const kvass_json *value = kvass_json_get(object, key);
    return kvass_json_get_kind(value) == KVASS_JSON_NULL ? NULL : value;
}

static kvass_status wrong_type(const char *path, const char *key, const char *expected,
                               const kvass_json *found, kvass_error *err)
{
    return kvass_fail(err, KVASS_FORMAT, "CONFIG_TYPE", "%s: \"%s\": expected %s, found %s", path,
                      key, expected, kvass_json_kind_name(found));
}

kvass_config kvass_config_default(void)
{
    return (kvass_config){.final_norm = KVASS_NORM_RMS,
                          .embed_scale = 1,
                          .residual_scale = 1,
                          .logit_scale = 1,
                          .bos = -1};
}

bool kvass_config_is(const kvass_checkpoint *ckpt, const char *type)
{
    const char *found = kvass_json_as_string(lookup(ckpt->config, "model_type"), NULL);
    return found && strcmp(found, type) == 0;
}

kvass_status kvass_config_ints(const kvass_checkpoint *ckpt, const kvass_config_key *keys,
                               kvass_config *config, kvass_error *err)
{
    for (const kvass_config_key *k = keys; k->key; k++) {
        const kvass_json *value = lookup(ckpt->config, k->key);
        int64_t number;
        if (!value) {
            if (k->required) {
                return kvass_fail(err, KVASS_FORMAT, "CONFIG_MISSING",
                                  "%s: \"%s\": expected an integer, found no such key",
                                  ckpt->config_path, k->key);
            }
            continue;
        }
        if (!kvass_json_as_int(value, &number)) {
            return wrong_type(ckpt->config_path, k->key, "an integer", value, err);
        }
        if (number < 1 || number > k->max) {
            return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                              "%s: \"%s\": expected 1 .. %d, found %lld", ckpt->config_path, k->key,
                              k->max, (long long)number);
        }
        int32_t narrow = (int32_t)number;
        memcpy((char *)config + k->field, &narrow, sizeof narrow);
    }
    return KVASS_OK;
}

kvass_status kvass_config_bool(const kvass_checkpoint *ckpt, const char *key, bool *out,
                               kvass_error *err)
{
    const kvass_json *value = lookup(ckpt->config, key);
    if (value && !kvass_json_as_bool(value, out)) {
        return wrong_type(ckpt->config_path, key, "true or false", value, err);
    }
    return KVASS_OK;
}

kvass_status kvass_config_real(const kvass_checkpoint *ckpt, const char *key, double above,
                               double *out, kvass_error *err)
{
    const kvass_json *value = lookup(ckpt->config, key);
    double number;
    if (!value) {
        return KVASS_OK;
    }
    if (!kvass_json_as_real(value, &number)) {
        return wrong_type(ckpt->config_path, key, "a number", value, err);
    }
    if (!isfinite(number) || !(number > above)) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: \"%s\": expected a number above %g, found %g", ckpt->config_path,
                          key, above, number);
    }
    *out = number;
    return KVASS_OK;
}

kvass_status kvass_config_eps(const kvass_checkpoint *ckpt, const char *key, float *out,
                              kvass_error *err)
{
    double eps = *out;
    kvass_status status = kvass_config_real(ckpt, key, 0, &eps, err);
    if (status != KVASS_OK) {
        return status;
    }
    if (!((float)eps > 0) || eps >= 1) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: \"%s\": expected a small number above 0, found %g",
                          ckpt->config_path, key, eps);
    }
    *out = (float)eps;
    return KVASS_OK;
}

kvass_status kvass_config_act(const kvass_checkpoint *ckpt, const char *key, kvass_act_kind *out,
                              kvass_error *err)
{
    static const struct {
        const char *name;
        kvass_act_kind act;
    } acts[] = {
        {"silu", KVASS_ACT_SILU},
        {"swish", KVASS_ACT_SILU},
        {"gelu", KVASS_ACT_GELU_ERF},
        {"gelu_new", KVASS_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", KVASS_ACT_GELU_TANH},
        {"gelu_fast", KVASS_ACT_GELU_TANH},
        {"relu", KVASS_ACT_RELU},
    };
    const kvass_json *value = lookup(ckpt->config, key);
    if (!value) {
        return KVASS_OK;
    }
    const char *name = kvass_json_as_string(value, NULL);
    if (!name) {
        return wrong_type(ckpt->config_path, key, "a string", value, err);
    }
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (strcmp(name, acts[i].name) == 0) {
            *out = acts[i].act;
            return KVASS_OK;
        }
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "ACTIVATION",
                      "%s: \"%s\": expected silu, swish, gelu, gelu_new, gelu_pytorch_tanh, "
                      "gelu_fast or relu, found \"%.64s\"",
                      ckpt->config_path, key, name);
}

kvass_status kvass_config_heads(const kvass_checkpoint *ckpt, kvass_config *config,
                                kvass_error *err)
{
    if (config->n_kv_heads == 0) {
        config->n_kv_heads = config->n_heads;
    }
    if (config->head_dim == 0) {
        if (config->dim % config->n_heads != 0) {
            return kvass_fail(err, KVASS_FORMAT, "CONFIG_DIVIDE",
                              "%s: expected the number of heads to divide the model's dimension, "
                              "found %d heads and dimension %d",
                              ckpt->config_path, config->n_heads, config->dim);
        }
        config->head_dim = config->dim / config->n_heads;
    }
    if (config->n_heads % config->n_kv_heads != 0) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_DIVIDE",
                          "%s: expected the number of key-value heads to divide the number of "
                          "heads, found %d and %d",
                          ckpt->config_path, config->n_kv_heads, config->n_heads);
    }
    if ((int64_t)config->n_heads * config->head_dim > KVASS_MAX_DIM) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: expected heads times head dimension to be at most %d, found %d "
                          "times %d",
                          ckpt->config_path, KVASS_MAX_DIM, config->n_heads, config->head_dim);
    }
    return KVASS_OK;
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
static kvass_status read_eos(kvass_checkpoint *ckpt, const kvass_json *object, const char *path,
                             kvass_config *config, kvass_error *err)
{
    const kvass_json *value = lookup(object, "eos_token_id");
    int64_t id;
    if (!value) {
        return KVASS_OK;
    }
    if (kvass_json_get_kind(value) != KVASS_JSON_ARRAY) {
        if (!kvass_json_as_int(value, &id)) {
            return wrong_type(path, "eos_token_id", "an integer or a list of them", value, err);
        }
        add_eos(ckpt, path, id, config);
        return KVASS_OK;
    }
    for (size_t i = 0; i < kvass_json_size(value); i++) {
        const kvass_json *item = kvass_json_at(value, i);
        if (!kvass_json_as_int(item, &id)) {
            return wrong_type(path, "eos_token_id", "a list of integers", item, err);
        }
        add_eos(ckpt, path, id, config);
    }
    return KVASS_OK;
}

kvass_status kvass_config_ids(kvass_checkpoint *ckpt, int32_t default_bos, int32_t default_eos,
                              kvass_config *config, kvass_error *err)
{
    const kvass_json *value = kvass_json_get(ckpt->config, "bos_token_id");
    int64_t bos = default_bos;
    if (kvass_json_get_kind(value) == KVASS_JSON_NULL) {
        bos = -1;
    } else if (value && !kvass_json_as_int(value, &bos)) {
        return wrong_type(ckpt->config_path, "bos_token_id", "an integer", value, err);
    }
    if (value && kvass_json_get_kind(value) != KVASS_JSON_NULL &&
        (bos < 0 || bos >= config->n_vocab)) {
        kvass_checkpoint_warn(ckpt,
                              "%s: \"bos_token_id\": %lld is outside the vocabulary of %d and "
                              "is ignored",
                              ckpt->config_path, (long long)bos, config->n_vocab);
    }
    config->bos = bos >= 0 && bos < config->n_vocab ? (int32_t)bos : -1;
    config->n_eos = 0;
    if (!kvass_json_get(ckpt->config, "eos_token_id")) {
        if (default_eos >= 0 && default_eos < config->n_vocab) {
            config->eos[config->n_eos++] = default_eos;
        }
    }
    kvass_status status = read_eos(ckpt, ckpt->config, ckpt->config_path, config, err);
    if (status == KVASS_OK) {
        status = read_eos(ckpt, ckpt->generation, ckpt->generation_path, config, err);
    }
    return status;
}
