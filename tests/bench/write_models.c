/* write_models.c - synthetic checkpoints for benchmarks: the same random weights in every format.
 *
 *     write_models DIR [SHAPE]
 *
 * writes DIR/15M-f32.bin (llama2.c, v0) and DIR/15M-{f32,f16,q8_0,q4_0}.gguf, the same of 110M, and
 * DIR/tokenizer.bin; SHAPE picks one, of which "tiny" is for tests. Matrices are quantized as
 * GGUF's own types, norms stay f32, the output matrix is the embedding. A tensor's weights come
 * from its number alone, so each format makes its own.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/half.h"

enum { MAX_VOCAB = 32000, GGUF_ALIGN = 32, QBLOCK = 32 };
enum { TYPE_F32 = 0, TYPE_F16 = 1, TYPE_Q4_0 = 2, TYPE_Q8_0 = 8 }; /* GGUF's numbers */

typedef struct shape {
    const char *name;
    int32_t dim, n_layers, n_heads, ffn_dim, n_vocab, n_ctx;
} shape;

static const shape shapes[] = {{"15M", 288, 6, 6, 768, MAX_VOCAB, 8192},
                               {"110M", 768, 12, 12, 2048, MAX_VOCAB, 8192},
                               {"tiny", 96, 2, 3, 160, 51, 320}};

/* the matrices and norms of a llama, in the order in which llama2.c stores the first of each kind
 */
typedef struct kind {
    const char *gguf;
    bool per_layer, norm, in_ffn, out_ffn;
} kind;

static const kind kinds[] = {
    {"token_embd", false, false, false, false}, {"attn_norm", true, true, false, false},
    {"attn_q", true, false, false, false},      {"attn_k", true, false, false, false},
    {"attn_v", true, false, false, false},      {"attn_output", true, false, false, false},
    {"ffn_norm", true, true, false, false},     {"ffn_gate", true, false, false, true},
    {"ffn_down", true, false, true, false},     {"ffn_up", true, false, false, true},
    {"output_norm", false, true, false, false},
};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void put(FILE *f, const void *data, size_t n_bytes)
{
    if (fwrite(data, 1, n_bytes, f) != n_bytes) {
        die("write");
    }
}

static void put_u32(FILE *f, uint32_t v)
{
    put(f, &v, sizeof v);
}

static void put_u64(FILE *f, uint64_t v)
{
    put(f, &v, sizeof v);
}

static void put_string(FILE *f, const char *s)
{
    put_u64(f, strlen(s));
    put(f, s, strlen(s));
}

static int64_t columns_of(const shape *s, const kind *k)
{
    return k->in_ffn ? s->ffn_dim : s->dim;
}

static int64_t rows_of(const shape *s, const kind *k)
{
    if (k->norm) {
        return 1;
    }
    return k->out_ffn ? s->ffn_dim : k->per_layer ? s->dim : s->n_vocab;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* x[n_columns]: a row of nearly normal numbers, by its tensor and place */
static void make_row(const kind *k, uint64_t tensor, int64_t row, int64_t n_columns, float *x)
{
    uint64_t state = (tensor + 1) * 0x9e3779b97f4a7c15u ^ ((uint64_t)row + 1) * 0xd1342543de82ef95u;
    float scale = k->per_layer ? 1.0f / sqrtf((float)n_columns) : 0.02f;
    for (int64_t i = 0; i < n_columns; i++) {
        uint64_t r = next_random(&state);
        float sum = 0.0f;
        for (int j = 0; j < 4; j++, r >>= 16) {
            sum += (float)(r & 0xffff) / 65536.0f - 0.5f;
        }
        x[i] = k->norm ? 1.0f : sum * 1.7320508f * scale;
    }
}

static void put_q8_0(FILE *f, const float *x)
{
    float max = 0.0f;
    for (int i = 0; i < QBLOCK; i++) {
        max = fmaxf(max, fabsf(x[i]));
    }
    uint16_t d = kvass_f32_to_f16(max / 127.0f);
    int8_t q[QBLOCK];
    for (int i = 0; i < QBLOCK; i++) {
        q[i] = (int8_t)(max > 0.0f ? lrintf(x[i] * 127.0f / max) : 0);
    }
    put(f, &d, sizeof d);
    put(f, q, sizeof q);
}

static void put_q4_0(FILE *f, const float *x)
{
    float max = 0.0f;
    for (int i = 0; i < QBLOCK; i++) {
        max = fabsf(x[i]) > fabsf(max) ? x[i] : max;
    }
    float step = max / -8.0f;
    uint16_t d = kvass_f32_to_f16(step);
    uint8_t q[QBLOCK], packed[QBLOCK / 2];
    for (int i = 0; i < QBLOCK; i++) {
        long v = step != 0.0f ? lrintf(x[i] / step) + 8 : 8;
        q[i] = (uint8_t)(v < 0 ? 0 : v > 15 ? 15 : v);
    }
    for (int i = 0; i < QBLOCK / 2; i++) {
        packed[i] = (uint8_t)(q[i] | q[i + QBLOCK / 2] << 4);
    }
    put(f, &d, sizeof d);
    put(f, packed, sizeof packed);
}

static void put_row(FILE *f, int type, const float *x, int64_t n)
{
    if (type == TYPE_F32) {
        put(f, x, (size_t)n * sizeof *x);
        return;
    }
    if (type == TYPE_F16) {
        for (int64_t i = 0; i < n; i++) {
            uint16_t h = kvass_f32_to_f16(x[i]);
            put(f, &h, sizeof h);
        }
        return;
    }
    for (int64_t i = 0; i < n; i += QBLOCK) {
        (type == TYPE_Q8_0 ? put_q8_0 : put_q4_0)(f, x + i);
    }
}

static int64_t row_bytes(int type, int64_t n)
{
    switch (type) {
    case TYPE_F32:
        return n * 4;
    case TYPE_F16:
        return n * 2;
    case TYPE_Q8_0:
        return n / QBLOCK * 34;
    default:
        return n / QBLOCK * 18;
    }
}

static void put_tensor(FILE *f, const shape *s, int type, int32_t i_kind, int32_t layer)
{
    static float x[4096];
    const kind *k = &kinds[i_kind];
    uint64_t tensor = (uint64_t)(i_kind + N_KINDS * layer);
    for (int64_t r = 0; r < rows_of(s, k); r++) {
        make_row(k, tensor, r, columns_of(s, k), x);
        put_row(f, k->norm ? TYPE_F32 : type, x, columns_of(s, k));
    }
}

static FILE *create(const char *dir, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f) {
        die(path);
    }
    return f;
}

static void finish(FILE *f)
{
    if (fclose(f) != 0) {
        die("close");
    }
}

/* llama2.c's first version: seven integers, then each kind for all layers, then two tables of
 * rotations that nobody reads */
static void write_bin(const char *dir, const shape *s)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s-f32.bin", s->name);
    FILE *f = create(dir, name);
    int32_t header[7] = {s->dim,     s->ffn_dim, s->n_layers, s->n_heads,
                         s->n_heads, s->n_vocab, s->n_ctx};
    put(f, header, sizeof header);
    for (int32_t i = 0; i < N_KINDS; i++) {
        for (int32_t l = 0; l < (kinds[i].per_layer ? s->n_layers : 1); l++) {
            put_tensor(f, s, TYPE_F32, i, l);
        }
    }
    float zero[64] = {0};
    for (int32_t p = 0; p < s->n_ctx; p++) {
        put(f, zero, (size_t)(s->dim / s->n_heads) * sizeof *zero);
    }
    finish(f);
}

static const char *piece(int32_t id, char *text, size_t n)
{
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    if (id < 3) {
        return first[id];
    }
    if (id < 259) {
        (void)snprintf(text, n, "<0x%02X>", (unsigned)(id - 3));
    } else if (id == 259) {
        (void)snprintf(text, n, "\xe2\x96\x81");
    } else if (id < 286) {
        (void)snprintf(text, n, "%c", 'a' + id - 260);
    } else {
        (void)snprintf(text, n, "t%d", (int)id);
    }
    return text;
}

enum { VALUE_U32 = 4, VALUE_I32 = 5, VALUE_F32 = 6, VALUE_STRING = 8, VALUE_ARRAY = 9 };

static void key_u32(FILE *f, const char *key, int32_t v)
{
    put_string(f, key);
    put_u32(f, VALUE_U32);
    put_u32(f, (uint32_t)v);
}

static void key_string(FILE *f, const char *key, const char *v)
{
    put_string(f, key);
    put_u32(f, VALUE_STRING);
    put_string(f, v);
}

static void key_array(FILE *f, const char *key, uint32_t type, int32_t n)
{
    put_string(f, key);
    put_u32(f, VALUE_ARRAY);
    put_u32(f, type);
    put_u64(f, (uint64_t)n);
}

static void put_vocab(FILE *f, int32_t n_vocab)
{
    char text[16];
    key_string(f, "tokenizer.ggml.model", "llama");
    key_array(f, "tokenizer.ggml.tokens", VALUE_STRING, n_vocab);
    for (int32_t i = 0; i < n_vocab; i++) {
        put_string(f, piece(i, text, sizeof text));
    }
    key_array(f, "tokenizer.ggml.scores", VALUE_F32, n_vocab);
    for (int32_t i = 0; i < n_vocab; i++) {
        float score = i < 259 ? 0.0f : -(float)i;
        put(f, &score, sizeof score);
    }
    key_array(f, "tokenizer.ggml.token_type", VALUE_I32, n_vocab);
    for (int32_t i = 0; i < n_vocab; i++) {
        put_u32(f, i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1);
    }
    key_u32(f, "tokenizer.ggml.bos_token_id", 1);
    key_u32(f, "tokenizer.ggml.eos_token_id", 2);
    key_u32(f, "tokenizer.ggml.unknown_token_id", 0);
}

static void put_keys(FILE *f, const shape *s)
{
    float eps = 1e-5f, theta = 10000.0f;
    key_string(f, "general.architecture", "llama");
    key_string(f, "general.name", s->name);
    key_u32(f, "llama.context_length", s->n_ctx);
    key_u32(f, "llama.embedding_length", s->dim);
    key_u32(f, "llama.block_count", s->n_layers);
    key_u32(f, "llama.feed_forward_length", s->ffn_dim);
    key_u32(f, "llama.attention.head_count", s->n_heads);
    key_u32(f, "llama.attention.head_count_kv", s->n_heads);
    key_u32(f, "llama.rope.dimension_count", s->dim / s->n_heads);
    key_u32(f, "llama.vocab_size", s->n_vocab);
    put_string(f, "llama.attention.layer_norm_rms_epsilon");
    put_u32(f, VALUE_F32);
    put(f, &eps, sizeof eps);
    put_string(f, "llama.rope.freq_base");
    put_u32(f, VALUE_F32);
    put(f, &theta, sizeof theta);
    put_vocab(f, s->n_vocab);
}
enum { N_KEYS = 12 + 7 };

static void align(FILE *f)
{
    long at = ftell(f);
    for (; at < 0 || at % GGUF_ALIGN != 0; at++) {
        put(f, "", 1);
    }
}

static void write_gguf(const char *dir, const shape *s, const char *type_name, int type)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s-%s.gguf", s->name, type_name);
    FILE *f = create(dir, name);
    int32_t per_layer = 0;
    for (int32_t i = 0; i < N_KINDS; i++) {
        per_layer += kinds[i].per_layer;
    }
    put(f, "GGUF", 4);
    put_u32(f, 3);
    put_u64(f, (uint64_t)(N_KINDS - per_layer + per_layer * s->n_layers));
    put_u64(f, N_KEYS);
    put_keys(f, s);
    int64_t offset = 0;
    for (int32_t i = 0; i < N_KINDS; i++) {
        const kind *k = &kinds[i];
        for (int32_t l = 0; l < (k->per_layer ? s->n_layers : 1); l++) {
            int stored = k->norm ? TYPE_F32 : type;
            if (k->per_layer) {
                (void)snprintf(name, sizeof name, "blk.%d.%s.weight", (int)l, k->gguf);
            } else {
                (void)snprintf(name, sizeof name, "%s.weight", k->gguf);
            }
            put_string(f, name);
            put_u32(f, k->norm ? 1 : 2);
            put_u64(f, (uint64_t)columns_of(s, k));
            if (!k->norm) {
                put_u64(f, (uint64_t)rows_of(s, k));
            }
            put_u32(f, (uint32_t)stored);
            put_u64(f, (uint64_t)offset);
            offset += rows_of(s, k) * row_bytes(stored, columns_of(s, k));
            offset = (offset + GGUF_ALIGN - 1) / GGUF_ALIGN * GGUF_ALIGN;
        }
    }
    align(f);
    for (int32_t i = 0; i < N_KINDS; i++) {
        for (int32_t l = 0; l < (kinds[i].per_layer ? s->n_layers : 1); l++) {
            put_tensor(f, s, type, i, l);
            align(f);
        }
    }
    finish(f);
}

/* llama2.c's vocabulary: the longest piece, then score, length and bytes of each */
static void write_tokenizer(const char *dir, int32_t n_vocab)
{
    char text[16];
    FILE *f = create(dir, "tokenizer.bin");
    put_u32(f, 8);
    for (int32_t i = 0; i < n_vocab; i++) {
        const char *p = i == 259 ? " " : piece(i, text, sizeof text);
        float score = i < 259 ? 0.0f : -(float)i;
        put(f, &score, sizeof score);
        put_u32(f, (uint32_t)strlen(p));
        put(f, p, strlen(p));
    }
    finish(f);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: write_models DIR [15M|110M|tiny]\n");
        return 2;
    }
    write_tokenizer(argv[1], MAX_VOCAB);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        bool named = argc > 2 && strcmp(argv[2], shapes[i].name) == 0;
        bool by_default = argc == 2 && shapes[i].n_vocab == MAX_VOCAB;
        if (!named && !by_default) {
            continue;
        }
        write_bin(argv[1], &shapes[i]);
        write_gguf(argv[1], &shapes[i], "f32", TYPE_F32);
        write_gguf(argv[1], &shapes[i], "f16", TYPE_F16);
        write_gguf(argv[1], &shapes[i], "q8_0", TYPE_Q8_0);
        write_gguf(argv[1], &shapes[i], "q4_0", TYPE_Q4_0);
    }
    return 0;
}
