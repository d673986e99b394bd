/* gguf_making.h - config.json in the making, out of a GGUF file's metadata: what gguf_config.c and
 * gguf_rope.c share.
 */
#ifndef KVASS_MODEL_GGUF_MAKING_H
#define KVASS_MODEL_GGUF_MAKING_H

#include "model/gguf.h"

typedef struct gguf_making {
    kvass_checkpoint *ckpt;
    const kvass_gguf *g;
    const kvass_gguf_arch *arch;
    const kvass_gguf_factors *factors; /* [KVASS_GGUF_N_FACTORS] */
    kvass_json *config;
    kvass_error *err;
} gguf_making;

kvass_status kvass_gguf_making_nomem(const gguf_making *m);
/* CONFIG_TYPE, or CONFIG_MISSING when value is NULL. */
kvass_status kvass_gguf_making_wrong(const gguf_making *m, const char *key, const char *expected,
                                     const kvass_gguf_value *value);

/* The value of "<architecture>.<key>", or NULL; the whole key is in name[n_bytes] then. */
const kvass_gguf_value *kvass_gguf_making_find(const gguf_making *m, const char *key, char *name,
                                               size_t n_bytes);

/* An integer; where there is one for each layer, they must be equal: layers of different shapes
 * have no place in a configuration. */
kvass_status kvass_gguf_making_int(const gguf_making *m, const char *name,
                                   const kvass_gguf_value *value, int64_t *out);

/* Messages about config[key] are to say `name`, unless another name was given before. false: no
 * memory. */
bool kvass_gguf_making_name(const gguf_making *m, const char *key, const char *name);

/* config[k->key] from the metadata, if it is there. */
kvass_status kvass_gguf_making_key(const gguf_making *m, const kvass_gguf_key *k);

/* What rotates queries and keys (gguf_rope.c). */
kvass_status kvass_gguf_making_rope(const gguf_making *m);

#endif
