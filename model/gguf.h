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
    const char *also;             /* another family that is written so; or NULL */
    bool rope_pairs;              /* wq, wk rows were reordered to rotate neighbours */
    const kvass_gguf_name *names; /* before the common ones, NULL-terminated; or NULL */
    const kvass_gguf_key *keys;   /* the same */
    /* What follows from the rest of the configuration and stands in no file; or NULL. false: out of
     * memory. */
    bool (*complete)(kvass_json *config);
} kvass_gguf_arch;

/* The architecture of a file. UNSUPPORTED (FAMILY) names what was seen and what is known. */
kvass_status kvass_gguf_arch_find(const kvass_gguf_arch **out, const kvass_gguf *gguf,
                                  const char *path, kvass_error *err);

/* The family's name of a tensor into out[n_bytes]; a name that no table has stays as it is. */
void kvass_gguf_rename(const kvass_gguf_arch *arch, const char *name, char *out, size_t n_bytes);

/* The other way: the architecture a family is written as, NULL: there is none; and the name there
 * of a tensor that the family's table calls `name`, with or without the first of its prefixes.
 * false: it has none. */
const kvass_gguf_arch *kvass_gguf_arch_of(const char *family);
bool kvass_gguf_name_of(const kvass_gguf_arch *arch, const char *prefix, const char *name,
                        int32_t layer, const char *ending, char *out, size_t n_bytes);

extern const kvass_gguf_key kvass_gguf_common_keys[];

/* Tensors that belong to the configuration: factors of the rotation's frequencies. */
typedef enum kvass_gguf_factors_kind {
    KVASS_GGUF_ROPE_FREQS,
    KVASS_GGUF_ROPE_LONG,
    KVASS_GGUF_ROPE_SHORT,
    KVASS_GGUF_N_FACTORS
} kvass_gguf_factors_kind;

enum { KVASS_GGUF_MAX_FACTORS = 512 };

typedef struct kvass_gguf_factors {
    int32_t n; /* 0: the file has no such tensor */
    float values[KVASS_GGUF_MAX_FACTORS];
} kvass_gguf_factors;

/* ckpt->config from the metadata; the tensors are there already. FORMAT (CONFIG_TYPE,
 * CONFIG_MISSING), UNSUPPORTED, NOMEM. */
kvass_status kvass_gguf_make_config(kvass_checkpoint *ckpt, const kvass_gguf *gguf,
                                    const kvass_gguf_arch *arch,
                                    const kvass_gguf_factors factors[KVASS_GGUF_N_FACTORS],
                                    kvass_error *err);

#endif
