/* smollm3.c - SmolLM 3: Llama in which every fourth layer (no_rope_layers, where 0 means none)
 * knows no positions; those layers alone may have windows.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 32768;
    config->n_kv_heads = 4;
    config->tied = true;
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_llama_biases(in, config);
    kvass_config_ids(in, 128000, 128001, config);
}

static bool has_rope(kvass_config_in *in, const kvass_config *config, int32_t l)
{
    const kvass_json *list = kvass_config_per_layer(in, config, "no_rope_layers");
    int32_t interval = 4;
    int64_t flag = 0;
    kvass_config_int(in, "no_rope_layer_interval", 1, KVASS_MAX_LAYERS, &interval);
    if (!list) {
        return (l + 1) % interval != 0;
    }
    if (!kvass_json_as_int(kvass_json_at(list, (size_t)l), &flag)) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_TYPE",
                          "\"no_rope_layers\"[%d]: expected 0 or 1, found %s", l,
                          kvass_json_kind_name(kvass_json_at(list, (size_t)l)));
    }
    return flag != 0;
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    bool rope = has_rope(in, config, l);
    kvass_llama_layer(in, config, 2000000, config->head_dim, spec);
    if (!rope) {
        spec->rope = (kvass_rope_spec){0};
    }
    if (kvass_config_bool(in, "use_sliding_window", false)) {
        int32_t window = kvass_config_window(in, "sliding_window", 0);
        if (kvass_config_is_sliding(in, config, l, !rope && window > 0)) {
            spec->window = kvass_config_window_needed(in, "sliding_window", 0);
        }
    }
}

const kvass_family kvass_family_smollm3 = {.name = "smollm3",
                                           .prefixes = kvass_llama_prefixes,
                                           .ignored = kvass_llama_ignored,
                                           .config = config,
                                           .layer = layer,
                                           .tensors = kvass_llama_tensors};
