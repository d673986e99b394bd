/* config_sampling.c - how a checkpoint's authors sample from it, out of generation_config.json.
 * Only where that file says "do_sample": true; what it leaves out stays as it was.
 */
#include "model/config.h"

static void wrong_type(kvass_config_in *in, const char *key, const char *expected,
                       const kvass_json *found)
{
    if (in->status == KVASS_OK) {
        in->status =
            kvass_fail(in->err, KVASS_FORMAT, "CONFIG_TYPE", "%s: \"%s\": expected %s, found %s",
                       in->ckpt->generation_path, key, expected, kvass_json_kind_name(found));
    }
}

/* A number of [min, max]; one outside is ignored with a warning. */
static bool read_number(kvass_config_in *in, const char *key, double min, double max, double *out)
{
    const kvass_json *value = kvass_json_get(in->ckpt->generation, key);
    if (!value || kvass_json_get_kind(value) == KVASS_JSON_NULL) {
        return false;
    }
    if (!kvass_json_as_real(value, out)) {
        wrong_type(in, key, "a number", value);
        return false;
    }
    if (!(*out >= min && *out <= max)) {
        kvass_checkpoint_warn(in->ckpt, "%s: \"%s\": expected %g to %g, found %g: it is ignored",
                              in->ckpt->generation_path, key, min, max, *out);
        return false;
    }
    return true;
}

void kvass_config_sampling(kvass_config_in *in, kvass_config *config)
{
    const kvass_json *samples = kvass_json_get(in->ckpt->generation, "do_sample");
    kvass_sampling *sampling = &config->sampling;
    bool does = false;
    double x;
    *sampling = (kvass_sampling){0};
    if (in->status != KVASS_OK || !samples || kvass_json_get_kind(samples) == KVASS_JSON_NULL) {
        return;
    }
    if (!kvass_json_as_bool(samples, &does)) {
        wrong_type(in, "do_sample", "true or false", samples);
    }
    if (!does) {
        return;
    }
    if ((sampling->has_temperature = read_number(in, "temperature", 0, 1000, &x))) {
        sampling->temperature = (float)x;
    }
    if ((sampling->has_top_k = read_number(in, "top_k", 0, INT32_MAX, &x))) {
        sampling->top_k = (int32_t)x;
    }
    if ((sampling->has_top_p = read_number(in, "top_p", 1e-6, 1, &x))) {
        sampling->top_p = (float)x;
    }
    if ((sampling->has_min_p = read_number(in, "min_p", 0, 0.999999, &x))) {
        sampling->min_p = (float)x;
    }
    if ((sampling->has_repeat_penalty = read_number(in, "repetition_penalty", 1e-6, 1000, &x))) {
        sampling->repeat_penalty = (float)x;
    }
}
