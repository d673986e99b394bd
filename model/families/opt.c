/* opt.c - OPT: layer norms before each branch, learned positions of which the first two rows are
 * not used, a plain ReLU network. The one size with norms after its branches (350m) also projects
 * its embedding; it is refused.
 */
#include <stddef.h>

#include "model/config.h"

static const char *const prefixes[] = {"model.decoder.", "decoder.", "", NULL};

static const kvass_config_key keys[] = {
    {"vocab_size", offsetof(kvass_config, n_vocab), KVASS_MAX_VOCAB, true},
    {"hidden_size", offsetof(kvass_config, dim), KVASS_MAX_DIM, true},
    {"num_hidden_layers", offsetof(kvass_config, n_layers), KVASS_MAX_LAYERS, true},
    {"num_attention_heads", offsetof(kvass_config, n_heads), KVASS_MAX_DIM, true},
    {"ffn_dim", offsetof(kvass_config, ffn_dim), KVASS_MAX_FFN, true},
    {"max_position_embeddings", offsetof(kvass_config, n_ctx), KVASS_MAX_CTX, false},
    {0},
};

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 2048;
    config->norm_eps = 1e-5f;
    config->final_norm = KVASS_NORM_LAYER;
    config->position = KVASS_POSITION_LEARNED;
    config->pos_offset = 2;
    config->biases = KVASS_BIAS(ATTN_NORM) | KVASS_BIAS(MLP_NORM) | KVASS_BIAS(FINAL_NORM);
    if (kvass_config_bool(in, "enable_bias", true)) {
        config->biases |= KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV) | KVASS_BIAS(WO) |
                          KVASS_BIAS(W_UP) | KVASS_BIAS(W_DOWN);
    }
    kvass_config_ints(in, keys, config);
    kvass_config_heads(in, config);
    int32_t embed_dim = config->dim;
    kvass_config_int(in, "word_embed_proj_dim", 1, KVASS_MAX_DIM, &embed_dim);
    if (embed_dim != config->dim) {
        kvass_config_fail(in, KVASS_UNSUPPORTED, "FAMILY",
                          "\"word_embed_proj_dim\": expected %d as \"hidden_size\", found %d",
                          config->dim, embed_dim);
    }
    kvass_config_must_be(in, "do_layer_norm_before", true);
    kvass_config_must_be(in, "_remove_final_layer_norm", false);
    kvass_config_must_be(in, "layer_norm_elementwise_affine", true);
    config->tied = kvass_config_bool(in, "tie_word_embeddings", true);
    kvass_config_ids(in, 2, 2, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)config, (void)l;
    spec->mlp = KVASS_MLP_PLAIN;
    spec->act = KVASS_ACT_RELU;
    kvass_config_act(in, "activation_function", &spec->act);
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "embed_tokens", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_POS_EMBED, "embed_positions", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "layers.%d.self_attn_layer_norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "layers.%d.self_attn.q_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "layers.%d.self_attn.k_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "layers.%d.self_attn.v_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WO, "layers.%d.self_attn.out_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "layers.%d.final_layer_norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "layers.%d.fc1", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "layers.%d.fc2", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "final_layer_norm", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_opt = {.name = "opt",
                                       .prefixes = prefixes,
                                       .ignored = NULL,
                                       .config = config,
                                       .layer = layer,
                                       .tensors = tensors};
