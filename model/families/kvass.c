/* kvass.c - our own family: Llama's layers with learned meta tokens before every text, sliding
 * windows on some layers, and layers that read the keys and values of an earlier one.
 * Configuration: llama's keys and layer_types, sliding_window, kv_owner, num_meta_tokens. What
 * tools/train writes.
 */
#include <stddef.h>

#include "model/families/shared.h"

static const char *const prefixes[] = {"model.", NULL};

static void config(kvass_config_in *in, kvass_config *config)
{
    config->n_ctx = 2048;
    kvass_llama_config(in, "rms_norm_eps", config);
    kvass_llama_biases(in, config);
    kvass_config_ids(in, 1, 2, config);
    kvass_config_int(in, "num_meta_tokens", 1, KVASS_MAX_CTX, &config->n_meta);
}

/* spec->owner from kv_owner[l]: itself, or an earlier layer that owns itself */
static void read_owner(kvass_config_in *in, const kvass_config *config, int32_t l,
                       kvass_layer_spec *spec)
{
    const kvass_json *owners = kvass_config_per_layer(in, config, "kv_owner");
    int64_t owner, of_owner;
    if (!owners) {
        return;
    }
    if (!kvass_json_as_int(kvass_json_at(owners, (size_t)l), &owner) || owner < 0 || owner > l ||
        !kvass_json_as_int(kvass_json_at(owners, (size_t)owner), &of_owner) || of_owner != owner) {
        kvass_config_fail(in, KVASS_FORMAT, "CONFIG_RANGE",
                          "\"kv_owner\"[%d]: expected %d or an earlier layer that owns itself, "
                          "found %s",
                          l, l, kvass_json_kind_name(kvass_json_at(owners, (size_t)l)));
        return;
    }
    spec->owner = (int32_t)owner;
}

static void layer(kvass_config_in *in, const kvass_config *config, int32_t l,
                  kvass_layer_spec *spec)
{
    kvass_llama_layer(in, config, 10000, config->head_dim, spec);
    if (kvass_config_is_sliding(in, config, l, false)) {
        spec->window = kvass_config_window_needed(in, "sliding_window", 0);
    }
    read_owner(in, config, l, spec);
}

const kvass_family kvass_family_kvass = {.name = "kvass",
                                         .prefixes = prefixes,
                                         .config = config,
                                         .layer = layer,
                                         .tensors = kvass_llama_tensors};
