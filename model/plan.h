/* plan.h - which tensors of the file feed which parts of the network.
 * plan.c finds them by the family's table of names, validate.c checks their shapes and types,
 * bind.c reads them: all three walk the same slots, so nothing is bound that was not checked.
 */
#ifndef KVASS_MODEL_PLAN_H
#define KVASS_MODEL_PLAN_H

#include "model/family.h"

typedef enum kvass_role_kind {
    KVASS_KIND_MATRIX, /* kvass_weight: embeddings */
    KVASS_KIND_LINEAR, /* kvass_linear */
    KVASS_KIND_NORM    /* kvass_norm */
} kvass_role_kind;

typedef enum kvass_size {
    KVASS_SIZE_NONE,
    KVASS_SIZE_VOCAB,
    KVASS_SIZE_CTX,
    KVASS_SIZE_META,
    KVASS_SIZE_DIM,
    KVASS_SIZE_Q,
    KVASS_SIZE_KV,
    KVASS_SIZE_Q_NORM, /* head_dim, or q_dim: config.qk_norm */
    KVASS_SIZE_K_NORM,
    KVASS_SIZE_FFN
} kvass_size;

typedef struct kvass_role_traits {
    const char *name; /* "wq" */
    kvass_role_kind kind;
    kvass_size n_out, n_in; /* n_in NONE: a vector */
    bool per_layer;
    size_t field; /* offset in kvass_layer when per_layer, else in kvass_model */
} kvass_role_traits;

const kvass_role_traits *kvass_role_get(kvass_role role);

/* The kvass_weight, kvass_linear or kvass_norm of a role; layer -1 outside layers. */
const void *kvass_role_field(const kvass_model *model, kvass_role role, int32_t layer);

/* What a symbolic size is in this network; 1 for NONE. */
int32_t kvass_size_of(const kvass_config *config, kvass_size size);

/* One tensor of the file (and its bias) and the n_parts roles it holds, in order: parts[0] ..
 * parts[n_parts - 1], entries of the family's table. */
typedef struct kvass_slot {
    const kvass_tensor_name *parts;
    int32_t n_parts;
    int32_t layer;                     /* -1 outside layers */
    int32_t head;                      /* of a PER_HEAD tensor, else 0 */
    kvass_layout layout;               /* of the tensor in the file */
    const kvass_tensor *weight, *bias; /* bias NULL: none */
} kvass_slot;

typedef struct kvass_plan {
    kvass_slot *slots; /* slots[n_slots] */
    int32_t n_slots, cap_slots;
} kvass_plan;

/* Outputs of all parts together: what the tensor holds. */
int32_t kvass_slot_n_out(const kvass_config *config, const kvass_slot *slot);

/* Find every tensor that model->family, config and layers call for. May turn config.tied on, with a
 * warning, when the checkpoint has no output matrix; warns of tensors that nothing uses.
 * FORMAT (TENSOR_MISSING), NOMEM. */
kvass_status kvass_plan_make(kvass_plan *plan, kvass_model *model, kvass_error *err);
void kvass_plan_free(kvass_plan *plan);

/* Check each slot's tensors against the configuration. May lower config.n_ctx to the rows of a
 * learned position table, with a warning. FORMAT (TENSOR_SHAPE, TENSOR_BLOCK), UNSUPPORTED
 * (DTYPE_UNSUPPORTED). */
kvass_status kvass_validate(kvass_model *model, const kvass_plan *plan, kvass_error *err);

/* Fill in the views of model->layers and of the model, reading weights into memory of the model's
 * own or viewing the mapped file. With header_only, sizes only. IO, FORMAT, NOMEM. */
kvass_status kvass_bind(kvass_model *model, const kvass_plan *plan, bool use_mmap,
                        kvass_error *err);

/* 64 bits out of configuration, names, shapes and a few bytes of every tensor of the plan. IO,
 * FORMAT. */
kvass_status kvass_fingerprint(const kvass_model *model, const kvass_plan *plan, uint64_t *out,
                               kvass_error *err);

#endif
