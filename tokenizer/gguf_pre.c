/* gguf_pre.c - gguf_pre.h: a name stands for a list of expressions, each of which cuts what the one
 * before left. What an expression does not match is a word by itself.
 */
#include "tokenizer/gguf_pre.h"

#include <stdio.h>
#include <string.h>

#include "tokenizer/splits.h"

#define PUNCTUATION "[\\p{P}\\$\\+<=>\\^~\\|]+"
#define HAN         "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+"

enum { MAX_CUTS = 5 };

/* One entry for each way; names[] are those that stand for it. */
static const struct {
    const char *names[12];
    const char *cuts[MAX_CUTS + 1];
    bool nfc, ignore_merges, add_bos;
} ways[] = {
    {{"default"}, {PUNCTUATION, SPLIT_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false, false},
    {{"gpt-2", "phi-2", "mpt", "olmo", "jina-v1-en", "roberta-bpe", "mellum", "trillion",
      "gigachat", "a.x-4.0", "granite-docling"},
     {SPLIT_GPT2},
     false,
     false,
     false},
    {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"},
     {SPLIT_LLAMA3},
     false,
     true,
     true},
    {{"dbrx", "smaug-bpe"}, {SPLIT_LLAMA3}, false, false, false},
    {{"qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan"},
     {SPLIT_QWEN2},
     true,
     false,
     false},
    {{"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"},
     {"\\p{N}", SPLIT_GPT2},
     false,
     false,
     false},
    {{"falcon"},
     {"[\\p{P}\\$\\+<=>\\^~\\|`]+", SPLIT_GPT2, "[0-9][0-9][0-9]"},
     false,
     false,
     false},
    {{"deepseek-coder"},
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN, "\\p{N}"},
     false,
     false,
     false},
    {{"gpt-4o", "llama4", "kanana2"}, {SPLIT_O200K}, false, false, false},
    {{"tekken"}, {SPLIT_TEKKEN}, false, true, true},
};

enum { N_WAYS = sizeof ways / sizeof *ways, N_NAMES = sizeof ways->names / sizeof *ways->names };

static kvass_status unknown(const char *name, size_t n_bytes, const char *path, kvass_error *err)
{
    char known[400] = "";
    size_t at = 0;
    for (size_t i = 0; i < N_WAYS && at < sizeof known; i++) {
        int n =
            snprintf(known + at, sizeof known - at, "%s%s", i > 0 ? ", " : "", ways[i].names[0]);
        at += n > 0 ? (size_t)n : 0;
    }
    return kvass_fail(err, KVASS_UNSUPPORTED, "PRE_TOKENIZER",
                      "%s: \"tokenizer.ggml.pre\": expected %s or the like, found \"%.*s\"", path,
                      known, (int)(n_bytes < 64 ? n_bytes : 64), name);
}

static kvass_status apply(kvass_tokenizer *tok, size_t way, const char *path, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    if (ways[way].nfc) {
        status = kvass_normalizer_add(&tok->norm, TOK_NFC, NULL, 0, NULL, 0, err);
    }
    for (const char *const *cut = ways[way].cuts; *cut && status == KVASS_OK; cut++) {
        kvass_regex *regex = NULL;
        status = kvass_regex_open(&regex, *cut, strlen(*cut), false, path, err);
        if (status == KVASS_OK) {
            tok_pre_step step = {.kind = TOK_PRE_SPLIT, .regex = regex, .behavior = TOK_ISOLATED};
            status = kvass_pretok_add(&tok->pre, step, err);
        }
    }
    return status;
}

kvass_status kvass_gguf_pre_apply(kvass_tokenizer *tok, const char *name, size_t n_bytes,
                                  const char *path, tok_gguf_pre *pre, kvass_error *err)
{
    for (size_t i = 0; i < N_WAYS; i++) {
        for (size_t j = 0; j < N_NAMES && ways[i].names[j]; j++) {
            if (n_bytes == strlen(ways[i].names[j]) &&
                memcmp(name, ways[i].names[j], n_bytes) == 0) {
                *pre = (tok_gguf_pre){ways[i].ignore_merges, ways[i].add_bos};
                return apply(tok, i, path, err);
            }
        }
    }
    return unknown(name, n_bytes, path, err);
}

const char *kvass_gguf_pre_name(size_t i)
{
    for (size_t way = 0; way < N_WAYS; way++) {
        for (size_t j = 0; j < N_NAMES && ways[way].names[j]; j++) {
            if (i-- == 0) {
                return ways[way].names[j];
            }
        }
    }
    return NULL;
}

/* Whether the steps of tok cut as a way does. */
static bool cuts_alike(const kvass_tokenizer *tok, size_t way)
{
    int32_t n = 0;
    for (; ways[way].cuts[n]; n++) {
        size_t n_pattern;
        bool literal;
        const tok_pre_step *step = &tok->pre.steps[n];
        if (n >= tok->pre.n_steps || step->kind != TOK_PRE_SPLIT || !step->regex || step->invert ||
            step->behavior != TOK_ISOLATED) {
            return false;
        }
        const char *pattern = kvass_regex_pattern(step->regex, &n_pattern, &literal);
        if (literal || n_pattern != strlen(ways[way].cuts[n]) ||
            memcmp(pattern, ways[way].cuts[n], n_pattern) != 0) {
            return false;
        }
    }
    return n == tok->pre.n_steps;
}

const char *kvass_gguf_pre_find(const kvass_tokenizer *tok, bool ignore_merges, bool *nfc_lost)
{
    const char *found = NULL;
    bool nfc = tok->norm.n_steps == 1 && tok->norm.steps[0].kind == TOK_NFC;
    if (tok->norm.n_steps > (nfc ? 1 : 0)) {
        return NULL;
    }
    *nfc_lost = false;
    for (size_t i = 0; i < N_WAYS; i++) {
        bool alike = ways[i].ignore_merges == ignore_merges && cuts_alike(tok, i);
        if (alike && ways[i].nfc == nfc) {
            *nfc_lost = false;
            return ways[i].names[0];
        }
        if (alike && nfc && !found) {
            *nfc_lost = true;
            found = ways[i].names[0];
        }
    }
    return found;
}
