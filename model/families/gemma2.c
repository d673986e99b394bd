/* gemma2.c - Gemma 2: Gemma with a norm before and after each branch, windows in every other layer,
 * scores and logits capped, and a scale of scores of its own.
 */
#include <math.h>

#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 8192;
    config->n_kv_heads = 4;
    kvass_gemma_config(in, config);
    config->logit_cap = kvass_config_cap(in, "final_logit_softcapping", 30);
}

void kvass_gemma2_layer(kvass_config_in *in, kvass_layer_spec *spec)
{
    double query_scalar = 256;
    spec->block = KVASS_BLOCK_SANDWICH;
    spec->act = KVASS_ACT_GELU_TANH;
    kvass_config_act(in, "hidden_activation", &spec->act);
    kvass_config_real(in, "query_pre_attn_scalar", 0, &query_scalar);
    spec->attn_scale = (float)(1 / sqrt(query_scalar));
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    kvass_gemma2_layer(in, spec);
    spec->rope = (kvass_rope_spec){.theta = 10000, .n_rot = config->head_dim};
    kvass_config_rope(in, config, NULL, &spec->rope);
    spec->attn_cap = kvass_config_cap(in, "attn_logit_softcapping", 50);
    if (kvass_config_is_sliding(in, config, l, l % 2 == 0)) {
        spec->window = kvass_config_window_needed(in, "sliding_window", 4096);
    }
}

const kvass_tensor_name kvass_gemma2_tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.input_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.self_attn.q_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "layers.%d.self_attn.k_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "layers.%d.self_attn.v_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_Q_NORM, "layers.%d.self_attn.q_norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_K_NORM, "layers.%d.self_attn.k_norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WO, "layers.%d.self_attn.o_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_POST_NORM, "layers.%d.post_attention_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "layers.%d.pre_feedforward_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_GATE, "layers.%d.mlp.gate_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "layers.%d.mlp.up_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "layers.%d.mlp.down_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_POST_NORM, "layers.%d.post_feedforward_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_gemma2 = {.name = "gemma2",
                                          .prefixes = kvass_llama_prefixes,
                                          .ignored = kvass_llama_ignored,
                                          .config = config,
                                          .layer = layer,
                                          .tensors = kvass_gemma2_tensors};
