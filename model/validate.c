/* validate.c - every tensor's shape and type against the configuration; see plan.h.
 * Called by model.c between plan.c and bind.c. After it has passed, bind.c may compute any offset
 * inside a tensor without asking again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/plan.h"

/* "[768, 3072]" into text[n_bytes] */
static const char *shape_text(const int64_t *shape, int32_t n_dims, char *text, size_t n_bytes)
{
    size_t at = (size_t)snprintf(text, n_bytes, "[");
    for (int32_t i = 0; i < n_dims && at < n_bytes; i++) {
        at += (size_t)snprintf(text + at, n_bytes - at, "%s%" PRId64, i > 0 ? ", " : "", shape[i]);
    }
    if (at < n_bytes) {
        (void)snprintf(text + at, n_bytes - at, "]");
    }
    return text;
}

static const char *file_of(const kvass_model *model, const kvass_tensor *t)
{
    return model->ckpt->files[t->file].path;
}

static kvass_status check_shape(const kvass_model *model, const kvass_tensor *t,
                                const int64_t *shape, int32_t n_dims, kvass_error *err)
{
    char found[192], expected[64];
    const kvass_config *c = &model->config;
    if (t->n_dims == n_dims && memcmp(t->shape, shape, (size_t)n_dims * sizeof *shape) == 0) {
        return KVASS_OK;
    }
    return kvass_fail(
        err, KVASS_FORMAT, "TENSOR_SHAPE",
        "%s: tensor \"%s\": shape %s, but %s (dim %d, n_heads %d, n_kv_heads %d, "
        "head_dim %d, ffn_dim %d, n_vocab %d, n_ctx %d) needs %s",
        file_of(model, t), t->name, shape_text(t->shape, t->n_dims, found, sizeof found),
        model->ckpt->config_path, c->dim, c->n_heads, c->n_kv_heads, c->head_dim, c->ffn_dim,
        c->n_vocab, c->n_ctx, shape_text(shape, n_dims, expected, sizeof expected));
}

static bool is_float(int32_t dtype)
{
    return dtype == KVASS_DTYPE_F32 || dtype == KVASS_DTYPE_F16 || dtype == KVASS_DTYPE_BF16;
}

/* Vectors and matrices that are transposed must be floats; other matrices may be quantized. */
static kvass_status check_dtype(const kvass_model *model, const kvass_tensor *t, bool need_float,
                                int32_t n_in, kvass_error *err)
{
    size_t row_bytes;
    if (t->dtype < 0 || (need_float && !is_float(t->dtype))) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "DTYPE_UNSUPPORTED",
                          "%s: tensor \"%s\": type %s: expected F32, F16 or BF16",
                          file_of(model, t), t->name, t->type_name);
    }
    if (!kvass_dtype_row_bytes((kvass_dtype)t->dtype, n_in, &row_bytes)) {
        return kvass_fail(err, KVASS_FORMAT, "TENSOR_BLOCK",
                          "%s: tensor \"%s\": type %s: expected rows of whole blocks of %d, found "
                          "rows of %d",
                          file_of(model, t), t->name, t->type_name,
                          kvass_dtype_get((kvass_dtype)t->dtype)->n_block, n_in);
    }
    return KVASS_OK;
}

/* Positions beyond the table's rows cannot be looked up. */
static void clamp_ctx(kvass_model *model, const kvass_tensor *t)
{
    kvass_config *config = &model->config;
    int64_t n = t->shape[0] - config->pos_offset;
    if (t->n_dims == 2 && n > 0 && n < config->n_ctx) {
        kvass_checkpoint_warn(
            model->ckpt,
            "%s: tensor \"%s\" has %" PRId64 " positions, fewer than the %d of %s: "
            "the context is %" PRId64,
            file_of(model, t), t->name, n, config->n_ctx, model->ckpt->config_path, n);
        config->n_ctx = (int32_t)n;
    }
}

static kvass_status check_slot(kvass_model *model, const kvass_slot *slot, kvass_error *err)
{
    const kvass_role_traits *role = kvass_role_get(slot->parts->role);
    if (slot->parts->role == KVASS_ROLE_POS_EMBED) {
        clamp_ctx(model, slot->weight);
    }
    int64_t n_out = kvass_slot_n_out(&model->config, slot);
    int64_t n_in = kvass_size_of(&model->config, role->n_in);
    bool transposed = slot->layout == KVASS_LAYOUT_TRANSPOSED;
    bool vector = role->n_in == KVASS_SIZE_NONE;
    int64_t shape[2] = {transposed ? n_in : n_out, transposed ? n_out : n_in};
    kvass_status status = check_shape(model, slot->weight, shape, vector ? 1 : 2, err);
    if (status == KVASS_OK) {
        status = check_dtype(model, slot->weight, vector || transposed, (int32_t)n_in, err);
    }
    if (status == KVASS_OK && slot->bias) {
        status = check_shape(model, slot->bias, &n_out, 1, err);
    }
    if (status == KVASS_OK && slot->bias) {
        status = check_dtype(model, slot->bias, true, 1, err);
    }
    return status;
}

kvass_status kvass_validate(kvass_model *model, const kvass_plan *plan, kvass_error *err)
{
    for (int32_t i = 0; i < plan->n_slots; i++) {
        kvass_status status = check_slot(model, &plan->slots[i], err);
        if (status != KVASS_OK) {
            return status;
        }
    }
    return KVASS_OK;
}
