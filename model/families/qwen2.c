/* qwen2.c - Qwen 2 and 2.5: Llama with biases for queries, keys and values, and windows, if at all,
 * in the layers from max_window_layers on.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 32768;
    config->n_kv_heads = 32;
    config->biases = KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV);
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_config_ids(in, -1, -1, config);
}

void kvass_qwen_window(kvass_config_in *in, const kvass_config *config, int32_t l,
                       kvass_layer_spec *spec)
{
    if (kvass_config_bool(in, "use_sliding_window", false)) {
        int32_t first = 28;
        kvass_config_int(in, "max_window_layers", 0, KVASS_MAX_LAYERS, &first);
        if (kvass_config_is_sliding(in, config, l, l >= first)) {
            spec->window = kvass_config_window_needed(in, "sliding_window", 4096);
        }
    }
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    kvass_qwen_window(in, config, l, spec);
}

const kvass_family kvass_family_qwen2 = {.name = "qwen2",
                                         .prefixes = kvass_llama_prefixes,
                                         .ignored = kvass_llama_ignored,
                                         .config = config,
                                         .layer = layer,
                                         .tensors = kvass_llama_tensors};
