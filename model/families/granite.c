/* granite.c - Granite: Llama with multipliers for the embedding, both branches, scores and logits.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    float logits_scaling = 1;
    config->n_ctx = 2048;
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_llama_biases(in, config);
    kvass_config_float(in, "embedding_multiplier", 0, &config->embed_scale);
    kvass_config_float(in, "residual_multiplier", 0, &config->residual_scale);
    kvass_config_float(in, "logits_scaling", 0, &logits_scaling);
    config->logit_scale = 1 / logits_scaling;
    kvass_config_ids(in, 1, 2, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    spec->attn_scale = 1; /* the multiplier takes its place */
    kvass_config_float(in, "attention_multiplier", 0, &spec->attn_scale);
}

const kvass_family kvass_family_granite = {.name = "granite",
                                           .prefixes = kvass_llama_prefixes,
                                           .ignored = kvass_llama_ignored,
                                           .config = config,
                                           .layer = layer,
                                           .tensors = kvass_llama_tensors};
