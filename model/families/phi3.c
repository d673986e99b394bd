/* phi3.c - Phi 3, 3.5 and 4: Llama with one fused matrix for queries, keys and values and one for
 * gate and up, a window in every layer where one is given, and long contexts by lists of factors.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 4096;
    config->norm_eps = 1e-5f;
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_config_ids(in, 1, 32000, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    spec->window = kvass_config_window(in, "sliding_window", 0);
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.input_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.self_attn.qkv_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "layers.%d.self_attn.qkv_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "layers.%d.self_attn.qkv_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WO, "layers.%d.self_attn.o_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "layers.%d.post_attention_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_GATE, "layers.%d.mlp.gate_up_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "layers.%d.mlp.gate_up_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "layers.%d.mlp.down_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_phi3 = {.name = "phi3",
                                        .prefixes = kvass_llama_prefixes,
                                        .ignored = kvass_llama_ignored,
                                        .config = config,
                                        .layer = layer,
                                        .tensors = tensors};
