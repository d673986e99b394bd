/* gemma3_text.c - Gemma 3, the network of its text: Gemma 2 without caps on scores, with every
 * head's queries and keys normed, and five layers with a window and a slow rotation of their own to
 * each that sees everything.
 */
#include "model/families/shared.h"

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 131072;
    config->n_kv_heads = 4;
    config->qk_norm = KVASS_QK_NORM_HEAD;
    kvass_gemma_config(in, config);
    kvass_config_must_lack(in, "attn_logit_softcapping");
    config->logit_cap = kvass_config_cap(in, "final_logit_softcapping", 0);
}

/* The first generation of keys scales the rotation of layers that see everything and of no other.
 */
static void read_rope(kvass_config_in *in, const kvass_config *config, bool sliding,
                      kvass_rope_spec *spec)
{
    const char *type = sliding ? "sliding_attention" : "full_attention";
    const kvass_json *nested = kvass_json_get(in->ckpt->config, "rope_parameters");
    *spec = (kvass_rope_spec){.theta = sliding ? 10000 : 1000000, .n_rot = config->head_dim};
    if (sliding && kvass_json_get_kind(kvass_json_get(nested, type)) != KVASS_JSON_OBJECT) {
        spec->factor = 1;
        kvass_config_real(in, "rope_local_base_freq", 1, &spec->theta);
    } else {
        kvass_config_rope(in, config, type, spec);
    }
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    int32_t pattern = 6;
    kvass_config_int(in, "sliding_window_pattern", 1, KVASS_MAX_LAYERS, &pattern);
    bool sliding = kvass_config_is_sliding(in, config, l, (l + 1) % pattern != 0);
    kvass_gemma2_layer(in, spec);
    read_rope(in, config, sliding, &spec->rope);
    if (sliding) {
        spec->window = kvass_config_window_needed(in, "sliding_window", 4096);
    }
}

const kvass_family kvass_family_gemma3_text = {.name = "gemma3_text",
                                               .prefixes = kvass_llama_prefixes,
                                               .ignored = kvass_llama_ignored,
                                               .config = config,
                                               .layer = layer,
                                               .tensors = kvass_gemma2_tensors};
