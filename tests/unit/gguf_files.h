/* gguf_files.h - GGUF files for tests, spelled in words parted by spaces; '~' in a text is a space.
 *
 *   G3              "GGUF", version 3, two counts that are filled in when the file is written
 *   KEY=u:5         a value: u u32, U u64, i i32, f f32, b bool, s string
 *   KEY=[s:a,b,c    an array of them; KEY=[s: is one without elements
 *   %NAME:TYPE:4,2  a tensor of type TYPE (a number), 4 fastest; its offset follows the one before
 *   D               pad, then the data of all tensors: f32 as value_of() says, else small numbers
 *   C5,7            instead of the counts filled in: 5 tensors, 7 values
 *   u8:1 u32:5 u64:5 s:TEXT raw:TEXT z:9   numbers, a string with its length, bytes, zeros
 */
#ifndef KVASS_TESTS_GGUF_FILES_H
#define KVASS_TESTS_GGUF_FILES_H

#include "engine/base/gguf.h"
#include "tests/unit/model_files.h"

enum { GGUF_WORD = 512, GGUF_ALIGNMENT = 32 };

typedef struct gguf_out {
    unsigned char *bytes;
    size_t n, cap;
    uint64_t n_tensors, n_values, offset;
    bool has_counts; /* behind the version, */
    bool has_claims; /* which are those that C gave */
    uint64_t claims[2];
    struct {
        char name[64];
        uint32_t type;
        size_t n, offset; /* elements */
    } tensors[64];
    size_t data_at;
    /* element i of a tensor; NULL: value_of */
    float (*value)(const char *name, size_t i);
} gguf_out;

static inline void gguf_put(gguf_out *o, const void *bytes, size_t n)
{
    while (o->n + n > o->cap) {
        o->cap = 2 * o->cap + 4096;
        o->bytes = realloc(o->bytes, o->cap);
        assert_non_null(o->bytes);
    }
    if (n > 0) {
        memcpy(o->bytes + o->n, bytes, n);
    }
    o->n += n;
}

static inline void gguf_put_int(gguf_out *o, uint64_t value, size_t n)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (unsigned char)(value >> 8 * i);
    }
    gguf_put(o, bytes, n);
}

static inline void gguf_put_string(gguf_out *o, const char *text, size_t n)
{
    gguf_put_int(o, n, 8);
    size_t at = o->n;
    gguf_put(o, text, n);
    for (; at < o->n; at++) {
        o->bytes[at] = o->bytes[at] == '~' ? ' ' : o->bytes[at];
    }
}

static inline void gguf_put_scalar(gguf_out *o, char kind, const char *text, size_t n)
{
    char number[64];
    (void)snprintf(number, sizeof number, "%.*s", (int)(n < 63 ? n : 63), text);
    float f = strtof(number, NULL);
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    switch (kind) {
    case 's':
        gguf_put_string(o, text, n);
        break;
    case 'f':
        gguf_put_int(o, bits, 4);
        break;
    case 'b':
        gguf_put_int(o, strtoull(number, NULL, 0), 1);
        break;
    case 'U':
        gguf_put_int(o, strtoull(number, NULL, 0), 8);
        break;
    default:
        gguf_put_int(o, (uint64_t)strtoll(number, NULL, 0), 4);
        break;
    }
}

static inline uint32_t gguf_kind_of(char kind)
{
    static const char letters[] = "uifbsU";
    static const kvass_gguf_kind kinds[] = {KVASS_GGUF_U32,  KVASS_GGUF_I32,    KVASS_GGUF_F32,
                                            KVASS_GGUF_BOOL, KVASS_GGUF_STRING, KVASS_GGUF_U64};
    const char *at = strchr(letters, kind);
    assert_non_null(at);
    return (uint32_t)kinds[at - letters];
}

/* KEY=u:5 or KEY=[u:5,6 */
static inline void gguf_put_value(gguf_out *o, const char *key, size_t n_key, const char *text)
{
    bool array = text[0] == '[';
    char kind = text[array];
    const char *rest = text + array + 2;
    gguf_put_string(o, key, n_key);
    o->n_values++;
    if (!array) {
        gguf_put_int(o, gguf_kind_of(kind), 4);
        gguf_put_scalar(o, kind, rest, strlen(rest));
        return;
    }
    uint64_t n = 0;
    gguf_put_int(o, KVASS_GGUF_ARRAY, 4);
    gguf_put_int(o, gguf_kind_of(kind), 4);
    size_t count_at = o->n;
    gguf_put_int(o, 0, 8);
    for (size_t size; *rest; rest += size + (rest[size] == ','), n++) {
        size = strcspn(rest, ",");
        gguf_put_scalar(o, kind, rest, size);
    }
    o->bytes[count_at] = (unsigned char)n;
    o->bytes[count_at + 1] = (unsigned char)(n >> 8);
}

/* %NAME:TYPE:4,2 */
static inline void gguf_put_tensor(gguf_out *o, const char *text)
{
    const char *colon = strchr(text, ':');
    char *rest;
    assert_non_null(colon);
    size_t n = 1, i = (size_t)o->n_tensors++;
    uint32_t n_dims = 0;
    uint64_t dims[8];
    (void)snprintf(o->tensors[i].name, sizeof o->tensors[i].name, "%.*s", (int)(colon - text),
                   text);
    o->tensors[i].type = (uint32_t)strtoul(colon + 1, &rest, 10);
    for (; *rest && n_dims < 8; n_dims++) {
        dims[n_dims] = strtoull(rest + 1, &rest, 0);
        n *= (size_t)dims[n_dims];
    }
    gguf_put_string(o, text, (size_t)(colon - text));
    gguf_put_int(o, n_dims, 4);
    for (uint32_t d = 0; d < n_dims; d++) {
        gguf_put_int(o, dims[d], 8);
    }
    const kvass_gguf_type *type = kvass_gguf_type_get(o->tensors[i].type);
    size_t n_bytes = type ? n / (size_t)type->n_block * (size_t)type->block_bytes : 0;
    gguf_put_int(o, o->tensors[i].type, 4);
    gguf_put_int(o, o->offset, 8);
    o->tensors[i].n = n;
    o->tensors[i].offset = (size_t)o->offset;
    o->offset += (n_bytes + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
}

static inline void gguf_put_data(gguf_out *o)
{
    static const unsigned char zeros[GGUF_ALIGNMENT];
    gguf_put(o, zeros, (GGUF_ALIGNMENT - o->n % GGUF_ALIGNMENT) % GGUF_ALIGNMENT);
    o->data_at = o->n;
    for (size_t t = 0; t < o->n_tensors; t++) {
        const kvass_gguf_type *type = kvass_gguf_type_get(o->tensors[t].type);
        size_t n = o->tensors[t].n;
        for (size_t i = 0; i < n && type->dtype == KVASS_DTYPE_F32; i++) {
            float v = (o->value ? o->value : value_of)(o->tensors[t].name, i);
            gguf_put(o, &v, sizeof v);
        }
        size_t n_bytes = n / (size_t)type->n_block * (size_t)type->block_bytes;
        for (size_t i = 0; i < n_bytes && type->dtype != KVASS_DTYPE_F32; i++) {
            gguf_put_int(o, i * 7 % 64, 1); /* any half of such bytes is a small number */
        }
        gguf_put(o, zeros, (GGUF_ALIGNMENT - o->n % GGUF_ALIGNMENT) % GGUF_ALIGNMENT);
    }
}

static inline void gguf_put_word(gguf_out *o, const char *word)
{
    static const unsigned char zeros[256];
    const char *equals = strchr(word, '='), *colon = strchr(word, ':');
    char *rest;
    if (word[0] == 'G') {
        gguf_put(o, "GGUF", 4);
        gguf_put_int(o, strtoull(word + 1, NULL, 0), 4);
        gguf_put(o, zeros, 16);
        o->has_counts = true;
    } else if (word[0] == 'C' && colon == NULL && equals == NULL) {
        o->has_claims = true;
        o->claims[0] = strtoull(word + 1, &rest, 0);
        o->claims[1] = strtoull(rest + 1, NULL, 0);
    } else if (strcmp(word, "D") == 0) {
        gguf_put_data(o);
    } else if (word[0] == '%') {
        gguf_put_tensor(o, word + 1);
    } else if (equals && (!colon || equals < colon)) {
        gguf_put_value(o, word, (size_t)(equals - word), equals + 1);
    } else if (strncmp(word, "s:", 2) == 0) {
        gguf_put_string(o, word + 2, strlen(word + 2));
    } else if (strncmp(word, "raw:", 4) == 0) {
        gguf_put(o, word + 4, strlen(word + 4));
    } else if (strncmp(word, "z:", 2) == 0) {
        gguf_put(o, zeros, strtoul(word + 2, NULL, 10));
    } else if (word[0] == 'u' && colon) {
        gguf_put_int(o, strtoull(colon + 1, NULL, 0), strtoul(word + 1, NULL, 10) / 8);
    } else {
        fail_msg("the word \"%s\" says nothing", word);
    }
}

static inline void gguf_spell(gguf_out *o, const char *words)
{
    char word[GGUF_WORD];
    while (*words) {
        size_t n = strcspn(words, " ");
        assert_true(n < sizeof word);
        memcpy(word, words, n);
        word[n] = '\0';
        if (n > 0) {
            gguf_put_word(o, word);
        }
        words += n + (words[n] == ' ');
    }
}

/* Fill in the counts, write the file, forget everything. */
static inline void gguf_write(gguf_out *o, const char *path)
{
    for (size_t i = 0; o->has_counts && i < 8; i++) {
        o->bytes[8 + i] = (unsigned char)((o->has_claims ? o->claims[0] : o->n_tensors) >> 8 * i);
        o->bytes[16 + i] = (unsigned char)((o->has_claims ? o->claims[1] : o->n_values) >> 8 * i);
    }
    unit_write(path, o->bytes ? (const char *)o->bytes : "", o->n);
    free(o->bytes);
    memset(o, 0, sizeof *o);
}

static inline const char *gguf_file(const folder *f, const char *words)
{
    gguf_out o = {0};
    gguf_spell(&o, words);
    gguf_write(&o, in_folder(f, "m.gguf"));
    return in_folder(f, "m.gguf");
}

/* ---- a tiny llama: model_files.h's ----------------------------------------------------------- */

#define GGUF_LLAMA_KEYS                                                                            \
    "G3 general.architecture=s:llama llama.block_count=u:2 llama.context_length=u:16 "             \
    "llama.embedding_length=u:8 llama.feed_forward_length=u:6 llama.attention.head_count=u:2 "     \
    "llama.attention.head_count_kv=u:1 llama.attention.layer_norm_rms_epsilon=f:1e-5 "             \
    "tokenizer.ggml.bos_token_id=u:1 tokenizer.ggml.eos_token_id=u:2 "

#define GGUF_LLAMA_LAYER(l)                                                                        \
    "%blk." l ".attn_norm.weight:0:8 %blk." l ".ffn_norm.weight:0:8 %blk." l                       \
    ".attn_q.weight:0:8,8 %blk." l ".attn_k.weight:0:8,4 %blk." l ".attn_v.weight:0:8,4 %blk." l   \
    ".attn_output.weight:0:8,8 %blk." l ".ffn_gate.weight:0:8,6 %blk." l                           \
    ".ffn_up.weight:0:8,6 %blk." l ".ffn_down.weight:0:6,8 "

#define GGUF_LLAMA_REST GGUF_LLAMA_LAYER("0") GGUF_LLAMA_LAYER("1") "%output_norm.weight:0:8 "

#define GGUF_LLAMA_TENSORS "%token_embd.weight:0:8,5 " GGUF_LLAMA_REST

#endif
