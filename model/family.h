/* family.h - what one model family has to say, as data.
 * A family is one file in families/ and one line in families/registry.c: how to recognise it, how
 * to read its configuration, what each layer is made of, and what its tensors are called.
 * Everything else (reading, checking shapes, transposing, slicing) is bind.c's and validate.c's,
 * once for all.
 */
#ifndef KVASS_MODEL_FAMILY_H
#define KVASS_MODEL_FAMILY_H

#include "model/model.h"

/* The place a tensor takes in the network; shapes in model.h, in tables in plan.c. */
typedef enum kvass_role {
    KVASS_ROLE_TOK_EMBED,
    KVASS_ROLE_POS_EMBED,
    KVASS_ROLE_META_EMBED,
    KVASS_ROLE_FINAL_NORM,
    KVASS_ROLE_LM_HEAD,
    KVASS_ROLE_ATTN_NORM,
    KVASS_ROLE_WQ,
    KVASS_ROLE_WK,
    KVASS_ROLE_WV,
    KVASS_ROLE_Q_NORM,
    KVASS_ROLE_K_NORM,
    KVASS_ROLE_WO,
    KVASS_ROLE_ATTN_POST_NORM,
    KVASS_ROLE_MLP_NORM,
    KVASS_ROLE_W_GATE,
    KVASS_ROLE_W_UP,
    KVASS_ROLE_W_DOWN,
    KVASS_ROLE_MLP_POST_NORM,
    KVASS_N_ROLES
} kvass_role;

#define KVASS_BIAS(role) (1u << KVASS_ROLE_##role) /* for kvass_config.biases */

/* How the file's tensors relate to ours. */
typedef enum kvass_layout {
    KVASS_LAYOUT_ROWS,        /* [n_out, n_in] as it is */
    KVASS_LAYOUT_TRANSPOSED,  /* [n_in, n_out], GPT-2's Conv1D: transposed when read */
    KVASS_LAYOUT_INTERLEAVED, /* fused head by head: head_dim rows of each part in turn, GPT-NeoX */
    KVASS_LAYOUT_PER_HEAD     /* a norm in pieces, one tensor of head_dim for every head */
} kvass_layout;

typedef struct kvass_tensor_name {
    kvass_role role;
    const char *name; /* template; %d is the layer, a second one (PER_HEAD) the head. ".weight" and
                       * ".bias" are appended by plan.c */
    kvass_layout layout;
    /* A fused tensor holds several roles one after the other along its output dimension, in the
     * order in which the roles stand in the table with the same name: [wq | wk | wv]. Found by
     * equal templates that follow each other; at most 8. */
} kvass_tensor_name;

/* What reads a configuration; its functions are in config.h. After the first failure they do
 * nothing more, so a family asks for key after key and tests nothing. */
typedef struct kvass_config_in {
    kvass_checkpoint *ckpt;
    kvass_error *err;
    kvass_status status;
} kvass_config_in;

typedef struct kvass_family {
    const char *name;            /* "gpt2" */
    const char *const *prefixes; /* what tensor names may start with, NULL-terminated: the first
                                  * with which the token embedding is found holds for all. Names
                                  * outside layers may also stand bare, as lm_head does */
    const char *const *ignored;  /* endings of tensor names that are left over from training code
                                  * and pass without a warning, NULL-terminated; or NULL */
    /* whether this family reads such a checkpoint; NULL: model_type is its name */
    bool (*detect)(const kvass_checkpoint *ckpt);
    /* fill *config (kvass_config_default() so far); messages name the key, its type and the file;
     * what is odd but harmless becomes a warning of the checkpoint */
    void (*config)(kvass_config_in *in, kvass_config *config);
    /* fill *spec of layer l, where so far stand: owner l, attn_scale 1 / sqrt(head_dim), norms of
     * the final norm's kind, a pre block, a gated silu MLP, no rotation */
    void (*layer)(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec);
    /* Ends with name NULL. A role named is expected unless the network has no such part: lm_head
     * when tied, wk, wv and k_norm when another layer owns them, meta_embed when there are no meta
     * tokens, norms that the kind of block or qk_norm does not have, w_gate of a plain MLP. */
    const kvass_tensor_name *tensors;
} kvass_family;

/* The family that reads ckpt. UNSUPPORTED (FAMILY) names what was seen and what is known. */
kvass_status kvass_family_find(const kvass_family **out, const kvass_checkpoint *ckpt,
                               kvass_error *err);

/* All families, NULL-terminated. */
extern const kvass_family *const kvass_families[];

#endif
