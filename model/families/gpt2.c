/* gpt2.c - GPT-2: layer norms before each branch, learned positions, one fused projection for
 * queries, keys and values, a plain network with the tanh form of GELU. Called through
 * families/registry.c. Its matrices are Conv1D's: stored [n_in, n_out] and transposed when read.
 */
#include <stddef.h>

#include "model/config.h"

static const char *const prefixes[] = {"transformer.", "", NULL};

/* the causal mask, which old files keep as a tensor */
static const char *const ignored[] = {".attn.bias", ".attn.masked_bias", NULL};

static const kvass_config_key keys[] = {
    {"vocab_size", offsetof(kvass_config, n_vocab), KVASS_MAX_VOCAB, true},
    {"n_embd", offsetof(kvass_config, dim), KVASS_MAX_DIM, true},
    {"n_layer", offsetof(kvass_config, n_layers), KVASS_MAX_LAYERS, true},
    {"n_head", offsetof(kvass_config, n_heads), KVASS_MAX_DIM, true},
    {"n_inner", offsetof(kvass_config, ffn_dim), KVASS_MAX_FFN, false},
    {"n_positions", offsetof(kvass_config, n_ctx), KVASS_MAX_CTX, false},
    {0},
};

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 1024;
    config->norm_eps = 1e-5f;
    config->final_norm = KVASS_NORM_LAYER;
    config->position = KVASS_POSITION_LEARNED;
    config->biases = KVASS_BIAS(ATTN_NORM) | KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV) |
                     KVASS_BIAS(WO) | KVASS_BIAS(MLP_NORM) | KVASS_BIAS(W_UP) | KVASS_BIAS(W_DOWN) |
                     KVASS_BIAS(FINAL_NORM);
    kvass_config_ints(in, keys, config);
    kvass_config_heads(in, config);
    config->ffn_dim = config->ffn_dim > 0 ? config->ffn_dim : 4 * config->dim;
    kvass_config_eps(in, "layer_norm_epsilon", &config->norm_eps);
    config->tied = kvass_config_bool(in, "tie_word_embeddings", true);
    kvass_config_must_be(in, "add_cross_attention", false);
    kvass_config_ids(in, 50256, 50256, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)config;
    spec->mlp = KVASS_MLP_PLAIN;
    spec->act = KVASS_ACT_GELU_TANH;
    kvass_config_act(in, "activation_function", &spec->act);
    if (!kvass_config_bool(in, "scale_attn_weights", true)) {
        spec->attn_scale = 1;
    }
    if (kvass_config_bool(in, "scale_attn_by_inverse_layer_idx", false)) {
        spec->attn_scale /= (float)(l + 1);
    }
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "wte", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_POS_EMBED, "wpe", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "h.%d.ln_1", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "h.%d.attn.c_attn", KVASS_LAYOUT_TRANSPOSED},
    {KVASS_ROLE_WK, "h.%d.attn.c_attn", KVASS_LAYOUT_TRANSPOSED},
    {KVASS_ROLE_WV, "h.%d.attn.c_attn", KVASS_LAYOUT_TRANSPOSED},
    {KVASS_ROLE_WO, "h.%d.attn.c_proj", KVASS_LAYOUT_TRANSPOSED},
    {KVASS_ROLE_MLP_NORM, "h.%d.ln_2", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "h.%d.mlp.c_fc", KVASS_LAYOUT_TRANSPOSED},
    {KVASS_ROLE_W_DOWN, "h.%d.mlp.c_proj", KVASS_LAYOUT_TRANSPOSED},
    {KVASS_ROLE_FINAL_NORM, "ln_f", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_gpt2 = {.name = "gpt2",
                                        .prefixes = prefixes,
                                        .ignored = ignored,
                                        .config = config,
                                        .layer = layer,
                                        .tensors = tensors};
