/* convert.c - kvass_model_convert: which tensors there will be, in which types; see convert.h. */
#include "engine/convert/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/checked.h"
#include "engine/base/options.h"
#include "engine/kernels/pack.h"

kvass_convert_options kvass_convert_options_default(void)
{
    return (kvass_convert_options){.struct_size = sizeof(kvass_convert_options),
                                   .type = KVASS_N_DTYPES};
}

/* ---- types ----------------------------------------------------------------------------------- */

static bool has_four_bits(kvass_dtype dtype)
{
    return dtype == KVASS_DTYPE_Q4_0 || dtype == KVASS_DTYPE_Q4_1;
}

/* The type of a matrix with rows of n_in in a GGUF file. */
static kvass_dtype gguf_type(const kvass_converter *c, kvass_role role, kvass_dtype stored,
                             int32_t n_in)
{
    kvass_dtype type = c->opt->type;
    if (role == KVASS_ROLE_POS_EMBED) {
        return KVASS_DTYPE_F32;
    }
    if (type == KVASS_N_DTYPES) {
        return stored == KVASS_DTYPE_Q8_F32 ? KVASS_DTYPE_F32 : stored;
    }
    if (has_four_bits(type) && (role == KVASS_ROLE_TOK_EMBED || role == KVASS_ROLE_LM_HEAD)) {
        type = KVASS_DTYPE_Q8_0;
    }
    return n_in % kvass_dtype_get(type)->n_block == 0 ? type : KVASS_DTYPE_F16;
}

static kvass_dtype safetensors_type(const kvass_converter *c, int32_t stored)
{
    if (c->opt->type != KVASS_N_DTYPES) {
        return c->opt->type;
    }
    return stored == KVASS_DTYPE_F16 || stored == KVASS_DTYPE_BF16 ? (kvass_dtype)stored
                                                                   : KVASS_DTYPE_F32;
}

static kvass_status check_type(const kvass_convert_options *opt, const char *path, kvass_error *err)
{
    bool gguf = opt->container == KVASS_CONTAINER_GGUF;
    bool plain = opt->type == KVASS_DTYPE_F32 || opt->type == KVASS_DTYPE_F16 ||
                 opt->type == KVASS_DTYPE_BF16;
    if (opt->type == KVASS_N_DTYPES || plain || (gguf && kvass_pack_knows(opt->type))) {
        return KVASS_OK;
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_TYPE", "%s: type %s: expected f32, f16%s",
                      path, kvass_dtype_name(opt->type),
                      gguf ? ", bf16, q8_0, q4_0 or q4_1" : " or bf16 in safetensors");
}

/* ---- tensors --------------------------------------------------------------------------------- */

kvass_status kvass_convert_add(kvass_converter *c, const kvass_out_tensor *tensor, kvass_error *err)
{
    if (c->n_tensors == c->cap_tensors) { /* each has a tensor of the model: there are not many */
        int32_t cap = c->cap_tensors > 0 ? 2 * c->cap_tensors : 64;
        kvass_out_tensor *more = realloc(c->tensors, (size_t)cap * sizeof *more);
        if (!more) {
            return kvass_fail_nomem(err, (size_t)cap * sizeof *more, "the list of tensors");
        }
        c->tensors = more;
        c->cap_tensors = cap;
    }
    kvass_out_tensor *t = &c->tensors[c->n_tensors];
    *t = *tensor;
    int64_t n_in = t->n_dims == 2 ? t->shape[1] : t->shape[0];
    int64_t n_rows = t->n_dims == 2 ? t->shape[0] : 1;
    size_t row_bytes;
    if (!kvass_dtype_row_bytes(t->dtype, n_in, &row_bytes) ||
        !kvass_mul_size(row_bytes, (size_t)n_rows, &t->n_bytes)) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_TYPE",
                          "tensor \"%s\": rows of %lld do not fit type %s", t->name,
                          (long long)n_in, kvass_dtype_name(t->dtype));
    }
    c->total += t->n_bytes;
    c->n_tensors++;
    return KVASS_OK;
}

/* The name that slot's weight or bias will have. */
static kvass_status name_tensor(const kvass_converter *c, const kvass_slot *slot, bool is_bias,
                                char *name, kvass_error *err)
{
    const kvass_tensor *from = is_bias ? slot->bias : slot->weight;
    const kvass_family *family = c->model->family;
    if (!c->arch) {
        int n = snprintf(name, KVASS_CONVERT_NAME, "%s", from->name);
        return n < KVASS_CONVERT_NAME
                   ? KVASS_OK
                   : kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_LOSS",
                                "tensor \"%s\": expected a name of less than %d bytes", from->name,
                                KVASS_CONVERT_NAME);
    }
    if (slot->parts->layout != KVASS_LAYOUT_PER_HEAD &&
        kvass_gguf_name_of(c->arch, family->prefixes[0], slot->parts->name, slot->layer,
                           is_bias ? ".bias" : ".weight", name, KVASS_CONVERT_NAME)) {
        return KVASS_OK;
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_LOSS",
                      "tensor \"%s\": GGUF's architecture %s has no such part", from->name,
                      c->arch->arch);
}

static kvass_status add_vector(kvass_converter *c, const kvass_slot *slot, bool is_bias,
                               kvass_error *err)
{
    const kvass_tensor *from = is_bias ? slot->bias : slot->weight;
    kvass_out_tensor t = {.dtype = c->arch ? KVASS_DTYPE_F32 : safetensors_type(c, from->dtype),
                          .n_dims = 1,
                          .shape = {kvass_slot_n_out(&c->model->config, slot)},
                          .slot = slot,
                          .is_bias = is_bias};
    kvass_status status = name_tensor(c, slot, is_bias, t.name, err);
    return status == KVASS_OK ? kvass_convert_add(c, &t, err) : status;
}

static kvass_status add_matrix(kvass_converter *c, const kvass_slot *slot, kvass_error *err)
{
    const kvass_config *config = &c->model->config;
    int32_t n_out = kvass_slot_n_out(config, slot);
    int32_t n_in = kvass_size_of(config, kvass_role_get(slot->parts->role)->n_in);
    kvass_dtype stored = (kvass_dtype)slot->weight->dtype;
    bool transposed = !c->arch && slot->parts->layout == KVASS_LAYOUT_TRANSPOSED;
    kvass_out_tensor t = {.dtype = c->arch ? gguf_type(c, slot->parts->role, stored, n_in)
                                           : safetensors_type(c, slot->weight->dtype),
                          .n_dims = 2,
                          .shape = {transposed ? n_in : n_out, transposed ? n_out : n_in},
                          .slot = slot};
    kvass_status status = name_tensor(c, slot, false, t.name, err);
    return status == KVASS_OK ? kvass_convert_add(c, &t, err) : status;
}

static kvass_status add_tensors(kvass_converter *c, kvass_error *err)
{
    const kvass_plan *plan = c->model->plan;
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < plan->n_slots && status == KVASS_OK; i++) {
        const kvass_slot *slot = &plan->slots[i];
        bool norm = kvass_role_get(slot->parts->role)->kind == KVASS_KIND_NORM;
        status = norm ? add_vector(c, slot, false, err) : add_matrix(c, slot, err);
        if (status == KVASS_OK && slot->bias) {
            status = add_vector(c, slot, true, err);
        }
    }
    return status;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static kvass_status find_arch(kvass_converter *c, const char *path, kvass_error *err)
{
    const kvass_model *model = c->model;
    if (c->opt->container == KVASS_CONTAINER_SAFETENSORS) {
        return KVASS_OK;
    }
    c->arch = kvass_gguf_arch_of(model->family->name);
    return c->arch ? KVASS_OK
                   : kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_FAMILY",
                                "%s: GGUF has no architecture for %s; convert it to safetensors",
                                path, model->family->name);
}

/* A buffer for the widest row, and for all of a matrix that is written transposed. */
static kvass_status take_buffers(kvass_converter *c, kvass_error *err)
{
    size_t n_floats = 1, n_packed = 1;
    for (int32_t i = 0; i < c->n_tensors; i++) {
        const kvass_out_tensor *t = &c->tensors[i];
        size_t n_row = (size_t)(t->n_dims == 2 ? t->shape[1] : t->shape[0]), n = n_row;
        bool whole = t->slot && t->n_dims == 2 && !c->arch &&
                     t->slot->parts->layout == KVASS_LAYOUT_TRANSPOSED;
        if (whole) { /* and one of its rows after it */
            n = n_row * ((size_t)t->shape[0] + 1);
        }
        n_floats = n > n_floats ? n : n_floats;
        size_t n_column = (size_t)t->shape[0]; /* a row of the model's, when it is transposed */
        n_packed = n_row > n_packed ? n_row : n_packed;
        n_packed = n_column > n_packed ? n_column : n_packed;
    }
    c->floats = malloc(n_floats * sizeof *c->floats);
    c->packed = malloc(n_packed * sizeof(float));
    return c->floats && c->packed ? KVASS_OK
                                  : kvass_fail_nomem(err, n_floats * sizeof *c->floats, "a matrix");
}

static kvass_status convert(kvass_converter *c, const char *path, kvass_error *err)
{
    kvass_status status = check_type(c->opt, path, err);
    if (status == KVASS_OK) {
        status = find_arch(c, path, err);
    }
    if (status == KVASS_OK) {
        status = add_tensors(c, err);
    }
    if (status == KVASS_OK) {
        status = take_buffers(c, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    return c->arch ? kvass_convert_to_gguf(c, path, err)
                   : kvass_convert_to_safetensors(c, path, err);
}

kvass_status kvass_model_convert(const kvass_model *model, const char *path,
                                 const kvass_convert_options *opt, kvass_error *err)
{
    kvass_convert_options options = kvass_convert_options_default();
    if (!model || !path || model->header_only) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "kvass_model_convert: expected a path and a model with its weights");
    }
    kvass_status status =
        kvass_options_take(&options, sizeof options, opt, "kvass_model_convert", err);
    if (status != KVASS_OK) {
        return status;
    }
    bool folder = options.container == KVASS_CONTAINER_SAFETENSORS;
    if (options.tokenizer && (options.tokenizer->n_json > 0) != folder) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT",
                          "kvass_model_convert: the tokenizer is described for %s",
                          folder ? "GGUF" : "a folder");
    }
    kvass_converter c = {.model = model, .opt = &options, .kernels = kvass_kernels_get(~0u)};
    c.file = malloc(sizeof *c.file);
    status = c.file ? convert(&c, path, err) : kvass_fail_nomem(err, sizeof *c.file, "a file");
    free(c.tensors);
    free(c.floats);
    free(c.packed);
    free(c.factors);
    free(c.file);
    return status;
}
