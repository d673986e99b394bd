/* gpt_neox.c - GPT-NeoX, among them Pythia: attention and a plain GELU network side by side, each
 * after a layer norm of its own, a quarter of each head rotated, queries, keys and values fused
 * head by head.
 */
#include <math.h>

#include "model/families/shared.h"

static const char *const prefixes[] = {"gpt_neox.", "", NULL};

static const char *const ignored[] = {".attention.bias", ".attention.masked_bias",
                                      ".rotary_emb.inv_freq", NULL};

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 2048;
    config->norm_eps = 1e-5f;
    config->final_norm = KVASS_NORM_LAYER;
    config->biases = KVASS_BIAS(ATTN_NORM) | KVASS_BIAS(MLP_NORM) | KVASS_BIAS(FINAL_NORM) |
                     KVASS_BIAS(W_UP) | KVASS_BIAS(W_DOWN);
    if (kvass_config_bool(in, "attention_bias", true)) {
        config->biases |= KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV) | KVASS_BIAS(WO);
    }
    kvass_llama_config(in, "layer_norm_eps", config);
    if (config->n_kv_heads != config->n_heads) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_DIVIDE",
                          "expected as many key-value heads as heads, found %d and %d",
                          config->n_kv_heads, config->n_heads);
    }
    kvass_config_ids(in, 0, 2, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)l;
    double part = 0.25, theta = 10000;
    if (kvass_config_bool(in, "use_parallel_residual", true)) {
        spec->block = KVASS_BLOCK_PARALLEL;
    }
    spec->mlp = KVASS_MLP_PLAIN;
    spec->act = KVASS_ACT_GELU_ERF;
    kvass_config_real(in, "rotary_emb_base", 1, &theta);
    kvass_config_real(in, "rotary_pct", 0, &part);
    kvass_llama_layer(in, config, theta, (int32_t)floor(config->head_dim * fmin(part, 1)), spec);
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_in", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.input_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.attention.query_key_value", KVASS_LAYOUT_INTERLEAVED},
    {KVASS_ROLE_WK, "layers.%d.attention.query_key_value", KVASS_LAYOUT_INTERLEAVED},
    {KVASS_ROLE_WV, "layers.%d.attention.query_key_value", KVASS_LAYOUT_INTERLEAVED},
    {KVASS_ROLE_WO, "layers.%d.attention.dense", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "layers.%d.post_attention_layernorm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "layers.%d.mlp.dense_h_to_4h", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "layers.%d.mlp.dense_4h_to_h", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "final_layer_norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "embed_out", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_gpt_neox = {.name = "gpt_neox",
                                            .prefixes = prefixes,
                                            .ignored = ignored,
                                            .config = config,
                                            .layer = layer,
                                            .tensors = tensors};
