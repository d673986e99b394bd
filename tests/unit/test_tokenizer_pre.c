/* test_tokenizer_pre.c - each name that tokenizer.ggml.pre may have, against the ids that llama.cpp
 * gives (tests/golden/gguf_pre, made by tools/reference/gguf_pre_goldens.py), and so its
 * tokenizer.json: the vocabulary there joins whatever is not cut, so that each cut shows.
 */
#include "engine/base/json.h"
#include "tests/unit/model_files.h"
#include "tokenizer/gguf_pre.h"

enum { MAX_IDS = 256 };

/* What vocab.gguf ends with, in place of which each test puts a name. */
static const char tail[] = "\x05\0\0\0\0\0\0\0gpt-2";
enum { N_TAIL = sizeof tail - 1 };

static const char *golden(const char *name, char path[UNIT_PATH_BYTES])
{
    const char *root = getenv("KVASS_SOURCE_ROOT");
    (void)snprintf(path, UNIT_PATH_BYTES, "%s/tests/golden/gguf_pre/%s", root ? root : ".", name);
    return path;
}

static kvass_tokenizer *open_named(const folder *f, const char *pre)
{
    char path[UNIT_PATH_BYTES];
    size_t n, n_pre = strlen(pre);
    char *vocab = unit_slurp(golden("vocab.gguf", path), &n);
    char *file = malloc(n + n_pre);
    assert_non_null(file);
    assert_true(n > N_TAIL);
    n -= N_TAIL;
    assert_memory_equal(vocab + n, tail, N_TAIL);
    memcpy(file, vocab, n);
    memset(file + n, 0, 8);
    file[n] = (char)n_pre;
    memcpy(file + n + 8, pre, n_pre);
    const char *named = in_folder(f, "vocab.gguf");
    unit_write(named, file, n + 8 + n_pre);
    free(file);
    free(vocab);
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    if (kvass_tokenizer_open(&tok, named, 0, &err) != KVASS_OK) {
        fail_msg("%s: %s", pre, err.message);
    }
    return tok;
}

/* All texts, as a way in ids.json has them. */
static void check_name(const char *pre, const kvass_tokenizer *tok, const kvass_json *texts,
                       const kvass_json *way)
{
    kvass_encode_options opt = kvass_encode_options_default();
    kvass_tokenizer_info info;
    bool bos = false;
    opt.add_special = opt.parse_special = false;
    kvass_tokenizer_get_info(tok, &info);
    assert_true(kvass_json_as_bool(kvass_json_get(way, "bos"), &bos));
    if ((info.adds_bos && info.bos >= 0) != bos) {
        fail_msg("%s: BOS: %d, expected %d", pre, info.adds_bos, bos);
    }
    const kvass_json *rows = kvass_json_get(way, "ids");
    assert_true(kvass_json_size(texts) > 90);
    assert_int_equal(kvass_json_size(rows), kvass_json_size(texts));
    for (size_t i = 0; i < kvass_json_size(texts); i++) {
        int32_t ids[MAX_IDS];
        size_t n = 0, n_text;
        const char *text = kvass_json_as_string(kvass_json_at(texts, i), &n_text);
        const kvass_json *want = kvass_json_at(rows, i);
        assert_int_equal(kvass_tokenizer_encode(tok, text, n_text, &opt, ids, MAX_IDS, &n, NULL),
                         KVASS_OK);
        bool same = n == kvass_json_size(want);
        for (size_t j = 0; j < n && same; j++) {
            int64_t id = -1;
            same = kvass_json_as_int(kvass_json_at(want, j), &id) && ids[j] == id;
        }
        if (!same) {
            fail_msg("%s: text %zu (\"%s\"): %zu ids, other than the %zu expected", pre, i, text, n,
                     kvass_json_size(want));
        }
    }
}

/* The way that has the name; NULL: none. */
static const kvass_json *way_of(const kvass_json *ways, const char *pre)
{
    for (size_t i = 0; i < kvass_json_size(ways); i++) {
        const kvass_json *names = kvass_json_get(kvass_json_at(ways, i), "names");
        for (size_t j = 0; j < kvass_json_size(names); j++) {
            const char *name = kvass_json_as_string(kvass_json_at(names, j), NULL);
            if (name && strcmp(name, pre) == 0) {
                return kvass_json_at(ways, i);
            }
        }
    }
    return NULL;
}

static void every_name(void **state)
{
    char path[UNIT_PATH_BYTES];
    kvass_json *file = NULL;
    kvass_error err = {0};
    if (kvass_json_open(&file, golden("ids.json", path), 1 << 20, &err) != KVASS_OK) {
        fail_msg("%s", err.message);
    }
    const kvass_json *ways = kvass_json_get(file, "ways");
    size_t n = 0, n_expected = 0;
    for (const char *name; (name = kvass_gguf_pre_name(n)) != NULL; n++) {
        const kvass_json *way = way_of(ways, name);
        if (!way) {
            fail_msg("%s: not in ids.json: tools/reference/gguf_pre_goldens.py makes it", name);
        }
        kvass_tokenizer *tok = open_named(*state, name), *back = open_as_json(*state, tok);
        check_name(name, tok, kvass_json_get(file, "texts"), way);
        check_name(name, back, kvass_json_get(file, "texts"), way);
        kvass_tokenizer_close(&back);
        kvass_tokenizer_close(&tok);
    }
    for (size_t i = 0; i < kvass_json_size(ways); i++) {
        n_expected += kvass_json_size(kvass_json_get(kvass_json_at(ways, i), "names"));
    }
    assert_int_equal(n, n_expected);
    kvass_json_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_name, folder_setup, folder_teardown)};
    return cmocka_run_group_tests_name("tokenizer_pre", tests, NULL, NULL);
}
