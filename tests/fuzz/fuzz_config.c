/* fuzz_config.c - the input is what lies beside the weights. Its first byte chooses those: 'l' a
 * small llama, 'g' a small gpt2, 'k' one of our own family, 'i' the llama in two shards, whose
 * index comes next, 'f' another family, as the byte after it says. Then config.json, then
 * generation_config.json. Bytes 0 part them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

/* a file of the source tree becomes the memory file `name` */
static void put_source(const char *name, const char *source)
{
    static char bytes[1 << 16];
    FILE *f = fopen(fuzz_source(source), "rb");
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (n == 0) {
        fuzz_fail("%s cannot be read", source);
    }
    (void)fclose(f);
    (void)fuzz_file(name, bytes, n);
}

/* what 'f' is followed by counts through these goldens */
static const char *const families[] = {
    "gemma",   "gemma2",   "gemma3_text",     "gemma3_text-new",
    "gpt_neo", "gpt_neox", "granite",         "mingpt",
    "mistral", "nanogpt",  "olmo2",           "opt",
    "phi",     "phi3",     "qwen2",           "qwen3",
    "smollm3", "stablelm", "stablelm-serial", "starcoder2",
};

static void put_sources(void)
{
    static bool done;
    if (!done) {
        put_source("l/model.safetensors", "tests/fuzz/tiny/llama/model.safetensors");
        put_source("k/model.safetensors", "tests/fuzz/tiny/kvass/model.safetensors");
        put_source("g/model.safetensors", "tests/fuzz/tiny/gpt2.safetensors");
        put_source("i/a.safetensors", "tests/fuzz/tiny/llama-a.safetensors");
        put_source("i/b.safetensors", "tests/fuzz/tiny/llama-b.safetensors");
        done = true;
    }
}

static void put_part(const char *folder, const char *file, fuzz_input *in)
{
    char name[64];
    size_t n;
    const uint8_t *part = fuzz_part(in, &n);
    (void)snprintf(name, sizeof name, "%s/%s", folder, file);
    if (n > 0) {
        (void)fuzz_file(name, part, n);
    } else {
        fuzz_no_file(name);
    }
}

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    fuzz_input in = {bytes, n_bytes, 0};
    kvass_error err;
    uint8_t kind = fuzz_byte(&in);
    const char *folder = kind == 'g' ? "g" : kind == 'k' ? "k" : kind == 'i' ? "i" : "l";
    put_sources();
    if (kind == 'f') {
        char source[128];
        size_t i = (size_t)fuzz_byte(&in) % (sizeof families / sizeof *families);
        (void)snprintf(source, sizeof source, "tests/golden/families/%s/model.safetensors",
                       families[i]);
        put_source("f/model.safetensors", source);
        folder = "f";
    }
    if (kind == 'i') {
        put_part(folder, "model.safetensors.index.json", &in);
    }
    put_part(folder, "config.json", &in);
    put_part(folder, "generation_config.json", &in);
    (void)fuzz_model(fuzz_folder(folder), false, &err);
}
