/* mistral.c - Mistral: Llama with a sliding window in every layer, unless it says null. */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 131072;
    config->n_kv_heads = 8;
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_config_ids(in, 1, 2, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    spec->window = kvass_config_window(in, "sliding_window", 4096);
}

const kvass_family kvass_family_mistral = {.name = "mistral",
                                           .prefixes = kvass_llama_prefixes,
                                           .ignored = kvass_llama_ignored,
                                           .config = config,
                                           .layer = layer,
                                           .tensors = kvass_llama_tensors};
