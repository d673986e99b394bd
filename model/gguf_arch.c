/* gguf_arch.c - the architectures of GGUF files in terms of the families here; see gguf.h.
 * One entry each in `archs`, with tables for what differs from Llama's names.
 */
#include "model/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names of tensors ------------------------------------------------------------------------ */

static const kvass_gguf_name common_names[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.%d.attn_norm", "model.layers.%d.input_layernorm"},
    {"blk.%d.attn_q", "model.layers.%d.self_attn.q_proj"},
    {"blk.%d.attn_k", "model.layers.%d.self_attn.k_proj"},
    {"blk.%d.attn_v", "model.layers.%d.self_attn.v_proj"},
    {"blk.%d.attn_q_norm", "model.layers.%d.self_attn.q_norm"},
    {"blk.%d.attn_k_norm", "model.layers.%d.self_attn.k_norm"},
    {"blk.%d.attn_output", "model.layers.%d.self_attn.o_proj"},
    {"blk.%d.ffn_norm", "model.layers.%d.post_attention_layernorm"},
    {"blk.%d.ffn_gate", "model.layers.%d.mlp.gate_proj"},
    {"blk.%d.ffn_up", "model.layers.%d.mlp.up_proj"},
    {"blk.%d.ffn_down", "model.layers.%d.mlp.down_proj"},
    {NULL, NULL},
};

static const kvass_gguf_name gpt2_names[] = {
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"blk.%d.attn_norm", "transformer.h.%d.ln_1"},
    {"blk.%d.attn_qkv", "transformer.h.%d.attn.c_attn"},
    {"blk.%d.attn_output", "transformer.h.%d.attn.c_proj"},
    {"blk.%d.ffn_norm", "transformer.h.%d.ln_2"},
    {"blk.%d.ffn_up", "transformer.h.%d.mlp.c_fc"},
    {"blk.%d.ffn_down", "transformer.h.%d.mlp.c_proj"},
    {NULL, NULL},
};

static const kvass_gguf_name gpt_neox_names[] = {
    {"token_embd", "gpt_neox.embed_in"},
    {"output_norm", "gpt_neox.final_layer_norm"},
    {"output", "embed_out"},
    {"blk.%d.attn_norm", "gpt_neox.layers.%d.input_layernorm"},
    {"blk.%d.attn_qkv", "gpt_neox.layers.%d.attention.query_key_value"},
    {"blk.%d.attn_output", "gpt_neox.layers.%d.attention.dense"},
    {"blk.%d.ffn_norm", "gpt_neox.layers.%d.post_attention_layernorm"},
    {"blk.%d.ffn_up", "gpt_neox.layers.%d.mlp.dense_h_to_4h"},
    {"blk.%d.ffn_down", "gpt_neox.layers.%d.mlp.dense_4h_to_h"},
    {NULL, NULL},
};

/* Norms after a branch; what the common table calls post_attention_layernorm stands before. */
static const kvass_gguf_name gemma2_names[] = {
    {"blk.%d.post_attention_norm", "model.layers.%d.post_attention_layernorm"},
    {"blk.%d.ffn_norm", "model.layers.%d.pre_feedforward_layernorm"},
    {"blk.%d.post_ffw_norm", "model.layers.%d.post_feedforward_layernorm"},
    {NULL, NULL},
};

static const kvass_gguf_name phi2_names[] = {
    {"output_norm", "model.final_layernorm"},
    {"blk.%d.attn_output", "model.layers.%d.self_attn.dense"},
    {"blk.%d.ffn_up", "model.layers.%d.mlp.fc1"},
    {"blk.%d.ffn_down", "model.layers.%d.mlp.fc2"},
    {NULL, NULL},
};

static const kvass_gguf_name phi3_names[] = {
    {"blk.%d.attn_qkv", "model.layers.%d.self_attn.qkv_proj"},
    {"blk.%d.ffn_up", "model.layers.%d.mlp.gate_up_proj"},
    {NULL, NULL},
};

static const kvass_gguf_name starcoder2_names[] = {
    {"blk.%d.ffn_up", "model.layers.%d.mlp.c_fc"},
    {"blk.%d.ffn_down", "model.layers.%d.mlp.c_proj"},
    {NULL, NULL},
};

/* ---- keys of the configuration --------------------------------------------------------------- */

#define INT(gguf, key)                                                                             \
    {                                                                                              \
        gguf, key, KVASS_GGUF_KEY_INT                                                              \
    }
#define REAL(gguf, key)                                                                            \
    {                                                                                              \
        gguf, key, KVASS_GGUF_KEY_REAL                                                             \
    }

const kvass_gguf_key kvass_gguf_common_keys[] = {
    INT("block_count", "num_hidden_layers"),
    INT("context_length", "max_position_embeddings"),
    INT("embedding_length", "hidden_size"),
    INT("feed_forward_length", "intermediate_size"),
    INT("attention.head_count", "num_attention_heads"),
    INT("attention.head_count_kv", "num_key_value_heads"),
    INT("attention.key_length", "head_dim"),
    INT("attention.sliding_window", "sliding_window"),
    REAL("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    REAL("attention.layer_norm_epsilon", "layer_norm_eps"),
    {NULL, NULL, KVASS_GGUF_KEY_INT},
};

static const kvass_gguf_key gpt2_keys[] = {
    INT("block_count", "n_layer"),
    INT("context_length", "n_positions"),
    INT("embedding_length", "n_embd"),
    INT("feed_forward_length", "n_inner"),
    INT("attention.head_count", "n_head"),
    REAL("attention.layer_norm_epsilon", "layer_norm_epsilon"),
    {NULL, NULL, KVASS_GGUF_KEY_INT},
};

static const kvass_gguf_key gemma2_keys[] = {
    REAL("attn_logit_softcapping", "attn_logit_softcapping"),
    REAL("final_logit_softcapping", "final_logit_softcapping"),
    INT("attention.sliding_window_pattern", "sliding_window_pattern"),
    {NULL, NULL, KVASS_GGUF_KEY_INT},
};

static const kvass_gguf_key granite_keys[] = {
    REAL("attention.scale", "attention_multiplier"),
    REAL("embedding_scale", "embedding_multiplier"),
    REAL("residual_scale", "residual_multiplier"),
    REAL("logit_scale", "logits_scaling"),
    {NULL, NULL, KVASS_GGUF_KEY_INT},
};

static const kvass_gguf_key parallel_keys[] = {
    {"use_parallel_residual", "use_parallel_residual", KVASS_GGUF_KEY_BOOL},
    {NULL, NULL, KVASS_GGUF_KEY_INT},
};

static const kvass_gguf_key starcoder2_keys[] = {
    REAL("attention.layer_norm_epsilon", "norm_epsilon"),
    {NULL, NULL, KVASS_GGUF_KEY_INT},
};

/* ---- what stands in no file ------------------------------------------------------------------ */

static int64_t int_of(const kvass_json *config, const char *key)
{
    int64_t value = 0;
    (void)kvass_json_as_int(kvass_json_get(config, key), &value);
    return value;
}

/* Mistral is written as a llama; a window tells it apart. */
static bool complete_llama(kvass_json *config)
{
    return int_of(config, "sliding_window") < 1 ||
           kvass_json_set_string(config, "model_type", "mistral");
}

/* Scores are scaled by the size of a head; in the largest model of each generation, which alone has
 * so many layers, by dim over heads. */
static bool complete_gemma(kvass_json *config, int64_t n_layers)
{
    int64_t scalar = int_of(config, "head_dim"), n_heads = int_of(config, "num_attention_heads");
    if (int_of(config, "num_hidden_layers") == n_layers && n_heads > 0) {
        scalar = int_of(config, "hidden_size") / n_heads;
    }
    return kvass_json_set_int(config, "query_pre_attn_scalar", scalar);
}

static bool complete_gemma2(kvass_json *config)
{
    return complete_gemma(config, 46);
}

static bool complete_gemma3(kvass_json *config)
{
    return complete_gemma(config, 62);
}

/* ---- architectures --------------------------------------------------------------------------- */

static const kvass_gguf_arch archs[] = {
    {.arch = "gemma", .model_type = "gemma"},
    {.arch = "gemma2",
     .model_type = "gemma2",
     .names = gemma2_names,
     .keys = gemma2_keys,
     .complete = complete_gemma2},
    {.arch = "gemma3",
     .model_type = "gemma3_text",
     .names = gemma2_names,
     .keys = gemma2_keys,
     .complete = complete_gemma3},
    {.arch = "gpt2",
     .model_type = "gpt2",
     .also = "nanogpt",
     .names = gpt2_names,
     .keys = gpt2_keys},
    {.arch = "gptneox", .model_type = "gpt_neox", .names = gpt_neox_names, .keys = parallel_keys},
    {.arch = "granite", .model_type = "granite", .rope_pairs = true, .keys = granite_keys},
    {.arch = "llama",
     .model_type = "llama",
     .also = "mistral",
     .rope_pairs = true,
     .complete = complete_llama},
    {.arch = "olmo2", .model_type = "olmo2", .names = gemma2_names},
    {.arch = "phi2", .model_type = "phi", .names = phi2_names},
    {.arch = "phi3", .model_type = "phi3", .names = phi3_names},
    {.arch = "qwen2", .model_type = "qwen2"},
    {.arch = "qwen3", .model_type = "qwen3"},
    {.arch = "smollm3", .model_type = "smollm3", .rope_pairs = true},
    {.arch = "stablelm", .model_type = "stablelm", .keys = parallel_keys},
    {.arch = "starcoder2",
     .model_type = "starcoder2",
     .names = starcoder2_names,
     .keys = starcoder2_keys},
};

enum { N_ARCHS = sizeof archs / sizeof *archs };

kvass_status kvass_gguf_arch_find(const kvass_gguf_arch **out, const kvass_gguf *gguf,
                                  const char *path, kvass_error *err)
{
    size_t n = 0;
    const kvass_gguf_value *value = kvass_gguf_find(gguf, "general.architecture");
    const char *name = kvass_gguf_as_string(gguf, value, &n);
    char known[256] = "", found[80];
    for (size_t i = 0, at = 0; i < N_ARCHS; i++) {
        if (name && n == strlen(archs[i].arch) && memcmp(name, archs[i].arch, n) == 0) {
            *out = &archs[i];
            return KVASS_OK;
        }
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i > 0 ? ", " : "",
                               archs[i].arch);
    }
    if (name) {
        (void)snprintf(found, sizeof found, "\"%.*s\"", (int)(n < 64 ? n : 64), name);
    } else {
        (void)kvass_gguf_describe(value, found, sizeof found);
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "FAMILY",
                      "%s: \"general.architecture\": expected one of %s, found %s", path, known,
                      found);
}

/* Whether name[n] is the template with a number for its %d, which is in *layer then. */
static bool fits(const char *template, const char *name, size_t n, long *layer)
{
    const char *place = strchr(template, '%');
    size_t n_front = place ? (size_t)(place - template) : strlen(template);
    if (n < n_front || memcmp(name, template, n_front) != 0) {
        return false;
    }
    if (!place) {
        return n == n_front;
    }
    size_t n_digits = strspn(name + n_front, "0123456789"), n_back = strlen(place + 2);
    *layer = n_digits > 0 && n_digits < 7 ? strtol(name + n_front, NULL, 10) : -1;
    return *layer >= 0 && (n_digits == 1 || name[n_front] != '0') &&
           n == n_front + n_digits + n_back && memcmp(name + n - n_back, place + 2, n_back) == 0;
}

void kvass_gguf_rename(const kvass_gguf_arch *arch, const char *name, char *out, size_t n_bytes)
{
    const kvass_gguf_name *tables[] = {arch->names, common_names};
    const char *ending = strrchr(name, '.');
    size_t n = ending ? (size_t)(ending - name) : strlen(name);
    long layer = 0;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const kvass_gguf_name *i = tables[t]; i && i->gguf; i++) {
            if (fits(i->gguf, name, n, &layer)) {
                const char *place = strchr(i->name, '%');
                int n_front = place ? (int)(place - i->name) : (int)strlen(i->name);
                if (place) {
                    (void)snprintf(out, n_bytes, "%.*s%ld%s%s", n_front, i->name, layer, place + 2,
                                   ending ? ending : "");
                } else {
                    (void)snprintf(out, n_bytes, "%s%s", i->name, ending ? ending : "");
                }
                return;
            }
        }
    }
    (void)snprintf(out, n_bytes, "%s", name);
}

/* ---- the other way --------------------------------------------------------------------------- */

const kvass_gguf_arch *kvass_gguf_arch_of(const char *family)
{
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (strcmp(family, archs[i].model_type) == 0 ||
            (archs[i].also && strcmp(family, archs[i].also) == 0)) {
            return &archs[i];
        }
    }
    return NULL;
}

bool kvass_gguf_name_of(const kvass_gguf_arch *arch, const char *prefix, const char *name,
                        int32_t layer, const char *ending, char *out, size_t n_bytes)
{
    const kvass_gguf_name *tables[] = {arch->names, common_names};
    size_t n_prefix = strlen(prefix);
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const kvass_gguf_name *i = tables[t]; i && i->gguf; i++) {
            bool long_one =
                strncmp(i->name, prefix, n_prefix) == 0 && strcmp(i->name + n_prefix, name) == 0;
            if (long_one || strcmp(i->name, name) == 0) {
                const char *place = strchr(i->gguf, '%');
                int n_front = place ? (int)(place - i->gguf) : (int)strlen(i->gguf);
                (void)(place ? snprintf(out, n_bytes, "%.*s%d%s%s", n_front, i->gguf, (int)layer,
                                        place + 2, ending)
                             : snprintf(out, n_bytes, "%s%s", i->gguf, ending));
                return true;
            }
        }
    }
    return false;
}
