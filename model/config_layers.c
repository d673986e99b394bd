/* config_layers.c - what config.json says of each layer: lists, types, windows; see config.h. */
#include <string.h>

#include "model/config.h"

const kvass_json *kvass_config_per_layer(kvass_config_in *in, const kvass_config *config,
                                         const char *key)
{
    const kvass_json *list = kvass_json_get(in->ckpt->config, key);
    if (kvass_json_get_kind(list) == KVASS_JSON_NULL) {
        return NULL;
    }
    if (list && (kvass_json_get_kind(list) != KVASS_JSON_ARRAY ||
                 kvass_json_size(list) != (size_t)config->n_layers)) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_TYPE",
                          "\"%s\": expected a list of %d, one per layer, found %s of %zu", key,
                          config->n_layers, kvass_json_kind_name(list), kvass_json_size(list));
        return NULL;
    }
    return list;
}

bool kvass_config_is_sliding(kvass_config_in *in, const kvass_config *config, int32_t l,
                             bool absent)
{
    const kvass_json *types = kvass_config_per_layer(in, config, "layer_types");
    const char *type = kvass_json_as_string(kvass_json_at(types, (size_t)l), NULL);
    if (!types) {
        return absent;
    }
    bool sliding = type && strcmp(type, "sliding_attention") == 0;
    if (!sliding && (!type || strcmp(type, "full_attention") != 0)) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"layer_types\"[%d]: expected \"full_attention\" or "
                          "\"sliding_attention\", found %.64s",
                          l, type ? type : "no string");
    }
    return sliding;
}

int32_t kvass_config_window(kvass_config_in *in, const char *key, int32_t absent)
{
    const kvass_json *value = kvass_json_get(in->ckpt->config, key);
    int32_t window = kvass_json_get_kind(value) == KVASS_JSON_NULL ? 0 : absent;
    kvass_config_int(in, key, 1, KVASS_MAX_CTX, &window);
    return window;
}

int32_t kvass_config_window_needed(kvass_config_in *in, const char *key, int32_t absent)
{
    int32_t window = kvass_config_window(in, key, absent);
    if (window == 0) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"%s\": expected an integer, 1 .. %d, found %s", key, KVASS_MAX_CTX,
                          kvass_json_kind_name(kvass_json_get(in->ckpt->config, key)));
    }
    return window;
}
