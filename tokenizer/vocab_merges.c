/* vocab_merges.c - the reader of vocab.json with merges.txt beside it, GPT-2's older pair of files.
 * They say nothing about the stages around the model. Those follow from tokenizer_config.json, if
 * there is one: from its tokenizer_class, or from the keys "normalizer", "pre_tokenizer" and
 * "ignore_merges", which mean there what they mean in tokenizer.json. Without it they are GPT-2's.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "tokenizer/build.h"

#define MAX_MERGES_BYTES ((size_t)256 << 20)

/* a JSON object with integers in it */
static bool fits(const tok_source *source)
{
    void *it = kvass_json_iter(source->json);
    return it && kvass_json_get_kind(kvass_json_iter_value(it)) == KVASS_JSON_INT;
}

/* ---- stages ---------------------------------------------------------------------------------- */

#define BYTES_ONLY "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"

static const char gpt2_stages[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}}";

static const char qwen2_stages[] =
    "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":"
    "["
    "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
    "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|"
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}}"
    "," BYTES_ONLY "]}}";

static const struct {
    const char *class, *stages;
} classes[] = {
    {"GPT2Tokenizer", gpt2_stages},        {"GPT2TokenizerFast", gpt2_stages},
    {"GPTNeoXTokenizerFast", gpt2_stages}, {"CodeGenTokenizer", gpt2_stages},
    {"CodeGenTokenizerFast", gpt2_stages}, {"Qwen2Tokenizer", qwen2_stages},
    {"Qwen2TokenizerFast", qwen2_stages},
};

/* The stages' description: the configuration itself, or the text for its class. */
static kvass_status find_stages(const kvass_json *config, const char *path, const char **text,
                                kvass_error *err)
{
    *text = NULL;
    if (kvass_json_get(config, "pre_tokenizer")) {
        return KVASS_OK;
    }
    const char *class = kvass_json_as_string(kvass_json_get(config, "tokenizer_class"), NULL);
    if (!class) {
        *text = gpt2_stages;
        return KVASS_OK;
    }
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strcmp(class, classes[i].class) == 0) {
            *text = classes[i].stages;
            return KVASS_OK;
        }
    }
    return kvass_fail(
        err, KVASS_UNSUPPORTED, "TOKENIZER_CLASS",
        "%s: tokenizer_config.json beside it says tokenizer_class \"%.100s\", which is "
        "not supported with vocab.json (a tokenizer.json would say what it does)",
        path, class);
}

static kvass_status read_stages(tok_build *b, const kvass_json *config, kvass_error *err)
{
    const char *text;
    kvass_json *own = NULL;
    bool add_prefix_space = false, byte_level = false;
    kvass_status status = find_stages(config, b->path, &text, err);
    if (status == KVASS_OK && text) {
        status = kvass_json_parse(&own, text, strlen(text), b->path, err);
    }
    const kvass_json *stages = text ? own : config;
    if (status == KVASS_OK) {
        status = kvass_key_bool(config, "add_prefix_space", &add_prefix_space, b->path, err);
    }
    if (status == KVASS_OK && add_prefix_space) {
        status = kvass_pretok_add(&b->tok->pre, (tok_pre_step){.kind = TOK_PRE_SPACE}, err);
    }
    if (status == KVASS_OK) {
        status = kvass_pipeline_normalizer(&b->tok->norm, kvass_json_get(stages, "normalizer"),
                                           b->path, err);
    }
    if (status == KVASS_OK) {
        status = kvass_pipeline_pretok(&b->tok->pre, kvass_json_get(stages, "pre_tokenizer"),
                                       b->path, &byte_level, err);
    }
    if (status == KVASS_OK && !byte_level) {
        status = kvass_fail(err, KVASS_UNSUPPORTED, "PRE_TOKENIZER",
                            "%s: vocab.json without a \"ByteLevel\" pre-tokenizer is not supported",
                            b->path);
    }
    b->decoding.byte_level = true;
    kvass_json_close(&own);
    return status;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Added tokens: {"50256": {"content": ...}, ...} in the configuration, or "<|endoftext|>". */
static kvass_status list_added(const kvass_json *config, const kvass_json *vocab,
                               const kvass_json *endoftext, const char *path, tok_entry **entries,
                               size_t *n, kvass_error *err)
{
    const kvass_json *object = kvass_json_get(config, "added_tokens_decoder");
    *n = 0;
    *entries = calloc(kvass_json_size(object) + 1, sizeof **entries);
    if (!*entries) {
        return kvass_fail_nomem(err, kvass_json_size(object), "added tokens");
    }
    if (!object) {
        if (kvass_json_as_int(kvass_json_get(vocab, "<|endoftext|>"), &(*entries)[0].id)) {
            (*entries)[0].fields = endoftext;
            *n = 1;
        }
        return KVASS_OK;
    }
    for (void *it = kvass_json_iter(object); it; it = kvass_json_next(object, it)) {
        const char *key = kvass_json_iter_key(it);
        size_t n_digits = strspn(key, "0123456789");
        if (n_digits == 0 || n_digits > 9 || key[n_digits] != '\0') {
            return kvass_fail(err, KVASS_FORMAT, "ADDED_TOKEN",
                              "%s: added_tokens_decoder beside it: \"%.40s\" is no token id", path,
                              key);
        }
        (*entries)[*n].id = strtol(key, NULL, 10);
        (*entries)[(*n)++].fields = kvass_json_iter_value(it);
    }
    return KVASS_OK;
}

/* One merge a line, in order of rank; a line "#version..." is none. */
static kvass_status read_merges(tok_build *b, const char *text, size_t n, kvass_error *err)
{
    size_t n_lines = 0, number = 0;
    for (const char *p = text; p && p < text + n; n_lines++) {
        p = memchr(p, '\n', (size_t)(text + n - p));
        p = p ? p + 1 : NULL;
    }
    tok_bpe *bpe = NULL;
    kvass_status status = kvass_build_bpe(b, n_lines, &bpe, err);
    for (size_t at = 0, end; status == KVASS_OK && at < n; at = end + 1) {
        const char *newline = memchr(text + at, '\n', n - at);
        end = newline ? (size_t)(newline - text) : n;
        size_t length = end - at;
        length -= length > 0 && text[end - 1] == '\r';
        if (length >= 8 && memcmp(text + at, "#version", 8) == 0) {
            continue;
        }
        status = kvass_build_merge_line(b, bpe, number++, text + at, length, err);
    }
    return status;
}

static kvass_status read_merges_file(tok_build *b, const char *path, kvass_error *err)
{
    char *text, *merges = kvass_path_beside(path, "merges.txt");
    size_t n;
    if (!merges) {
        return kvass_fail_nomem(err, strlen(path), "a path");
    }
    kvass_status status = kvass_file_slurp(merges, MAX_MERGES_BYTES, &text, &n, err);
    if (status == KVASS_OK) {
        b->path = merges;
        status = read_merges(b, text, n, err);
        b->path = path;
        free(text);
    }
    free(merges);
    return status;
}

/* ---- the reader ------------------------------------------------------------------------------ */

static kvass_status fill(tok_build *b, const tok_source *source, const kvass_json *config,
                         const kvass_json *endoftext, kvass_error *err)
{
    kvass_tokenizer *tok = b->tok;
    tok_entry *entries = NULL;
    size_t n_entries;
    kvass_status status = read_stages(b, config, err);
    if (status == KVASS_OK) {
        status = list_added(config, source->json, endoftext, b->path, &entries, &n_entries, err);
    }
    if (status == KVASS_OK) {
        status = kvass_build_vocab(b, source->json, entries, n_entries, err);
    }
    free(entries);
    if (status == KVASS_OK) {
        status = read_merges_file(b, source->path, err);
    }
    if (status == KVASS_OK) {
        tok_bpe *bpe = tok->model;
        status = kvass_key_bool(config, "ignore_merges", &bpe->ignore_merges, b->path, err);
    }
    if (status == KVASS_OK) {
        tok->bos = tok->eos = kvass_tokenizer_find(tok, "<|endoftext|>", 13);
        status = kvass_config_apply(tok, config, err);
    }
    return status;
}

static kvass_status read_pair(kvass_tokenizer *tok, const tok_source *source, kvass_error *err)
{
    static const char special[] =
        "{\"content\":\"<|endoftext|>\",\"special\":true,\"normalized\":false}";
    tok_build b = {.tok = tok, .path = source->path};
    kvass_json *config = NULL, *endoftext = NULL;
    kvass_status status = kvass_config_open(&config, b.path, err);
    if (status == KVASS_OK) {
        status = kvass_json_parse(&endoftext, special, sizeof special - 1, b.path, err);
    }
    if (status == KVASS_OK) {
        status = fill(&b, source, config, endoftext, err);
    }
    kvass_build_close(&b);
    kvass_json_close(&endoftext);
    kvass_json_close(&config);
    return status;
}

const tok_reader kvass_reader_vocab_merges = {fits, read_pair};
