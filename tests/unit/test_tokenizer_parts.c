/* test_tokenizer_parts.c - the pieces tokenizers are made of: UTF-8, normal forms, added tokens,
 * splitting, and the stream that holds back incomplete characters. */
#include "tests/unit/unit.h"

#include <utf8proc.h>

#include "tokenizer/added.h"
#include "tokenizer/merge.h"
#include "tokenizer/newchars.h"
#include "tokenizer/normalize.h"
#include "tokenizer/pretokenize.h"
#include "tokenizer/utf8.h"

/* ---- UTF-8 ------------------------------------------------------------------------------------
 */

/* Every character there and back; nothing else of up to three bytes passes. */
static void test_utf8_all(void **state)
{
    (void)state;
    size_t n_chars = 0;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xd800 && cp <= 0xdfff) {
            continue;
        }
        char s[4];
        uint32_t back = ~0u, before = ~0u;
        size_t n = kvass_utf8_put(cp, s);
        assert_int_equal(kvass_utf8_char(s, n, &back), n);
        assert_int_equal(back, cp);
        assert_int_equal(kvass_utf8_char_before(s, n, &before), n);
        assert_int_equal(before, cp);
        assert_int_equal(kvass_utf8_char(s, n - 1, NULL), 0);
        assert_int_equal(kvass_utf8_partial(s, n), 0);
        assert_int_equal(kvass_utf8_partial(s, n - 1), n - 1);
        assert_int_equal(kvass_utf8_valid(s, n), n);
        n_chars += n <= 3;
    }
    size_t n_valid = 0;
    for (uint32_t three = 0; three < 0x1000000; three++) {
        char s[3] = {(char)(three >> 16), (char)(three >> 8), (char)three};
        size_t n = kvass_utf8_char(s, 3, NULL);
        /* count each once: what follows a shorter character is 0 */
        n_valid += (n == 3) || (n == 2 && s[2] == 0) || (n == 1 && s[1] == 0 && s[2] == 0);
    }
    assert_int_equal(n_valid, n_chars);
}

static void test_utf8_partial(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        size_t partial, valid;
    } cases[] = {
        {"", 0, 0},
        {"a", 0, 1},
        {"a\xc3", 1, 1},
        {"a\xe2\x82", 2, 1},
        {"\xf0\x9f\x98", 3, 0},
        {"\xf0\x9f", 2, 0},
        {"\x80", 0, 0}, /* no lead */
        {"\xc0", 0, 0}, /* never a lead */
        {"\xc1", 0, 0},
        {"\xf5", 0, 0},
        {"\xe0\x9f", 0, 0},         /* would be overlong */
        {"\xed\xa0", 0, 0},         /* would be a surrogate */
        {"\xf4\x90", 0, 0},         /* would be beyond U+10FFFF */
        {"\xf0\x8f", 0, 0},         /* would be overlong */
        {"\xc3\xa9\xa9", 0, 2},     /* one too many */
        {"\xf0\x9f\x98\x80", 0, 4}, /* complete */
        {"\xe2\xc3", 1, 0},         /* the second begins anew */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = strlen(cases[i].s);
        assert_int_equal(kvass_utf8_partial(cases[i].s, n), cases[i].partial);
        assert_int_equal(kvass_utf8_valid(cases[i].s, n), cases[i].valid);
    }
    /* the fast path looks at eight bytes at a time */
    assert_int_equal(kvass_utf8_valid("12345678\xff", 9), 8);
    assert_int_equal(kvass_utf8_valid("1234567\xff"
                                      "12345678",
                                      16),
                     7);
    assert_int_equal(kvass_utf8_char_before("\xa9\xa9\xa9\xa9\xa9", 5, NULL), 0);
}

/* ---- normal forms ------------------------------------------------------------------------------
 */

static void normalize(tok_norm_kind kind, const char *s, size_t n, tok_text *result)
{
    tok_normalizer norm = {0};
    kvass_error err;
    const char *out;
    char *owned;
    assert_int_equal(kvass_normalizer_add(&norm, kind, NULL, 0, NULL, 0, &err), KVASS_OK);
    size_t n_out;
    assert_int_equal(kvass_normalizer_run(&norm, s, n, &out, &n_out, &owned, &err), KVASS_OK);
    *result = (tok_text){0};
    assert_true(kvass_text_put(result, out, n_out));
    assert_true(kvass_text_put(result, "", 1));
    result->n--;
    free(owned);
    kvass_normalizer_close(&norm);
}

/* Random texts against utf8proc's own function, which shares only the tables. */
static void test_forms(void **state)
{
    (void)state;
    static const struct {
        tok_norm_kind kind;
        int options;
    } forms[] = {
        {TOK_NFC, UTF8PROC_STABLE | UTF8PROC_COMPOSE},
        {TOK_NFD, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {TOK_NFKC, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {TOK_NFKD, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
    };
    static const uint32_t blocks[] = {0x41,   0x61,   0xc0,   0x1e00, 0x300,  0x320,
                                      0x340,  0x1100, 0x1161, 0x11a8, 0xac00, 0x3040,
                                      0xf900, 0xfb00, 0xff00, 0x2f00, 0x93c,  0x1d100,
                                      0x20,   0x4e00, 0x5b0,  0x64b,  0xfdf0, 0x2100};
    const uint64_t seed = 5;
    print_message("seed %llu\n", (unsigned long long)seed);
    uint64_t random = seed;
    for (int round = 0; round < 20000; round++) {
        char s[256];
        size_t n = 0;
        for (uint32_t i = unit_random(&random) % 20; i > 0; i--) {
            uint32_t cp = blocks[unit_random(&random) % 24] + unit_random(&random) % 24;
            if (!kvass_newchars_left_alone(cp)) {
                n += kvass_utf8_put(cp, s + n);
            }
        }
        int form = round % 4;
        tok_text ours;
        normalize(forms[form].kind, s, n, &ours);
        utf8proc_uint8_t *theirs;
        utf8proc_ssize_t n_theirs = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n,
                                                 &theirs, (utf8proc_option_t)forms[form].options);
        assert_int_equal(ours.n, n_theirs);
        assert_memory_equal(ours.data, theirs, ours.n);
        free(theirs);
        free(ours.data);
    }
}

static void test_normalize_odd(void **state)
{
    (void)state;
    static const struct {
        tok_norm_kind kind;
        const char *in, *out;
    } cases[] = {
        {TOK_NFC, "e\xcc\x81\xff\xcc\x81",
         "\xc3\xa9\xff\xcc\x81"}, /* broken bytes stay, and part */
        {TOK_NFC, "\xe2\x82", "\xe2\x82"},
        {TOK_NFC, "plain", "plain"},
        {TOK_NFC, "\xc3\xa9", "\xc3\xa9"},
        {TOK_NFD, "\xc3\xa9", "e\xcc\x81"},
        {TOK_NFC, "q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"},
        {TOK_NFKC, "\xef\xac\x81", "fi"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tok_text ours;
        normalize(cases[i].kind, cases[i].in, strlen(cases[i].in), &ours);
        assert_int_equal(ours.n, strlen(cases[i].out));
        assert_memory_equal(ours.data, cases[i].out, ours.n);
        free(ours.data);
    }
    /* half a million marks in the wrong order: sorting them pair by pair would not end */
    size_t n = 1000001;
    char *marks = malloc(n);
    assert_non_null(marks);
    marks[0] = 'a';
    for (size_t i = 1; i < n; i += 4) {
        memcpy(marks + i, "\xcc\x95\xcc\xa6", 4); /* classes 232 and 220 */
    }
    tok_text ours;
    normalize(TOK_NFC, marks, n, &ours);
    assert_int_equal(ours.n, n);
    assert_memory_equal(ours.data + 1, "\xcc\xa6\xcc\xa6", 4);
    assert_memory_equal(ours.data + n - 4, "\xcc\x95\xcc\x95", 4);
    free(ours.data);
    free(marks);
}

static void test_replace(void **state)
{
    (void)state;
    tok_normalizer norm = {0};
    kvass_error err;
    assert_int_equal(kvass_normalizer_add(&norm, TOK_PREPEND, NULL, 0, "_", 1, &err), KVASS_OK);
    assert_int_equal(kvass_normalizer_add(&norm, TOK_REPLACE, "ab", 2, "x", 1, &err), KVASS_OK);
    assert_int_equal(kvass_normalizer_add(&norm, TOK_REPLACE, "\0", 1, "yy", 2, &err), KVASS_OK);
    const char *out;
    char *owned;
    size_t n;
    assert_int_equal(kvass_normalizer_run(&norm, "aab\0bab", 7, &out, &n, &owned, &err), KVASS_OK);
    assert_int_equal(n, 7);
    assert_memory_equal(out, "_axyybx", n);
    free(owned);
    /* an empty text stays empty: nothing is put before it */
    assert_int_equal(kvass_normalizer_run(&norm, "", 0, &out, &n, &owned, &err), KVASS_OK);
    assert_int_equal(n, 0);
    free(owned);
    kvass_normalizer_close(&norm);
}

/* ---- added tokens ------------------------------------------------------------------------------
 */

static void add(tok_added *added, int32_t id, const char *name, tok_added_token token)
{
    bool fresh = false;
    kvass_error err;
    token.id = id;
    assert_int_equal(kvass_added_put(added, &token, name, strlen(name), &fresh, &err), KVASS_OK);
    assert_true(fresh);
}

/* All matches in text as "id:start-end ...". */
static const char *matches(const tok_added *added, bool special, const char *text)
{
    static char line[512];
    size_t n = strlen(text), from = 0, start, end, at = 0;
    line[0] = '\0';
    const tok_added_token *token;
    while ((token = kvass_added_find(added, false, special, text, n, from, &start, &end)) != NULL) {
        at += (size_t)snprintf(line + at, sizeof line - at, "%d:%zu-%zu ", token->id, start, end);
        from = end;
    }
    return line;
}

static void test_added(void **state)
{
    (void)state;
    tok_added added = {0};
    assert_string_equal(matches(&added, true, "abc"), "");
    assert_null(kvass_added_get(&added, "a", 1));
    add(&added, 0, "<a", (tok_added_token){0});
    add(&added, 1, "<abc>", (tok_added_token){0});
    add(&added, 2, "<s>", (tok_added_token){.special = true});
    add(&added, 3, "[l]", (tok_added_token){.lstrip = true});
    add(&added, 4, "[r]", (tok_added_token){.rstrip = true});
    add(&added, 5, "word", (tok_added_token){.single_word = true});
    add(&added, 6, "\xc3\xa9", (tok_added_token){0});
    bool fresh = true;
    kvass_error err;
    tok_added_token again = {.id = 9};
    assert_int_equal(kvass_added_put(&added, &again, "<a", 2, &fresh, &err), KVASS_OK);
    assert_false(fresh);
    assert_string_equal(matches(&added, true, "<abc><abc<s>"), "1:0-5 0:5-7 2:9-12 ");
    assert_string_equal(matches(&added, false, "<s><a"), "0:3-5 ");
    assert_string_equal(matches(&added, true, "a \n [l] b"), "3:1-7 ");
    assert_string_equal(matches(&added, true, "[r] \xe3\x80\x80 [l]"), "4:0-8 3:8-11 ");
    assert_string_equal(matches(&added, true, "[l]  [l]"), "3:0-3 3:3-8 ");
    assert_string_equal(matches(&added, true, "word words sword word_ word."), "5:0-4 5:23-27 ");
    assert_string_equal(matches(&added, true, "\xc3\xc3\xa9"), "6:1-3 ");
    assert_int_equal(kvass_added_get(&added, "<abc>", 5)->id, 1);
    assert_null(kvass_added_get(&added, "<ab", 3));
    kvass_added_close(&added);
}

/* ---- splitting ---------------------------------------------------------------------------------
 */

static kvass_status put_word(void *user, const char *word, size_t n)
{
    tok_text *line = user;
    assert_true(n > 0);
    assert_true(kvass_text_put(line, "|", 1));
    assert_true(kvass_text_put(line, word, n));
    return KVASS_OK;
}

static void split(const char *pattern, tok_behavior behavior, bool invert, const char *text,
                  size_t n, const char *expected)
{
    tok_pretok pre = {0};
    tok_matcher matcher = {0};
    tok_text line = {0};
    kvass_error err = {0};
    kvass_regex *regex;
    if (kvass_regex_open(&regex, pattern, strlen(pattern), false, "t", &err) != KVASS_OK) {
        fail_msg("%s", err.message);
    }
    tok_pre_step step = {.regex = regex, .behavior = behavior, .invert = invert};
    assert_int_equal(kvass_pretok_add(&pre, step, &err), KVASS_OK);
    assert_int_equal(kvass_pretok_run(&pre, &matcher, text, n, true, put_word, &line, &err),
                     KVASS_OK);
    assert_true(kvass_text_put(&line, "", 1));
    assert_int_equal(line.n - 1, strlen(expected));
    assert_string_equal(line.data, expected);
    free(line.data);
    kvass_matcher_close(&matcher);
    kvass_pretok_close(&pre);
}

static void test_split(void **state)
{
    (void)state;
    /* the expected pieces are what the tokenizers library gives */
    static const struct {
        const char *pattern;
        tok_behavior behavior;
        bool invert;
        const char *text, *pieces;
    } cases[] = {
        {"\\d", TOK_REMOVED, false, "12ab3c44", "|ab|c"},
        {"\\d", TOK_REMOVED, true, "12ab3c44", "|1|2|3|4|4"},
        {"\\d", TOK_ISOLATED, false, "12ab3c44", "|1|2|ab|3|c|4|4"},
        {"\\d", TOK_ISOLATED, true, "12ab3c44", "|1|2|ab|3|c|4|4"},
        {"\\d", TOK_CONTIGUOUS, false, "12ab3c44", "|12|ab|3|c|44"},
        {"\\d", TOK_WITH_PREVIOUS, false, "12ab3c44", "|1|2|ab3|c4|4"},
        {"\\d", TOK_WITH_PREVIOUS, true, "12ab3c44", "|1|2ab|3c|4|4"},
        {"\\d", TOK_WITH_NEXT, false, "12ab3c44", "|1|2ab|3c|4|4"},
        {"\\d", TOK_WITH_NEXT, true, "12ab3c44", "|1|2|ab3|c4|4"},
        {"x*", TOK_ISOLATED, false, "axxb", "|a|xx|b"},
        {"x*", TOK_REMOVED, false, "axxb", "|a|b"},
        {"x*", TOK_REMOVED, true, "axxb", "|xx"},
        {"x*", TOK_WITH_PREVIOUS, false, "axxb", "|axx|b"},
        {"x*", TOK_WITH_PREVIOUS, true, "axxb", "|a|xxb"},
        {"x*", TOK_WITH_NEXT, false, "axxb", "|a|xxb"},
        {"x*", TOK_WITH_NEXT, true, "axxb", "|axx|b"},
        {"^", TOK_ISOLATED, false, "ab\ncd\n", "|ab\n|cd\n"},
        {"$", TOK_ISOLATED, false, "ab\ncd\n", "|ab|\ncd|\n"},
        {".+", TOK_ISOLATED, false, "ab\ncd\n", "|ab|\n|cd|\n"},
        {"\\s", TOK_REMOVED, false,
         "a\xe1\xa0\x8e"
         "b\xc2\x85"
         "c\x1c",
         "|a\xe1\xa0\x8e"
         "b|c\x1c"},
        {"\\v", TOK_REMOVED, false, "a\vb\nc", "|a|b\nc"},
        {"\\u0061|\\x{62}|\\x63", TOK_REMOVED, false, "abcd", "|d"},
        {"\\w+", TOK_ISOLATED, false, "a_1\xc2\xb2.-b", "|a_1\xc2\xb2|.-|b"},
        {"\\W+", TOK_REMOVED, false, "a_1.-b", "|a_1|b"},
        {"[\\w-]+", TOK_ISOLATED, false, "a.b-c", "|a|.|b-c"},
        {"\\p{Han}", TOK_ISOLATED, false, "\xe3\x80\x81\xe4\xb8\x80", "|\xe3\x80\x81|\xe4\xb8\x80"},
        {"(?i:'s)", TOK_ISOLATED, false, "it'S'\xc5\xbf", "|it|'S|'\xc5\xbf"},
        /* letters newer than PCRE2's tables: U+1C89, U+105C0 */
        {"\\p{L}+", TOK_REMOVED, false,
         "1\xe1\xb2\x89\xf0\x90\x97\x80"
         "2",
         "|1|2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        split(cases[i].pattern, cases[i].behavior, cases[i].invert, cases[i].text,
              strlen(cases[i].text), cases[i].pieces);
    }
    /* bytes that are no UTF-8 are pieces of their own, and the text on either side has an end */
    split("b+|\\s+(?!\\S)", TOK_ISOLATED, false,
          "abb\xff\xfe"
          "bb \xc3"
          "x",
          10, "|a|bb|\xff\xfe|bb| |\xc3|x");
}

/* Each round of a group takes room on the compiled expression's stack, which is small: the
 * interpreter takes over. */
static void test_split_long(void **state)
{
    (void)state;
    size_t n = 400000;
    char *text = malloc(n + 1), *pieces = malloc(n + 2);
    assert_non_null(text);
    assert_non_null(pieces);
    for (size_t i = 0; i < n; i++) {
        text[i] = "ab"[i % 2];
    }
    text[n] = '\0';
    (void)snprintf(pieces, n + 2, "|%s", text);
    split("(?:a|b)+", TOK_ISOLATED, false, text, n, pieces);
    free(text);
    free(pieces);
}

/* ---- words of a text ---------------------------------------------------------------------------
 */

static void test_merge_end(void **state)
{
    (void)state;
    const char *text = "  ab c  d";
    size_t ends[8], n = 0;
    for (size_t at = 0; at < 9; at = ends[n++]) {
        ends[n] = kvass_merge_end(text, 9, at, " ", 1);
    }
    assert_int_equal(n, 3);
    assert_int_equal(ends[0], 4);
    assert_int_equal(ends[1], 6);
    assert_int_equal(ends[2], 9);
    assert_false(kvass_merge_crosses("  a", 3, " ", 1));
    assert_true(kvass_merge_crosses("a ", 2, " ", 1));
    assert_false(kvass_merge_crosses("\xe2\x96\x81\xe2\x96\x81"
                                     "a",
                                     7, "\xe2\x96\x81", 3));
    assert_true(kvass_merge_crosses("a\xe2\x96\x81", 4, "\xe2\x96\x81", 3));
    assert_false(kvass_merge_crosses("a\xe2\x96", 3, "\xe2\x96\x81", 3));
}

/* ---- stream ------------------------------------------------------------------------------------
 */

/* A tokenizer.bin of <unk>, BOS, EOS and the 256 bytes. */
static kvass_tokenizer *open_bytes(void)
{
    char folder[UNIT_PATH_BYTES], path[UNIT_PATH_BYTES + 16], file[8192];
    size_t n = 0;
    for (int id = -1; id < 259; id++) {
        unsigned char head[8] = {0};
        char name[16] = "<s>";
        if (id >= 3) {
            (void)snprintf(name, sizeof name, "<0x%02X>", (unsigned)id - 3);
        }
        head[id < 0 ? 0 : 4] = (unsigned char)strlen(id < 0 ? "<0x00>" : name);
        memcpy(file + n, head, id < 0 ? 4 : 8);
        n += id < 0 ? 4 : 8;
        if (id >= 0) {
            memcpy(file + n, name, strlen(name));
            n += strlen(name);
        }
    }
    unit_folder(folder);
    (void)snprintf(path, sizeof path, "%s/tokenizer.bin", folder);
    unit_write(path, file, n);
    kvass_tokenizer *tok;
    kvass_error err;
    assert_int_equal(kvass_tokenizer_open(&tok, path, 259, &err), KVASS_OK);
    (void)unlink(path);
    (void)rmdir(folder);
    return tok;
}

static void test_stream(void **state)
{
    (void)state;
    kvass_tokenizer *tok = open_bytes();
    kvass_stream *stream;
    kvass_error err;
    assert_int_equal(kvass_stream_open(&stream, tok, false, &err), KVASS_OK);
    static const struct {
        unsigned char byte;
        const char *out;
    } steps[] = {
        {'a', "a"},
        {0xc3, ""},
        {0xa9, "\xc3\xa9"},
        {0xf0, ""},
        {0x9f, ""},
        {0x98, ""},
        {0x80, "\xf0\x9f\x98\x80"},
        {0xff, "\xff"}, /* never part of a character: goes on at once */
        {0xe2, ""},
        {0x82, ""},
        {'x', "\xe2\x82x"}, /* what was held proves broken */
        {0xe2, ""},
        {0xe2, "\xe2"},
        {0x82, ""},
        {0xac, "\xe2\x82\xac"},
        {0xed, ""},
        {0xa0, "\xed\xa0"}, /* a surrogate */
        {0xf0, ""},
        {0x9f, ""},
    };
    const char *bytes;
    size_t n;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_int_equal(kvass_stream_put(stream, 3 + steps[i].byte, &bytes, &n, &err), KVASS_OK);
        assert_int_equal(n, strlen(steps[i].out));
        assert_memory_equal(bytes, steps[i].out, n);
    }
    kvass_stream_end(stream, &bytes, &n);
    assert_int_equal(n, 2);
    assert_memory_equal(bytes, "\xf0\x9f", 2);
    kvass_stream_end(stream, &bytes, &n);
    assert_int_equal(n, 0);
    bytes = NULL;
    n = 7;
    assert_int_equal(kvass_stream_put(stream, 259, &bytes, &n, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "TOKEN_ID");
    assert_int_equal(kvass_stream_put(stream, -1, &bytes, &n, &err), KVASS_INVALID);
    assert_null(bytes);
    assert_int_equal(n, 7);
    assert_int_equal(kvass_stream_put(NULL, 3, &bytes, &n, &err), KVASS_INVALID);
    kvass_stream_close(&stream);
    assert_null(stream);
    kvass_stream_close(&stream);
    assert_int_equal(kvass_stream_open(&stream, NULL, false, &err), KVASS_INVALID);
    kvass_tokenizer_close(&tok);
}

/* The text of control tokens comes only on request, the space that encoding puts first never. */
static void test_stream_special(void **state)
{
    (void)state;
    kvass_tokenizer *tok = open_bytes();
    kvass_stream *stream;
    kvass_error err;
    const char *bytes;
    size_t n;
    for (int with = 0; with < 2; with++) {
        assert_int_equal(kvass_stream_open(&stream, tok, with, &err), KVASS_OK);
        assert_int_equal(kvass_stream_put(stream, 1, &bytes, &n, &err), KVASS_OK);
        assert_int_equal(n, with ? 3 : 0);
        assert_int_equal(kvass_stream_put(stream, 3 + ' ', &bytes, &n, &err), KVASS_OK);
        assert_int_equal(n, 0);
        kvass_stream_close(&stream);
    }
    kvass_tokenizer_close(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8_all),       cmocka_unit_test(test_utf8_partial),
        cmocka_unit_test(test_forms),          cmocka_unit_test(test_normalize_odd),
        cmocka_unit_test(test_replace),        cmocka_unit_test(test_added),
        cmocka_unit_test(test_split),          cmocka_unit_test(test_split_long),
        cmocka_unit_test(test_merge_end),      cmocka_unit_test(test_stream),
        cmocka_unit_test(test_stream_special),
    };
    return cmocka_run_group_tests_name("tokenizer_parts", tests, NULL, NULL);
}
