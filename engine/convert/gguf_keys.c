/* gguf_keys.c - the metadata of a GGUF file that says what network it holds; see convert.h.
 * All keys that an architecture may read are derived from the configuration and the layers, under
 * the names that llama.cpp gives them; what the file as a whole then fails to say, same.c finds.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/convert/convert.h"
#include "engine/rope.h"

typedef struct keys {
    const kvass_converter *c;
    kvass_metadata *m;
    char name[160];
} keys;

static const char *full(keys *k, const char *key)
{
    (void)snprintf(k->name, sizeof k->name, "%s.%s", k->c->arch->arch, key);
    return k->name;
}

static void put_int(keys *k, const char *key, int32_t value)
{
    kvass_metadata_put_u32(k->m, full(k, key), (uint32_t)value);
}

static void put_real(keys *k, const char *key, double value)
{
    kvass_metadata_put_f32(k->m, full(k, key), (float)value);
}

static void put_text(keys *k, const char *key, const char *text)
{
    kvass_metadata_put_string(k->m, full(k, key), text, strlen(text));
}

/* ---- the whole file -------------------------------------------------------------------------- */

/* llama.cpp's number for a file whose matrices have one type, or -1. */
static int file_type(const kvass_converter *c)
{
    static const struct {
        kvass_dtype dtype;
        int number;
    } types[] = {{KVASS_DTYPE_F32, 0},  {KVASS_DTYPE_F16, 1},  {KVASS_DTYPE_Q4_0, 2},
                 {KVASS_DTYPE_Q4_1, 3}, {KVASS_DTYPE_Q8_0, 7}, {KVASS_DTYPE_Q5_0, 8},
                 {KVASS_DTYPE_Q5_1, 9}, {KVASS_DTYPE_BF16, 32}};
    kvass_dtype dtype = c->opt->type;
    for (int32_t i = 0; i < c->n_tensors && dtype == KVASS_N_DTYPES; i++) {
        const kvass_slot *slot = c->tensors[i].slot;
        dtype = slot && slot->layer >= 0 && c->tensors[i].n_dims == 2 ? c->tensors[i].dtype : dtype;
    }
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].dtype == dtype) {
            return types[i].number;
        }
    }
    return -1;
}

/* The last part of the path that the model was opened by. */
static void put_general(keys *k)
{
    const char *path = k->c->model->ckpt->path, *arch = k->c->arch->arch;
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    kvass_metadata_put_string(k->m, "general.architecture", arch, strlen(arch));
    kvass_metadata_put_string(k->m, "general.name", path + start, end - start);
    kvass_metadata_put_u32(k->m, "general.quantization_version", 2);
    if (file_type(k->c) >= 0) {
        kvass_metadata_put_u32(k->m, "general.file_type", (uint32_t)file_type(k->c));
    }
}

/* Ids that begin and end a text. The file has one key for what the model means and for what the
 * tokenizer puts around a text: the tokenizer decides, or its ids would change. */
static void put_ids(keys *k)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    const kvass_config *config = &k->c->model->config;
    const kvass_metadata *tokenizer = k->c->opt->tokenizer;
    int32_t bos = tokenizer && tokenizer->first >= 0 ? tokenizer->first : config->bos;
    int32_t last = tokenizer ? tokenizer->last : -1, n = 0;
    if (bos >= 0) {
        kvass_metadata_put_u32(k->m, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
    }
    if (last >= 0) {
        kvass_metadata_put_u32(k->m, ends[n++], (uint32_t)last);
    }
    for (int32_t i = 0; i < config->n_eos && n < 3; i++) {
        if (config->eos[i] != last) {
            kvass_metadata_put_u32(k->m, ends[n++], (uint32_t)config->eos[i]);
        }
    }
}

/* ---- the network ----------------------------------------------------------------------------- */

static void put_dimensions(keys *k)
{
    const kvass_config *config = &k->c->model->config;
    put_int(k, "block_count", config->n_layers);
    put_int(k, "context_length", config->n_ctx);
    put_int(k, "embedding_length", config->dim);
    put_int(k, "feed_forward_length", config->ffn_dim);
    put_int(k, "attention.head_count", config->n_heads);
    put_int(k, "attention.head_count_kv", config->n_kv_heads);
    put_int(k, "attention.key_length", config->head_dim);
    put_int(k, "attention.value_length", config->head_dim);
    put_int(k, "vocab_size", config->n_vocab);
    put_real(k,
             config->final_norm == KVASS_NORM_RMS ? "attention.layer_norm_rms_epsilon"
                                                  : "attention.layer_norm_epsilon",
             (double)config->norm_eps);
}

static bool reads(const kvass_gguf_arch *arch, const char *key)
{
    for (const kvass_gguf_key *i = arch->keys; i && i->gguf; i++) {
        if (strcmp(i->gguf, key) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether of every `period` layers the last one sees everything and no other does. */
static bool has_period(const kvass_model *model, int32_t period)
{
    for (int32_t l = 0; l < model->config.n_layers; l++) {
        if ((model->layers[l].spec.window > 0) != ((l + 1) % period != 0)) {
            return false;
        }
    }
    return true;
}

/* Which layers have windows, where an architecture asks for it: 6 is what it takes else. */
static void put_period(keys *k)
{
    const kvass_model *model = k->c->model;
    int32_t period = 6;
    if (!has_period(model, period)) {
        period = 1;
        while (period <= model->config.n_layers && !has_period(model, period)) {
            period++;
        }
    }
    put_int(k, "attention.sliding_window_pattern", period);
}

/* Factors, caps and windows, where the architecture has such keys. */
static void put_rest(keys *k)
{
    const kvass_config *config = &k->c->model->config;
    const kvass_gguf_arch *arch = k->c->arch;
    const kvass_layer_spec *first = &k->c->model->layers[0].spec;
    int32_t window = 0;
    for (int32_t l = 0; l < config->n_layers; l++) {
        int32_t own = k->c->model->layers[l].spec.window;
        window = own > window ? own : window;
    }
    if (window > 0) {
        put_int(k, "attention.sliding_window", window);
        if (reads(arch, "attention.sliding_window_pattern")) {
            put_period(k);
        }
    }
    if (reads(arch, "attn_logit_softcapping") && first->attn_cap > 0) {
        put_real(k, "attn_logit_softcapping", (double)first->attn_cap);
    }
    if (reads(arch, "final_logit_softcapping") && config->logit_cap > 0) {
        put_real(k, "final_logit_softcapping", (double)config->logit_cap);
    }
    if (reads(arch, "attention.scale")) {
        put_real(k, "attention.scale", (double)first->attn_scale);
        put_real(k, "embedding_scale", (double)config->embed_scale);
        put_real(k, "residual_scale", (double)config->residual_scale);
        put_real(k, "logit_scale", 1 / (double)config->logit_scale);
    }
    if (reads(arch, "use_parallel_residual")) {
        kvass_metadata_put_bool(k->m, full(k, "use_parallel_residual"),
                                first->block == KVASS_BLOCK_PARALLEL ||
                                    first->block == KVASS_BLOCK_ONE_NORM);
    }
}

/* ---- rotation -------------------------------------------------------------------------------- */

/* The rotation to be written: of a layer that sees everything, if there is one. */
static const kvass_rope_spec *find_rope(const kvass_model *model)
{
    const kvass_rope_spec *found = NULL;
    for (int32_t l = 0; l < model->config.n_layers; l++) {
        const kvass_layer_spec *spec = &model->layers[l].spec;
        if (spec->rope.n_rot > 0 && (!found || spec->window == 0)) {
            found = &spec->rope;
            if (spec->window == 0) {
                break;
            }
        }
    }
    return found;
}

static kvass_status add_factors(kvass_converter *c, const char *name, const float *values,
                                int32_t n, kvass_error *err)
{
    kvass_out_tensor t = {.dtype = KVASS_DTYPE_F32, .n_dims = 1, .shape = {n}, .values = values};
    (void)snprintf(t.name, sizeof t.name, "%s", name);
    return kvass_convert_add(c, &t, err);
}

/* factors[n_rot/2]: what the plain frequencies are divided by in a context of n_ctx */
static void find_factors(const kvass_rope_spec *rope, int32_t n_ctx, double *scratch,
                         float *factors)
{
    kvass_rope_frequencies(rope, n_ctx, scratch);
    for (int32_t i = 0; i < rope->n_rot / 2; i++) {
        factors[i] = (float)(pow(rope->theta, -2.0 * i / rope->n_rot) / scratch[i]);
    }
}

/* Frequencies that no formula of GGUF's gives: divided by factors in tensors of their own. */
static kvass_status put_factors(kvass_converter *c, keys *k, const kvass_rope_spec *rope,
                                kvass_error *err)
{
    int32_t n = rope->n_rot / 2;
    double *scratch = malloc((size_t)n * sizeof *scratch);
    c->factors = malloc(2 * (size_t)n * sizeof *c->factors);
    if (!scratch || !c->factors) {
        free(scratch);
        return kvass_fail_nomem(err, (size_t)n * sizeof *scratch, "factors of a rotation");
    }
    float *brief = c->factors, *wide = c->factors + n;
    int32_t split = rope->scaling == KVASS_ROPE_LONG ? rope->original_ctx : 0;
    find_factors(rope, split, scratch, brief);
    find_factors(rope, split + 1, scratch, wide);
    free(scratch);
    if (memcmp(brief, wide, (size_t)n * sizeof *wide) == 0 && rope->attn_factor <= 1) {
        return add_factors(c, "rope_freqs.weight", wide, n, err);
    }
    put_text(k, "rope.scaling.type", "longrope");
    put_int(k, "rope.scaling.original_context_length", rope->original_ctx);
    put_real(k, "rope.scaling.attn_factor", rope->attn_factor);
    kvass_status status = add_factors(c, "rope_factors_long.weight", wide, n, err);
    return status == KVASS_OK ? add_factors(c, "rope_factors_short.weight", brief, n, err) : status;
}

static kvass_status put_rope(kvass_converter *c, keys *k, kvass_error *err)
{
    const kvass_rope_spec *rope = find_rope(c->model);
    if (!rope) {
        return KVASS_OK;
    }
    put_int(k, "rope.dimension_count", rope->n_rot);
    put_real(k, "rope.freq_base", rope->theta);
    switch (rope->scaling) {
    case KVASS_ROPE_PLAIN:
        break;
    case KVASS_ROPE_LINEAR:
        put_text(k, "rope.scaling.type", "linear");
        put_real(k, "rope.scaling.factor", rope->factor);
        break;
    case KVASS_ROPE_YARN:
        put_text(k, "rope.scaling.type", "yarn");
        put_real(k, "rope.scaling.factor", rope->factor);
        put_int(k, "rope.scaling.original_context_length", rope->original_ctx);
        break;
    case KVASS_ROPE_LLAMA3:
    case KVASS_ROPE_LONG:
        return put_factors(c, k, rope, err);
    }
    return KVASS_OK;
}

kvass_status kvass_convert_keys(kvass_converter *c, kvass_metadata *m, kvass_error *err)
{
    keys k = {.c = c, .m = m};
    put_general(&k);
    put_dimensions(&k);
    put_rest(&k);
    kvass_status status = put_rope(c, &k, err);
    put_ids(&k);
    return status == KVASS_OK ? kvass_metadata_check(m, err) : status;
}
