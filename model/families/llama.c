/* llama.c - Llama: RMS norms before each branch, rotary positions, grouped key-value heads, a gated
 * SiLU network. Called through families/registry.c. Also what llama2.c's files are translated to.
 */
#include <math.h>
#include <stddef.h>

#include "model/config.h"
#include "model/family.h"

static const char *const prefixes[] = {"model.", "", NULL};

static const char *const ignored[] = {".rotary_emb.inv_freq", NULL};

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

static bool detect(const kvass_checkpoint *ckpt)
{
    return kvass_config_is(ckpt, "llama");
}

static kvass_status config(kvass_checkpoint *ckpt, kvass_config *config, kvass_error *err)
{
    bool attention_bias = false, mlp_bias = false;
    config->n_ctx = 2048;
    config->norm_eps = 1e-6f;
    config->position = KVASS_POSITION_ROPE;
    kvass_status status = kvass_config_ints(ckpt, keys, config, err);
    if (status == KVASS_OK) {
        status = kvass_config_heads(ckpt, config, err);
    }
    if (status == KVASS_OK) {
        status = kvass_config_eps(ckpt, "rms_norm_eps", &config->norm_eps, err);
    }
    if (status == KVASS_OK) {
        status = kvass_config_bool(ckpt, "tie_word_embeddings", &config->tied, err);
    }
    if (status == KVASS_OK) {
        status = kvass_config_bool(ckpt, "attention_bias", &attention_bias, err);
    }
    if (status == KVASS_OK) {
        status = kvass_config_bool(ckpt, "mlp_bias", &mlp_bias, err);
    }
    if (attention_bias) {
        config->biases |= KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV) | KVASS_BIAS(WO);
    }
    if (mlp_bias) {
        config->biases |= KVASS_BIAS(W_GATE) | KVASS_BIAS(W_UP) | KVASS_BIAS(W_DOWN);
    }
    return status == KVASS_OK ? kvass_config_ids(ckpt, 1, 2, config, err) : status;
}

static kvass_status layer(const kvass_checkpoint *ckpt, const kvass_config *config, int32_t l,
                          kvass_layer_spec *spec, kvass_error *err)
{
    *spec = (kvass_layer_spec){.norm = KVASS_NORM_RMS,
                               .block = KVASS_BLOCK_PRE,
                               .mlp = KVASS_MLP_GATED,
                               .act = KVASS_ACT_SILU,
                               .rope = {.theta = 10000, .n_rot = config->head_dim},
                               .attn_scale = 1.0f / sqrtf((float)config->head_dim),
                               .owner = l};
    kvass_status status = kvass_config_act(ckpt, "hidden_act", &spec->act, err);
    return status == KVASS_OK ? kvass_config_rope(ckpt, config->head_dim, &spec->rope, err)
                              : status;
}

/* Also the names of the kvass family, whose meta tokens are looked for only where there are some.
 */
const kvass_tensor_name kvass_llama_tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_META_EMBED, "meta_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.input_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.self_attn.q_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "layers.%d.self_attn.k_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "layers.%d.self_attn.v_proj", KVASS_LAYOUT_ROWS},
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
                                         .prefixes = prefixes,
                                         .ignored = ignored,
                                         .detect = detect,
                                         .config = config,
                                         .layer = layer,
                                         .tensors = kvass_llama_tensors};
