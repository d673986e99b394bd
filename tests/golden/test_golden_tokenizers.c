/* test_golden_tokenizers.c - token ids against `tokenizers` and `sentencepiece`
 * (tests/golden/tokenizers, made by tools/reference/tokenizer_goldens.py) and against llama.cpp's
 * vocabulary tests, where the shared data is there; and that decoding gives the bytes back.
 */
#include "tests/unit/unit.h"

#include "engine/base/json.h"
#include "engine/kvass.h"

#define MAX_IDS 4096

static const char *golden_path(const char *folder, const char *file, char path[UNIT_PATH_BYTES])
{
    const char *root = getenv("KVASS_SOURCE_ROOT");
    (void)snprintf(path, UNIT_PATH_BYTES, "%s/tests/golden/tokenizers/%s/%s", root ? root : ".",
                   folder, file);
    return path;
}

static kvass_tokenizer *open_or_fail(const char *path)
{
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    if (kvass_tokenizer_open(&tok, path, 0, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    return tok;
}

static kvass_json *open_json(const char *path)
{
    kvass_json *json = NULL;
    kvass_error err = {0};
    if (kvass_json_open(&json, path, (size_t)64 << 20, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    return json;
}

static size_t encode(const kvass_tokenizer *tok, const char *text, size_t n, bool special,
                     int32_t *ids, size_t cap)
{
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = opt.parse_special = special;
    kvass_error err = {0};
    size_t n_ids = 0;
    if (kvass_tokenizer_encode(tok, text, n, &opt, ids, cap, &n_ids, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    assert_true(n_ids <= cap);
    return n_ids;
}

static void expect_ids(const char *what, const int32_t *ids, size_t n, const int32_t *expected,
                       size_t n_expected)
{
    size_t i = 0;
    while (i < n && i < n_expected && ids[i] == expected[i]) {
        i++;
    }
    if (i < n || i < n_expected) {
        fail_msg("%s: %zu ids, expected %zu; the first that differs is %zu: %d, expected %d", what,
                 n, n_expected, i, i < n ? ids[i] : -1, i < n_expected ? expected[i] : -1);
    }
}

/* Decode ids and compare with text[n]. */
static void expect_text(const char *what, const kvass_tokenizer *tok, const int32_t *ids,
                        size_t n_ids, const char *text, size_t n)
{
    kvass_stream *stream;
    assert_int_equal(kvass_stream_open(&stream, tok, true, NULL), KVASS_OK);
    size_t at = 0;
    for (size_t i = 0; i <= n_ids; i++) {
        const char *bytes;
        size_t n_bytes;
        if (i < n_ids) {
            assert_int_equal(kvass_stream_put(stream, ids[i], &bytes, &n_bytes, NULL), KVASS_OK);
        } else {
            kvass_stream_end(stream, &bytes, &n_bytes);
        }
        if (n_bytes > n - at || memcmp(bytes, text + at, n_bytes) != 0) {
            fail_msg("%s: decoding differs at byte %zu of %zu", what, at, n);
        }
        at += n_bytes;
    }
    assert_int_equal(at, n);
    kvass_stream_close(&stream);
}

/* ---- fixtures of our own --------------------------------------------------------------------- */

static size_t read_ids(const kvass_json *list, int32_t *ids)
{
    size_t n = kvass_json_size(list);
    assert_true(n <= MAX_IDS);
    for (size_t i = 0; i < n; i++) {
        int64_t id = -1;
        assert_true(kvass_json_as_int(kvass_json_at(list, i), &id));
        ids[i] = (int32_t)id;
    }
    return n;
}

/* What decoding is compared with. */
typedef enum decoded { NOT_DECODED, THE_TEXT, FROM_FILE } decoded;

static void check_fixture(const char *name, decoded back)
{
    bool sentencepiece = strncmp(name, "spm-", 4) == 0; /* it has no texts with specials */
    char path[UNIT_PATH_BYTES];
    kvass_json *file =
        back == FROM_FILE ? open_json(golden_path(name, "decoded.json", path)) : NULL;
    kvass_json *texts = open_json(golden_path(".", "texts.json", path));
    kvass_json *rows = open_json(golden_path(name, "ids.json", path));
    kvass_tokenizer *tok = open_or_fail(golden_path(name, "", path));
    const kvass_json *all = kvass_json_get(texts, "texts");
    const kvass_json *expected = kvass_json_get(rows, "ids");
    assert_true(kvass_json_size(all) > 100);
    assert_int_equal(kvass_json_size(all), kvass_json_size(expected));
    for (size_t i = 0; i < kvass_json_size(all); i++) {
        static int32_t ids[MAX_IDS], want[MAX_IDS];
        size_t n = 0;
        const char *text = kvass_json_as_string(kvass_json_at(all, i), &n);
        const kvass_json *row = kvass_json_at(expected, i);
        for (size_t special = 0; special < (sentencepiece ? 1 : 2); special++) {
            char what[64];
            (void)snprintf(what, sizeof what, "%s, text %zu, special %zu", name, i, special);
            size_t n_want = read_ids(kvass_json_at(row, special % kvass_json_size(row)), want);
            size_t n_ids = encode(tok, text, n, special == 1, ids, MAX_IDS);
            expect_ids(what, ids, n_ids, want, n_want);
            if (back != NOT_DECODED && special == 0) {
                const kvass_json *list = file ? kvass_json_get(file, "texts") : all;
                size_t n_back = 0;
                const char *want_back = kvass_json_as_string(kvass_json_at(list, i), &n_back);
                expect_text(what, tok, ids, n_ids, want_back, n_back);
            }
        }
    }
    kvass_tokenizer_close(&tok);
    kvass_json_close(&rows);
    kvass_json_close(&texts);
    kvass_json_close(&file);
}

static void test_fixtures(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        decoded back;
    } fixtures[] = {
        {"gpt2", THE_TEXT},        {"spaces", NOT_DECODED},        {"qwen2", NOT_DECODED},
        {"llama3", THE_TEXT},      {"o200k", NOT_DECODED},         {"digits", NOT_DECODED},
        {"previous", NOT_DECODED}, {"next", NOT_DECODED},          {"contiguous", NOT_DECODED},
        {"removed", NOT_DECODED},  {"sentencepiece", NOT_DECODED}, {"metaspace", FROM_FILE},
        {"gemma", FROM_FILE},      {"unigram", FROM_FILE},         {"precompiled", FROM_FILE},
        {"wordlevel", FROM_FILE},  {"punctuation", FROM_FILE},     {"roberta", THE_TEXT},
    };
    for (size_t i = 0; i < sizeof fixtures / sizeof fixtures[0]; i++) {
        check_fixture(fixtures[i].name, fixtures[i].back);
    }
}

/* ---- llama.cpp's vocabulary tests ------------------------------------------------------------ */

/* The pairs NAME.inp (texts parted by a line) and NAME.out (a line of ids for each). */
static void check_pairs(const kvass_tokenizer *tok, const char *name, int n_pairs)
{
    static const char mark[] = "\n__ggml_vocab_test__\n";
    char file[128], path[UNIT_PATH_BYTES];
    size_t n_inp, n_out;
    (void)snprintf(file, sizeof file, "tokenizers/gguf/ggml-vocab-%s.gguf.inp", name);
    char *inp = unit_slurp(unit_shared(file, path), &n_inp);
    (void)snprintf(file, sizeof file, "tokenizers/gguf/ggml-vocab-%s.gguf.out", name);
    char *out = unit_slurp(unit_shared(file, path), &n_out);
    int n = 0;
    char *line = out;
    for (char *text = inp, *end; (end = strstr(text, mark)) != NULL;
         text = end + sizeof mark - 1, n++) {
        static int32_t ids[MAX_IDS], want[MAX_IDS];
        char *newline = strchr(line, '\n'), *rest = line;
        assert_non_null(newline);
        *newline = '\0';
        size_t n_want = 0;
        for (char *before = NULL; before != rest && n_want < MAX_IDS;) {
            before = rest;
            long id = strtol(before, &rest, 10);
            if (rest != before) {
                want[n_want++] = (int32_t)id;
            }
        }
        char what[64];
        (void)snprintf(what, sizeof what, "%s, pair %d", name, n);
        size_t n_ids = encode(tok, text, (size_t)(end - text), false, ids, MAX_IDS);
        expect_ids(what, ids, n_ids, want, n_want);
        line = newline + 1;
    }
    assert_int_equal(n, n_pairs);
    free(inp);
    free(out);
}

static void test_pairs_gpt2(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    kvass_tokenizer *tok = open_or_fail(unit_shared("tokenizers/gpt2", path));
    check_pairs(tok, "gpt-2", 46);
    kvass_tokenizer_close(&tok);
}

static void test_pairs_qwen2(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    kvass_tokenizer *tok = open_or_fail(unit_shared("tokenizers/qwen3", path));
    check_pairs(tok, "qwen2", 46);
    kvass_tokenizer_close(&tok);
}

/* llama2.c's rule on Llama 2's vocabulary is SentencePiece's own, and so is Phi-3's vocabulary. */
static void test_pairs_llama2(void **state)
{
    (void)state;
    static const char *const files[] = {"tokenizers/llama2/tokenizer.bin",
                                        "tokenizers/llama2/tokenizer.model"};
    for (int i = 0; i < 2; i++) {
        char path[UNIT_PATH_BYTES];
        kvass_tokenizer *tok = open_or_fail(unit_shared(files[i], path));
        check_pairs(tok, "llama-spm", 46);
        check_pairs(tok, "phi-3", 46);
        kvass_tokenizer_close(&tok);
    }
}

/* vocab.json and merges.txt of Llama 3 say nothing of how it splits: a tokenizer_config.json does.
 */
static void test_pairs_llama3(void **state)
{
    (void)state;
    static const char config[] =
        "{\"ignore_merges\":true,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
        "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|"
        "'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]"
        "+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false,\"use_regex\":false}]}}";
    static const char *const files[] = {"vocab.json", "merges.txt"};
    char folder[UNIT_PATH_BYTES], path[UNIT_PATH_BYTES + 32];
    char shared[UNIT_PATH_BYTES], name[64], real[4096];
    (void)unit_shared("tokenizers/llama3.2-bpe", shared);
    unit_folder(folder);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof name, "tokenizers/llama3.2-bpe/%s", files[i]);
        assert_non_null(realpath(unit_shared(name, shared), real));
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        assert_int_equal(symlink(real, path), 0);
    }
    (void)snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    unit_write(path, config, sizeof config - 1);
    kvass_tokenizer *tok = open_or_fail(folder);
    check_pairs(tok, "llama-bpe", 46);
    kvass_tokenizer_close(&tok);
    (void)unlink(path);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(folder), 0);
}

/* The vocabularies that are whole GGUF files themselves. */
static void test_pairs_gguf(void **state)
{
    (void)state;
    static const char *const names[] = {"deepseek-coder", "falcon", "gpt-2",
                                        "llama-spm",      "phi-3",  "starcoder"};
    char file[128], path[UNIT_PATH_BYTES];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(file, sizeof file, "tokenizers/gguf/ggml-vocab-%s.gguf", names[i]);
        kvass_tokenizer *tok = open_or_fail(unit_shared(file, path));
        check_pairs(tok, names[i], 46);
        kvass_tokenizer_close(&tok);
    }
}

/* ---- whole corpora come back ----------------------------------------------------------------- */

static void test_corpora(void **state)
{
    (void)state;
    static const char *const tokenizers[] = {"tokenizers/gpt2", "tokenizers/gpt-neox-20b",
                                             "tokenizers/qwen3", "tokenizers/minicpm3-4b"};
    static const char *const corpora[] = {"corpora/tinyshakespeare.txt",
                                          "corpora/war-and-peace.txt",
                                          "corpora/tinystories/natural-0.9MB.txt"};
    char path[UNIT_PATH_BYTES];
    for (size_t i = 0; i < 4; i++) {
        kvass_tokenizer *tok = open_or_fail(unit_shared(tokenizers[i], path));
        for (size_t c = 0; c < 3; c++) {
            size_t n;
            char *text = unit_slurp(unit_shared(corpora[c], path), &n);
            n = n < 300000 ? n : 300000;
            int32_t *ids = malloc((n + 1) * sizeof *ids);
            assert_non_null(ids);
            size_t n_ids = encode(tok, text, n, false, ids, n + 1);
            assert_true(n_ids < n / 2);
            expect_text(corpora[c], tok, ids, n_ids, text, n);
            free(ids);
            free(text);
        }
        kvass_tokenizer_close(&tok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fixtures),     cmocka_unit_test(test_pairs_gpt2),
        cmocka_unit_test(test_pairs_qwen2),  cmocka_unit_test(test_pairs_llama2),
        cmocka_unit_test(test_pairs_llama3), cmocka_unit_test(test_pairs_gguf),
        cmocka_unit_test(test_corpora),
    };
    return cmocka_run_group_tests_name("golden_tokenizers", tests, NULL, NULL);
}
