/* gemma.c - Gemma: Llama with norms whose weights are stored as the distance from 1, an embedding
 * scaled by the root of dim, and a gated GELU network. What Gemma 2 and 3 share with it.
 */
#include <math.h>

#include "model/families/shared.h"

void kvass_gemma_config(kvass_config_in *in, kvass_config *config)
{
    config->head_dim = 256;
    config->tied = true;
    config->norm_offset = 1;
    kvass_llama_config(in, "rms_norm_eps", config);
    config->embed_scale = sqrtf((float)config->dim);
    config->embed_scale_stored = true;
    kvass_llama_biases(in, config);
    kvass_config_must_be(in, "use_bidirectional_attention", false);
    kvass_config_ids(in, 2, 1, config);
}

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 8192;
    config->n_kv_heads = 16;
    kvass_gemma_config(in, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    spec->act = KVASS_ACT_GELU_TANH;
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    if (spec->act == KVASS_ACT_GELU_ERF) {
        spec->act = KVASS_ACT_GELU_TANH; /* the first files say "gelu" and mean this one */
    }
}

const kvass_family kvass_family_gemma = {.name = "gemma",
                                         .prefixes = kvass_llama_prefixes,
                                         .ignored = kvass_llama_ignored,
                                         .config = config,
                                         .layer = layer,
                                         .tensors = kvass_llama_tensors};
