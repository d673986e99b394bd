/* fingerprint.c - 64 bits that tell one model from another, for saved sequences.
 * Called by model.c. FNV-1a over the configuration, the names, types and shapes of the tensors in
 * use, and a few bytes from the start, the middle and the end of each. The file's format is not
 * part of it: the same weights in another container are the same model.
 */
#include <string.h>

#include "model/plan.h"

enum { SAMPLE_BYTES = 64 };

static void mix(uint64_t *hash, const void *bytes, size_t n_bytes)
{
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n_bytes; i++) {
        *hash = (*hash ^ b[i]) * UINT64_C(0x100000001b3);
    }
}

static void mix_int(uint64_t *hash, int64_t value)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)((uint64_t)value >> 8 * i);
    }
    mix(hash, bytes, sizeof bytes);
}

static void mix_real(uint64_t *hash, double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    mix_int(hash, bits);
}

static void mix_config(uint64_t *hash, const kvass_model *model)
{
    const kvass_config *c = &model->config;
    const int64_t ints[] = {c->n_layers, c->dim,     c->n_heads,           c->n_kv_heads,
                            c->head_dim, c->ffn_dim, c->n_vocab,           (int64_t)c->final_norm,
                            c->tied,     c->biases,  (int64_t)c->position, c->n_meta};
    mix(hash, model->family->name, strlen(model->family->name));
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        mix_int(hash, ints[i]);
    }
    mix_real(hash, c->norm_eps);
    mix_real(hash, c->embed_scale);
    mix_real(hash, c->residual_scale);
    mix_real(hash, c->logit_scale);
}

static void mix_layer(uint64_t *hash, const kvass_layer_spec *s)
{
    const int64_t ints[] = {(int64_t)s->norm,
                            (int64_t)s->block,
                            (int64_t)s->mlp,
                            (int64_t)s->act,
                            s->window,
                            s->owner,
                            s->rope.n_rot,
                            s->rope.original_ctx,
                            (int64_t)s->rope.scaling};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        mix_int(hash, ints[i]);
    }
    mix_real(hash, s->attn_scale);
    mix_real(hash, s->rope.theta);
    mix_real(hash, s->rope.factor);
    mix_real(hash, s->rope.low_freq_factor);
    mix_real(hash, s->rope.high_freq_factor);
}

static kvass_status mix_tensor(uint64_t *hash, const kvass_model *model, const kvass_tensor *t,
                               kvass_error *err)
{
    unsigned char sample[SAMPLE_BYTES];
    size_t n = t->n_bytes < sizeof sample ? t->n_bytes : sizeof sample;
    const uint64_t at[] = {0, (t->n_bytes - n) / 2, t->n_bytes - n};
    mix(hash, t->name, strlen(t->name) + 1);
    mix_int(hash, t->dtype);
    for (int32_t d = 0; d < t->n_dims; d++) {
        mix_int(hash, t->shape[d]);
    }
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        kvass_status status =
            kvass_file_read(&model->ckpt->files[t->file], t->offset + at[i], sample, n, err);
        if (status != KVASS_OK) {
            return status;
        }
        mix(hash, sample, n);
    }
    return KVASS_OK;
}

kvass_status kvass_fingerprint(const kvass_model *model, const kvass_plan *plan, uint64_t *out,
                               kvass_error *err)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    kvass_status status = KVASS_OK;
    mix_config(&hash, model);
    for (int32_t l = 0; l < model->config.n_layers; l++) {
        mix_layer(&hash, &model->layers[l].spec);
    }
    for (int32_t i = 0; i < plan->n_slots && status == KVASS_OK; i++) {
        status = mix_tensor(&hash, model, plan->slots[i].weight, err);
        if (status == KVASS_OK && plan->slots[i].bias) {
            status = mix_tensor(&hash, model, plan->slots[i].bias, err);
        }
    }
    if (status == KVASS_OK) {
        *out = hash;
    }
    return status;
}
