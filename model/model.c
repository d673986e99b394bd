/* model.c - opening a checkpoint, end to end, and telling what is in it.
 * Called through kvass.h. Files -> checkpoint -> family -> configuration and layer specs -> plan ->
 * validation -> weights: each step only runs on what the one before has checked.
 */
#include "model/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/options.h"
#include "model/config.h"
#include "model/plan.h"

kvass_model_options kvass_model_options_default(void)
{
    return (kvass_model_options){.struct_size = sizeof(kvass_model_options)};
}

/* Weights that another program packed do not have the tensors a family names. */
static kvass_status refuse_quantized(const kvass_checkpoint *ckpt, kvass_error *err)
{
    const kvass_json *q = kvass_json_get(ckpt->config, "quantization_config");
    if (kvass_json_get_kind(q) != KVASS_JSON_OBJECT) {
        return KVASS_OK;
    }
    const char *method = kvass_json_as_string(kvass_json_get(q, "quant_method"), NULL);
    return kvass_fail(err, KVASS_UNSUPPORTED, "QUANTIZATION",
                      "%s: \"quantization_config\": expected F32, F16 or BF16 weights, found "
                      "\"%.64s\"",
                      ckpt->config_path, method ? method : "unknown");
}

static kvass_status configure(kvass_model *model, kvass_error *err)
{
    kvass_status status = kvass_family_find(&model->family, model->ckpt, err);
    if (status == KVASS_OK) {
        status = refuse_quantized(model->ckpt, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    kvass_config_in in = {model->ckpt, err, KVASS_OK};
    model->config = kvass_config_default();
    model->family->config(&in, &model->config);
    kvass_config_sampling(&in, &model->config);
    if (in.status != KVASS_OK) {
        return in.status;
    }
    size_t n_layers = (size_t)model->config.n_layers;
    model->layers = calloc(n_layers, sizeof *model->layers);
    if (!model->layers) {
        return kvass_fail_nomem(err, n_layers * sizeof *model->layers, "the layers");
    }
    for (int32_t l = 0; l < model->config.n_layers && in.status == KVASS_OK; l++) {
        kvass_layer_spec *spec = &model->layers[l].spec;
        *spec = (kvass_layer_spec){.norm = model->config.final_norm,
                                   .mlp = KVASS_MLP_GATED,
                                   .attn_scale = 1.0f / sqrtf((float)model->config.head_dim),
                                   .owner = l};
        model->family->layer(&in, &model->config, l, spec);
    }
    return in.status;
}

static kvass_status load(kvass_model *model, const kvass_model_options *opt, kvass_error *err)
{
    kvass_status status = configure(model, err);
    model->plan = calloc(1, sizeof *model->plan);
    if (status == KVASS_OK && !model->plan) {
        status = kvass_fail_nomem(err, sizeof *model->plan, "the list of tensors");
    }
    if (status == KVASS_OK) {
        status = kvass_plan_make(model->plan, model, err);
    }
    if (status == KVASS_OK) {
        status = kvass_validate(model, model->plan, err);
    }
    if (status == KVASS_OK) {
        status = kvass_bind(model, model->plan, opt->use_mmap, err);
    }
    if (status == KVASS_OK) {
        status = kvass_fingerprint(model, model->plan, &model->fingerprint, err);
    }
    return status;
}

kvass_status kvass_model_open(kvass_model **out, const char *path, const kvass_model_options *opt,
                              kvass_error *err)
{
    kvass_model_options options = kvass_model_options_default();
    if (!out) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "kvass_model_open: out is NULL");
    }
    *out = NULL;
    if (!path) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "kvass_model_open: path is NULL");
    }
    kvass_status status =
        kvass_options_take(&options, sizeof options, opt, "kvass_model_open", err);
    if (status != KVASS_OK) {
        return status;
    }
    kvass_model *model = calloc(1, sizeof *model);
    if (!model) {
        return kvass_fail_nomem(err, sizeof *model, "a model");
    }
    model->header_only = options.header_only;
    status = kvass_checkpoint_open(&model->ckpt, path, err);
    if (status == KVASS_OK) {
        status = load(model, &options, err);
    }
    if (status != KVASS_OK) {
        kvass_model_close(&model);
        return status;
    }
    *out = model;
    return KVASS_OK;
}

void kvass_model_close(kvass_model **model)
{
    if (!model || !*model) {
        return;
    }
    kvass_checkpoint_close(&(*model)->ckpt);
    if ((*model)->plan) {
        kvass_plan_free((*model)->plan);
        free((*model)->plan);
    }
    free((*model)->layers);
    free((*model)->block);
    free(*model);
    *model = NULL;
}

void kvass_model_get_sampling(const kvass_model *model, kvass_sampler_options *opt)
{
    const kvass_sampling *own = &model->config.sampling;
    opt->temperature = own->has_temperature ? own->temperature : opt->temperature;
    opt->top_k = own->has_top_k ? own->top_k : opt->top_k;
    opt->top_p = own->has_top_p ? own->top_p : opt->top_p;
    opt->min_p = own->has_min_p ? own->min_p : opt->min_p;
    opt->repeat_penalty = own->has_repeat_penalty ? own->repeat_penalty : opt->repeat_penalty;
}

void kvass_model_get_info(const kvass_model *model, kvass_model_info *info)
{
    static const char *const positions[] = {[KVASS_POSITION_NONE] = "none",
                                            [KVASS_POSITION_LEARNED] = "learned",
                                            [KVASS_POSITION_ROPE] = "rope"};
    const kvass_config *c = &model->config;
    *info = (kvass_model_info){.family = model->family->name,
                               .format = model->ckpt->format,
                               .path = model->ckpt->path,
                               .positions = positions[c->position],
                               .n_layers = c->n_layers,
                               .dim = c->dim,
                               .n_heads = c->n_heads,
                               .n_kv_heads = c->n_kv_heads,
                               .head_dim = c->head_dim,
                               .ffn_dim = c->ffn_dim,
                               .n_vocab = c->n_vocab,
                               .n_ctx = c->n_ctx,
                               .bos = c->bos,
                               .n_eos = c->n_eos,
                               .n_meta = c->n_meta,
                               .tied = c->tied,
                               .n_params = model->n_params,
                               .weight_bytes = model->weight_bytes,
                               .n_tensors = model->ckpt->n_tensors,
                               .n_warnings = model->ckpt->n_warnings,
                               .fingerprint = model->fingerprint};
    memcpy(info->eos, c->eos, sizeof info->eos);
}

const char *kvass_model_warning(const kvass_model *model, int32_t i)
{
    return i >= 0 && i < model->ckpt->n_warnings ? model->ckpt->warnings[i] : NULL;
}

kvass_status kvass_model_get_layer(const kvass_model *model, int32_t layer, kvass_layer_info *info,
                                   kvass_error *err)
{
    if (layer < 0 || layer >= model->config.n_layers) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "layer %d: expected 0 .. %d", layer,
                          model->config.n_layers - 1);
    }
    const kvass_layer_spec *spec = &model->layers[layer].spec;
    *info = (kvass_layer_info){.window = spec->window, .owner = spec->owner};
    return KVASS_OK;
}

kvass_status kvass_model_get_tensor(const kvass_model *model, int32_t i, kvass_tensor_info *info,
                                    kvass_error *err)
{
    const kvass_checkpoint *ckpt = model->ckpt;
    if (i < 0 || i >= ckpt->n_tensors) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "tensor %d: expected 0 .. %d", i,
                          ckpt->n_tensors - 1);
    }
    const kvass_tensor *t = &ckpt->tensors[i];
    const kvass_file *file = &ckpt->files[t->file];
    *info = (kvass_tensor_info){.name = t->name,
                                .dtype = t->dtype >= 0 ? (kvass_dtype)t->dtype : KVASS_N_DTYPES,
                                .n_dims = t->n_dims,
                                .n_bytes = t->n_bytes,
                                .data = file->map ? (const unsigned char *)file->map + t->offset
                                                  : NULL};
    memcpy(info->shape, t->shape, sizeof info->shape);
    return KVASS_OK;
}
