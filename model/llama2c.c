/* llama2c.c - the .bin files of llama2.c, versions 0, 1 and 2.
 * Called by checkpoint.c. Such a file is a header of seven numbers and the weights of all layers,
 * kind by kind, in an order fixed by the version; so the header determines every offset and the
 * exact size of the file. Version 0 has no magic number and is recognised by that size.
 *
 *   v0  f32; header of 28 bytes; n_vocab negative: separate output matrix; unused RoPE tables
 *   v1  f32; header of 256 bytes with magic "ak42" and a flag for a shared output matrix
 *   v2  as v1, but matrices are int8[n] followed by f32 scales[n / group]
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/checked.h"
#include "engine/base/reader.h"
#include "model/checkpoint.h"
#include "model/limits.h"

enum { V0_HEADER = 28, V1_HEADER = 256, MAGIC = 0x616b3432, N_NUMBERS = 7 };

typedef struct header {
    int32_t version;
    int32_t dim, ffn_dim, n_layers, n_heads, n_kv_heads, n_vocab, n_ctx;
    int32_t group; /* v2: values per scale; else 0 */
    bool tied;
    size_t n_bytes; /* of the header itself */
} header;

/* The names of the seven numbers, in the file's order. */
static const struct {
    const char *name;
    int32_t max;
} numbers[N_NUMBERS] = {
    {"dim", KVASS_MAX_DIM},     {"ffn_dim", KVASS_MAX_FFN},    {"n_layers", KVASS_MAX_LAYERS},
    {"n_heads", KVASS_MAX_DIM}, {"n_kv_heads", KVASS_MAX_DIM}, {"n_vocab", KVASS_MAX_VOCAB},
    {"n_ctx", KVASS_MAX_CTX},
};

/* What the weights section consists of. A part repeats once per layer when its name has a %d. */
typedef enum part_dim { DIM_NONE, DIM_DIM, DIM_KV, DIM_FFN, DIM_VOCAB } part_dim;
typedef struct part {
    const char *name;
    part_dim n_out, n_in; /* n_in DIM_NONE: a norm's vector */
} part;

#define NORM_ATTN                                                                                  \
    {                                                                                              \
        "model.layers.%d.input_layernorm.weight", DIM_DIM, DIM_NONE                                \
    }
#define NORM_MLP                                                                                   \
    {                                                                                              \
        "model.layers.%d.post_attention_layernorm.weight", DIM_DIM, DIM_NONE                       \
    }
#define NORM_FINAL                                                                                 \
    {                                                                                              \
        "model.norm.weight", DIM_DIM, DIM_NONE                                                     \
    }
#define TOK_EMBED                                                                                  \
    {                                                                                              \
        "model.embed_tokens.weight", DIM_VOCAB, DIM_DIM                                            \
    }
#define LM_HEAD                                                                                    \
    {                                                                                              \
        "lm_head.weight", DIM_VOCAB, DIM_DIM                                                       \
    }
#define ATTENTION                                                                                  \
    {"model.layers.%d.self_attn.q_proj.weight", DIM_DIM, DIM_DIM},                                 \
        {"model.layers.%d.self_attn.k_proj.weight", DIM_KV, DIM_DIM},                              \
        {"model.layers.%d.self_attn.v_proj.weight", DIM_KV, DIM_DIM},                              \
    {                                                                                              \
        "model.layers.%d.self_attn.o_proj.weight", DIM_DIM, DIM_DIM                                \
    }
#define MLP                                                                                        \
    {"model.layers.%d.mlp.gate_proj.weight", DIM_FFN, DIM_DIM},                                    \
        {"model.layers.%d.mlp.down_proj.weight", DIM_DIM, DIM_FFN},                                \
    {                                                                                              \
        "model.layers.%d.mlp.up_proj.weight", DIM_FFN, DIM_DIM                                     \
    }

static const part parts_v0[] = {
    TOK_EMBED, NORM_ATTN, ATTENTION, NORM_MLP, MLP, NORM_FINAL, {NULL, DIM_NONE, DIM_NONE},
    LM_HEAD};
static const part parts_v1[] = {NORM_ATTN, NORM_MLP, NORM_FINAL, TOK_EMBED,
                                ATTENTION, MLP,      LM_HEAD};

static int64_t part_size(const header *h, part_dim dim)
{
    switch (dim) {
    case DIM_DIM:
        return h->dim;
    case DIM_KV:
        return (int64_t)h->dim / h->n_heads * h->n_kv_heads;
    case DIM_FFN:
        return h->ffn_dim;
    case DIM_VOCAB:
        return h->n_vocab;
    case DIM_NONE:
        break;
    }
    return 1;
}

static uint64_t part_bytes(const header *h, const part *p)
{
    if (!p->name) { /* v0's tables of cosines and sines */
        return (uint64_t)h->n_ctx * (uint64_t)(h->dim / h->n_heads) * sizeof(float);
    }
    uint64_t n = (uint64_t)part_size(h, p->n_out) * (uint64_t)part_size(h, p->n_in);
    bool grouped = h->group > 0 && p->n_in != DIM_NONE;
    return grouped ? n + n / (uint64_t)h->group * sizeof(float) : n * sizeof(float);
}

static const part *parts_of(const header *h, size_t *n)
{
    *n = h->version == 0 ? sizeof parts_v0 / sizeof *parts_v0 : sizeof parts_v1 / sizeof *parts_v1;
    *n -= h->tied ? 1 : 0; /* the output matrix stands last in both */
    return h->version == 0 ? parts_v0 : parts_v1;
}

static bool is_per_layer(const part *p)
{
    return p->name && strchr(p->name, '%');
}

/* The exact size of the file; the limits keep it far below 2^64. */
static uint64_t file_bytes(const header *h)
{
    size_t n_parts;
    const part *parts = parts_of(h, &n_parts);
    uint64_t total = h->n_bytes;
    for (size_t i = 0; i < n_parts; i++) {
        uint64_t n = is_per_layer(&parts[i]) ? (uint64_t)h->n_layers : 1;
        total += n * part_bytes(h, &parts[i]);
    }
    return total;
}

/* Take the seven numbers; each must be in 1 .. its limit. */
static kvass_status take_numbers(kvass_reader *r, header *h, const char *path, kvass_error *err)
{
    int32_t *const to[N_NUMBERS] = {&h->dim,        &h->ffn_dim, &h->n_layers, &h->n_heads,
                                    &h->n_kv_heads, &h->n_vocab, &h->n_ctx};
    for (int32_t i = 0; i < N_NUMBERS; i++) {
        int32_t value = 0;
        (void)kvass_reader_i32(r, &value);
        if (h->version == 0 && to[i] == &h->n_vocab) {
            h->tied = value > 0;
            value = value < 0 && value > INT32_MIN ? -value : value;
        }
        if (value < 1 || value > numbers[i].max) {
            return kvass_fail(err, KVASS_FORMAT, "LLAMA2C_HEADER",
                              "%s: llama2.c v%d header%s: %s: expected 1 .. %d, found %d", path,
                              h->version, h->version == 0 ? " (no magic \"ak42\")" : "",
                              numbers[i].name, numbers[i].max, value);
        }
        *to[i] = value;
    }
    if (h->dim % h->n_heads != 0 || h->n_heads % h->n_kv_heads != 0 ||
        h->dim / h->n_heads % 2 != 0) {
        return kvass_fail(err, KVASS_FORMAT, "LLAMA2C_HEADER",
                          "%s: llama2.c v%d header: expected n_heads to divide dim into even parts "
                          "and n_kv_heads to divide n_heads, found dim %d, n_heads %d, n_kv_heads "
                          "%d",
                          path, h->version, h->dim, h->n_heads, h->n_kv_heads);
    }
    return KVASS_OK;
}

/* v2: every row of every matrix must be whole groups, and a group whole blocks. */
static kvass_status check_group(const header *h, const char *path, kvass_error *err)
{
    if (h->group <= 0 || h->group % KVASS_QBLOCK != 0) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "LLAMA2C_GROUP",
                          "%s: llama2.c v2 header: group size: expected a multiple of %d, found %d",
                          path, KVASS_QBLOCK, h->group);
    }
    if (h->dim % h->group != 0 || h->ffn_dim % h->group != 0) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "LLAMA2C_GROUP",
                          "%s: llama2.c v2 header: group size %d: expected it to divide dim %d and "
                          "ffn_dim %d",
                          path, h->group, h->dim, h->ffn_dim);
    }
    return KVASS_OK;
}

/* Read the header out of the file's first bytes: head[n], n <= V1_HEADER. */
static kvass_status parse_header(const unsigned char *head, size_t n, const char *path, header *h,
                                 kvass_error *err)
{
    *h = (header){.n_bytes = V0_HEADER};
    kvass_reader r = {.bytes = head, .size = n};
    uint32_t magic = 0;
    bool has_magic = kvass_reader_u32(&r, &magic) && magic == MAGIC;
    if (!has_magic) {
        r.at = 0;
    }
    if (n < (has_magic ? V1_HEADER : V0_HEADER)) {
        return kvass_fail(err, KVASS_FORMAT, "LLAMA2C_HEADER",
                          "%s: expected a llama2.c header of %d bytes, found %zu bytes", path,
                          has_magic ? V1_HEADER : V0_HEADER, n);
    }
    if (has_magic) {
        (void)kvass_reader_i32(&r, &h->version);
        h->n_bytes = V1_HEADER;
        if (h->version != 1 && h->version != 2) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "LLAMA2C_VERSION",
                              "%s: llama2.c header: version: expected 1 or 2, found %d", path,
                              h->version);
        }
    }
    kvass_status status = take_numbers(&r, h, path, err);
    if (status != KVASS_OK || !has_magic) {
        return status;
    }
    unsigned char shared = *kvass_reader_take(&r, 1);
    if (shared > 1) {
        return kvass_fail(err, KVASS_FORMAT, "LLAMA2C_HEADER",
                          "%s: llama2.c v%d header: shared flag: expected 0 or 1, found %d", path,
                          h->version, shared);
    }
    h->tied = shared == 1;
    if (h->version == 2) {
        (void)kvass_reader_i32(&r, &h->group);
        status = check_group(h, path, err);
    }
    return status;
}

bool kvass_llama2c_is_v0(const unsigned char *head, size_t n_bytes, uint64_t size)
{
    header h;
    size_t n = n_bytes < V1_HEADER ? n_bytes : V1_HEADER;
    return parse_header(head, n, "", &h, NULL) == KVASS_OK && h.version == 0 &&
           file_bytes(&h) == size;
}

static kvass_status add_part(kvass_checkpoint *ckpt, const header *h, const part *p, int32_t layer,
                             uint64_t offset, kvass_error *err)
{
    char name[96];
    (void)snprintf(name, sizeof name, p->name, (int)layer);
    bool matrix = p->n_in != DIM_NONE, grouped = matrix && h->group > 0;
    kvass_tensor t = {.name = name,
                      .dtype = grouped ? KVASS_DTYPE_Q8_F32 : KVASS_DTYPE_F32,
                      .type_name = grouped ? "Q8_0" : "F32",
                      .n_dims = matrix ? 2 : 1,
                      .shape = {part_size(h, p->n_out), matrix ? part_size(h, p->n_in) : 0},
                      .offset = offset,
                      .n_bytes = (size_t)part_bytes(h, p)};
    return kvass_checkpoint_add_tensor(ckpt, &t, err);
}

/* The header in config.json's terms. run.c stops at the begin-of-text id as well as at the end. */
static kvass_status make_config(kvass_checkpoint *ckpt, const header *h, kvass_error *err)
{
    char text[768];
    int n = snprintf(text, sizeof text,
                     "{\"model_type\": \"llama\", \"hidden_size\": %d, \"intermediate_size\": %d, "
                     "\"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
                     "\"num_key_value_heads\": %d, \"vocab_size\": %d, "
                     "\"max_position_embeddings\": %d, \"hidden_act\": \"silu\", "
                     "\"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
                     "\"tie_word_embeddings\": %s, \"bos_token_id\": 1, \"eos_token_id\": [1, 2]}",
                     h->dim, h->ffn_dim, h->n_layers, h->n_heads, h->n_kv_heads, h->n_vocab,
                     h->n_ctx, h->tied ? "true" : "false");
    ckpt->config_path = strdup(ckpt->file_paths[0]);
    if (!ckpt->config_path) {
        return kvass_fail_nomem(err, strlen(ckpt->file_paths[0]) + 1, "a path");
    }
    return kvass_json_parse(&ckpt->config, text, (size_t)n, ckpt->config_path, err);
}

kvass_status kvass_llama2c_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    static const char *const formats[] = {"llama2.c v0", "llama2.c v1", "llama2.c v2"};
    unsigned char head[V1_HEADER];
    header h;
    kvass_status status = kvass_checkpoint_add_file(ckpt, path, err);
    if (status != KVASS_OK) {
        return status;
    }
    const kvass_file *file = &ckpt->files[0];
    size_t n_head = file->size < sizeof head ? (size_t)file->size : sizeof head;
    status = kvass_file_read(file, 0, head, n_head, err);
    if (status == KVASS_OK) {
        status = parse_header(head, n_head, path, &h, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    uint64_t expected = file_bytes(&h);
    if (expected != file->size) {
        return kvass_fail(err, KVASS_FORMAT, "LLAMA2C_SIZE",
                          "%s: its llama2.c v%d header (dim %d, n_layers %d, n_vocab %d) needs a "
                          "file of exactly %llu bytes, found %llu",
                          path, h.version, h.dim, h.n_layers, h.n_vocab,
                          (unsigned long long)expected, (unsigned long long)file->size);
    }
    ckpt->format = formats[h.version];
    ckpt->rope_pairs = true;
    ckpt->q8_group = h.group;
    size_t n_parts;
    const part *parts = parts_of(&h, &n_parts);
    uint64_t offset = h.n_bytes;
    for (size_t i = 0; i < n_parts; i++) {
        int32_t n = is_per_layer(&parts[i]) ? h.n_layers : 1;
        for (int32_t l = 0; l < n; l++) {
            if (parts[i].name) {
                status = add_part(ckpt, &h, &parts[i], l, offset, err);
                if (status != KVASS_OK) {
                    return status;
                }
            }
            offset += part_bytes(&h, &parts[i]);
        }
    }
    status = kvass_checkpoint_seal(ckpt, err);
    return status == KVASS_OK ? make_config(ckpt, &h, err) : status;
}
