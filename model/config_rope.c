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
    kvass_config_in *in;
    const kvass_json *dict;
    const char *dict_name;
    bool nested; /* the dictionary is one layer type's: what it lacks is not to be found outside */
    bool dynamic;
} place;

static const kvass_json *present(const kvass_json *value)
{
    return kvass_json_get_kind(value) == KVASS_JSON_NULL ? NULL : value;
}

/* The value of `key` in the dictionary, or else in the configuration. */
static const kvass_json *find(const place *at, const char *key)
{
    const kvass_json *value = present(kvass_json_get(at->dict, key));
    return value || at->nested ? value : present(kvass_json_get(at->in->ckpt->config, key));
}

static void missing(const place *at, const char *key, const char *expected)
{
    kvass_config_fail(at->in, KVASS_FORMAT, "CONFIG_MISSING",
                      "\"%s.%s\": expected %s, found no such key", at->dict_name, key, expected);
}

/* A finite number in [min, max]; false when there is none, or another. */
static bool take_real(const place *at, const char *key, double min, double max, double *out)
{
    const kvass_json *value = find(at, key);
    double number;
    if (!value || at->in->status != KVASS_OK) {
        return false;
    }
    if (!kvass_json_as_real(value, &number)) {
        kvass_config_fail(at->in, KVASS_FORMAT, "CONFIG_TYPE",
                          "\"%s\": expected a number, found %s", key, kvass_json_kind_name(value));
        return false;
    }
    if (!(number >= min && number <= max)) {
        kvass_config_fail(at->in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"%s\": expected a number in %g .. %g, found %g", key, min, max, number);
        return false;
    }
    *out = number;
    return true;
}

static void need_real(const place *at, const char *key, double min, double max, double *out)
{
    if (!find(at, key)) {
        missing(at, key, "a number");
    }
    (void)take_real(at, key, min, max, out);
}

static void find_dict(place *at, const char *layer_type)
{
    static const char *const names[] = {"rope_scaling", "rope_parameters"};
    for (size_t i = 0; i < sizeof names / sizeof *names && !at->dict; i++) {
        at->dict = present(kvass_json_get(at->in->ckpt->config, names[i]));
        at->dict_name = names[i];
    }
    const kvass_json *of_type = layer_type ? kvass_json_get(at->dict, layer_type) : NULL;
    if (of_type) {
        at->dict = present(of_type);
        at->dict_name = layer_type;
        at->nested = true;
    }
    if (at->dict && kvass_json_get_kind(at->dict) != KVASS_JSON_OBJECT) {
        kvass_config_fail(at->in, KVASS_FORMAT, "CONFIG_TYPE",
                          "\"%s\": expected an object, found %s", at->dict_name,
                          kvass_json_kind_name(at->dict));
        at->dict = NULL;
    }
}

/* The kind of scaling; absent means none. */
static kvass_rope_scaling take_kind(place *at)
{
    static const struct {
        const char *name;
        kvass_rope_scaling kind;
    } kinds[] = {
        {"default", KVASS_ROPE_PLAIN}, {"dynamic", KVASS_ROPE_PLAIN}, {"linear", KVASS_ROPE_LINEAR},
        {"llama3", KVASS_ROPE_LLAMA3}, {"yarn", KVASS_ROPE_YARN},     {"longrope", KVASS_ROPE_LONG},
        {"su", KVASS_ROPE_LONG},
    };
    const kvass_json *type = present(kvass_json_get(at->dict, "rope_type"));
    const char *key = type ? "rope_type" : "type";
    type = type ? type : present(kvass_json_get(at->dict, "type"));
    const char *name = kvass_json_as_string(type, NULL);
    if (!type) {
        /* without a kind, only the keys of plain rotation may stand there */
        if (kvass_json_size(at->dict) > 0 && !present(kvass_json_get(at->dict, "rope_theta"))) {
            missing(at, "rope_type", "a string");
        }
        return KVASS_ROPE_PLAIN;
    }
    for (size_t i = 0; name && i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            at->dynamic = strcmp(name, "dynamic") == 0;
            /* Phi-3's first files call their lists of factors yarn */
            bool lists = present(kvass_json_get(at->dict, "short_factor")) != NULL;
            return kinds[i].kind == KVASS_ROPE_YARN && lists ? KVASS_ROPE_LONG : kinds[i].kind;
        }
    }
    if (name) {
        kvass_config_fail(at->in, KVASS_UNSUPPORTED, "ROPE_SCALING",
                          "\"%s.%s\": expected default, linear, llama3, yarn, longrope or dynamic, "
                          "found \"%.64s\"",
                          at->dict_name, key, name);
    } else {
        kvass_config_fail(at->in, KVASS_FORMAT, "CONFIG_TYPE",
                          "\"%s.%s\": expected a string, found %s", at->dict_name, key,
                          kvass_json_kind_name(type));
    }
    return KVASS_ROPE_PLAIN;
}

static void take_llama3(const place *at, kvass_rope_spec *spec)
{
    double original = 0;
    need_real(at, "factor", 1, 1e6, &spec->factor);
    need_real(at, "low_freq_factor", 1e-6, 1e6, &spec->low_freq_factor);
    need_real(at, "high_freq_factor", 1e-6, 1e6, &spec->high_freq_factor);
    need_real(at, "original_max_position_embeddings", 1, KVASS_MAX_CTX, &original);
    if (!(spec->low_freq_factor < spec->high_freq_factor)) {
        kvass_config_fail(at->in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"%s\": expected low_freq_factor below high_freq_factor, found %g and "
                          "%g",
                          at->dict_name, spec->low_freq_factor, spec->high_freq_factor);
    }
    spec->original_ctx = (int32_t)original;
}

/* What the context was stretched from, and by how much: original_ctx and factor. Without the first,
 * yarn stretches the context as given; for lists of factors families differ in what they take. */
static void take_stretch(const place *at, kvass_rope_spec *spec)
{
    int32_t n_ctx = 0;
    kvass_config_int(at->in, "max_position_embeddings", 1, KVASS_MAX_CTX, &n_ctx);
    double original = spec->scaling == KVASS_ROPE_YARN ? n_ctx : 0;
    if (!take_real(at, "original_max_position_embeddings", 2, KVASS_MAX_CTX, &original) &&
        original < 2) {
        missing(at, "original_max_position_embeddings", "a number");
        return;
    }
    spec->original_ctx = (int32_t)original;
    if (!take_real(at, "factor", 1e-3, 1e6, &spec->factor)) {
        spec->factor = n_ctx > 0 ? n_ctx / original : 1;
    }
}

static double yarn_magnitude(double factor, double scale)
{
    return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

/* the pair that turns `n_turns` times within the original context, as a real number */
static double yarn_pair(const kvass_rope_spec *spec, double n_turns)
{
    const double two_pi = 6.283185307179586476925286766559;
    return spec->n_rot * log(spec->original_ctx / (n_turns * two_pi)) / (2 * log(spec->theta));
}

/* Peng et al. 2023: pairs that turn more than beta_fast times in the original context stay, those
 * below beta_slow turns are slowed down by factor, with a linear blend between. */
static void take_yarn(const place *at, kvass_rope_spec *spec)
{
    double fast = 32, slow = 1, scale = 0, scale_all = 0;
    bool truncate = true;
    take_stretch(at, spec);
    (void)take_real(at, "beta_fast", 1e-6, 1e6, &fast);
    (void)take_real(at, "beta_slow", 1e-6, 1e6, &slow);
    (void)take_real(at, "mscale", 0, 1e6, &scale);
    (void)take_real(at, "mscale_all_dim", 0, 1e6, &scale_all);
    (void)kvass_json_as_bool(kvass_json_get(at->dict, "truncate"), &truncate);
    if (at->in->status != KVASS_OK) {
        return;
    }
    spec->attn_factor = scale > 0 && scale_all > 0 ? yarn_magnitude(spec->factor, scale) /
                                                         yarn_magnitude(spec->factor, scale_all)
                                                   : yarn_magnitude(spec->factor, 1);
    (void)take_real(at, "attention_factor", 1e-6, 1e6, &spec->attn_factor);
    double low = yarn_pair(spec, fast), high = yarn_pair(spec, slow);
    spec->blend_low = fmax(truncate ? floor(low) : low, 0);
    spec->blend_high = fmin(truncate ? ceil(high) : high, spec->n_rot - 1);
}

static const kvass_json *take_factors(const place *at, const char *key, int32_t n_pairs)
{
    const kvass_json *list = find(at, key);
    double number;
    if (!list || kvass_json_size(list) != (size_t)n_pairs) {
        kvass_config_fail(at->in, KVASS_FORMAT, list ? "CONFIG_TYPE" : "CONFIG_MISSING",
                          "\"%s.%s\": expected a list of %d numbers, found %s of %zu",
                          at->dict_name, key, n_pairs, kvass_json_kind_name(list),
                          kvass_json_size(list));
        return NULL;
    }
    for (int32_t i = 0; i < n_pairs; i++) {
        if (!kvass_json_as_real(kvass_json_at(list, (size_t)i), &number) ||
            !(number > 1e-6 && number < 1e9)) {
            kvass_config_fail(at->in, KVASS_FORMAT, "CONFIG_RANGE",
                              "\"%s.%s\"[%d]: expected a number above 0, found %s", at->dict_name,
                              key, i, kvass_json_kind_name(kvass_json_at(list, (size_t)i)));
        }
    }
    return list;
}

/* Ding et al. 2024 */
static void take_long(const place *at, kvass_rope_spec *spec)
{
    take_stretch(at, spec);
    spec->short_factors = take_factors(at, "short_factor", spec->n_rot / 2);
    spec->long_factors = take_factors(at, "long_factor", spec->n_rot / 2);
    if (at->in->status == KVASS_OK) {
        spec->attn_factor =
            spec->factor <= 1 ? 1 : sqrt(1 + log(spec->factor) / log(spec->original_ctx));
        (void)take_real(at, "attention_factor", 1e-6, 1e6, &spec->attn_factor);
    }
}

void kvass_config_rope(kvass_config_in *in, const kvass_config *config, const char *layer_type,
                       kvass_rope_spec *spec)
{
    place at = {.in = in};
    kvass_rope_spec made = {.theta = spec->theta, .n_rot = spec->n_rot, .factor = 1};
    double partial;
    if (in->status != KVASS_OK) {
        return;
    }
    find_dict(&at, layer_type);
    made.scaling = take_kind(&at);
    if (at.dynamic && !config->ctx_bound) { /* said of some layers only */
        kvass_config_fail(in, KVASS_UNSUPPORTED, "ROPE_SCALING",
                          "\"%s\": expected one scaling for all layers, found \"dynamic\"",
                          at.dict_name);
    }
    /* theta 1 or less would not turn slower along the head */
    (void)take_real(&at, "rope_theta", 1 + 1e-9, 1e12, &made.theta);
    if (take_real(&at, "partial_rotary_factor", 1e-6, 1, &partial)) {
        made.n_rot = (int32_t)floor(config->head_dim * partial);
    }
    if (in->status == KVASS_OK && (made.n_rot < 2 || made.n_rot % 2 != 0)) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_DIVIDE",
                          "expected an even number of rotated values per head, found %d of a head "
                          "dimension of %d",
                          made.n_rot, config->head_dim);
    }
    if (in->status != KVASS_OK) {
        return;
    }
    if (made.scaling == KVASS_ROPE_LINEAR) {
        need_real(&at, "factor", 1, 1e6, &made.factor);
    } else if (made.scaling == KVASS_ROPE_LLAMA3) {
        take_llama3(&at, &made);
    } else if (made.scaling == KVASS_ROPE_YARN) {
        take_yarn(&at, &made);
    } else if (made.scaling == KVASS_ROPE_LONG) {
        take_long(&at, &made);
    }
    *spec = made;
}

void kvass_config_rope_ctx(kvass_config_in *in, const char *layer_type, kvass_config *config)
{
    place at = {.in = in};
    kvass_rope_spec spec = {0};
    if (in->status != KVASS_OK) {
        return;
    }
    find_dict(&at, layer_type);
    spec.scaling = take_kind(&at);
    config->ctx_bound |= at.dynamic;
    if (spec.scaling == KVASS_ROPE_LONG) {
        take_stretch(&at, &spec);
        config->n_ctx = spec.original_ctx < config->n_ctx ? spec.original_ctx : config->n_ctx;
    }
}
