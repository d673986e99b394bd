/* config_rope.c - rotary position embedding out of config.json.
 * Two generations of keys say the same: rope_theta beside rope_scaling {type or rope_type, ...},
 * and rope_parameters {rope_theta, rope_type, ...} holding both. Whatever is not known is refused
 * by name: a wrong rotation produces fluent nonsense.
 */
#include <math.h>
#include <string.h>

#include "model/config.h"

/* Where the keys stand: a dictionary (or NULL) and the configuration around it. */
typedef struct place {
    const kvass_checkpoint *ckpt;
    const kvass_json *dict;
    const char *dict_name;
} place;

static const kvass_json *present(const kvass_json *value)
{
    return kvass_json_get_kind(value) == KVASS_JSON_NULL ? NULL : value;
}

/* A finite number in [min, max] under `key` of the dictionary, or else of the configuration. */
static kvass_status take_real(const place *at, const char *key, double min, double max,
                              bool required, double *out, kvass_error *err)
{
    const char *path = at->ckpt->config_path;
    const kvass_json *value = present(kvass_json_get(at->dict, key));
    if (!value) {
        value = present(kvass_json_get(at->ckpt->config, key));
    }
    if (!value) {
        return required ? kvass_fail(err, KVASS_FORMAT, "CONFIG_MISSING",
                                     "%s: \"%s.%s\": expected a number, found no such key", path,
                                     at->dict_name, key)
                        : KVASS_OK;
    }
    double number;
    if (!kvass_json_as_real(value, &number)) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_TYPE",
                          "%s: \"%s\": expected a number, found %s", path, key,
                          kvass_json_kind_name(value));
    }
    if (!(number >= min && number <= max)) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: \"%s\": expected a number in %g .. %g, found %g", path, key, min,
                          max, number);
    }
    *out = number;
    return KVASS_OK;
}

static kvass_status find_dict(place *at, kvass_error *err)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        at->dict = present(kvass_json_get(at->ckpt->config, names[i]));
        at->dict_name = names[i];
        if (at->dict && kvass_json_get_kind(at->dict) != KVASS_JSON_OBJECT) {
            return kvass_fail(err, KVASS_FORMAT, "CONFIG_TYPE",
                              "%s: \"%s\": expected an object, found %s", at->ckpt->config_path,
                              names[i], kvass_json_kind_name(at->dict));
        }
        if (at->dict) {
            return KVASS_OK;
        }
    }
    return KVASS_OK;
}

/* The kind of scaling; absent means none. */
static kvass_status take_kind(const place *at, kvass_rope_scaling *kind, kvass_error *err)
{
    const char *key = "rope_type";
    const kvass_json *value = present(kvass_json_get(at->dict, key));
    if (!value) {
        key = "type";
        value = present(kvass_json_get(at->dict, key));
    }
    const char *name = kvass_json_as_string(value, NULL);
    *kind = KVASS_ROPE_PLAIN;
    if (!value) {
        /* without a kind, only the keys of plain rotation may stand there */
        if (kvass_json_size(at->dict) == 0 || present(kvass_json_get(at->dict, "rope_theta"))) {
            return KVASS_OK;
        }
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_MISSING",
                          "%s: \"%s.rope_type\": expected a string, found no such key",
                          at->ckpt->config_path, at->dict_name);
    }
    if (name && strcmp(name, "linear") == 0) {
        *kind = KVASS_ROPE_LINEAR;
    } else if (name && strcmp(name, "llama3") == 0) {
        *kind = KVASS_ROPE_LLAMA3;
    } else if (!name) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_TYPE",
                          "%s: \"%s.%s\": expected a string, found %s", at->ckpt->config_path,
                          at->dict_name, key, kvass_json_kind_name(value));
    } else if (strcmp(name, "default") != 0) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "ROPE_SCALING",
                          "%s: \"%s.%s\": expected default, linear or llama3, found \"%.64s\"",
                          at->ckpt->config_path, at->dict_name, key, name);
    }
    return KVASS_OK;
}

static kvass_status take_llama3(const place *at, kvass_rope_spec *spec, kvass_error *err)
{
    double original = 0;
    kvass_status status =
        take_real(at, "low_freq_factor", 1e-6, 1e6, true, &spec->low_freq_factor, err);
    if (status == KVASS_OK) {
        status = take_real(at, "high_freq_factor", 1e-6, 1e6, true, &spec->high_freq_factor, err);
    }
    if (status == KVASS_OK) {
        status = take_real(at, "original_max_position_embeddings", 1, KVASS_MAX_CTX, true,
                           &original, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    if (!(spec->low_freq_factor < spec->high_freq_factor)) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: \"%s\": expected low_freq_factor below high_freq_factor, found %g "
                          "and %g",
                          at->ckpt->config_path, at->dict_name, spec->low_freq_factor,
                          spec->high_freq_factor);
    }
    spec->original_ctx = (int32_t)original;
    return KVASS_OK;
}

kvass_status kvass_config_rope(const kvass_checkpoint *ckpt, int32_t head_dim,
                               kvass_rope_spec *spec, kvass_error *err)
{
    place at = {.ckpt = ckpt};
    kvass_rope_spec made = {.theta = spec->theta, .factor = 1};
    double partial = (double)spec->n_rot / head_dim;
    kvass_status status = find_dict(&at, err);
    if (status == KVASS_OK) {
        status = take_kind(&at, &made.scaling, err);
    }
    if (status == KVASS_OK) { /* theta 1 or less would not turn slower along the head */
        status = take_real(&at, "rope_theta", 1 + 1e-9, 1e12, false, &made.theta, err);
    }
    if (status == KVASS_OK) {
        status = take_real(&at, "partial_rotary_factor", 1e-6, 1, false, &partial, err);
    }
    if (status == KVASS_OK && made.scaling != KVASS_ROPE_PLAIN) {
        status = take_real(&at, "factor", 1, 1e6, true, &made.factor, err);
    }
    if (status == KVASS_OK && made.scaling == KVASS_ROPE_LLAMA3) {
        status = take_llama3(&at, &made, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    made.n_rot = (int32_t)floor(head_dim * partial);
    if (made.n_rot < 2 || made.n_rot % 2 != 0) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_DIVIDE",
                          "%s: expected an even number of rotated values per head, found %d of a "
                          "head dimension of %d",
                          ckpt->config_path, made.n_rot, head_dim);
    }
    *spec = made;
    return KVASS_OK;
}
