/* gguf.h - what a GGUF file's names mean, by its architecture.
 * gguf.c reads the files, gguf_config.c makes config.json out of their metadata; both follow the
 * tables of gguf_arch.c, which are all that a new family needs here.
 */
#ifndef KVASS_MODEL_GGUF_H
#define KVASS_MODEL_GGUF_H

#include "engine/base/gguf.h"
#include "model/checkpoint.h"

/* A tensor's name there and in its family's table; %d is the layer, the ending stays. */
typedef struct kvass_gguf_name {
    const char *gguf, *name;
} kvass_gguf_name;

typedef enum kvass_gguf_key_kind {
    KVASS_GGUF_KEY_INT,
    KVASS_GGUF_KEY_REAL,
    KVASS_GGUF_KEY_BOOL
} kvass_gguf_key_kind;

/* A key there, without the architecture before it, and in config.json. */
typedef struct kvass_gguf_key {
    const char *gguf, *key;
    kvass_gguf_key_kind kind;
} kvass_gguf_key;

typedef struct kvass_gguf_arch {
    const char *arch;             /* general.architecture */
    const char *model_type;       /* config.json's */
    bool rope_pairs;              /* wq, wk rows were reordered to rotate neighbours */
    const kvass_gguf_name *names; /* before the common ones, NULL-terminated; or NULL */
    const kvass_gguf_key *keys;   /* the same */
    /* What is the same in all files of this architecture and so stands in none; or NULL. false: out
     * of memory. */
    bool (*constants)(const kvass_gguf *gguf, kvass_json *config);
} kvass_gguf_arch;

/* The architecture of a file. UNSUPPORTED (FAMILY) names what was seen and what is known. */
kvass_status kvass_gguf_arch_find(const kvass_gguf_arch **out, const kvass_gguf *gguf,
                                  const char *path, kvass_error *err);

/* The family's name of a tensor into out[n_bytes]; a name that no table has stays as it is. */
void kvass_gguf_rename(const kvass_gguf_arch *arch, const char *name, char *out, size_t n_bytes);

extern const kvass_gguf_key kvass_gguf_common_keys[];

/* ckpt->config from the metadata; the tensors are there already. FORMAT (CONFIG_TYPE,
 * CONFIG_MISSING), UNSUPPORTED, NOMEM. */
kvass_status kvass_gguf_make_config(kvass_checkpoint *ckpt, const kvass_gguf *gguf,
                                    const kvass_gguf_arch *arch, kvass_error *err);

#endif
