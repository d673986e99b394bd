/* stablelm.c - StableLM: Llama between layer norms with a quarter of each head rotated; some have
 * both branches side by side after one norm, and a norm of its own for each head's queries and
 * keys.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 4096;
    config->norm_eps = 1e-5f;
    config->n_kv_heads = 32;
    config->final_norm = KVASS_NORM_LAYER;
    config->biases = KVASS_BIAS(ATTN_NORM) | KVASS_BIAS(MLP_NORM) | KVASS_BIAS(FINAL_NORM);
    if (kvass_config_bool(in, "use_qkv_bias", false)) {
        config->biases |= KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV);
    }
    kvass_llama_config(in, "layer_norm_eps", config);
    if (kvass_config_bool(in, "qk_layernorm", false)) {
        config->qk_norm = KVASS_QK_NORM_OWN_HEAD;
    }
    kvass_config_ids(in, 0, 0, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    kvass_llama_layer(in, config, 10000, config->head_dim / 4, spec);
    if (kvass_config_bool(in, "use_parallel_residual", false)) {
        spec->block = KVASS_BLOCK_ONE_NORM;
    }
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.input_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.self_attn.q_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "layers.%d.self_attn.k_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "layers.%d.self_attn.v_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_Q_NORM, "layers.%d.self_attn.q_layernorm.norms.%d", KVASS_LAYOUT_PER_HEAD},
    {KVASS_ROLE_K_NORM, "layers.%d.self_attn.k_layernorm.norms.%d", KVASS_LAYOUT_PER_HEAD},
    {KVASS_ROLE_WO, "layers.%d.self_attn.o_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "layers.%d.post_attention_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_GATE, "layers.%d.mlp.gate_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "layers.%d.mlp.up_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "layers.%d.mlp.down_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_stablelm = {.name = "stablelm",
                                            .prefixes = kvass_llama_prefixes,
                                            .ignored = kvass_llama_ignored,
                                            .config = config,
                                            .layer = layer,
                                            .tensors = tensors};
