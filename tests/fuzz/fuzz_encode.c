/* fuzz_encode.c - the input is a text; its first byte chooses one of a few fixed tokenizers and the
 * options. Where a tokenizer spells every byte and changes none, decoding must give the text back.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static const struct {
    const char *path;
    bool exact; /* decoding gives back the bytes */
} sources[] = {
    {"tests/fault/tokenizers/tokenizer.bin", true},
    {"tests/fault/tokenizers/json", false},
    {"tests/fault/tokenizers/sentence", false},
    {"tests/fuzz/tiny/bytes", true},
};

enum { N_SOURCES = sizeof sources / sizeof *sources };

static const kvass_tokenizer *tokenizer(size_t i)
{
    static kvass_tokenizer *open[N_SOURCES];
    kvass_error err;
    if (!open[i] && kvass_tokenizer_open(&open[i], fuzz_source(sources[i].path), 0, &err)) {
        fuzz_fail("%s", err.message);
    }
    return open[i];
}

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    fuzz_input in = {bytes, n_bytes, 0};
    uint8_t choice = fuzz_byte(&in);
    const uint8_t *text = in.bytes + in.at;
    size_t n_text = in.n_bytes - in.at, which = choice % N_SOURCES, n_ids, n_back;
    const kvass_tokenizer *tok = tokenizer(which);
    kvass_encode_options opt = kvass_encode_options_default();
    opt.parse_special = choice & 16;
    opt.strict_utf8 = choice & 32;
    int32_t *ids = fuzz_encode(tok, text, n_text, &opt, &n_ids);
    if (ids) {
        char *back = fuzz_stream(tok, ids, n_ids, &n_back);
        if (sources[which].exact && !opt.parse_special &&
            (n_back != n_text || (n_text > 0 && memcmp(back, text, n_text) != 0))) {
            fuzz_fail("%zu bytes of text, %zu others came back", n_text, n_back);
        }
        free(back);
    }
    free(ids);
}
