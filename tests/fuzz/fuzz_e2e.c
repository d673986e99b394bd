/* fuzz_e2e.c - the input is a header; the weights it asks for are made up, so that most inputs come
 * to run. First byte 'b': the header of a llama2.c checkpoint, whose size the refusal of a file
 * without weights tells. Else: config.json, a byte 0, the header of a safetensors file.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { MAX_BYTES = 1 << 17 };

/* n small floats of every sign */
static void make_up(unsigned char *to, size_t n_bytes)
{
    uint32_t state = 1;
    for (size_t i = 0; i + sizeof(float) <= n_bytes; i += sizeof(float)) {
        state = state * 1664525u + 1013904223u;
        float value = (float)(int32_t)(state >> 8) / (float)(1 << 24) - 0.5f;
        memcpy(to + i, &value, sizeof value);
    }
}

/* `text` holds "exactly N bytes": N, or 0 */
static size_t expected_size(const char *text)
{
    const char *at = strstr(text, "exactly ");
    return at ? (size_t)strtoull(at + strlen("exactly "), NULL, 10) : 0;
}

static void run_llama2c(const uint8_t *header, size_t n_header)
{
    static unsigned char file[MAX_BYTES];
    kvass_error err = {0};
    if (fuzz_model(fuzz_file("model.bin", header, n_header), false, &err) == KVASS_OK) {
        return;
    }
    size_t size = strcmp(err.rule, "LLAMA2C_SIZE") == 0 ? expected_size(err.message) : 0;
    if (size < n_header || size > sizeof file) {
        return;
    }
    make_up(file, size);
    memcpy(file, header, n_header);
    (void)fuzz_model(fuzz_file("model.bin", file, size), false, &err);
}

/* the largest end of data_offsets in header[n] */
static size_t data_size(const uint8_t *header, size_t n)
{
    static const char key[] = "data_offsets";
    size_t most = 0;
    const uint8_t *at = header, *end = header + n;
    while ((at = memmem(at, (size_t)(end - at), key, sizeof key - 1)) != NULL) {
        at += sizeof key - 1;
        while (at < end && *at != ',') {
            at++;
        }
        size_t value = 0;
        for (at += at < end; at < end && (isdigit(*at) || *at == ' ') && value < MAX_BYTES; at++) {
            value = isdigit(*at) ? value * 10 + (size_t)(*at - '0') : value;
        }
        most = value > most ? value : most;
    }
    return most;
}

static void run_safetensors(fuzz_input *in)
{
    static unsigned char file[2 * MAX_BYTES];
    kvass_error err = {0};
    size_t n_config;
    const uint8_t *config = fuzz_part(in, &n_config);
    const uint8_t *header = in->bytes + in->at;
    size_t n_header = in->n_bytes - in->at, n_data = data_size(header, n_header);
    if (n_header + n_data + 8 > sizeof file) {
        return;
    }
    for (int i = 0; i < 8; i++) {
        file[i] = (unsigned char)(i < 4 ? n_header >> 8 * i : 0);
    }
    memcpy(file + 8, header, n_header);
    make_up(file + 8 + n_header, n_data);
    (void)fuzz_file("hf/config.json", config, n_config);
    (void)fuzz_file("hf/model.safetensors", file, 8 + n_header + n_data);
    (void)fuzz_model(fuzz_folder("hf"), false, &err);
}

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    fuzz_input in = {bytes, n_bytes, 0};
    if (fuzz_byte(&in) == 'b') {
        run_llama2c(in.bytes + in.at, in.n_bytes - in.at);
    } else {
        run_safetensors(&in);
    }
}
