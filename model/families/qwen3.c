/* qwen3.c - Qwen 3: Llama with every head's queries and keys normed, heads of their own size, and
 * Qwen 2's windows.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 32768;
    config->n_kv_heads = 32;
    config->head_dim = 128;
    config->qk_norm = KVASS_QK_NORM_HEAD;
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_llama_biases(in, config);
    kvass_config_ids(in, -1, -1, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    kvass_qwen_window(in, config, l, spec);
}

const kvass_family kvass_family_qwen3 = {.name = "qwen3",
                                         .prefixes = kvass_llama_prefixes,
                                         .ignored = kvass_llama_ignored,
                                         .config = config,
                                         .layer = layer,
                                         .tensors = kvass_llama_tensors};
