/* olmo2.c - OLMo 2: Llama's layers with norms after each branch and none before, and with all
 * queries, and all keys, normed as one vector.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 2048;
    config->norm_eps = 1e-5f;
    config->qk_norm = KVASS_QK_NORM_ROW;
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_llama_biases(in, config);
    kvass_config_ids(in, -1, 50279, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    spec->block = KVASS_BLOCK_POST;
}

const kvass_family kvass_family_olmo2 = {.name = "olmo2",
                                         .prefixes = kvass_llama_prefixes,
                                         .ignored = kvass_llama_ignored,
                                         .config = config,
                                         .layer = layer,
                                         .tensors = kvass_gemma2_tensors};
