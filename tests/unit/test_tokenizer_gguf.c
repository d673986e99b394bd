/* test_tokenizer_gguf.c - the tokenizer inside a GGUF file: what each malformed one is answered
 * with, and small ones whose ids are known by hand.
 */
#include "tests/unit/gguf_files.h"

#define SPM     "G3 tokenizer.ggml.model=s:llama "
#define BPE     "G3 tokenizer.ggml.model=s:gpt2 tokenizer.ggml.pre=s:gpt-2 "
#define TOKENS  "tokenizer.ggml.tokens="
#define SCORES  "tokenizer.ggml.scores="
#define TYPES   "tokenizer.ggml.token_type="
#define MERGES  "tokenizer.ggml.merges="
#define MARK    "\xe2\x96\x81"
#define ENCODED 64

static void refuse(const folder *f, const char *words, int32_t n_vocab, const char *rule,
                   const char *needle)
{
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    kvass_status status = kvass_tokenizer_open(&tok, gguf_file(f, words), n_vocab, &err);
    if (status == KVASS_OK || strcmp(err.rule, rule) != 0 || !strstr(err.message, needle)) {
        fail_msg("expected %s (%s), found %s: %s", rule, needle,
                 status == KVASS_OK ? "no fault" : err.rule, err.message);
    }
    assert_null(tok);
}

static void malformed(void **state)
{
    static const struct {
        const char *words, *rule, *needle;
    } cases[] = {
        {"G3", "TOKENIZER_MODEL", "expected llama or gpt2, found no such key"},
        {"G3 tokenizer.ggml.model=u:1", "TOKENIZER_MODEL", "found the kind u32"},
        {"G3 tokenizer.ggml.model=s:t5", "TOKENIZER_MODEL", "found t5"},
        {"G3 tokenizer.ggml.model=s:bert", "TOKENIZER_MODEL", "found bert"},
        {"raw:GGUF u32:3", "GGUF_TRUNCATED", "expected 8 bytes"},
        {SPM, "VOCAB_SIZE", "expected 1 .. 2097152 tokens, found 0"},
        {SPM TOKENS "[s:", "VOCAB_SIZE", "found 0"},
        {SPM TOKENS "s:a", "TOKENIZER_ARRAYS", "expected an array of strings, found the kind"},
        {SPM TOKENS "[u:1,2", "TOKENIZER_ARRAYS", "found an array of 2 x u32"},
        {SPM TOKENS "[s:a,b,c,d", "VOCAB_SIZE", "4 tokens, but the model has 3"},
        {SPM TOKENS "[s:a,b", "TOKENIZER_ARRAYS", "scores\": expected an array of f32, found no"},
        {SPM TOKENS "[s:a,b " SCORES "[f:1", "TOKENIZER_ARRAYS", "array of 1 x f32 (tokens: 2)"},
        {SPM TOKENS "[s:a,b " SCORES "[i:1,2", "TOKENIZER_ARRAYS", "array of 2 x i32"},
        {SPM TOKENS "[s:a,b " SCORES "[f:1,nan", "TOKEN_SCORE", "token 1: its score"},
        {SPM TOKENS "[s:a,b " SCORES "[f:1,2 " TYPES "[i:1", "TOKENIZER_ARRAYS", "1 x i32"},
        {SPM TOKENS "[s:a,b " SCORES "[f:1,2 " TYPES "[f:1,1", "TOKENIZER_ARRAYS", "2 x f32"},
        {SPM TOKENS "[s:a,b " SCORES "[f:1,2 " TYPES "[i:1,0", "TOKEN_TYPE",
         "token 1: type: expected 1 .. 6, found 0"},
        {SPM TOKENS "[s:a,b " SCORES "[f:1,2 " TYPES "[i:1,-7", "TOKEN_TYPE", "found -7"},
        {BPE TOKENS "[s:a,b", "TOKENIZER_ARRAYS", "merges\": expected an array of strings"},
        {BPE TOKENS "[s:a,b " MERGES "[u:1", "TOKENIZER_ARRAYS", "array of 1 x u32"},
        {BPE TOKENS "[s:a,b,ab " MERGES "[s:ab", "MERGE_FORMAT", "found \"ab\""},
        {BPE TOKENS "[s:a,b,ab " MERGES "[s:a~", "MERGE_FORMAT", "merges[0]"},
        {BPE TOKENS "[s:a,b,ab " MERGES "[s:~b", "MERGE_FORMAT", "merges[0]"},
        {BPE TOKENS "[s:a,b,ab " MERGES "[s:a~b,a~c", "MERGE_RESULT", "merges[1]: \"a c\""},
        {BPE TOKENS "[s:a,ab " MERGES "[s:a~b", "MERGE_PART", "one of them is not"},
        {BPE TOKENS "[s:a,b,ab " MERGES "[s:a~b,a~b", "MERGE_DUPLICATE", "merged before"},
        {BPE TOKENS "[s:a,b,ab " MERGES "[s:a~\x01", "MERGE_FORMAT", "merges[0]"},
        {"G3 tokenizer.ggml.model=s:gpt2 tokenizer.ggml.pre=s:klingon " TOKENS "[s:a " MERGES "[s:",
         "PRE_TOKENIZER", "or the like, found \"klingon\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        refuse(*state, cases[i].words, 3, cases[i].rule, cases[i].needle);
    }
}

static void expect_encoded(const kvass_tokenizer *tok, const char *text, bool special,
                           const int32_t *want, size_t n_want)
{
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = opt.parse_special = special;
    int32_t ids[ENCODED];
    size_t n = 0;
    kvass_error err = {0};
    if (kvass_tokenizer_encode(tok, text, strlen(text), &opt, ids, ENCODED, &n, &err) != KVASS_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(n, n_want);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(ids[i], want[i]);
    }
}

static kvass_tokenizer *open_or_fail(const folder *f, const char *words)
{
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    if (kvass_tokenizer_open(&tok, gguf_file(f, words), 0, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    return tok;
}

#define EXPECT(tok, text, special, ...)                                                            \
    do {                                                                                           \
        static const int32_t want[] = {__VA_ARGS__};                                               \
        expect_encoded(tok, text, special, want, sizeof want / sizeof *want);                      \
    } while (0)

/* 0 unknown, 1 and 2 control, 3 a byte, 13 a name of the user's */
#define SMALL_SPM                                                                                  \
    SPM TOKENS "[s:<unk>,<s>,</s>,<0x0A>," MARK ",a,b,c," MARK "a,ab," MARK                        \
               "ab,bc,abc,<|x|> " SCORES "[f:0,0,0,0,-9,-8,-8,-8,-3,-2,-4,-1,-5,0 " TYPES          \
               "[i:2,3,3,6,1,1,1,1,1,1,1,1,1,4 tokenizer.ggml.bos_token_id=u:1 "                   \
               "tokenizer.ggml.eos_token_id=u:2 "

static void scores_decide(void **state)
{
    kvass_tokenizer *tok = open_or_fail(*state, SMALL_SPM);
    EXPECT(tok, "abc", false, 8, 11);           /* "bc" first, then a mark and "a" */
    EXPECT(tok, "ab", false, 10);               /* "ab" first, then the mark joins */
    EXPECT(tok, "a\nb", false, 8, 3, 6);        /* a character that is a byte */
    EXPECT(tok, "ad", false, 8, 0);             /* one that is nothing */
    EXPECT(tok, "a<|x|>b", false, 8, 13, 4, 6); /* a space before each part of the text */
    EXPECT(tok, "a</s>", true, 1, 8, 2);
    kvass_tokenizer_close(&tok);
}

static void flags_decide(void **state)
{
    kvass_tokenizer *tok = open_or_fail(
        *state, SMALL_SPM "tokenizer.ggml.add_space_prefix=b:0 tokenizer.ggml.add_bos_token=b:0 "
                          "tokenizer.ggml.add_eos_token=b:1");
    EXPECT(tok, "ab", true, 9, 2);
    EXPECT(tok, "a</s>b", true, 5, 2, 6, 2);
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    assert_string_equal(info.kind, "spm");
    assert_int_equal(info.n_vocab, 14);
    assert_int_equal(info.bos, 1);
    assert_int_equal(info.eos, 2);
    assert_false(info.adds_bos);
    kvass_tokenizer_close(&tok);
}

/* G with a breve is the space of byte-level vocabularies */
#define SPACE "\xc4\xa0"

static void merges_decide(void **state)
{
    kvass_tokenizer *tok = open_or_fail(
        *state, BPE TOKENS "[s:a,b,c," SPACE ",ab,bc," SPACE "ab,<|end|>,<x> " MERGES
                           "[s:b~c,a~b," SPACE "~ab " TYPES "[i:1,1,1,1,1,1,1,3,4 "
                           "tokenizer.ggml.eos_token_id=u:7 tokenizer.ggml.bos_token_id=u:99");
    EXPECT(tok, "abc ab", false, 0, 5, 6);
    EXPECT(tok, "a<x>b", false, 0, 8, 1);
    EXPECT(tok, "a<|end|>", true, 0, 7);
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    assert_int_equal(info.bos, -1); /* no such token */
    assert_int_equal(info.eos, 7);
    assert_true(kvass_tokenizer_is_special(tok, 7));
    assert_false(kvass_tokenizer_is_special(tok, 8));
    kvass_tokenizer_close(&tok);
}

/* ---- as tokenizer.json ----------------------------------------------------------------------- */

static void check_again(const folder *f, const char *words)
{
    static const char *const texts[] = {
        "abc ab  bc", "a\nb<|x|>ab",  " ", "", "bcab abc", "d", "a<|end|>c<x>",
        "</s>ab",     "  ab    a   c"};
    kvass_tokenizer *tok = open_or_fail(f, words), *back = open_as_json(f, tok);
    for (size_t i = 0; i < 2 * sizeof texts / sizeof *texts; i++) {
        const char *text = texts[i / 2];
        kvass_encode_options opt = kvass_encode_options_default();
        opt.add_special = opt.parse_special = i % 2 == 1;
        int32_t want[ENCODED];
        size_t n_want = 0;
        assert_int_equal(
            kvass_tokenizer_encode(tok, text, strlen(text), &opt, want, ENCODED, &n_want, NULL),
            KVASS_OK);
        expect_encoded(back, text, i % 2 == 1, want, n_want);
    }
    kvass_tokenizer_close(&back);
    kvass_tokenizer_close(&tok);
}

/* runs of a mark have one score, and join from the left */
#define RUNS                                                                                       \
    SPM TOKENS "[s:<unk>,<s>,</s>,a,b,c," MARK "," MARK MARK "," MARK MARK MARK "," MARK           \
               "a " SCORES "[f:0,0,0,-1,-2,-3,-9,-9,-9,-4 " TYPES "[i:2,3,3,1,1,1,1,1,1,1 "        \
               "tokenizer.ggml.bos_token_id=u:1 tokenizer.ggml.add_space_prefix=b:0 "

static void written_as_json(void **state)
{
    check_again(*state, SMALL_SPM);
    check_again(*state, SMALL_SPM "tokenizer.ggml.add_space_prefix=b:0 "
                                  "tokenizer.ggml.add_bos_token=b:0 "
                                  "tokenizer.ggml.add_eos_token=b:1");
    check_again(*state, RUNS);
    check_again(*state, BPE TOKENS "[s:a,b,c," SPACE ",ab,bc," SPACE "ab,<|end|>,<x>,d,<,>,/,|,s,"
                                   "e,n,x,\xc4\x8a " MERGES "[s:b~c,a~b," SPACE "~ab " TYPES
                                   "[i:1,1,1,1,1,1,1,3,4,1,1,1,1,1,1,1,1,1,1 "
                                   "tokenizer.ggml.eos_token_id=u:7 "
                                   "tokenizer.ggml.bos_token_id=u:7 "
                                   "tokenizer.ggml.add_bos_token=b:1 "
                                   "tokenizer.ggml.add_eos_token=b:1");
}

static void not_written_as_json(void **state)
{
    static const struct {
        const char *words, *needle;
    } cases[] = {
        {SPM TOKENS "[s:<unk>,a,b,ab,ba " SCORES "[f:0,-1,-2,-3,-3 " TYPES "[i:2,1,1,1,1",
         "token 4, which has the score of another"},
        {SPM TOKENS "[s:<unk>,a,a " SCORES "[f:0,-1,-2 " TYPES "[i:2,1,3",
         "token 2, a name of one letter"},
        {SPM TOKENS "[s:<unk>,ab,ab " SCORES "[f:0,-1,-2 " TYPES "[i:2,1,3",
         "token 2, which is spelled as another is"},
        {SPM TOKENS "[s:<unk>,a\xff " SCORES "[f:0,-1 " TYPES "[i:2,1",
         "token 1, which is long or no UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kvass_tokenizer *tok = open_or_fail(*state, cases[i].words);
        kvass_metadata *m = NULL;
        kvass_error err = {0};
        assert_int_equal(kvass_tokenizer_describe_json(tok, &m, &err), KVASS_UNSUPPORTED);
        assert_string_equal(err.rule, "CONVERT_TOKENIZER");
        if (!strstr(err.message, cases[i].needle)) {
            fail_msg("%s", err.message);
        }
        assert_null(m);
        kvass_tokenizer_close(&tok);
    }
    kvass_error err = {0};
    assert_int_equal(kvass_tokenizer_describe_json(NULL, NULL, &err), KVASS_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(malformed),       TEST(scores_decide),
                                       TEST(flags_decide),    TEST(merges_decide),
                                       TEST(written_as_json), TEST(not_written_as_json)};
    return cmocka_run_group_tests_name("tokenizer_gguf", tests, NULL, NULL);
}
