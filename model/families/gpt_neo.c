/* gpt_neo.c - GPT-Neo, among them TinyStories: GPT-2 with plain matrices, no scaling of scores, and
 * layers that see everything in turn with layers that see window_size keys.
 */
#include <stddef.h>
#include <string.h>

#include "model/config.h"

static const char *const prefixes[] = {"transformer.", "", NULL};

static const char *const ignored[] = {".attn.attention.bias", ".attn.attention.masked_bias", NULL};

static const kvass_config_key keys[] = {
    {"vocab_size", offsetof(kvass_config, n_vocab), KVASS_MAX_VOCAB, true},
    {"hidden_size", offsetof(kvass_config, dim), KVASS_MAX_DIM, true},
    {"num_layers", offsetof(kvass_config, n_layers), KVASS_MAX_LAYERS, true},
    {"num_heads", offsetof(kvass_config, n_heads), KVASS_MAX_DIM, true},
    {"intermediate_size", offsetof(kvass_config, ffn_dim), KVASS_MAX_FFN, false},
    {"max_position_embeddings", offsetof(kvass_config, n_ctx), KVASS_MAX_CTX, false},
    {0},
};

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 2048;
    config->norm_eps = 1e-5f;
    config->final_norm = KVASS_NORM_LAYER;
    config->position = KVASS_POSITION_LEARNED;
    config->biases = KVASS_BIAS(ATTN_NORM) | KVASS_BIAS(WO) | KVASS_BIAS(MLP_NORM) |
                     KVASS_BIAS(W_UP) | KVASS_BIAS(W_DOWN) | KVASS_BIAS(FINAL_NORM);
    kvass_config_ints(in, keys, config);
    kvass_config_heads(in, config);
    config->ffn_dim = config->ffn_dim > 0 ? config->ffn_dim : 4 * config->dim;
    kvass_config_eps(in, "layer_norm_epsilon", &config->norm_eps);
    config->tied = kvass_config_bool(in, "tie_word_embeddings", true);
    kvass_config_ids(in, 50256, 50256, config);
}

/* attention_types is [[["global", "local"], 6], ...]: each list so many times. The type of layer l,
 * or NULL past the end. */
static const char *type_of(const kvass_json *types, int32_t l)
{
    int64_t left = l;
    for (size_t i = 0; i < kvass_json_size(types); i++) {
        const kvass_json *item = kvass_json_at(types, i), *list = kvass_json_at(item, 0);
        int64_t n_times, n = (int64_t)kvass_json_size(list);
        if (n == 0 || !kvass_json_as_int(kvass_json_at(item, 1), &n_times)) {
            return NULL;
        }
        if (n_times > left / n) {
            return kvass_json_as_string(kvass_json_at(list, (size_t)(left % n)), NULL);
        }
        left -= n_times > 0 ? n_times * n : 0;
    }
    return NULL;
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    const kvass_json *types = kvass_json_get(in->ckpt->config, "attention_types");
    const char *type = types ? type_of(types, l) : l % 2 == 0 ? "global" : "local";
    (void)config;
    spec->mlp = KVASS_MLP_PLAIN;
    spec->act = KVASS_ACT_GELU_TANH;
    spec->attn_scale = 1;
    kvass_config_act(in, "activation_function", &spec->act);
    if (type && strcmp(type, "local") == 0) {
        spec->window = kvass_config_window_needed(in, "window_size", 256);
    } else if (!type || strcmp(type, "global") != 0) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"attention_types\": expected \"global\" or \"local\" for layer %d, "
                          "found %.64s",
                          l, type ? type : "nothing");
    }
}

static const kvass_tensor_name tensors[] = {
    {KVASS_ROLE_TOK_EMBED, "wte", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_POS_EMBED, "wpe", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_ATTN_NORM, "h.%d.ln_1", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WQ, "h.%d.attn.attention.q_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WK, "h.%d.attn.attention.k_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WV, "h.%d.attn.attention.v_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_WO, "h.%d.attn.attention.out_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_MLP_NORM, "h.%d.ln_2", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_UP, "h.%d.mlp.c_fc", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_W_DOWN, "h.%d.mlp.c_proj", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_FINAL_NORM, "ln_f", KVASS_LAYOUT_ROWS},
    {KVASS_ROLE_LM_HEAD, "lm_head", KVASS_LAYOUT_ROWS},
    {0},
};

const kvass_family kvass_family_gpt_neo = {.name = "gpt_neo",
                                           .prefixes = prefixes,
                                           .ignored = ignored,
                                           .config = config,
                                           .layer = layer,
                                           .tensors = tensors};
