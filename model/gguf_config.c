/* gguf_config.c - config.json's language out of a GGUF file's metadata; see gguf.h.
 * Called by gguf.c when all tensors are known: what the metadata leaves unsaid, such as the size of
 * the vocabulary, the tensors say. Ranges are checked where every configuration is, in families/.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf_making.h"

kvass_status kvass_gguf_making_nomem(const gguf_making *m)
{
    return kvass_fail_nomem(m->err, 64, "the configuration");
}

kvass_status kvass_gguf_making_wrong(const gguf_making *m, const char *key, const char *expected,
                                     const kvass_gguf_value *value)
{
    char found[64];
    return kvass_fail(m->err, KVASS_FORMAT, value ? "CONFIG_TYPE" : "CONFIG_MISSING",
                      "%s: \"%s\": expected %s, found %s", m->ckpt->config_path, key, expected,
                      kvass_gguf_describe(value, found, sizeof found));
}

const kvass_gguf_value *kvass_gguf_making_find(const gguf_making *m, const char *key, char *name,
                                               size_t n_bytes)
{
    (void)snprintf(name, n_bytes, "%s.%s", m->arch->arch, key);
    return kvass_gguf_find(m->g, name);
}

kvass_status kvass_gguf_making_int(const gguf_making *m, const char *name,
                                   const kvass_gguf_value *value, int64_t *out)
{
    int64_t other;
    if (!kvass_gguf_as_int(m->g, value, 0, out)) {
        return kvass_gguf_making_wrong(m, name, "an integer", value);
    }
    for (uint32_t i = 1; i < value->n; i++) {
        (void)kvass_gguf_as_int(m->g, value, i, &other);
        if (other != *out) {
            return kvass_fail(m->err, KVASS_UNSUPPORTED, "CONFIG_TYPE",
                              "%s: \"%s\": expected the same number for every layer, found %lld "
                              "and %lld",
                              m->ckpt->config_path, name, (long long)*out, (long long)other);
        }
    }
    return KVASS_OK;
}

static kvass_status take_real(const gguf_making *m, const char *name, const kvass_gguf_value *value,
                              double *out)
{
    if (value->is_array || !kvass_gguf_as_real(m->g, value, 0, out)) {
        return kvass_gguf_making_wrong(m, name, "a floating-point number", value);
    }
    if (!isfinite(*out)) {
        return kvass_fail(m->err, KVASS_FORMAT, "CONFIG_RANGE",
                          "%s: \"%s\": expected a finite number, found %g", m->ckpt->config_path,
                          name, *out);
    }
    return KVASS_OK;
}

bool kvass_gguf_making_name(const gguf_making *m, const char *key, const char *name)
{
    kvass_json *names = m->ckpt->key_names;
    return kvass_json_get(names, key) || kvass_json_set_string(names, key, name);
}

kvass_status kvass_gguf_making_key(const gguf_making *m, const kvass_gguf_key *k)
{
    char name[128];
    int64_t integer = 0;
    double real = 0;
    bool flag = false, set = false;
    const kvass_gguf_value *value = kvass_gguf_making_find(m, k->gguf, name, sizeof name);
    kvass_status status = KVASS_OK;
    if (!kvass_gguf_making_name(m, k->key, name)) {
        return kvass_gguf_making_nomem(m);
    }
    if (!value) {
        return KVASS_OK;
    }
    switch (k->kind) {
    case KVASS_GGUF_KEY_INT:
        status = kvass_gguf_making_int(m, name, value, &integer);
        set = status == KVASS_OK && kvass_json_set_int(m->config, k->key, integer);
        break;
    case KVASS_GGUF_KEY_REAL:
        status = take_real(m, name, value, &real);
        set = status == KVASS_OK && kvass_json_set_real(m->config, k->key, real);
        break;
    case KVASS_GGUF_KEY_BOOL:
        status = value->is_array || !kvass_gguf_as_bool(m->g, value, 0, &flag)
                     ? kvass_gguf_making_wrong(m, name, "true or false", value)
                     : KVASS_OK;
        set = status == KVASS_OK && kvass_json_set_bool(m->config, k->key, flag);
        break;
    }
    return status == KVASS_OK && !set ? kvass_gguf_making_nomem(m) : status;
}

static bool is_listed(const kvass_gguf_key *keys, const char *gguf)
{
    for (; keys && keys->gguf; keys++) {
        if (strcmp(keys->gguf, gguf) == 0) {
            return true;
        }
    }
    return false;
}

/* The architecture's own keys, then the common ones it says nothing about. */
static kvass_status take_keys(const gguf_making *m)
{
    kvass_status status = KVASS_OK;
    for (const kvass_gguf_key *k = m->arch->keys; k && k->gguf && status == KVASS_OK; k++) {
        status = kvass_gguf_making_key(m, k);
    }
    for (const kvass_gguf_key *k = kvass_gguf_common_keys; k->gguf && status == KVASS_OK; k++) {
        if (!is_listed(m->arch->keys, k->gguf)) {
            status = kvass_gguf_making_key(m, k);
        }
    }
    return status;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* Rows of the token embedding, and whether there is an output matrix. */
static kvass_status take_vocab(const gguf_making *m)
{
    char embed[64], head[64];
    kvass_gguf_rename(m->arch, "token_embd.weight", embed, sizeof embed);
    kvass_gguf_rename(m->arch, "output.weight", head, sizeof head);
    const kvass_tensor *t = kvass_checkpoint_find(m->ckpt, embed);
    if (!t) {
        return kvass_fail(m->err, KVASS_FORMAT, "TENSOR_MISSING",
                          "%s: tensor \"token_embd.weight\": found no such tensor", m->ckpt->path);
    }
    bool tied = !kvass_checkpoint_find(m->ckpt, head);
    bool set = kvass_json_set_int(m->config, "vocab_size", t->shape[0]) &&
               kvass_json_set_bool(m->config, "tie_word_embeddings", tied);
    return set ? KVASS_OK : kvass_gguf_making_nomem(m);
}

/* Heads as the file means them where it says nothing; a family's own defaults are config.json's. */
static kvass_status fill_heads(const gguf_making *m)
{
    int64_t n_heads = 0, dim = 0;
    bool set = true;
    (void)kvass_json_as_int(kvass_json_get(m->config, "num_attention_heads"), &n_heads);
    (void)kvass_json_as_int(kvass_json_get(m->config, "hidden_size"), &dim);
    if (n_heads < 1) {
        return KVASS_OK; /* the family says what is missing */
    }
    if (!kvass_json_get(m->config, "num_key_value_heads")) {
        set = kvass_json_set_int(m->config, "num_key_value_heads", n_heads);
    }
    if (set && !kvass_json_get(m->config, "head_dim") && dim % n_heads == 0) {
        set = kvass_json_set_int(m->config, "head_dim", dim / n_heads);
    }
    return set ? KVASS_OK : kvass_gguf_making_nomem(m);
}

/* Which linear maps have biases, under all names that families have for it. */
static kvass_status take_biases(const gguf_making *m)
{
    static const struct {
        const char *tensors[2], *keys[3];
    } flags[] = {
        {{"blk.0.attn_q.bias", "blk.0.attn_qkv.bias"},
         {"attention_bias", "use_qkv_bias", "use_bias"}},
        {{"blk.0.ffn_up.bias", "blk.0.ffn_down.bias"}, {"mlp_bias", NULL, NULL}},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool there = false;
        for (size_t t = 0; t < 2; t++) {
            char name[128];
            kvass_gguf_rename(m->arch, flags[i].tensors[t], name, sizeof name);
            there = there || kvass_checkpoint_find(m->ckpt, name);
        }
        for (size_t k = 0; k < 3 && flags[i].keys[k]; k++) {
            if (!kvass_json_set_bool(m->config, flags[i].keys[k], there)) {
                return kvass_gguf_making_nomem(m);
            }
        }
    }
    return KVASS_OK;
}

/* ---- ids ------------------------------------------------------------------------------------- */

/* The texts of control tokens that end a turn, whatever the metadata says of them. */
static bool ends_turn(const char *text, size_t n)
{
    static const char *const ends[] = {"<|eot_id|>",    "<|im_end|>",    "<|end|>",
                                       "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>",
                                       "<EOT>",         "<|eom_id|>"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (n == strlen(ends[i]) && memcmp(text, ends[i], n) == 0) {
            return true;
        }
    }
    return false;
}

/* The ids that end a text: those named, then the tokens that are spelled so. */
static bool push_eos(const gguf_making *m, kvass_json *list)
{
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    int64_t id;
    bool pushed = true;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (kvass_gguf_as_int(m->g, kvass_gguf_find(m->g, keys[i]), 0, &id)) {
            pushed = pushed && kvass_json_push_int(list, id);
        }
    }
    const kvass_gguf_value *tokens = kvass_gguf_find(m->g, "tokenizer.ggml.tokens");
    if (!tokens || !tokens->is_array || tokens->kind != KVASS_GGUF_STRING) {
        return pushed;
    }
    kvass_reader walk = kvass_gguf_walk(m->g, tokens);
    for (uint32_t i = 0, n_found = 0; i < tokens->n && n_found < 16 && pushed; i++) {
        size_t n;
        const char *text = kvass_gguf_next_string(&walk, &n);
        if (text && ends_turn(text, n)) {
            pushed = kvass_json_push_int(list, i);
            n_found++;
        }
    }
    return pushed;
}

static kvass_status take_ids(const gguf_making *m)
{
    int64_t bos;
    const kvass_gguf_value *value = kvass_gguf_find(m->g, "tokenizer.ggml.bos_token_id");
    bool has_bos = kvass_gguf_as_int(m->g, value, 0, &bos);
    kvass_json *list = kvass_json_new_array();
    bool set = list && push_eos(m, list);
    if (!set) {
        kvass_json_close(&list);
        return kvass_gguf_making_nomem(m);
    }
    set = kvass_json_set_value(m->config, "eos_token_id", list);
    set = set && (has_bos ? kvass_json_set_int(m->config, "bos_token_id", bos)
                          : kvass_json_set_int(m->config, "bos_token_id", -1));
    return set ? KVASS_OK : kvass_gguf_making_nomem(m);
}

kvass_status kvass_gguf_make_config(kvass_checkpoint *ckpt, const kvass_gguf *gguf,
                                    const kvass_gguf_arch *arch,
                                    const kvass_gguf_factors factors[KVASS_GGUF_N_FACTORS],
                                    kvass_error *err)
{
    typedef kvass_status (*step)(const gguf_making *m);
    static const step steps[] = {
        take_keys, take_vocab, fill_heads, take_biases, kvass_gguf_making_rope, take_ids};
    gguf_making m = {.ckpt = ckpt, .g = gguf, .arch = arch, .factors = factors, .err = err};
    ckpt->config_path = strdup(ckpt->file_paths[0]);
    ckpt->config = m.config = kvass_json_new_object();
    ckpt->key_names = kvass_json_new_object();
    if (!ckpt->config_path || !m.config || !ckpt->key_names ||
        !kvass_json_set_string(m.config, "model_type", arch->model_type)) {
        return kvass_gguf_making_nomem(&m);
    }
    kvass_status status = KVASS_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && status == KVASS_OK; i++) {
        status = steps[i](&m);
    }
    if (status == KVASS_OK && arch->complete && !arch->complete(m.config)) {
        status = kvass_gguf_making_nomem(&m);
    }
    return status;
}
