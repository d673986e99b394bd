/* fuzz_gguf.c - the input is a GGUF file: opened as a checkpoint, and as a tokenizer that has to
 * encode a few texts and to stream all its ids.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { MAX_IDS = 2000 };

static void use(const kvass_tokenizer *tok)
{
    static const char *const texts[] = {"", "Once the  end's 012\n\n<|end|><s>",
                                        "e\xcc\x81 \xe2\x82\xac \xff\xfe \xe2\x96\x81 <0x0A>",
                                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"};
    kvass_tokenizer_info info;
    size_t n, n_bytes;
    kvass_tokenizer_get_info(tok, &info);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        kvass_encode_options opt = kvass_encode_options_default();
        opt.add_special = opt.parse_special = i % 2 == 1;
        free(fuzz_encode(tok, (const uint8_t *)texts[i], strlen(texts[i]), &opt, &n));
    }
    int32_t ids[MAX_IDS], n_ids = info.n_vocab < MAX_IDS ? info.n_vocab : MAX_IDS;
    for (int32_t id = 0; id < n_ids; id++) {
        ids[id] = id;
    }
    free(fuzz_stream(tok, ids, (size_t)n_ids, &n_bytes));
}

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    kvass_error err = {0};
    kvass_tokenizer *tok;
    const char *path = fuzz_file("model.gguf", bytes, n_bytes);
    (void)fuzz_model(path, n_bytes % 2 == 1, &err);
    kvass_status status = kvass_tokenizer_open(&tok, path, 0, &err);
    fuzz_check_refusal(status, &err);
    if (status == KVASS_OK) {
        use(tok);
        kvass_tokenizer_close(&tok);
    }
}
