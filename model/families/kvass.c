/* kvass.c - our own family: Llama's layers with learned meta tokens before every text, sliding
 * windows on some layers, and layers that read the keys and values of an earlier one.
 * Configuration: llama's keys and layer_types, sliding_window, kv_owner, num_meta_tokens. What
 * tools/train writes.
 */
#include <stddef.h>
#include <string.h>

#include "model/config.h"
#include "model/family.h"

extern const kvass_family kvass_family_llama;
extern const kvass_tensor_name kvass_llama_tensors[];

static const char *const prefixes[] = {"model.", NULL};

static bool detect(const kvass_checkpoint *ckpt)
{
    return kvass_config_is(ckpt, "kvass");
}

/* a list of the configuration with one entry per layer, or NULL when it is absent */
static kvass_status per_layer(const kvass_checkpoint *ckpt, const kvass_config *config,
                              const char *key, const kvass_json **out, kvass_error *err)
{
    *out = kvass_json_get(ckpt->config, key);
    if (*out && (kvass_json_get_kind(*out) != KVASS_JSON_ARRAY ||
                 kvass_json_size(*out) != (size_t)config->n_layers)) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_TYPE",
                          "%s: \"%s\": expected a list of %d, one per layer, found %s of %zu",
                          ckpt->config_path, key, config->n_layers, kvass_json_kind_name(*out),
                          kvass_json_size(*out));
    }
    return KVASS_OK;
}

static kvass_status config(kvass_checkpoint *ckpt, kvass_config *config, kvass_error *err)
{
    static const kvass_config_key keys[] = {
        {"num_meta_tokens", offsetof(kvass_config, n_meta), KVASS_MAX_CTX, false},
        {0},
    };
    kvass_status status = kvass_family_llama.config(ckpt, config, err);
    return status == KVASS_OK ? kvass_config_ints(ckpt, keys, config, err) : status;
}

/* spec->window from layer_types[l]: "full_attention", or "sliding_attention" and sliding_window */
static kvass_status read_window(const kvass_checkpoint *ckpt, const kvass_config *config, int32_t l,
                                kvass_layer_spec *spec, kvass_error *err)
{
    const kvass_json *types;
    kvass_status status = per_layer(ckpt, config, "layer_types", &types, err);
    if (status || !types) {
        return status;
    }
    const char *type = kvass_json_as_string(kvass_json_at(types, (size_t)l), NULL);
    if (type && strcmp(type, "full_attention") == 0) {
        return KVASS_OK;
    }
    if (!type || strcmp(type, "sliding_attention") != 0) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: \"layer_types\"[%d]: expected \"full_attention\" or "
                          "\"sliding_attention\", found %s",
                          ckpt->config_path, l, type ? type : "no string");
    }
    const kvass_json *window = kvass_json_get(ckpt->config, "sliding_window");
    int64_t n;
    if (!kvass_json_as_int(window, &n) || n < 1 || n > KVASS_MAX_CTX) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: \"sliding_window\": expected an integer, 1 .. %d, found %s",
                          ckpt->config_path, KVASS_MAX_CTX, kvass_json_kind_name(window));
    }
    spec->window = (int32_t)n;
    return KVASS_OK;
}

/* spec->owner from kv_owner[l]: itself, or an earlier layer that owns itself */
static kvass_status read_owner(const kvass_checkpoint *ckpt, const kvass_config *config, int32_t l,
                               kvass_layer_spec *spec, kvass_error *err)
{
    const kvass_json *owners;
    int64_t owner, of_owner;
    kvass_status status = per_layer(ckpt, config, "kv_owner", &owners, err);
    if (status || !owners) {
        return status;
    }
    if (!kvass_json_as_int(kvass_json_at(owners, (size_t)l), &owner) || owner < 0 || owner > l ||
        !kvass_json_as_int(kvass_json_at(owners, (size_t)owner), &of_owner) || of_owner != owner) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: \"kv_owner\"[%d]: expected %d or an earlier layer that owns itself, "
                          "found %s",
                          ckpt->config_path, l, l,
                          kvass_json_kind_name(kvass_json_at(owners, (size_t)l)));
    }
    spec->owner = (int32_t)owner;
    return KVASS_OK;
}

static kvass_status layer(const kvass_checkpoint *ckpt, const kvass_config *config, int32_t l,
                          kvass_layer_spec *spec, kvass_error *err)
{
    kvass_status status = kvass_family_llama.layer(ckpt, config, l, spec, err);
    if (status == KVASS_OK) {
        status = read_window(ckpt, config, l, spec, err);
    }
    return status == KVASS_OK ? read_owner(ckpt, config, l, spec, err) : status;
}

const kvass_family kvass_family_kvass = {.name = "kvass",
                                         .prefixes = prefixes,
                                         .detect = detect,
                                         .config = config,
                                         .layer = layer,
                                         .tensors = kvass_llama_tensors};
