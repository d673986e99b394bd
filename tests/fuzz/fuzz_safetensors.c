/* fuzz_safetensors.c - the input is model.safetensors; config.json beside it is a small llama's. */
#include <string.h>

#include "tests/fuzz/fuzz.h"

static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"vocab_size\":16,"
    "\"max_position_embeddings\":128,\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,"
    "\"hidden_act\":\"silu\",\"tie_word_embeddings\":true}";

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    kvass_error err;
    (void)fuzz_file("hf/config.json", config, strlen(config));
    (void)fuzz_file("hf/model.safetensors", bytes, n_bytes);
    (void)fuzz_model(fuzz_folder("hf"), n_bytes % 2 == 1, &err);
}
