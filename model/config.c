/* config.c - numbers, flags, activations and heads out of config.json; see config.h. */
#include "model/config.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The value of `key`, NULL when it is absent or null: both mean "use the default". */
static const kvass_json *lookup(const kvass_json *object, const char *key)
{
    const kvass_json *value = kvass_json_get(object, key);
    return kvass_json_get_kind(value) == KVASS_JSON_NULL ? NULL : value;
}

/* Where text begins with a key in quotes, put what the file itself calls it. */
static void name_key(const kvass_checkpoint *ckpt, char *text, size_t n_bytes)
{
    char key[64];
    const char *end = text[0] == '"' ? strchr(text + 1, '"') : NULL;
    if (!end || (size_t)(end - text) > sizeof key) {
        return;
    }
    (void)snprintf(key, sizeof key, "%.*s", (int)(end - text - 1), text + 1);
    const char *name = kvass_json_as_string(kvass_json_get(ckpt->key_names, key), NULL);
    if (name) {
        size_t n_name = strlen(name), n_more = strlen(end) + 1;
        n_name = n_name < n_bytes - 2 ? n_name : n_bytes - 2;
        n_more = n_more < n_bytes - 1 - n_name ? n_more : n_bytes - 1 - n_name;
        memmove(text + 1 + n_name, end, n_more);
        memcpy(text + 1, name, n_name);
        text[n_bytes - 1] = '\0';
    }
}

void kvass_config_fail(kvass_config_in *in, kvass_status status, const char *rule, const char *fmt,
                       ...)
{
    char text[256];
    va_list args;
    if (in->status != KVASS_OK) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    name_key(in->ckpt, text, sizeof text);
    in->status = kvass_fail(in->err, status, rule, "%s: %s", in->ckpt->config_path, text);
}

static void wrong_type(kvass_config_in *in, const char *key, const char *expected,
                       const kvass_json *found)
{
    kvass_config_fail(in, KVASS_FORMAT, "CONFIG_TYPE", "\"%s\": expected %s, found %s", key,
                      expected, kvass_json_kind_name(found));
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

void kvass_config_int(kvass_config_in *in, const char *key, int32_t min, int32_t max, int32_t *out)
{
    const kvass_json *value = lookup(in->ckpt->config, key);
    int64_t number;
    if (!value || in->status != KVASS_OK) {
        return;
    }
    if (!kvass_json_as_int(value, &number)) {
        wrong_type(in, key, "an integer", value);
    } else if (number < min || number > max) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE", "\"%s\": expected %d .. %d, found %lld",
                          key, min, max, (long long)number);
    } else {
        *out = (int32_t)number;
    }
}

void kvass_config_ints(kvass_config_in *in, const kvass_config_key *keys, kvass_config *config)
{
    for (const kvass_config_key *k = keys; k->key && in->status == KVASS_OK; k++) {
        int32_t number = 0;
        if (k->required && !lookup(in->ckpt->config, k->key)) {
            kvass_config_fail(in, KVASS_FORMAT, "CONFIG_MISSING",
                              "\"%s\": expected an integer, found no such key", k->key);
        }
        kvass_config_int(in, k->key, 1, k->max, &number);
        if (number > 0) {
            memcpy((char *)config + k->field, &number, sizeof number);
        }
    }
}

bool kvass_config_bool(kvass_config_in *in, const char *key, bool absent)
{
    const kvass_json *value = lookup(in->ckpt->config, key);
    bool flag = absent;
    if (value && !kvass_json_as_bool(value, &flag)) {
        wrong_type(in, key, "true or false", value);
    }
    return flag;
}

void kvass_config_must_be(kvass_config_in *in, const char *key, bool value)
{
    if (kvass_config_bool(in, key, value) != value) {
        kvass_config_fail(in, KVASS_UNSUPPORTED, "FAMILY", "\"%s\": expected %s, found %s", key,
                          value ? "true" : "false", value ? "false" : "true");
    }
}

void kvass_config_must_lack(kvass_config_in *in, const char *key)
{
    const kvass_json *value = lookup(in->ckpt->config, key);
    if (value) {
        kvass_config_fail(in, KVASS_UNSUPPORTED, "FAMILY", "\"%s\": expected null, found %s", key,
                          kvass_json_kind_name(value));
    }
}

void kvass_config_real(kvass_config_in *in, const char *key, double above, double *out)
{
    const kvass_json *value = lookup(in->ckpt->config, key);
    double number;
    if (!value || in->status != KVASS_OK) {
        return;
    }
    if (!kvass_json_as_real(value, &number)) {
        wrong_type(in, key, "a number", value);
    } else if (!isfinite(number) || !(number > above)) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"%s\": expected a number above %g, found %g", key, above, number);
    } else {
        *out = number;
    }
}

void kvass_config_float(kvass_config_in *in, const char *key, double above, float *out)
{
    double number = NAN;
    kvass_config_real(in, key, above, &number);
    if (!isnan(number) && !(isfinite((float)number) && (float)number > above)) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"%s\": expected a number that a float can hold, found %g", key, number);
    } else if (!isnan(number)) {
        *out = (float)number;
    }
}

float kvass_config_cap(kvass_config_in *in, const char *key, float absent)
{
    bool is_null = kvass_json_get_kind(kvass_json_get(in->ckpt->config, key)) == KVASS_JSON_NULL;
    float cap = is_null ? 0 : absent;
    kvass_config_float(in, key, 0, &cap);
    return cap;
}

void kvass_config_eps(kvass_config_in *in, const char *key, float *out)
{
    double eps = (double)*out;
    kvass_config_real(in, key, 0, &eps);
    if (in->status == KVASS_OK && (!((float)eps > 0) || eps >= 1)) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"%s\": expected a small number above 0, found %g", key, eps);
    }
    *out = (float)eps;
}

void kvass_config_act(kvass_config_in *in, const char *key, kvass_act_kind *out)
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
    const kvass_json *value = lookup(in->ckpt->config, key);
    const char *name = kvass_json_as_string(value, NULL);
    if (!value) {
        return;
    }
    if (!name) {
        wrong_type(in, key, "a string", value);
        return;
    }
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        if (strcmp(name, acts[i].name) == 0) {
            *out = acts[i].act;
            return;
        }
    }
    kvass_config_fail(in, KVASS_UNSUPPORTED, "ACTIVATION",
                      "\"%s\": expected silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast "
                      "or relu, found \"%.64s\"",
                      key, name);
}

void kvass_config_heads(kvass_config_in *in, kvass_config *config)
{
    const kvass_json *kv_heads = kvass_json_get(in->ckpt->config, "num_key_value_heads");
    if (in->status != KVASS_OK) {
        return;
    }
    if (config->n_kv_heads == 0 || kvass_json_get_kind(kv_heads) == KVASS_JSON_NULL) {
        config->n_kv_heads = config->n_heads;
    }
    if (config->head_dim == 0) {
        if (config->dim % config->n_heads != 0) {
            kvass_config_fail(in, KVASS_FORMAT, "CONFIG_DIVIDE",
                              "expected the number of heads to divide the model's dimension, found "
                              "%d heads and dimension %d",
                              config->n_heads, config->dim);
            return;
        }
        config->head_dim = config->dim / config->n_heads;
    }
    if (config->n_heads % config->n_kv_heads != 0) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_DIVIDE",
                          "expected the number of key-value heads to divide the number of heads, "
                          "found %d and %d",
                          config->n_kv_heads, config->n_heads);
    }
    if ((int64_t)config->n_heads * config->head_dim > KVASS_MAX_DIM) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE",
                          "expected heads times head dimension to be at most %d, found %d times %d",
                          KVASS_MAX_DIM, config->n_heads, config->head_dim);
    }
}
