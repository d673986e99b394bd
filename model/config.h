/* config.h - reading config.json's keys with the precision an error message needs.
 * Used by families/. Each reader leaves *out alone when an optional key is absent or null, so a
 * family writes its defaults first; every refusal names the key, what was expected, what was found,
 * the file. Rules: CONFIG_MISSING, CONFIG_TYPE, CONFIG_RANGE, CONFIG_DIVIDE, ACTIVATION,
 * ROPE_SCALING.
 */
#ifndef KVASS_MODEL_CONFIG_H
#define KVASS_MODEL_CONFIG_H

#include "model/limits.h"
#include "model/model.h"

/* An integer key and where in kvass_config it goes. */
typedef struct kvass_config_key {
    const char *key;
    size_t field; /* offsetof(kvass_config, ...), an int32_t */
    int32_t max;  /* allowed: 1 .. max */
    bool required;
} kvass_config_key;

/* What nearly every family shares: factors 1, rms norms, no ids. */
kvass_config kvass_config_default(void);

/* All keys of a table that ends with key NULL. */
kvass_status kvass_config_ints(const kvass_checkpoint *ckpt, const kvass_config_key *keys,
                               kvass_config *config, kvass_error *err);
kvass_status kvass_config_bool(const kvass_checkpoint *ckpt, const char *key, bool *out,
                               kvass_error *err);
/* A finite number above `above`. */
kvass_status kvass_config_real(const kvass_checkpoint *ckpt, const char *key, double above,
                               double *out, kvass_error *err);
/* norm_eps: in (0, 1). */
kvass_status kvass_config_eps(const kvass_checkpoint *ckpt, const char *key, float *out,
                              kvass_error *err);
/* An activation by its Hugging Face name; the refusal lists those known. */
kvass_status kvass_config_act(const kvass_checkpoint *ckpt, const char *key, kvass_act_kind *out,
                              kvass_error *err);

/* config->n_heads and n_kv_heads are set; fill n_kv_heads (0: as many as n_heads) and head_dim (0:
 * dim / n_heads), and check that everything divides and q_dim is within its limit. */
kvass_status kvass_config_heads(const kvass_checkpoint *ckpt, kvass_config *config,
                                kvass_error *err);

/* bos_token_id and eos_token_id (an id or a list), completed by generation_config.json's list.
 * Absent keys take the defaults given, -1 for none. Ids outside the vocabulary are dropped with a
 * warning. */
kvass_status kvass_config_ids(kvass_checkpoint *ckpt, int32_t default_bos, int32_t default_eos,
                              kvass_config *config, kvass_error *err);

/* What rotates queries and keys, in both generations of keys: rope_theta + rope_scaling, or
 * rope_parameters. *spec holds the family's defaults of theta and n_rot. An unknown kind of scaling
 * is refused by its name (ROPE_SCALING). */
kvass_status kvass_config_rope(const kvass_checkpoint *ckpt, int32_t head_dim,
                               kvass_rope_spec *spec, kvass_error *err);

/* model_type is the string `type` */
bool kvass_config_is(const kvass_checkpoint *ckpt, const char *type);

#endif
