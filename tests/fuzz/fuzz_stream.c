/* fuzz_stream.c - the input is a list of ids, two bytes each; its first byte chooses the tokenizer.
 * What comes out must be the ids' pieces, and an id outside the vocabulary must be refused.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static const char *const sources[] = {
    "tests/fault/tokenizers/tokenizer.bin",
    "tests/fault/tokenizers/json",
    "tests/fuzz/tiny/bytes",
};

enum { N_SOURCES = sizeof sources / sizeof *sources, MAX_IDS = 4096 };

static const kvass_tokenizer *tokenizer(size_t i)
{
    static kvass_tokenizer *open[N_SOURCES];
    kvass_error err;
    if (!open[i] && kvass_tokenizer_open(&open[i], fuzz_source(sources[i]), 0, &err)) {
        fuzz_fail("%s", err.message);
    }
    return open[i];
}

/* The text must be the pieces one after the other, but for one space at its beginning and after
 * each token that begins a text. */
static void check_text(const kvass_tokenizer *tok, const int32_t *ids, size_t n_ids,
                       const char *text, size_t n_text)
{
    kvass_tokenizer_info info;
    size_t at = 0, n_all = 0, n;
    bool beginning = true;
    kvass_tokenizer_get_info(tok, &info);
    for (size_t i = 0; i < n_ids; i++) {
        (void)kvass_tokenizer_piece(tok, ids[i], &n);
        n_all += n;
    }
    size_t n_dropped = n_all - n_text;
    for (size_t i = 0; i < n_ids; i++) {
        const char *piece = kvass_tokenizer_piece(tok, ids[i], &n);
        bool special = kvass_tokenizer_is_special(tok, ids[i]);
        if (beginning && !special && n_dropped > 0 && n > 0 && piece[0] == ' ') {
            piece++, n--, n_dropped--;
        }
        beginning = special ? beginning || ids[i] == info.bos : false;
        if (n > n_text - at || (n > 0 && memcmp(text + at, piece, n) != 0)) {
            fuzz_fail("other bytes at %zu of %zu", at, n_text);
        }
        at += n;
    }
    if (at != n_text || n_dropped > 0) {
        fuzz_fail("%zu bytes of %zu", at, n_text);
    }
}

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    fuzz_input in = {bytes, n_bytes, 0};
    const kvass_tokenizer *tok = tokenizer(fuzz_byte(&in) % N_SOURCES);
    kvass_tokenizer_info info;
    int32_t ids[MAX_IDS];
    size_t n_ids = 0, n_text;
    kvass_tokenizer_get_info(tok, &info);
    while (in.n_bytes - in.at >= 2 && n_ids < MAX_IDS) {
        int32_t id = fuzz_byte(&in);
        id = id << 8 | fuzz_byte(&in);
        ids[n_ids++] = id % info.n_vocab;
    }
    char *text = fuzz_stream(tok, ids, n_ids, &n_text);
    check_text(tok, ids, n_ids, text, n_text);
    free(text);

    kvass_stream *stream;
    const char *out = NULL;
    if (kvass_stream_open(&stream, tok, false, NULL) != KVASS_OK) {
        fuzz_fail("no stream");
    }
    const int32_t wrong[] = {-1, info.n_vocab, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 4; i++) {
        if (kvass_stream_put(stream, wrong[i], &out, &n_text, NULL) != KVASS_INVALID) {
            fuzz_fail("id %d was taken", wrong[i]);
        }
    }
    kvass_stream_close(&stream);
}
