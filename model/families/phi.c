/* phi.c - Phi 1, 1.5 and 2: attention and a plain GELU network side by side after one layer norm, a
 * part of each head rotated, biases everywhere, the output matrix included.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 2048;
    config->norm_eps = 1e-5f;
    config->final_norm = KVASS_NORM_LAYER;
    config->biases = KVASS_BIAS(ATTN_NORM) | KVASS_BIAS(FINAL_NORM) | KVASS_BIAS(LM_HEAD) |
                     KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV) | KVASS_BIAS(WO) |
                     KVASS_BIAS(Q_NORM) | KVASS_BIAS(K_NORM) | KVASS_BIAS(W_UP) |
                     KVASS_BIAS(W_DOWN);
    kvass_llama_config(in, "layer_norm_eps", config);
    kvass_config_must_be(in, "tie_word_embeddings", false);
    if (kvass_config_bool(in, "qk_layernorm", false)) {
        config->qk_norm = KVASS_QK_NORM_HEAD;
    }
    kvass_config_ids(in, 1, 2, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    spec->block = KVASS_BLOCK_ONE_NORM;
    spec->mlp = KVASS_MLP_PLAIN;
    spec->act = KVASS_ACT_GELU_TANH;
    kvass_llama_layer(in, config, 10000, config->head_dim / 2, spec);
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.input_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.self_attn.q_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "layers.%d.self_attn.k_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "layers.%d.self_attn.v_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_Q_NORM, "layers.%d.self_attn.q_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_K_NORM, "layers.%d.self_attn.k_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WO, "layers.%d.self_attn.dense", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "layers.%d.mlp.fc1", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "layers.%d.mlp.fc2", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "final_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_phi = {.name = "phi",
                                       .prefixes = kvass_llama_prefixes,
                                       .ignored = kvass_llama_ignored,
                                       .config = config,
                                       .layer = layer,
                                       .tensors = tensors};
