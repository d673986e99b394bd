/* family.h - what one model family has to say, as data.
 * A family is one file in families/ and one line in families/registry.c: how to recognise it, how to
 * read its configuration, what each layer is made of, and what its tensors are called. Everything
 * else (reading, checking shapes, transposing, slicing) is bind.c's and validate.c's, once for all.
 */
#ifndef KVASS_MODEL_FAMILY_H
#define KVASS_MODEL_FAMILY_H

#include "model/model.h"

/* The place a tensor takes in the network; shapes in model.h. */
typedef enum kvass_role {
    KVASS_ROLE_TOK_EMBED, KVASS_ROLE_POS_EMBED, KVASS_ROLE_FINAL_NORM, KVASS_ROLE_LM_HEAD,
    KVASS_ROLE_ATTN_NORM, KVASS_ROLE_WQ, KVASS_ROLE_WK, KVASS_ROLE_WV, KVASS_ROLE_WO,
    KVASS_ROLE_MLP_NORM, KVASS_ROLE_W_GATE, KVASS_ROLE_W_UP, KVASS_ROLE_W_DOWN
} kvass_role;

/* How the file's matrix relates to ours. */
typedef enum kvass_layout {
    KVASS_LAYOUT_ROWS,      /* [n_out, n_in] as it is */
    KVASS_LAYOUT_TRANSPOSED /* [n_in, n_out], GPT-2's Conv1D: transposed when read */
} kvass_layout;

typedef struct kvass_tensor_name {
    kvass_role role;
    const char *name;   /* template; %d is the layer. ".weight" and ".bias" are appended by bind.c */
    kvass_layout layout;
    /* A fused tensor holds several roles one after the other along its output dimension, in the order in
     * which the roles stand in the table with the same name: [wq | wk | wv]. Found by equal templates. */
} kvass_tensor_name;

typedef struct kvass_family {
    const char *name;                 /* "gpt2" */
    const char *const *prefixes;      /* prefixes that tensor names may carry, NULL-terminated; "" first
                                       * when bare names are legal, too */
    /* whether this family reads such a checkpoint */
    bool (*detect)(const kvass_checkpoint *ckpt);
    /* fill *config from ckpt->config; messages name the key, its type and the file */
    kvass_status (*config)(const kvass_checkpoint *ckpt, kvass_config *config, kvass_error *err);
    /* fill *spec of layer l */
    kvass_status (*layer)(const kvass_checkpoint *ckpt, const kvass_config *config, int32_t l,
                          kvass_layer_spec *spec, kvass_error *err);
    const kvass_tensor_name *tensors; /* ends with name NULL */
} kvass_family;

/* All families, NULL-terminated. */
extern const kvass_family *const kvass_families[];

#endif
