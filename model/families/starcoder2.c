/* starcoder2.c - StarCoder 2: Llama's attention between layer norms, a plain GELU network, biases
 * everywhere, and a window in every layer where one is given.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 4096;
    config->norm_eps = 1e-5f;
    config->n_kv_heads = 2;
    config->tied = true;
    config->final_norm = KVASS_NORM_LAYER;
    config->biases = KVASS_BIAS(ATTN_NORM) | KVASS_BIAS(MLP_NORM) | KVASS_BIAS(FINAL_NORM);
    if (kvass_config_bool(in, "use_bias", true)) {
        config->biases |= KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV) | KVASS_BIAS(WO) |
                          KVASS_BIAS(W_UP) | KVASS_BIAS(W_DOWN);
    }
    kvass_llama_config(in, "norm_epsilon", config);
    kvass_config_ids(in, 50256, 50256, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    spec->mlp = KVASS_MLP_PLAIN;
    spec->act = KVASS_ACT_GELU_TANH;
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    spec->window = kvass_config_window(in, "sliding_window", 0);
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.input_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.self_attn.q_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "layers.%d.self_attn.k_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "layers.%d.self_attn.v_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WO, "layers.%d.self_attn.o_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "layers.%d.post_attention_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "layers.%d.mlp.c_fc", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "layers.%d.mlp.c_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_starcoder2 = {.name = "starcoder2",
                                              .prefixes = kvass_llama_prefixes,
                                              .ignored = kvass_llama_ignored,
                                              .config = config,
                                              .layer = layer,
                                              .tensors = tensors};
