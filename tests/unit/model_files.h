/* model_files.h - tiny checkpoints for tests, written into a folder of their own.
 * A tensor's elements are a function of its name and their place, exact in f32, f16 and bf16, so a
 * test can say what any bound weight must be.
 */
#ifndef KVASS_TESTS_MODEL_FILES_H
#define KVASS_TESTS_MODEL_FILES_H

#include <dirent.h>

#include "engine/base/half.h"
#include "engine/kvass.h"
#include "tests/unit/unit.h"

/* ---- folders --------------------------------------------------------------------------------- */

typedef struct folder {
    char path[UNIT_PATH_BYTES];
} folder;

static inline const char *in_folder(const folder *f, const char *name)
{
    static char path[2 * UNIT_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", f->path, name);
    return path;
}

static inline void write_text(const folder *f, const char *name, const char *text)
{
    unit_write(in_folder(f, name), text, strlen(text));
}

static inline int folder_setup(void **state)
{
    folder *f = calloc(1, sizeof *f);
    assert_non_null(f);
    unit_folder(f->path);
    *state = f;
    return 0;
}

static inline void folder_empty(const folder *f)
{
    DIR *dir = opendir(f->path);
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (e->d_name[0] != '.') {
            (void)unlink(in_folder(f, e->d_name));
        }
    }
    (void)closedir(dir);
}

static inline int folder_teardown(void **state)
{
    folder *f = *state;
    folder_empty(f);
    (void)rmdir(f->path);
    free(f);
    return 0;
}

/* ---- safetensors ----------------------------------------------------------------------------- */

enum { MAX_HEADER_TEXT = 16384, MAX_DATA = 1 << 18 };

typedef struct builder {
    char header[MAX_HEADER_TEXT];
    size_t n_header;
    unsigned char data[MAX_DATA];
    size_t n_data;
    const char *skip; /* a tensor to leave out, or NULL */
    const char *grow; /* a tensor whose last dimension is one too large, or NULL */
} builder;

/* element i of the tensor called `name` */
static inline float value_of(const char *name, size_t i)
{
    uint32_t hash = 17;
    for (const char *c = name; *c; c++) {
        hash = hash * 31 + (unsigned char)*c;
    }
    return (float)((int32_t)((hash % 1009 + i * 37) % 201) - 100) / 64.0f;
}

static inline void put_element(builder *b, const char *dtype, float value)
{
    if (strcmp(dtype, "F32") == 0) {
        memcpy(b->data + b->n_data, &value, sizeof value);
        b->n_data += sizeof value;
        return;
    }
    uint16_t half = strcmp(dtype, "F16") == 0 ? kvass_f32_to_f16(value) : kvass_f32_to_bf16(value);
    memcpy(b->data + b->n_data, &half, sizeof half);
    b->n_data += sizeof half;
}

/* Append a tensor of one or two dimensions (n_in 0: one). */
static inline void add_tensor(builder *b, const char *name, const char *dtype, int32_t n_out,
                              int32_t n_in)
{
    if (b->skip && strcmp(b->skip, name) == 0) {
        return;
    }
    int32_t more = b->grow && strcmp(b->grow, name) == 0;
    n_out += n_in == 0 ? more : 0;
    n_in += n_in > 0 ? more : 0;
    size_t n = (size_t)n_out * (size_t)(n_in > 0 ? n_in : 1), begin = b->n_data;
    assert_true(b->n_data + n * sizeof(float) <= MAX_DATA);
    for (size_t i = 0; i < n; i++) {
        put_element(b, dtype, value_of(name, i));
    }
    char shape[64];
    (void)snprintf(shape, sizeof shape, n_in > 0 ? "%d,%d" : "%d", n_out, n_in);
    int n_text = snprintf(b->header + b->n_header, MAX_HEADER_TEXT - b->n_header,
                          "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                          b->n_header > 0 ? "," : "{", name, dtype, shape, begin, b->n_data);
    b->n_header += (size_t)n_text;
    assert_true(b->n_header < MAX_HEADER_TEXT - 2);
}

/* length, header text, data */
static inline void write_raw(const char *path, const char *header, size_t n_header,
                             const void *data, size_t n_data)
{
    unsigned char *bytes = calloc(1, 8 + n_header + n_data + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((uint64_t)n_header >> 8 * i);
    }
    memcpy(bytes + 8, header, n_header);
    if (data) {
        memcpy(bytes + 8 + n_header, data, n_data);
    }
    unit_write(path, bytes, 8 + n_header + n_data);
    free(bytes);
}

static inline void write_builder(builder *b, const char *path)
{
    b->header[b->n_header++] = '}';
    write_raw(path, b->header, b->n_header, b->data, b->n_data);
}

/* ---- two tiny models ------------------------------------------------------------------------- */

/* dim 8, 2 heads of 4, 1 kv head, ffn_dim 6, n_vocab 5, 2 layers */
#define TINY_LLAMA_CONFIG                                                                          \
    "{\"model_type\":\"llama\",\"vocab_size\":5,\"hidden_size\":8,\"num_hidden_layers\":2,"        \
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"intermediate_size\":6,"                 \
    "\"max_position_embeddings\":16,\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\","                \
    "\"bos_token_id\":1,\"eos_token_id\":2"

static inline void add_tiny_llama(builder *b, const char *dtype, bool head, bool bias)
{
    static const struct {
        const char *name;
        int32_t n_out, n_in;
    } matrices[] = {{"self_attn.q_proj", 8, 8}, {"self_attn.k_proj", 4, 8},
                    {"self_attn.v_proj", 4, 8}, {"self_attn.o_proj", 8, 8},
                    {"mlp.gate_proj", 6, 8},    {"mlp.up_proj", 6, 8},
                    {"mlp.down_proj", 8, 6}};
    char name[128];
    add_tensor(b, "model.embed_tokens.weight", dtype, 5, 8);
    for (int l = 0; l < 2; l++) {
        (void)snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", l);
        add_tensor(b, name, dtype, 8, 0);
        (void)snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight", l);
        add_tensor(b, name, dtype, 8, 0);
        for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
            (void)snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, matrices[i].name);
            add_tensor(b, name, dtype, matrices[i].n_out, matrices[i].n_in);
            (void)snprintf(name, sizeof name, "model.layers.%d.%s.bias", l, matrices[i].name);
            if (bias) {
                add_tensor(b, name, dtype, matrices[i].n_out, 0);
            }
        }
    }
    add_tensor(b, "model.norm.weight", dtype, 8, 0);
    if (head) {
        add_tensor(b, "lm_head.weight", dtype, 5, 8);
    }
}

/* dim 8, 2 heads of 4, ffn_dim 12, n_vocab 5, n_ctx 16, 2 layers */
#define TINY_GPT2_CONFIG                                                                           \
    "{\"model_type\":\"gpt2\",\"vocab_size\":5,\"n_embd\":8,\"n_layer\":2,\"n_head\":2,"           \
    "\"n_inner\":12,\"n_positions\":16,\"layer_norm_epsilon\":1e-5,"                               \
    "\"activation_function\":\"gelu_new\",\"bos_token_id\":1,\"eos_token_id\":1"

static inline void add_tiny_gpt2(builder *b, const char *dtype, const char *prefix,
                                 int32_t n_positions)
{
    static const struct {
        const char *name;
        int32_t n_in, n_out; /* n_out 0: a norm */
    } parts[] = {{"ln_1", 8, 0}, {"attn.c_attn", 8, 24}, {"attn.c_proj", 8, 8},
                 {"ln_2", 8, 0}, {"mlp.c_fc", 8, 12},    {"mlp.c_proj", 12, 8}};
    char name[128];
    (void)snprintf(name, sizeof name, "%swte.weight", prefix);
    add_tensor(b, name, dtype, 5, 8);
    (void)snprintf(name, sizeof name, "%swpe.weight", prefix);
    add_tensor(b, name, dtype, n_positions, 8);
    for (int l = 0; l < 2; l++) {
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            int32_t n_bias = parts[i].n_out > 0 ? parts[i].n_out : parts[i].n_in;
            (void)snprintf(name, sizeof name, "%sh.%d.%s.weight", prefix, l, parts[i].name);
            add_tensor(b, name, dtype, parts[i].n_in, parts[i].n_out);
            (void)snprintf(name, sizeof name, "%sh.%d.%s.bias", prefix, l, parts[i].name);
            add_tensor(b, name, dtype, n_bias, 0);
        }
    }
    (void)snprintf(name, sizeof name, "%sln_f.weight", prefix);
    add_tensor(b, name, dtype, 8, 0);
    (void)snprintf(name, sizeof name, "%sln_f.bias", prefix);
    add_tensor(b, name, dtype, 8, 0);
}

/* A folder's model.safetensors and config.json, the latter with `more` appended. */
static inline void write_llama(const folder *f, const char *dtype, bool head, bool bias,
                               const char *more)
{
    char text[1024];
    builder *b = calloc(1, sizeof *b);
    add_tiny_llama(b, dtype, head, bias);
    write_builder(b, in_folder(f, "model.safetensors"));
    (void)snprintf(text, sizeof text, "%s%s%s}", TINY_LLAMA_CONFIG,
                   bias ? ",\"attention_bias\":true,\"mlp_bias\":true" : "", more);
    write_text(f, "config.json", text);
    free(b);
}

static inline void write_gpt2(const folder *f, const char *dtype, const char *prefix,
                              int32_t n_positions, const char *more)
{
    char text[1024];
    builder *b = calloc(1, sizeof *b);
    add_tiny_gpt2(b, dtype, prefix, n_positions);
    write_builder(b, in_folder(f, "model.safetensors"));
    (void)snprintf(text, sizeof text, "%s%s}", TINY_GPT2_CONFIG, more);
    write_text(f, "config.json", text);
    free(b);
}

/* ---- asking -------------------------------------------------------------------------------- */

/* Opening must fail by `rule` with a message that contains `needle`. */
static inline void expect_refused(const char *path, const char *rule, const char *needle)
{
    kvass_model *model = NULL;
    kvass_error err = {0};
    kvass_status status = kvass_model_open(&model, path, NULL, &err);
    if (status == KVASS_OK) {
        kvass_model_close(&model);
        fail_msg("%s: opened, expected %s (%s)", path, rule, needle);
    }
    assert_null(model);
    assert_int_equal(err.code, status);
    if (strcmp(err.rule, rule) != 0 || !strstr(err.message, needle)) {
        fail_msg("expected %s (%s), found %s: %s", rule, needle, err.rule, err.message);
    }
}

static inline kvass_model *expect_opens(const char *path, const kvass_model_options *opt)
{
    kvass_model *model = NULL;
    kvass_error err = {0};
    if (kvass_model_open(&model, path, opt, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    return model;
}

/* Every length below `up_to` is refused with a rule and a message that names the file. */
static inline void expect_truncations_refused(const folder *f, const char *name, size_t up_to)
{
    size_t n;
    char *bytes = unit_slurp(in_folder(f, name), &n);
    for (size_t cut = up_to < n ? up_to : n; cut-- > 0;) {
        kvass_model *model = NULL;
        kvass_error err = {0};
        assert_int_equal(truncate(in_folder(f, name), (off_t)cut), 0);
        if (kvass_model_open(&model, in_folder(f, name), NULL, &err) == KVASS_OK) {
            kvass_model_close(&model);
            fail_msg("%s: opened after %zu of %zu bytes", name, cut, n);
        }
        assert_non_null(err.rule);
        assert_non_null(strstr(err.message, name));
    }
    unit_write(in_folder(f, name), bytes, n);
    free(bytes);
}

/* The same tokenizer by way of a tokenizer.json in the folder. */
static inline kvass_tokenizer *open_as_json(const folder *f, const kvass_tokenizer *tok)
{
    kvass_metadata *m = NULL;
    kvass_tokenizer *back = NULL;
    kvass_error err = {0};
    size_t n = 0;
    if (kvass_tokenizer_describe_json(tok, &m, &err) != KVASS_OK) {
        fail_msg("%s", err.message);
    }
    const char *text = kvass_metadata_json(m, &n);
    unit_write(in_folder(f, "tokenizer.json"), text, n);
    kvass_metadata_close(&m);
    if (kvass_tokenizer_open(&back, in_folder(f, "tokenizer.json"), 0, &err) != KVASS_OK) {
        fail_msg("%s", err.message);
    }
    return back;
}

#endif
