/* plan.c - the table of roles, and the search for the tensors that fill them; see plan.h.
 * Called by model.c after the family has read its configuration.
 */
#include "model/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 256 };

#define GLOBAL(field) false, offsetof(kvass_model, field)
#define LAYER(field)  true, offsetof(kvass_layer, field)

static const kvass_role_traits roles[KVASS_N_ROLES] = {
    [KVASS_ROLE_TOK_EMBED] = {"tok_embed", KVASS_KIND_MATRIX, KVASS_SIZE_VOCAB, KVASS_SIZE_DIM,
                              GLOBAL(tok_embed)},
    [KVASS_ROLE_POS_EMBED] = {"pos_embed", KVASS_KIND_MATRIX, KVASS_SIZE_CTX, KVASS_SIZE_DIM,
                              GLOBAL(pos_embed)},
    [KVASS_ROLE_META_EMBED] = {"meta_embed", KVASS_KIND_MATRIX, KVASS_SIZE_META, KVASS_SIZE_DIM,
                               GLOBAL(meta_embed)},
    [KVASS_ROLE_FINAL_NORM] = {"final_norm", KVASS_KIND_NORM, KVASS_SIZE_DIM, KVASS_SIZE_NONE,
                               GLOBAL(final_norm)},
    [KVASS_ROLE_LM_HEAD] = {"lm_head", KVASS_KIND_LINEAR, KVASS_SIZE_VOCAB, KVASS_SIZE_DIM,
                            GLOBAL(lm_head)},
    [KVASS_ROLE_ATTN_NORM] = {"attn_norm", KVASS_KIND_NORM, KVASS_SIZE_DIM, KVASS_SIZE_NONE,
                              LAYER(attn_norm)},
    [KVASS_ROLE_WQ] = {"wq", KVASS_KIND_LINEAR, KVASS_SIZE_Q, KVASS_SIZE_DIM, LAYER(wq)},
    [KVASS_ROLE_WK] = {"wk", KVASS_KIND_LINEAR, KVASS_SIZE_KV, KVASS_SIZE_DIM, LAYER(wk)},
    [KVASS_ROLE_WV] = {"wv", KVASS_KIND_LINEAR, KVASS_SIZE_KV, KVASS_SIZE_DIM, LAYER(wv)},
    [KVASS_ROLE_Q_NORM] = {"q_norm", KVASS_KIND_NORM, KVASS_SIZE_Q_NORM, KVASS_SIZE_NONE,
                           LAYER(q_norm)},
    [KVASS_ROLE_K_NORM] = {"k_norm", KVASS_KIND_NORM, KVASS_SIZE_K_NORM, KVASS_SIZE_NONE,
                           LAYER(k_norm)},
    [KVASS_ROLE_WO] = {"wo", KVASS_KIND_LINEAR, KVASS_SIZE_DIM, KVASS_SIZE_Q, LAYER(wo)},
    [KVASS_ROLE_ATTN_POST_NORM] = {"attn_post_norm", KVASS_KIND_NORM, KVASS_SIZE_DIM,
                                   KVASS_SIZE_NONE, LAYER(attn_post_norm)},
    [KVASS_ROLE_MLP_NORM] = {"mlp_norm", KVASS_KIND_NORM, KVASS_SIZE_DIM, KVASS_SIZE_NONE,
                             LAYER(mlp_norm)},
    [KVASS_ROLE_W_GATE] = {"w_gate", KVASS_KIND_LINEAR, KVASS_SIZE_FFN, KVASS_SIZE_DIM,
                           LAYER(w_gate)},
    [KVASS_ROLE_W_UP] = {"w_up", KVASS_KIND_LINEAR, KVASS_SIZE_FFN, KVASS_SIZE_DIM, LAYER(w_up)},
    [KVASS_ROLE_W_DOWN] = {"w_down", KVASS_KIND_LINEAR, KVASS_SIZE_DIM, KVASS_SIZE_FFN,
                           LAYER(w_down)},
    [KVASS_ROLE_MLP_POST_NORM] = {"mlp_post_norm", KVASS_KIND_NORM, KVASS_SIZE_DIM, KVASS_SIZE_NONE,
                                  LAYER(mlp_post_norm)},
};

const kvass_role_traits *kvass_role_get(kvass_role role)
{
    return &roles[role];
}

const void *kvass_role_field(const kvass_model *model, kvass_role role, int32_t layer)
{
    const kvass_role_traits *r = &roles[role];
    const char *base = r->per_layer ? (const char *)&model->layers[layer] : (const char *)model;
    return base + r->field;
}

int32_t kvass_size_of(const kvass_config *config, kvass_size size)
{
    switch (size) {
    case KVASS_SIZE_VOCAB:
        return config->n_vocab;
    case KVASS_SIZE_CTX:
        return config->pos_offset + config->n_ctx;
    case KVASS_SIZE_META:
        return config->n_meta;
    case KVASS_SIZE_DIM:
        return config->dim;
    case KVASS_SIZE_Q:
        return config->n_heads * config->head_dim;
    case KVASS_SIZE_KV:
        return config->n_kv_heads * config->head_dim;
    case KVASS_SIZE_Q_NORM:
        return config->qk_norm == KVASS_QK_NORM_HEAD ? config->head_dim
                                                     : config->n_heads * config->head_dim;
    case KVASS_SIZE_K_NORM:
        return config->qk_norm == KVASS_QK_NORM_HEAD ? config->head_dim
                                                     : config->n_kv_heads * config->head_dim;
    case KVASS_SIZE_FFN:
        return config->ffn_dim;
    case KVASS_SIZE_NONE:
        break;
    }
    return 1;
}

int32_t kvass_slot_n_out(const kvass_config *config, const kvass_slot *slot)
{
    int32_t n_out = 0;
    if (slot->parts->layout == KVASS_LAYOUT_PER_HEAD) {
        return config->head_dim;
    }
    for (int32_t i = 0; i < slot->n_parts; i++) {
        n_out += kvass_size_of(config, roles[slot->parts[i].role].n_out);
    }
    return n_out;
}

/* The search: the prefix that holds for this file, and which tensors were taken. */
typedef struct search {
    kvass_model *model;
    const char *prefix;
    int32_t head;        /* of the tensors looked for, where each head has its own */
    unsigned char *used; /* used[n_tensors] */
} search;

static const kvass_tensor *find(const search *s, const char *prefix, const char *name_template,
                                int32_t layer, const char *suffix, char *name)
{
    char filled[NAME_BYTES / 2];
    (void)snprintf(filled, sizeof filled, name_template, (int)layer, (int)s->head);
    (void)snprintf(name, NAME_BYTES, "%s%s%s", prefix, filled, suffix);
    return kvass_checkpoint_find(s->model->ckpt, name);
}

/* Find one tensor and mark it as used. */
static kvass_status take(search *s, const kvass_tensor_name *part, int32_t layer,
                         const char *suffix, const kvass_tensor **out, kvass_error *err)
{
    char name[NAME_BYTES], bare[NAME_BYTES];
    const kvass_tensor *t = find(s, s->prefix, part->name, layer, suffix, name);
    if (!t && layer < 0) {
        t = find(s, "", part->name, layer, suffix, bare);
    }
    if (!t) {
        return kvass_fail(
            err, KVASS_FORMAT, "TENSOR_MISSING",
            "%s: tensor \"%s\": expected it as the %s's %s of %s, found no such tensor",
            s->model->ckpt->path, name, s->model->family->name, roles[part->role].name,
            s->model->ckpt->config_path);
    }
    s->used[t - s->model->ckpt->tensors] = 1;
    *out = t;
    return KVASS_OK;
}

static bool is_wanted(const kvass_model *model, const kvass_tensor_name *part, int32_t layer)
{
    const kvass_layer_spec *spec = layer < 0 ? NULL : &model->layers[layer].spec;
    bool normed = model->config.qk_norm != KVASS_QK_NORM_NONE;
    switch (part->role) {
    case KVASS_ROLE_LM_HEAD:
        return !model->config.tied;
    case KVASS_ROLE_META_EMBED:
        return model->config.n_meta > 0;
    case KVASS_ROLE_WK:
    case KVASS_ROLE_WV:
        return spec->owner == layer;
    case KVASS_ROLE_Q_NORM:
        return normed;
    case KVASS_ROLE_K_NORM:
        return normed && spec->owner == layer;
    case KVASS_ROLE_ATTN_NORM:
        return spec->block != KVASS_BLOCK_POST;
    case KVASS_ROLE_MLP_NORM:
        return spec->block != KVASS_BLOCK_POST && spec->block != KVASS_BLOCK_ONE_NORM;
    case KVASS_ROLE_ATTN_POST_NORM:
    case KVASS_ROLE_MLP_POST_NORM:
        return spec->block == KVASS_BLOCK_POST || spec->block == KVASS_BLOCK_SANDWICH;
    case KVASS_ROLE_W_GATE:
        return spec->mlp == KVASS_MLP_GATED;
    default:
        return true;
    }
}

static kvass_status add_slot(search *s, kvass_plan *plan, const kvass_tensor_name *parts,
                             int32_t n_parts, int32_t layer, kvass_error *err)
{
    bool in_rows = s->model->ckpt->laid_out && parts->layout != KVASS_LAYOUT_PER_HEAD;
    kvass_slot slot = {.parts = parts,
                       .n_parts = n_parts,
                       .layer = layer,
                       .head = s->head,
                       .layout = in_rows ? KVASS_LAYOUT_ROWS : parts->layout};
    kvass_status status = take(s, parts, layer, ".weight", &slot.weight, err);
    if (status == KVASS_OK && (s->model->config.biases >> parts->role & 1) != 0) {
        status = take(s, parts, layer, ".bias", &slot.bias, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    if (plan->n_slots == plan->cap_slots) { /* each has a tensor of the file: there are not many */
        int32_t cap = plan->cap_slots > 0 ? 2 * plan->cap_slots : 64;
        kvass_slot *grown = realloc(plan->slots, (size_t)cap * sizeof *grown);
        if (!grown) {
            return kvass_fail_nomem(err, (size_t)cap * sizeof *grown, "the list of tensors");
        }
        plan->slots = grown;
        plan->cap_slots = cap;
    }
    plan->slots[plan->n_slots++] = slot;
    return KVASS_OK;
}

/* The tensor of a table entry and of those that share it, or one for each head. */
static kvass_status add_slots(search *s, kvass_plan *plan, const kvass_tensor_name *parts,
                              int32_t n_parts, int32_t layer, kvass_error *err)
{
    const kvass_config *config = &s->model->config;
    bool per_head = parts->layout == KVASS_LAYOUT_PER_HEAD;
    int32_t n_heads =
        per_head ? kvass_size_of(config, roles[parts->role].n_out) / config->head_dim : 1;
    kvass_status status = KVASS_OK;
    for (s->head = 0; s->head < n_heads && status == KVASS_OK; s->head++) {
        status = add_slot(s, plan, parts, n_parts, layer, err);
    }
    s->head = 0;
    return status;
}

/* The entries after `first` that name the same tensor. */
static int32_t count_parts(const kvass_tensor_name *first)
{
    int32_t n = 1;
    while (first[n].name && strcmp(first[n].name, first->name) == 0) {
        n++;
    }
    return n;
}

static kvass_status find_prefix(search *s, kvass_error *err)
{
    char name[NAME_BYTES] = "";
    const kvass_tensor_name *embed = s->model->family->tensors;
    while (embed->role != KVASS_ROLE_TOK_EMBED) {
        embed++;
    }
    for (const char *const *prefix = s->model->family->prefixes; *prefix; prefix++) {
        s->prefix = *prefix;
        if (find(s, *prefix, embed->name, -1, ".weight", name)) {
            return KVASS_OK;
        }
    }
    return kvass_fail(
        err, KVASS_FORMAT, "TENSOR_MISSING",
        "%s: expected the token embedding of a %s, found no tensor whose name ends in "
        "\"%s\"",
        s->model->ckpt->path, s->model->family->name, name);
}

/* Without an output matrix the token embedding serves as one. */
static void settle_tied(search *s)
{
    char name[NAME_BYTES];
    kvass_config *config = &s->model->config;
    for (const kvass_tensor_name *t = s->model->family->tensors; t->name; t++) {
        if (t->role == KVASS_ROLE_LM_HEAD && !config->tied &&
            (config->biases & KVASS_BIAS(LM_HEAD)) == 0 &&
            !find(s, s->prefix, t->name, -1, ".weight", name) &&
            !find(s, "", t->name, -1, ".weight", name)) {
            config->tied = true;
            kvass_checkpoint_warn(s->model->ckpt,
                                  "%s: no tensor \"%s\": the token embedding is the output matrix",
                                  s->model->ckpt->path, name);
        }
    }
}

static bool is_ignored(const kvass_model *model, const char *name)
{
    size_t n = strlen(name);
    for (const char *const *i = model->family->ignored; i && *i; i++) {
        size_t n_tail = strlen(*i);
        if (n >= n_tail && strcmp(name + n - n_tail, *i) == 0) {
            return true;
        }
    }
    return false;
}

/* A tensor that nothing reads may be a part of the network that would be silently left out: told,
 * or refused where each must have a use. */
static kvass_status check_unused(const search *s, kvass_error *err)
{
    kvass_checkpoint *ckpt = s->model->ckpt;
    int32_t n = 0, first = -1;
    for (int32_t i = 0; i < ckpt->n_tensors; i++) {
        if (!s->used[i] && !is_ignored(s->model, ckpt->tensors[i].name)) {
            first = first < 0 ? i : first;
            n++;
        }
    }
    if (n > 0 && ckpt->laid_out) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "TENSOR_UNUSED",
                          "%s: tensor \"%s\": expected only what a %s of these dimensions has, "
                          "found %d tensors more",
                          ckpt->path, ckpt->tensors[first].name, s->model->family->name, n);
    }
    if (n > 0) {
        kvass_checkpoint_warn(ckpt, "%s: %d tensors are not used by a %s, among them \"%s\"",
                              ckpt->path, n, s->model->family->name, ckpt->tensors[first].name);
    }
    return KVASS_OK;
}

kvass_status kvass_plan_make(kvass_plan *plan, kvass_model *model, kvass_error *err)
{
    search s = {.model = model};
    const kvass_tensor_name *table = model->family->tensors;
    *plan = (kvass_plan){0};
    s.used = calloc((size_t)model->ckpt->n_tensors, 1);
    kvass_status status;
    if (!s.used) {
        status = kvass_fail_nomem(err, (size_t)model->ckpt->n_tensors, "the list of tensors");
        goto fail;
    }
    status = find_prefix(&s, err);
    if (status != KVASS_OK) {
        goto fail;
    }
    settle_tied(&s);
    for (int32_t l = -1; l < model->config.n_layers; l++) {
        for (const kvass_tensor_name *t = table; t->name;) {
            int32_t n_parts = count_parts(t);
            if (roles[t->role].per_layer == (l >= 0) && is_wanted(model, t, l)) {
                status = add_slots(&s, plan, t, n_parts, l, err);
                if (status != KVASS_OK) {
                    goto fail;
                }
            }
            t += n_parts;
        }
    }
    status = check_unused(&s, err);
    if (status != KVASS_OK) {
        goto fail;
    }
    free(s.used);
    return KVASS_OK;
fail:
    free(s.used);
    kvass_plan_free(plan);
    return status;
}

void kvass_plan_free(kvass_plan *plan)
{
    free(plan->slots);
    *plan = (kvass_plan){0};
}
