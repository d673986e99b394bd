/* same.c - whether a file that was written means the network it was written from; see convert.h.
 * It is opened as any checkpoint is, and every number that the engine takes from a configuration is
 * compared. Files round: GGUF keeps real numbers as f32, and Gemma's factor of the embedding has
 * the precision of the type that its matrix is stored in.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/convert/convert.h"
#include "engine/rope.h"

#define ROUNDING       1e-6 /* of a number kept as f32 */
#define STORED_SCALING 1e-2 /* of a factor rounded to bf16 */

typedef struct difference {
    const char *what; /* NULL: none */
    int32_t layer;
    double here, there;
} difference;

static bool near(double a, double b, double share)
{
    return a == b || fabs(a - b) <= share * fmax(fabs(a), fabs(b));
}

/* Remember the first difference. */
static void compare(difference *d, const char *what, int32_t layer, double here, double there,
                    double share)
{
    if (!d->what && !near(here, there, share)) {
        *d = (difference){what, layer, here, there};
    }
}

static void compare_configs(difference *d, const kvass_config *a, const kvass_config *b)
{
    struct {
        const char *what;
        double here, there, share;
    } rows[] = {
        {"n_layers", a->n_layers, b->n_layers, 0},
        {"dim", a->dim, b->dim, 0},
        {"n_heads", a->n_heads, b->n_heads, 0},
        {"n_kv_heads", a->n_kv_heads, b->n_kv_heads, 0},
        {"head_dim", a->head_dim, b->head_dim, 0},
        {"ffn_dim", a->ffn_dim, b->ffn_dim, 0},
        {"n_vocab", a->n_vocab, b->n_vocab, 0},
        {"n_ctx", a->n_ctx, b->n_ctx, 0},
        {"the limit of the context", a->ctx_bound, b->ctx_bound, 0},
        {"the offset of positions", a->pos_offset, b->pos_offset, 0},
        {"meta tokens", a->n_meta, b->n_meta, 0},
        {"the epsilon of norms", (double)a->norm_eps, (double)b->norm_eps, ROUNDING},
        {"the kind of norm", a->final_norm, b->final_norm, 0},
        {"the norm of queries and keys", a->qk_norm, b->qk_norm, 0},
        {"the kind of positions", a->position, b->position, 0},
        {"the scale of the embedding", (double)a->embed_scale, (double)b->embed_scale,
         a->embed_scale_stored ? STORED_SCALING : ROUNDING},
        {"the scale of branches", (double)a->residual_scale, (double)b->residual_scale, ROUNDING},
        {"the scale of logits", (double)a->logit_scale, (double)b->logit_scale, ROUNDING},
        {"the cap of logits", (double)a->logit_cap, (double)b->logit_cap, ROUNDING},
        {"a tied output matrix", a->tied, b->tied, 0},
        {"the set of biases", a->biases, b->biases, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        compare(d, rows[i].what, -1, rows[i].here, rows[i].there, rows[i].share);
    }
}

/* Frequencies in contexts of every length that matters to them. */
static void compare_ropes(difference *d, const kvass_rope_spec *a, const kvass_rope_spec *b,
                          int32_t layer, int32_t n_ctx, double *scratch)
{
    compare(d, "the values of a head that rotate", layer, a->n_rot, b->n_rot, 0);
    if (d->what || a->n_rot == 0) {
        return;
    }
    int32_t n = a->n_rot / 2;
    double *there = scratch + n;
    int32_t lengths[] = {1, a->scaling == KVASS_ROPE_LONG ? a->original_ctx : 1, n_ctx};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        kvass_rope_frequencies(a, lengths[i], scratch);
        kvass_rope_frequencies(b, lengths[i], there);
        for (int32_t k = 0; k < n; k++) {
            compare(d, "a frequency of the rotation", layer, scratch[k], there[k], ROUNDING);
        }
    }
    bool a_scaled = a->scaling == KVASS_ROPE_YARN || a->scaling == KVASS_ROPE_LONG;
    bool b_scaled = b->scaling == KVASS_ROPE_YARN || b->scaling == KVASS_ROPE_LONG;
    compare(d, "the length of the rotation", layer, a_scaled ? a->attn_factor : 1,
            b_scaled ? b->attn_factor : 1, ROUNDING);
}

static void compare_layers(difference *d, const kvass_model *a, const kvass_model *b,
                           double *scratch)
{
    for (int32_t l = 0; l < a->config.n_layers && !d->what; l++) {
        const kvass_layer_spec *s = &a->layers[l].spec, *t = &b->layers[l].spec;
        compare(d, "the kind of norm", l, s->norm, t->norm, 0);
        compare(d, "the kind of block", l, s->block, t->block, 0);
        compare(d, "the kind of network", l, s->mlp, t->mlp, 0);
        compare(d, "the activation", l, s->act, t->act, 0);
        compare(d, "the scale of scores", l, (double)s->attn_scale, (double)t->attn_scale,
                ROUNDING);
        compare(d, "the cap of scores", l, (double)s->attn_cap, (double)t->attn_cap, ROUNDING);
        compare(d, "the window", l, s->window, t->window, 0);
        compare(d, "the owner of keys and values", l, s->owner, t->owner, 0);
        compare_ropes(d, &s->rope, &t->rope, l, a->config.n_ctx, scratch);
    }
}

static kvass_status refuse(const kvass_converter *c, const char *name, const difference *d,
                           kvass_error *err)
{
    char layer[32] = "";
    if (d->layer >= 0) {
        (void)snprintf(layer, sizeof layer, " of layer %d", (int)d->layer);
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_LOSS",
                      "%s: as %s it would be another network: %s%s: %g, read back as %g", name,
                      c->arch ? c->arch->arch : c->model->family->name, d->what, layer, d->here,
                      d->there);
}

kvass_status kvass_convert_check(const kvass_converter *c, const char *path, const char *name,
                                 kvass_error *err)
{
    kvass_model *back = NULL;
    kvass_model_options opt = kvass_model_options_default();
    kvass_error inner = {.message = ""};
    opt.header_only = true;
    kvass_status status = kvass_model_open(&back, path, &opt, &inner);
    if (status == KVASS_NOMEM || status == KVASS_IO) {
        return kvass_fail(err, status, inner.rule, "%s", inner.message);
    }
    if (status != KVASS_OK) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_LOSS",
                          "%s: as %s it could not be read back: %.300s", name,
                          c->arch ? c->arch->arch : c->model->family->name, inner.message);
    }
    difference d = {.layer = -1};
    double *scratch = malloc(2 * (size_t)c->model->config.head_dim * sizeof *scratch);
    if (!scratch) {
        status = kvass_fail_nomem(err, sizeof *scratch, "frequencies");
    } else {
        compare_configs(&d, &c->model->config, &back->config);
        compare_layers(&d, c->model, back, scratch);
        status = d.what ? refuse(c, name, &d, err) : KVASS_OK;
    }
    free(scratch);
    kvass_model_close(&back);
    return status;
}
