/* nanogpt.c - what nanoGPT and minGPT train: GPT-2 with plain matrices. Their configurations are
 * the arguments of the model (n_layer, n_head, n_embd, block_size) without a model_type; "nanogpt"
 * or "mingpt" may be written there. nanoGPT ties its output matrix, may go without any bias and has
 * the exact GELU; minGPT does not, never does, and has the tanh form.
 */
#include <stddef.h>

#include "model/config.h"

static const char *const prefixes[] = {"transformer.", "_orig_mod.transformer.", NULL};

/* the mask, and the output matrix where it is the embedding once more */
static const char *const ignored[] = {".attn.bias", "lm_head.weight", NULL};

static const kvass_config_key keys[] = {
    {"vocab_size", offsetof(kvass_config, n_vocab), KVASS_MAX_VOCAB, true},
    {"n_embd", offsetof(kvass_config, dim), KVASS_MAX_DIM, true},
    {"n_layer", offsetof(kvass_config, n_layers), KVASS_MAX_LAYERS, true},
    {"n_head", offsetof(kvass_config, n_heads), KVASS_MAX_DIM, true},
    {"block_size", offsetof(kvass_config, n_ctx), KVASS_MAX_CTX, true},
    {0},
};

static bool is_mingpt(const kvass_checkpoint *ckpt)
{
    return kvass_config_is(ckpt, "mingpt");
}

static bool detect(const kvass_checkpoint *ckpt)
{
    bool named = kvass_config_is(ckpt, "nanogpt") || is_mingpt(ckpt);
    return named ||
           (!kvass_json_get(ckpt->config, "model_type") && kvass_json_get(ckpt->config, "n_embd") &&
            kvass_json_get(ckpt->config, "block_size"));
}

static void config(kvass_config_in *in, kvass_config *config)
{
    config->norm_eps = 1e-5f;
    config->final_norm = KVASS_NORM_LAYER;
    config->position = KVASS_POSITION_LEARNED;
    if (kvass_config_bool(in, "bias", true)) {
        config->biases = KVASS_BIAS(ATTN_NORM) | KVASS_BIAS(WQ) | KVASS_BIAS(WK) | KVASS_BIAS(WV) |
                         KVASS_BIAS(WO) | KVASS_BIAS(MLP_NORM) | KVASS_BIAS(W_UP) |
                         KVASS_BIAS(W_DOWN) | KVASS_BIAS(FINAL_NORM);
    }
    kvass_config_ints(in, keys, config);
    kvass_config_heads(in, config);
    config->ffn_dim = 4 * config->dim;
    config->tied = kvass_config_bool(in, "tie_word_embeddings", !is_mingpt(in->ckpt));
    kvass_config_ids(in, -1, 50256, config);
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    (void)config, (void)l;
    spec->mlp = KVASS_MLP_PLAIN;
    spec->act = is_mingpt(in->ckpt) ? KVASS_ACT_GELU_TANH : KVASS_ACT_GELU_ERF;
    kvass_config_act(in, "activation_function", &spec->act);
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "wte", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_POS_EMBED, "wpe", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "h.%d.ln_1", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "h.%d.attn.c_attn", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "h.%d.attn.c_attn", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "h.%d.attn.c_attn", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WO, "h.%d.attn.c_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "h.%d.ln_2", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "h.%d.mlp.c_fc", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "h.%d.mlp.c_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "ln_f", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_nanogpt = {.name = "nanogpt",
                                           .prefixes = prefixes,
                                           .ignored = ignored,
                                           .detect = detect,
                                           .config = config,
                                           .layer = layer,
                                           .tensors = tensors};
