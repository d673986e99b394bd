/* test_tokenizer_models.c - Unigram and WordLevel models, Metaspace, and the stages that go with
 * them: what small documents do, and every refusal by rule and by what the message says.
 */
#include "tests/unit/unit.h"

#include "engine/kvass.h"

static char path[UNIT_PATH_BYTES];

static int make_file(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/kvass-test-XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

/* A document of stages and a model. */
static kvass_status open_text(kvass_tokenizer **tok, const char *stages, const char *model,
                              kvass_error *err)
{
    static char text[65536];
    int n = snprintf(text, sizeof text, "{%s%s\"model\":{%s}}", stages, *stages ? "," : "", model);
    assert_in_range(n, 1, sizeof text - 1);
    unit_write(path, text, (size_t)n);
    return kvass_tokenizer_open(tok, path, 0, err);
}

static kvass_tokenizer *open_or_fail(const char *stages, const char *model)
{
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    if (open_text(&tok, stages, model, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    return tok;
}

static void refuse(const char *stages, const char *model, kvass_status code, const char *rule,
                   const char *says)
{
    kvass_tokenizer *tok = (kvass_tokenizer *)path;
    kvass_error err = {0};
    if (open_text(&tok, stages, model, &err) != code || strcmp(err.rule, rule) != 0 ||
        !strstr(err.message, says)) {
        fail_msg("expected %s \"%s\", found %d %s \"%s\"", rule, says, (int)err.code, err.rule,
                 err.message);
    }
    assert_null(tok);
    assert_non_null(strstr(err.message, path));
}

/* The ids of a text as "1 2 3", or the rule of the error. */
static const char *ids_of(const kvass_tokenizer *tok, const char *text)
{
    static char line[1024];
    int32_t ids[256];
    size_t n_ids = 0, at = 0;
    kvass_error err = {0};
    line[0] = '\0';
    if (kvass_tokenizer_encode(tok, text, strlen(text), NULL, ids, 256, &n_ids, &err) != KVASS_OK) {
        return err.rule;
    }
    for (size_t i = 0; i < n_ids; i++) {
        at += (size_t)snprintf(line + at, sizeof line - at, i ? " %d" : "%d", ids[i]);
    }
    return line;
}

static const char *text_of(const kvass_tokenizer *tok, const int32_t *ids, size_t n_ids)
{
    static char text[1024];
    size_t n = 0, n_bytes;
    const char *bytes;
    kvass_stream *stream;
    assert_int_equal(kvass_stream_open(&stream, tok, true, NULL), KVASS_OK);
    for (size_t i = 0; i <= n_ids; i++) {
        if (i < n_ids) {
            assert_int_equal(kvass_stream_put(stream, ids[i], &bytes, &n_bytes, NULL), KVASS_OK);
        } else {
            kvass_stream_end(stream, &bytes, &n_bytes);
        }
        memcpy(text + n, bytes, n_bytes);
        n += n_bytes;
    }
    text[n] = '\0';
    kvass_stream_close(&stream);
    return text;
}

static void expect(const char *stages, const char *model, const char *text, const char *ids)
{
    kvass_tokenizer *tok = open_or_fail(stages, model);
    assert_string_equal(ids_of(tok, text), ids);
    kvass_tokenizer_close(&tok);
}

#define UNIGRAM(rest) "\"type\":\"Unigram\",\"vocab\":[" rest "]"
#define PIECES                                                                                     \
    "[\"<unk>\",0],[\"a\",-2],[\"b\",-2],[\"ab\",-3.5],[\"abc\",-9],[\"\\u2581\",-1],"             \
    "[\"\\u2581a\",-2.5]"
#define METASPACE(rest) "{\"type\":\"Metaspace\",\"replacement\":\"\\u2581\"" rest "}"
#define WORDS           "\"type\":\"WordLevel\",\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"!\":3}"

static void test_unigram(void **state)
{
    (void)state;
    refuse("", "\"type\":\"Unigram\",\"vocab\":{}", KVASS_FORMAT, "KEY_TYPE", "an array \"vocab\"");
    refuse("", UNIGRAM(""), KVASS_FORMAT, "VOCAB_SIZE", "is empty");
    refuse("", UNIGRAM("[\"a\",0],\"b\""), KVASS_FORMAT, "VOCAB_ENTRY", "vocab[1]: expected");
    refuse("", UNIGRAM("[\"a\",0],[\"b\"]"), KVASS_FORMAT, "VOCAB_ENTRY", "vocab[1]: expected");
    refuse("", UNIGRAM("[\"a\",\"0\"]"), KVASS_FORMAT, "VOCAB_ENTRY", "vocab[0]: expected");
    refuse("", UNIGRAM("[7,0]"), KVASS_FORMAT, "VOCAB_ENTRY", "vocab[0]: expected");
    refuse("", UNIGRAM("[\"a\",0],[\"b\",0],[\"a\",1]"), KVASS_FORMAT, "VOCAB_ENTRY",
           "vocab[2]: \"a\" is vocab[0]");
    refuse("", UNIGRAM(PIECES) ",\"unk_id\":7", KVASS_FORMAT, "UNK_TOKEN", "in 0 .. 6");
    refuse("", UNIGRAM(PIECES) ",\"unk_id\":-1", KVASS_FORMAT, "UNK_TOKEN", "an integer -1");
    refuse("", UNIGRAM(PIECES) ",\"unk_id\":\"<unk>\"", KVASS_FORMAT, "UNK_TOKEN", "a string");
    refuse("", UNIGRAM(PIECES) ",\"byte_fallback\":1", KVASS_FORMAT, "KEY_TYPE", "byte_fallback");
    refuse("\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"decoder\":{\"type\":\"ByteLevel\"}",
           UNIGRAM(PIECES), KVASS_UNSUPPORTED, "TOKENIZER_MODEL", "after ByteLevel");
    refuse("", UNIGRAM(PIECES) ",\"byte_fallback\":true", KVASS_UNSUPPORTED, "DECODER",
           "byte fallback: decoded no, encoded yes");
    /* the likeliest pieces, not the longest */
    expect("", UNIGRAM(PIECES), "abab", "3 3");
    expect("", UNIGRAM(PIECES), "abcab", "4 3");
    expect("", UNIGRAM(PIECES), "", "");
    /* neighbouring unknown characters are one token; without one for them it is an error */
    expect("", UNIGRAM(PIECES) ",\"unk_id\":0", "xyab\xc3\xa9", "0 3 0");
    expect("", UNIGRAM(PIECES) ",\"unk_id\":0", "x<unk>\xff", "0");
    expect("", UNIGRAM(PIECES), "x", "WORD_UNKNOWN");
    /* bytes for what is unknown, where they all are pieces */
    expect("\"decoder\":{\"type\":\"ByteFallback\"}",
           UNIGRAM(PIECES ",[\"<0x78>\",0],[\"<0xFF>\",0]") ",\"unk_id\":0,\"byte_fallback\":true",
           "xax\xff"
           "ay",
           "7 1 7 8 1 0");
}

static void test_metaspace(void **state)
{
    (void)state;
    refuse("\"pre_tokenizer\":{\"type\":\"Metaspace\"}", UNIGRAM(PIECES), KVASS_FORMAT, "KEY_TYPE",
           "\"replacement\": expected a string");
    refuse("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"ab\"}", UNIGRAM(PIECES),
           KVASS_FORMAT, "KEY_TYPE", "expected one character, found \"ab\"");
    refuse("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\"}", UNIGRAM(PIECES),
           KVASS_FORMAT, "KEY_TYPE", "expected one character");
    refuse("\"pre_tokenizer\":" METASPACE(",\"prepend_scheme\":\"often\""), UNIGRAM(PIECES),
           KVASS_UNSUPPORTED, "PRE_TOKENIZER", "prepend_scheme \"often\"");
    refuse(
        "\"pre_tokenizer\":" METASPACE(",\"add_prefix_space\":false,\"prepend_scheme\":\"always\""),
        UNIGRAM(PIECES), KVASS_UNSUPPORTED, "PRE_TOKENIZER",
        "\"always\" with add_prefix_space false");
    refuse(
        "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"}," METASPACE("") "]}",
        UNIGRAM(PIECES), KVASS_UNSUPPORTED, "DECODER", "Metaspace (after others)");
    const char *model = UNIGRAM(PIECES) ",\"unk_id\":0";
    expect("\"pre_tokenizer\":" METASPACE(""), model, "ab  a", "5 3 5 6");
    expect("\"pre_tokenizer\":" METASPACE(""), model, " ab", "5 3");
    expect("\"pre_tokenizer\":" METASPACE(",\"add_prefix_space\":false"), model, "ab a", "3 6");
    expect("\"pre_tokenizer\":" METASPACE(",\"prepend_scheme\":\"never\""), model, "ab a", "3 6");
    /* "first" is the beginning of the whole text: not what follows an added token */
    const char *stages = "\"added_tokens\":[{\"id\":7,\"content\":\"|\"}],\"decoder\":" METASPACE(
        "") ",\"pre_tokenizer\":" METASPACE(",\"prepend_scheme\":\"first\"");
    kvass_tokenizer *tok = open_or_fail(stages, model);
    assert_string_equal(ids_of(tok, "b|b"), "5 2 7 2");
    assert_string_equal(ids_of(tok, "|b"), "7 2");
    /* the first token loses all its spaces */
    const int32_t ids[] = {5, 6, 2, 7, 6};
    assert_string_equal(text_of(tok, ids, 5), " ab| a");
    assert_string_equal(text_of(tok, ids + 1, 2), "ab");
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    assert_string_equal(info.kind, "unigram");
    kvass_tokenizer_close(&tok);
}

static void test_wordlevel(void **state)
{
    (void)state;
    refuse("", "\"type\":\"WordLevel\",\"vocab\":[]", KVASS_FORMAT, "KEY_TYPE",
           "an object \"vocab\"");
    refuse("", WORDS ",\"unk_token\":7", KVASS_FORMAT, "KEY_TYPE", "unk_token");
    const char *stages = "\"pre_tokenizer\":{\"type\":\"Whitespace\"}";
    expect(stages, WORDS, "a b!! c\n", "1 2 0 0");
    expect(stages, WORDS ",\"unk_token\":\"!\"", "a c", "1 3");
    expect(stages, WORDS ",\"unk_token\":\"[UNK]\"", "a c", "WORD_UNKNOWN");
    expect("\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}", WORDS,
           "a-b--a", "1 2 1");
    expect("\"pre_tokenizer\":{\"type\":\"Punctuation\"}", WORDS, "a!!", "1 3 3");
    expect("\"pre_tokenizer\":{\"type\":\"Punctuation\",\"behavior\":\"Removed\"}", WORDS, "a!!b",
           "1 2");
    /* without a decoder tokens are parted by spaces */
    kvass_tokenizer *tok = open_or_fail(stages, WORDS);
    const int32_t ids[] = {1, 2, 3};
    assert_string_equal(text_of(tok, ids, 3), "a b !");
    kvass_tokenizer_close(&tok);
}

#define NORM(rest) "\"normalizer\":{\"type\":" rest "}"

static void test_normalizers(void **state)
{
    (void)state;
    refuse(NORM("\"Precompiled\""), WORDS, KVASS_FORMAT, "KEY_TYPE", "precompiled_charsmap");
    refuse(NORM("\"Precompiled\",\"precompiled_charsmap\":\"A*AA\""), WORDS, KVASS_FORMAT,
           "CHARSMAP", "expected base64");
    refuse(NORM("\"Precompiled\",\"precompiled_charsmap\":\"AAAA\""), WORDS, KVASS_FORMAT,
           "CHARSMAP", "map of 3 bytes");
    refuse(NORM("\"Precompiled\",\"precompiled_charsmap\":\"BAAAAAAAAAA=\""), WORDS, KVASS_FORMAT,
           "CHARSMAP", "a trie of 4 bytes"); /* and no strings */
    refuse(NORM("\"Precompiled\",\"precompiled_charsmap\":\"/////wAAAAAA\""), WORDS, KVASS_FORMAT,
           "CHARSMAP", "4294967295");
    refuse(NORM("\"Strip\",\"strip_left\":\"yes\""), WORDS, KVASS_FORMAT, "KEY_TYPE", "strip_left");
    refuse(NORM("\"Replace\",\"pattern\":{\"Regex\":\"a(\"},\"content\":\"\""), WORDS, KVASS_FORMAT,
           "REGEX_SYNTAX", "byte 2");
    /* a map that says nothing, and one whose units point nowhere */
    expect(NORM("\"Precompiled\",\"precompiled_charsmap\":\"\""), WORDS, "a", "1");
    expect(NORM("\"Precompiled\",\"precompiled_charsmap\":\"BAAAAP////8A\""), WORDS, "a", "1");
    expect(NORM("\"Lowercase\""), WORDS, "A", "1");
    expect(NORM("\"Strip\""), WORDS, " \n a\xc2\xa0", "1");
    expect(NORM("\"Strip\",\"strip_left\":false"), WORDS, "a \t", "1");
    expect(NORM("\"Strip\",\"strip_right\":false"), WORDS, "a ", "0");
    expect(NORM("\"StripAccents\""), WORDS, "a\xcc\x81", "1");
    expect(NORM("\"Nmt\""), WORDS,
           "\x01"
           "a\x7f",
           "1");
    expect(NORM("\"Replace\",\"pattern\":{\"Regex\":\"b+|^x\"},\"content\":\"\""), WORDS, "xbabb",
           "1");
    expect(NORM("\"Replace\",\"pattern\":{\"Regex\":\"x*\"},\"content\":\"\""), WORDS, "xa\xffxx",
           "0");
}

/* A long text without a place to cut: time and memory stay in proportion. */
static void test_long(void **state)
{
    (void)state;
    kvass_tokenizer *tok = open_or_fail("", UNIGRAM(PIECES) ",\"unk_id\":0");
    size_t n = 1000000, n_ids = 0;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'a', n);
    int32_t first[2] = {0};
    assert_int_equal(kvass_tokenizer_encode(tok, text, n, NULL, first, 2, &n_ids, NULL), KVASS_OK);
    assert_int_equal(n_ids, n);
    assert_int_equal(first[1], 1);
    free(text);
    kvass_tokenizer_close(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unigram),   cmocka_unit_test(test_metaspace),
        cmocka_unit_test(test_wordlevel), cmocka_unit_test(test_normalizers),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests_name("tokenizer_models", tests, make_file, remove_file);
}
