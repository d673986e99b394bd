/* llama.c - Llama: RMS norms before each branch, rotary positions, grouped key-value heads, a gated
 * SiLU network. Called through families/registry.c. Also what llama2.c's files are translated to,
 * and what many families share (shared.h).
 */
#include <stddef.h>

#include "model/families/shared.h"

const char *const kvass_llama_prefixes[] = {"model.", "", NULL};

const char *const kvass_llama_ignored[] = {".rotary_emb.inv_freq", NULL};

static const kvass_config_key keys[] = {
    {"vocab_size", offsetof(kvass_config, n_vocab), KVASS_MAX_VOCAB, true},
    {"hidden_size", offsetof(kvass_config, dim), KVASS_MAX_DIM, true},
    {"num_hidden_layers", offsetof(kvass_config, n_layers), KVASS_MAX_LAYERS, true},
    {"num_attention_heads", offsetof(kvass_config, n_heads), KVASS_MAX_DIM, true},
    {"num_key_value_heads", offsetof(kvass_config, n_kv_heads), KVASS_MAX_DIM, false},
    {"head_dim", offsetof(kvass_config, head_dim), KVASS_MAX_DIM, false},
    {"intermediate_size", offsetof(kvass_config, ffn_dim), KVASS_MAX_FFN, true},
    {"max_position_embeddings", offsetof(kvass_config, n_ctx), KVASS_MAX_CTX, false},
    {0},
};

void kvass_llama_config(kvass_config_in *in, const char *eps_key, kvass_config *config)
{
    config->norm_eps = config->norm_eps > 0 ? config->norm_eps : 1e-6f;
    config->position = KVASS_POSITION_ROPE;
    kvass_config_ints(in, keys, config);
    kvass_config_heads(in, config);
    kvass_config_eps(in, eps_key, &config->norm_eps);
    config->tied = kvass_config_bool(in, "tie_word_embeddings", config->tied);
    kvass_config_rope_ctx(in, "full_attention", config);
}

void kvass_llama_biases(kvass_config_in *in, kvass_config *config)
{
    if (kvass_config_bool(in, "attention_bias", false)) {
        config->biases |= KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV) | KVASS_BIAS(WO);
    }
    if (kvass_config_bool(in, "mlp_bias", false)) {
        config->biases |= KVASS_BIAS(W_GATE) | KVASS_BIAS(W_UP) | KVASS_BIAS(W_DOWN);
    }
}

void kvass_llama_layer(kvass_config_in *in, const kvass_config *config, double theta, int32_t n_rot,
                       kvass_layer_spec *spec)
{
    spec->rope = (kvass_rope_spec){.theta = theta, .n_rot = n_rot};
    kvass_config_act(in, "hidden_act", &spec->act);
    kvass_config_rope(in, config, NULL, &spec->rope);
}

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 2048;
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_llama_biases(in, config);
    kvass_config_ids(in, 1, 2, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
}

/* With all parts that a family of these names may have: meta tokens are the kvass family's, norms
 * of queries and keys Qwen 3's. */
const kvass_tensor_name kvass_llama_tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_META_EMBED, "meta_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.input_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.self_attn.q_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "layers.%d.self_attn.k_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "layers.%d.self_attn.v_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_Q_NORM, "layers.%d.self_attn.q_norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_K_NORM, "layers.%d.self_attn.k_norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WO, "layers.%d.self_attn.o_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "layers.%d.post_attention_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_GATE, "layers.%d.mlp.gate_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "layers.%d.mlp.up_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "layers.%d.mlp.down_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_llama = {.name = "llama",
                                         .prefixes = kvass_llama_prefixes,
                                         .ignored = kvass_llama_ignored,
                                         .config = config,
                                         .layer = layer,
                                         .tensors = kvass_llama_tensors};
