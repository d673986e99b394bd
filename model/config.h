/* config.h - reading config.json's keys with the precision an error message needs.
 * Used by families/. A key that is absent or null leaves what it would fill alone, so a family
 * writes its defaults first; every refusal names the key, what was expected, what was found, the
 * file, and ends up in in->status, after which no reader does anything (family.h). Rules:
 * CONFIG_MISSING, CONFIG_TYPE, CONFIG_RANGE, CONFIG_DIVIDE, ACTIVATION, ROPE_SCALING, FAMILY.
 */
#ifndef KVASS_MODEL_CONFIG_H
#define KVASS_MODEL_CONFIG_H

#include "model/family.h"
#include "model/limits.h"

/* An integer key and where in kvass_config it goes. */
typedef struct kvass_config_key {
    const char *key;
    size_t field; /* offsetof(kvass_config, ...), an int32_t */
    int32_t max;  /* allowed: 1 .. max */
    bool required;
} kvass_config_key;

/* What nearly every family shares: factors 1, rms norms, no ids. */
kvass_config kvass_config_default(void);

/* Remember a failure, unless there is one. */
void kvass_config_fail(kvass_config_in *in, kvass_status status, const char *rule, const char *fmt,
                       ...) KVASS_PRINTF(4, 5);

/* All keys of a table that ends with key NULL. */
void kvass_config_ints(kvass_config_in *in, const kvass_config_key *keys, kvass_config *config);
/* One integer, min .. max. */
void kvass_config_int(kvass_config_in *in, const char *key, int32_t min, int32_t max, int32_t *out);
/* The flag, `absent` when it is absent or null. */
bool kvass_config_bool(kvass_config_in *in, const char *key, bool absent);
/* UNSUPPORTED (FAMILY) when the key is there and is another flag: no part of the engine does what
 * it asks for. */
void kvass_config_must_be(kvass_config_in *in, const char *key, bool value);
/* The same of a key that must be absent or null. */
void kvass_config_must_lack(kvass_config_in *in, const char *key);
/* A finite number above `above`. */
void kvass_config_real(kvass_config_in *in, const char *key, double above, double *out);
void kvass_config_float(kvass_config_in *in, const char *key, double above, float *out);
/* A soft cap, above 0: 0 when it is null, `absent` when there is no such key. */
float kvass_config_cap(kvass_config_in *in, const char *key, float absent);
/* norm_eps: in (0, 1). */
void kvass_config_eps(kvass_config_in *in, const char *key, float *out);
/* An activation by its Hugging Face name; the refusal lists those known. */
void kvass_config_act(kvass_config_in *in, const char *key, kvass_act_kind *out);

/* config->n_heads is set; n_kv_heads may be (0, or null in the file: as many as n_heads), as
 * head_dim may (0: dim / n_heads). Checks that everything divides and q_dim is within its limit. */
void kvass_config_heads(kvass_config_in *in, kvass_config *config);

/* bos_token_id and eos_token_id (an id or a list), completed by generation_config.json's list.
 * Absent keys take the defaults given, -1 for none. Ids outside the vocabulary are dropped with a
 * warning. */
void kvass_config_ids(kvass_config_in *in, int32_t default_bos, int32_t default_eos,
                      kvass_config *config);

/* config->sampling, out of generation_config.json. */
void kvass_config_sampling(kvass_config_in *in, kvass_config *config);

/* What rotates queries and keys, in both generations of keys: rope_theta + rope_scaling, or
 * rope_parameters, where what layers of one type share may stand under that name ("full_attention";
 * NULL: it does not). *spec holds the family's defaults of theta and n_rot. An unknown kind of
 * scaling is refused by its name (ROPE_SCALING). */
void kvass_config_rope(kvass_config_in *in, const kvass_config *config, const char *layer_type,
                       kvass_rope_spec *spec);
/* What scaling means for the context: beyond it "dynamic" cannot be computed, and "longrope" is
 * trained up to where its short factors end. */
void kvass_config_rope_ctx(kvass_config_in *in, const char *layer_type, kvass_config *config);

/* A list of the configuration with one entry per layer, or NULL when it is absent. */
const kvass_json *kvass_config_per_layer(kvass_config_in *in, const kvass_config *config,
                                         const char *key);
/* layer_types[l] is "sliding_attention", not "full_attention"; `absent` without such a list. */
bool kvass_config_is_sliding(kvass_config_in *in, const kvass_config *config, int32_t l,
                             bool absent);
/* The size of a window: 0 when it is null, `absent` when there is no such key. */
int32_t kvass_config_window(kvass_config_in *in, const char *key, int32_t absent);
/* The same for a layer that has one: null and nothing are refused. */
int32_t kvass_config_window_needed(kvass_config_in *in, const char *key, int32_t absent);

/* model_type is the string `type` */
bool kvass_config_is(const kvass_checkpoint *ckpt, const char *type);

#endif
