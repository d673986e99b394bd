/* torch_config.c - config.json out of model_args, the arguments that nanoGPT's and llama2.c's
 * training programs put into a checkpoint; llama2.c's tensors get the names that llama's have.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/torch.h"

static kvass_status fail_argument(const kvass_torch *t, const char *key, kvass_pickle_node found,
                                  kvass_error *err)
{
    return kvass_fail(err, found ? KVASS_FORMAT : KVASS_FORMAT, "CONFIG_TYPE",
                      "%s: model_args: \"%s\": expected a whole number, found %s",
                      t->ckpt->file_paths[0], key, kvass_pickle_kind_name(t->pickle, found));
}

/* config[as] from arguments[key]; `otherwise` >= 0 when it is absent or None. */
static kvass_status copy_int(const kvass_torch *t, kvass_pickle_node arguments, const char *key,
                             const char *as, int64_t otherwise, kvass_error *err)
{
    kvass_pickle_node found = kvass_pickle_get(t->pickle, arguments, key);
    kvass_pickle_kind kind = kvass_pickle_get_kind(t->pickle, found);
    int64_t value = otherwise;
    bool none = kind == KVASS_PICKLE_ABSENT || kind == KVASS_PICKLE_NONE;
    if (!(none && otherwise >= 0) && !kvass_pickle_int(t->pickle, found, &value)) {
        return fail_argument(t, key, found, err);
    }
    return kvass_json_set_int(t->ckpt->config, as, value)
               ? KVASS_OK
               : kvass_fail_nomem(err, sizeof value, "a configuration");
}

/* ---- nanoGPT --------------------------------------------------------------------------------- */

static kvass_status nanogpt_config(kvass_torch *t, kvass_pickle_node arguments, kvass_error *err)
{
    static const char *const keys[] = {"n_layer", "n_head", "n_embd", "block_size", "vocab_size"};
    kvass_status status = KVASS_OK;
    for (size_t i = 0; status == KVASS_OK && i < sizeof keys / sizeof *keys; i++) {
        status = copy_int(t, arguments, keys[i], keys[i], -1, err);
    }
    bool bias = true;
    kvass_pickle_node found = kvass_pickle_get(t->pickle, arguments, "bias");
    if (status == KVASS_OK && found && !kvass_pickle_bool(t->pickle, found, &bias)) {
        return kvass_fail(err, KVASS_FORMAT, "CONFIG_TYPE",
                          "%s: model_args: \"bias\": expected a truth value, found %s",
                          t->ckpt->file_paths[0], kvass_pickle_kind_name(t->pickle, found));
    }
    if (status == KVASS_OK && !(kvass_json_set_string(t->ckpt->config, "model_type", "nanogpt") &&
                                kvass_json_set_bool(t->ckpt->config, "bias", bias))) {
        status = kvass_fail_nomem(err, sizeof bias, "a configuration");
    }
    return status;
}

/* ---- llama2.c -------------------------------------------------------------------------------- */

static const struct {
    const char *torch, *name;
} names[] = {
    {"tok_embeddings.weight", "model.embed_tokens.weight"},
    {"norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
};

static const struct {
    const char *torch, *name; /* after "layers.N." */
} layer_names[] = {
    {"attention.wq.weight", "self_attn.q_proj.weight"},
    {"attention.wk.weight", "self_attn.k_proj.weight"},
    {"attention.wv.weight", "self_attn.v_proj.weight"},
    {"attention.wo.weight", "self_attn.o_proj.weight"},
    {"feed_forward.w1.weight", "mlp.gate_proj.weight"},
    {"feed_forward.w2.weight", "mlp.down_proj.weight"},
    {"feed_forward.w3.weight", "mlp.up_proj.weight"},
    {"attention_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
};

/* llama's name for one of llama2.c's, into out[n]; false: it has none */
static bool new_name(const char *name, char *out, size_t n)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].torch) == 0) {
            (void)snprintf(out, n, "%s", names[i].name);
            return true;
        }
    }
    size_t n_digits = strncmp(name, "layers.", 7) == 0 ? strspn(name + 7, "0123456789") : 0;
    if (n_digits == 0 || n_digits > 6 || name[7 + n_digits] != '.') {
        return false;
    }
    for (size_t i = 0; i < sizeof layer_names / sizeof *layer_names; i++) {
        if (strcmp(name + 8 + n_digits, layer_names[i].torch) == 0) {
            (void)snprintf(out, n, "model.layers.%.*s.%s", (int)n_digits, name + 7,
                           layer_names[i].name);
            return true;
        }
    }
    return false;
}

static kvass_status rename_all(kvass_checkpoint *ckpt, kvass_error *err)
{
    for (int32_t i = 0; i < ckpt->n_tensors; i++) {
        char name[128];
        if (new_name(ckpt->tensors[i].name, name, sizeof name)) {
            char *copy = strdup(name);
            if (!copy) {
                return kvass_fail_nomem(err, sizeof name, "a tensor's name");
            }
            free(ckpt->tensors[i].name);
            ckpt->tensors[i].name = copy;
        }
    }
    return KVASS_OK;
}

/* The tensor of that name, before the directory is sorted. */
static const kvass_tensor *find(const kvass_checkpoint *ckpt, const char *name)
{
    for (int32_t i = 0; i < ckpt->n_tensors; i++) {
        if (strcmp(ckpt->tensors[i].name, name) == 0) {
            return &ckpt->tensors[i];
        }
    }
    return NULL;
}

static kvass_status llama2c_config(kvass_torch *t, kvass_pickle_node arguments, kvass_error *err)
{
    static const struct {
        const char *key, *as;
    } keys[] = {{"dim", "hidden_size"},
                {"n_layers", "num_hidden_layers"},
                {"n_heads", "num_attention_heads"},
                {"vocab_size", "vocab_size"},
                {"max_seq_len", "max_position_embeddings"}};
    kvass_checkpoint *ckpt = t->ckpt;
    kvass_status status = KVASS_OK;
    int64_t n_heads = 0;
    for (size_t i = 0; status == KVASS_OK && i < sizeof keys / sizeof *keys; i++) {
        status = copy_int(t, arguments, keys[i].key, keys[i].as, -1, err);
    }
    if (status == KVASS_OK) {
        (void)kvass_json_as_int(kvass_json_get(ckpt->config, "num_attention_heads"), &n_heads);
        status = copy_int(t, arguments, "n_kv_heads", "num_key_value_heads",
                          n_heads > 0 ? n_heads : 0, err);
    }
    if (status == KVASS_OK) {
        status = rename_all(ckpt, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    ckpt->rope_pairs = true;
    const kvass_tensor *gate = find(ckpt, "model.layers.0.mlp.gate_proj.weight");
    const kvass_tensor *embed = find(ckpt, "model.embed_tokens.weight");
    const kvass_tensor *head = find(ckpt, "lm_head.weight");
    bool tied = !head || (embed && embed->file == head->file && embed->offset == head->offset);
    double eps = 1e-5;
    (void)kvass_pickle_real(t->pickle, kvass_pickle_get(t->pickle, arguments, "norm_eps"), &eps);
    bool ok = kvass_json_set_string(ckpt->config, "model_type", "llama") &&
              kvass_json_set_bool(ckpt->config, "tie_word_embeddings", tied) &&
              kvass_json_set_int(ckpt->config, "intermediate_size", gate ? gate->shape[0] : 0) &&
              kvass_json_set_real(ckpt->config, "rms_norm_eps", eps) &&
              kvass_json_set_real(ckpt->config, "rope_theta", 10000.0) &&
              kvass_json_set_string(ckpt->config, "hidden_act", "silu") &&
              kvass_json_set_int(ckpt->config, "bos_token_id", 1) &&
              kvass_json_set_int(ckpt->config, "eos_token_id", 2);
    return ok ? KVASS_OK : kvass_fail_nomem(err, sizeof eps, "a configuration");
}

kvass_status kvass_torch_make_config(kvass_torch *t, kvass_pickle_node arguments, kvass_error *err)
{
    kvass_checkpoint *ckpt = t->ckpt;
    ckpt->config = kvass_json_new_object();
    ckpt->config_path = strdup(ckpt->file_paths[0]);
    if (!ckpt->config || !ckpt->config_path) {
        return kvass_fail_nomem(err, strlen(ckpt->file_paths[0]), "a configuration");
    }
    if (kvass_pickle_get(t->pickle, arguments, "n_embd")) {
        return nanogpt_config(t, arguments, err);
    }
    if (kvass_pickle_get(t->pickle, arguments, "dim")) {
        return llama2c_config(t, arguments, err);
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "FAMILY",
                      "%s: model_args: expected nanoGPT's (with \"n_embd\") or llama2.c's (with "
                      "\"dim\")",
                      ckpt->file_paths[0]);
}
