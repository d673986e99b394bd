/* fuzz_torch.c - the input is a pickle, put into an archive beside two storages, if it does not
 * begin as an archive itself; config.json beside it is a small llama's.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":16,"
    "\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
    "\"hidden_act\":\"silu\",\"tie_word_embeddings\":true}";

enum { N_STORAGE = 512, N_HEADERS = 1024 };

typedef struct archive {
    unsigned char *bytes;
    size_t n, n_central, n_entries;
    unsigned char central[N_HEADERS];
} archive;

static void number(unsigned char **at, size_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *(*at)++ = (unsigned char)(value >> (8 * i));
    }
}

/* name, sizes and place of an entry after `at`; the check sum is left 0 */
static unsigned char *header(unsigned char *at, size_t n, size_t n_name)
{
    memset(at, 0, 14);
    at[0] = 20;
    at += 14;
    number(&at, n, 4);
    number(&at, n, 4);
    number(&at, n_name, 2);
    number(&at, 0, 2);
    return at;
}

static void add(archive *a, const char *name, const void *bytes, size_t n)
{
    size_t n_name = strlen(name), place = a->n;
    unsigned char *at = a->bytes + a->n;
    memcpy(at, "PK\3\4", 4);
    at = header(at + 4, n, n_name);
    memcpy(at, name, n_name);
    memcpy(at + n_name, bytes, n);
    a->n = (size_t)(at + n_name + n - a->bytes);
    at = a->central + a->n_central;
    memcpy(at, "PK\1\2\24\0", 6);
    at = header(at + 6, n, n_name);
    number(&at, 0, 10);
    number(&at, place, 4);
    memcpy(at, name, n_name);
    a->n_central = (size_t)(at + n_name - a->central);
    a->n_entries++;
}

static void finish(archive *a)
{
    unsigned char *at = a->bytes + a->n;
    memcpy(at, a->central, a->n_central);
    at += a->n_central;
    memcpy(at, "PK\5\6\0\0\0\0", 8);
    at += 8;
    number(&at, a->n_entries, 2);
    number(&at, a->n_entries, 2);
    number(&at, a->n_central, 4);
    number(&at, a->n, 4);
    number(&at, 0, 2);
    a->n = (size_t)(at - a->bytes);
}

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    static const unsigned char zeros[N_STORAGE];
    kvass_error err;
    (void)fuzz_file("hf/config.json", config, strlen(config));
    if (n_bytes >= 2 && memcmp(bytes, "PK", 2) == 0) {
        (void)fuzz_file("hf/pytorch_model.bin", bytes, n_bytes);
    } else {
        archive a = {.bytes = malloc(n_bytes + 2 * N_STORAGE + 2 * N_HEADERS)};
        if (!a.bytes) {
            fuzz_fail("out of memory");
        }
        add(&a, "a/data.pkl", bytes, n_bytes);
        add(&a, "a/data/0", zeros, N_STORAGE);
        add(&a, "a/data/1", zeros, 16);
        finish(&a);
        (void)fuzz_file("hf/pytorch_model.bin", a.bytes, a.n);
        free(a.bytes);
    }
    (void)fuzz_model(fuzz_folder("hf"), n_bytes % 2 == 1, &err);
}
