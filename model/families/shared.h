/* shared.h - what families have in common: most write Llama's configuration and name their tensors
 * as it does, and differ by a few lines. Used by families/ alone.
 */
#ifndef KVASS_MODEL_FAMILIES_SHARED_H
#define KVASS_MODEL_FAMILIES_SHARED_H

#include "model/config.h"

/* llama.c: with every part that such names have, wanted or not (family.h) */
extern const kvass_tensor_name kvass_llama_tensors[];
extern const char *const kvass_llama_prefixes[], *const kvass_llama_ignored[];

/* Dimensions, heads, norm_eps under its key, tie_word_embeddings, rotary positions and what they
 * mean for the context (if types of layers differ, that of those that see everything); defaults
 * stand in *config. */
void kvass_llama_config(kvass_config_in *in, const char *eps_key, kvass_config *config);
/* Biases by the flags attention_bias and mlp_bias. */
void kvass_llama_biases(kvass_config_in *in, kvass_config *config);
/* hidden_act, and rotation with these defaults. */
void kvass_llama_layer(kvass_config_in *in, const kvass_config *config, double theta, int32_t n_rot,
                       kvass_layer_spec *spec);

/* qwen2.c: windows where use_sliding_window says so */
void kvass_qwen_window(kvass_config_in *in, const kvass_config *config, int32_t l,
                       kvass_layer_spec *spec);

/* gemma.c: Llama's, norms stored as the distance from 1, the embedding's scale, ids */
void kvass_gemma_config(kvass_config_in *in, kvass_config *config);
/* gemma2.c: norms before and after each branch, the activation, the scale of scores */
void kvass_gemma2_layer(kvass_config_in *in, kvass_layer_spec *spec);
extern const kvass_tensor_name kvass_gemma2_tensors[];

#endif
