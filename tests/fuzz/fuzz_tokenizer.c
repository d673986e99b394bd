/* fuzz_tokenizer.c - the input is a tokenizer. Built four times: TOKENIZER_BIN a tokenizer.bin;
 * SENTENCEPIECE a tokenizer.model; TOKENIZER_JSON a tokenizer.json, then tokenizer_config.json;
 * VOCAB_MERGES a vocab.json, then merges.txt, then tokenizer_config.json. Bytes 0 part the files.
 * What is accepted has to encode a few texts and to stream all its ids.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { MAX_IDS = 2000 };

static void put_part(const char *name, fuzz_input *in)
{
    size_t n;
    const uint8_t *part = fuzz_part(in, &n);
    if (n > 0) {
        (void)fuzz_file(name, part, n);
    } else {
        fuzz_no_file(name);
    }
}

static void use(const kvass_tokenizer *tok)
{
    static const char *const texts[] = {
        "",
        "Once the and  all 's 0123\n\n <|end|><s>\t.",
        "e\xcc\x81 \xc3\xa9 \xe2\x82\xac \xff\xfe \xed\xa0\x80 \xf0\x9f\x98\x80",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
    };
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
    fuzz_input in = {bytes, n_bytes, 0};
    const char *path;
#if defined(TOKENIZER_BIN)
    path = fuzz_file("tokenizer.bin", in.bytes, in.n_bytes);
#elif defined(SENTENCEPIECE)
    path = fuzz_file("tokenizer.model", in.bytes, in.n_bytes);
#elif defined(TOKENIZER_JSON)
    put_part("json/tokenizer.json", &in);
    put_part("json/tokenizer_config.json", &in);
    path = fuzz_folder("json");
#else
    put_part("pair/vocab.json", &in);
    put_part("pair/merges.txt", &in);
    put_part("pair/tokenizer_config.json", &in);
    path = fuzz_folder("pair");
#endif
    kvass_error err = {0};
    kvass_tokenizer *tok;
    kvass_status status = kvass_tokenizer_open(&tok, path, 0, &err);
    fuzz_check_refusal(status, &err);
    if (status == KVASS_OK) {
        use(tok);
        kvass_tokenizer_close(&tok);
    }
#if defined(TOKENIZER_BIN) || defined(SENTENCEPIECE)
    (void)put_part;
#endif
}
