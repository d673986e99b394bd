/* gguf_rope.c - the rotation of queries and keys, in config.json's terms; see gguf_making.h. */
#include <stdio.h>
#include <string.h>

#include "model/gguf_making.h"

/* How many values of a head turn, as config.json says it: a share of the head. */
static kvass_status take_rotated(const gguf_making *m)
{
    char name[128];
    int64_t head_dim = 0, n_rot;
    (void)kvass_json_as_int(kvass_json_get(m->config, "head_dim"), &head_dim);
    n_rot = head_dim;
    const kvass_gguf_value *value =
        kvass_gguf_making_find(m, "rope.dimension_count", name, sizeof name);
    if (value) {
        kvass_status status = kvass_gguf_making_int(m, name, value, &n_rot);
        if (status != KVASS_OK) {
            return status;
        }
    }
    if (head_dim < 1) {
        return KVASS_OK; /* the family refuses heads that do not fit */
    }
    /* a quarter more, so that rounding down the product gives n_rot again */
    double share = n_rot == head_dim ? 1 : ((double)n_rot + 0.25) / (double)head_dim;
    return kvass_json_set_real(m->config, "partial_rotary_factor", share)
               ? KVASS_OK
               : kvass_gguf_making_nomem(m);
}

/* The keys of rope_scaling and what they are called in the file. */
static const kvass_gguf_key scaling_keys[] = {
    {"rope.scaling.factor", "factor", KVASS_GGUF_KEY_REAL},
    {"rope.scaling.original_context_length", "original_max_position_embeddings",
     KVASS_GGUF_KEY_INT},
};

static kvass_status find_scaling(const gguf_making *m, const char **kind)
{
    static const char *const kinds[] = {"linear", "yarn", "longrope"};
    char name[128];
    size_t n = 0;
    const kvass_gguf_value *value =
        kvass_gguf_making_find(m, "rope.scaling.type", name, sizeof name);
    const char *type = kvass_gguf_as_string(m->g, value, &n);
    *kind = NULL;
    if (value && !type) {
        return kvass_gguf_making_wrong(m, name, "a string", value);
    }
    if (!type || (n == 4 && memcmp(type, "none", 4) == 0)) {
        return KVASS_OK;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        *kind = n == strlen(kinds[i]) && memcmp(type, kinds[i], n) == 0 ? kinds[i] : *kind;
    }
    return *kind ? KVASS_OK
                 : kvass_fail(m->err, KVASS_UNSUPPORTED, "ROPE_SCALING",
                              "%s: \"%s\": expected none, linear, yarn or longrope, found \"%.*s\"",
                              m->ckpt->config_path, name, (int)(n < 64 ? n : 64), type);
}

static bool set_factors(kvass_json *object, const char *key, const kvass_gguf_factors *factors)
{
    kvass_json *list = kvass_json_new_array();
    bool set = list != NULL;
    for (int32_t i = 0; i < factors->n && set; i++) {
        set = kvass_json_push_real(list, (double)factors->values[i]);
    }
    if (!set) {
        kvass_json_close(&list);
        return false;
    }
    return kvass_json_set_value(object, key, list);
}

/* Factors of a file's own: two lists, or one for every context, which is how llama3's scaling is
 * written. */
static kvass_status fill_factors(const gguf_making *m, const gguf_making *inner)
{
    bool lists = m->factors[KVASS_GGUF_ROPE_LONG].n > 0;
    const kvass_gguf_factors *freqs = &m->factors[KVASS_GGUF_ROPE_FREQS];
    static const kvass_gguf_key attn = {"rope.scaling.attn_factor", "attention_factor",
                                        KVASS_GGUF_KEY_REAL};
    int64_t n_ctx = 0;
    if (!set_factors(inner->config, "long_factor",
                     lists ? &m->factors[KVASS_GGUF_ROPE_LONG] : freqs) ||
        !set_factors(inner->config, "short_factor",
                     lists ? &m->factors[KVASS_GGUF_ROPE_SHORT] : freqs)) {
        return kvass_gguf_making_nomem(m);
    }
    if (lists) {
        return kvass_gguf_making_key(inner, &attn);
    }
    (void)kvass_json_as_int(kvass_json_get(m->config, "max_position_embeddings"), &n_ctx);
    bool set = kvass_json_set_int(inner->config, "original_max_position_embeddings", n_ctx) &&
               kvass_json_set_real(inner->config, "factor", 1) &&
               kvass_json_set_real(inner->config, "attention_factor", 1);
    return set ? KVASS_OK : kvass_gguf_making_nomem(m);
}

static kvass_status fill_scaling(const gguf_making *m, const gguf_making *inner, const char *kind)
{
    kvass_status status = kvass_json_set_string(inner->config, "rope_type", kind)
                              ? KVASS_OK
                              : kvass_gguf_making_nomem(m);
    for (size_t i = 0; i < sizeof scaling_keys / sizeof *scaling_keys && status == KVASS_OK; i++) {
        char name[128], key[64];
        (void)kvass_gguf_making_find(m, scaling_keys[i].gguf, name, sizeof name);
        (void)snprintf(key, sizeof key, "rope_scaling.%s", scaling_keys[i].key);
        status = kvass_gguf_making_name(m, key, name)
                     ? kvass_gguf_making_key(inner, &scaling_keys[i])
                     : kvass_gguf_making_nomem(m);
    }
    if (status == KVASS_OK && strcmp(kind, "longrope") == 0) {
        status = fill_factors(m, inner);
    }
    return status;
}

static kvass_status take_scaling(const gguf_making *m)
{
    const char *kind;
    kvass_status status = find_scaling(m, &kind);
    if (status != KVASS_OK) {
        return status;
    }
    if (m->factors[KVASS_GGUF_ROPE_FREQS].n > 0 || m->factors[KVASS_GGUF_ROPE_LONG].n > 0) {
        kind = "longrope";
    }
    if (!kind) {
        return KVASS_OK;
    }
    gguf_making inner = *m;
    inner.config = kvass_json_new_object();
    status = inner.config ? fill_scaling(m, &inner, kind) : kvass_gguf_making_nomem(m);
    if (status != KVASS_OK) {
        kvass_json_close(&inner.config);
        return status;
    }
    return kvass_json_set_value(m->config, "rope_scaling", inner.config)
               ? KVASS_OK
               : kvass_gguf_making_nomem(m);
}

kvass_status kvass_gguf_making_rope(const gguf_making *m)
{
    static const kvass_gguf_key theta = {"rope.freq_base", "rope_theta", KVASS_GGUF_KEY_REAL};
    kvass_status status = kvass_gguf_making_key(m, &theta);
    if (status == KVASS_OK && !kvass_json_get(m->config, "rope_theta") &&
        !kvass_json_set_real(m->config, "rope_theta", 10000)) {
        status = kvass_gguf_making_nomem(m);
    }
    if (status == KVASS_OK) {
        status = take_rotated(m);
    }
    return status == KVASS_OK ? take_scaling(m) : status;
}
