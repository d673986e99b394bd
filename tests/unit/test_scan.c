/* test_scan.c - the scanner for large JSON texts: what it decodes, what it refuses and where. */
#include "model/scan.h"
#include "tests/unit/unit.h"

static kvass_scan scan_of(char *buf, const char *text, size_t n, kvass_error *err)
{
    memcpy(buf, text, n);
    return (kvass_scan){.text = buf, .size = n, .base = 8, .path = "x", .rule = "RULE", .err = err};
}

static void strings_are_decoded(void **state)
{
    (void)state;
    static const struct {
        const char *text, *value;
    } cases[] = {
        {"\"\"", ""},
        {" \n\t\r\"ab\"", "ab"},
        {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a\"\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20ac\"", "A\xc3\xa9\xe2\x82\xac"},
        {"\"\\ud83d\\ude00x\"", "\xf0\x9f\x98\x80x"},
        {"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buf[64], *out;
        size_t n;
        kvass_error err = {0};
        kvass_scan s = scan_of(buf, cases[i].text, strlen(cases[i].text), &err);
        assert_int_equal(kvass_scan_string(&s, &out, &n), KVASS_OK);
        assert_string_equal(out, cases[i].value);
        assert_int_equal(n, strlen(cases[i].value));
        assert_int_equal(kvass_scan_end(&s), KVASS_OK);
    }
}

static void bad_strings_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"",
                                        "a",
                                        "\"",
                                        "\"a",
                                        "\"\\\"",
                                        "\"\\x\"",
                                        "\"\\u12\"",
                                        "\"\\u12g4\"",
                                        "\"\\u0000\"",
                                        "\"\\ud800\"",
                                        "\"\\ud800x\"",
                                        "\"\\ud800\\u0041\"",
                                        "\"\\udc00\"",
                                        "\"\n\"",
                                        "\"\x01\"",
                                        "\"\x80\"",
                                        "\"\xc0\x80\"",
                                        "\"\xc3\"",
                                        "\"\xe0\x80\x80\"",
                                        "\"\xed\xa0\x80\"",
                                        "\"\xf0\x80\x80\x80\"",
                                        "\"\xf4\x90\x80\x80\"",
                                        "\"\xf5\x80\x80\x80\"",
                                        "\"\xff\""};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buf[64], *out = NULL;
        size_t n;
        kvass_error err = {0};
        kvass_scan s = scan_of(buf, cases[i], strlen(cases[i]), &err);
        assert_int_equal(kvass_scan_string(&s, &out, &n), KVASS_FORMAT);
        assert_string_equal(err.rule, "RULE");
        assert_non_null(strstr(err.message, "x: byte "));
        assert_null(out);
    }
}

static void numbers_are_whole(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value; /* -1: refused */
    } cases[] = {{"0", 0},
                 {" 17,", 17},
                 {"9223372036854775807", INT64_MAX},
                 {"9223372036854775808", -1},
                 {"99999999999999999999999", -1},
                 {"-1", -1},
                 {"+1", -1},
                 {"01", -1},
                 {"1.0", -1},
                 {"1e3", -1},
                 {"1E3", -1},
                 {"", -1},
                 {"\"1\"", -1},
                 {"x", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buf[64];
        int64_t value = -1;
        kvass_error err = {0};
        kvass_scan s = scan_of(buf, cases[i].text, strlen(cases[i].text), &err);
        kvass_status status = kvass_scan_int(&s, &value);
        assert_int_equal(status, cases[i].value < 0 ? KVASS_FORMAT : KVASS_OK);
        assert_true(value == cases[i].value);
    }
}

/* One value and nothing after it: 1 legal, 0 not. */
static void any_value_can_be_skipped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int legal;
    } cases[] = {{"{}", 1},
                 {"[]", 1},
                 {"null", 1},
                 {"true", 1},
                 {"false", 1},
                 {"\"a\"", 1},
                 {"-0.5e+3", 1},
                 {"[[],{},[1,[2,{\"a\":[]}]],\"b\"]", 1},
                 {"{\"a\":{\"b\":[1,2]},\"c\":null}", 1},
                 {"[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]", 1},
                 {"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", 0},
                 {"[1,]", 0},
                 {"[,1]", 0},
                 {"{\"a\"}", 0},
                 {"{\"a\":}", 0},
                 {"{\"a\":1,}", 0},
                 {"{1:2}", 0},
                 {"[1 2]", 0},
                 {"[", 0},
                 {"{", 0},
                 {"[1", 0},
                 {"{\"a\":1", 0},
                 {"]", 0},
                 {"nul", 0},
                 {"tru", 0},
                 {"-", 0},
                 {"1.", 0},
                 {"1e", 0},
                 {"1e+", 0},
                 {".5", 0},
                 {"007", 0},
                 {"NaN", 0},
                 {"{} {}", 0},
                 {"[1}", 0},
                 {"", 0},
                 {"'a'", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char buf[128];
        kvass_error err = {0};
        kvass_scan s = scan_of(buf, cases[i].text, strlen(cases[i].text), &err);
        kvass_status status = kvass_scan_skip(&s);
        status = status == KVASS_OK ? kvass_scan_end(&s) : status;
        if ((status == KVASS_OK) != (cases[i].legal == 1)) {
            fail_msg("%s: status %d", cases[i].text, status);
        }
    }
}

static void failures_name_the_byte(void **state)
{
    (void)state;
    char buf[64];
    kvass_error err = {0};
    kvass_scan s = scan_of(buf, "{\"a\":1;", 7, &err);
    assert_int_equal(kvass_scan_skip(&s), KVASS_FORMAT);
    assert_string_equal(err.message, "x: byte 14: expected ',' or '}', found ';'");
    s = scan_of(buf, "\"a\" \x07", 5, &err);
    assert_int_equal(kvass_scan_skip(&s), KVASS_OK);
    assert_int_equal(kvass_scan_end(&s), KVASS_FORMAT);
    assert_non_null(
        strstr(err.message, "byte 12: expected nothing but white space, found byte 0x07"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_decoded),    cmocka_unit_test(bad_strings_are_refused),
        cmocka_unit_test(numbers_are_whole),      cmocka_unit_test(any_value_can_be_skipped),
        cmocka_unit_test(failures_name_the_byte),
    };
    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
