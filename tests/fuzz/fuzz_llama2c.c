/* fuzz_llama2c.c - the input is a llama2.c checkpoint. */
#include "tests/fuzz/fuzz.h"

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    kvass_error err;
    (void)fuzz_model(fuzz_file("model.bin", bytes, n_bytes), n_bytes % 2 == 1, &err);
}
