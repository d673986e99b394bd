/* test_json.c - what the JSON reader takes, what it refuses, and where it says the fault is. */
#include "tests/unit/unit.h"

#include <string.h>

#include "engine/base/json.h"

static kvass_json *parse(const char *text)
{
    kvass_json *root = NULL;
    kvass_error err = {0};
    kvass_status status = kvass_json_parse(&root, text, strlen(text), "t.json", &err);
    if (status != KVASS_OK) {
        fail_msg("%s", err.message);
    }
    return root;
}

static void test_kinds(void **state)
{
    (void)state;
    kvass_json *root = parse("{\"i\":9007199254740993,\"r\":768.0,\"t\":true,\"n\":null,"
                             "\"s\":\"\\u00e9\",\"a\":[1,\"x\"],\"o\":{}}");
    int64_t i = 0;
    double r = 0;
    bool b = false;
    size_t n = 0;
    assert_true(kvass_json_as_int(kvass_json_get(root, "i"), &i));
    assert_true(i == INT64_C(9007199254740993)); /* 2^53 + 1 stays exact */
    assert_false(kvass_json_as_int(kvass_json_get(root, "r"), &i));
    assert_false(kvass_json_as_int(kvass_json_get(root, "t"), &i));
    assert_true(kvass_json_as_real(kvass_json_get(root, "r"), &r));
    assert_true(r == 768.0);
    assert_true(kvass_json_as_real(kvass_json_at(kvass_json_get(root, "a"), 0), &r));
    assert_true(r == 1.0);
    assert_false(kvass_json_as_real(kvass_json_get(root, "s"), &r));
    assert_true(kvass_json_as_bool(kvass_json_get(root, "t"), &b));
    assert_true(b);
    assert_false(kvass_json_as_bool(kvass_json_get(root, "i"), &b));
    assert_string_equal(kvass_json_as_string(kvass_json_get(root, "s"), &n), "\xc3\xa9");
    assert_int_equal(n, 2);
    assert_null(kvass_json_as_string(kvass_json_get(root, "i"), NULL));
    assert_int_equal(kvass_json_size(kvass_json_get(root, "a")), 2);
    assert_int_equal(kvass_json_size(root), 7);
    assert_int_equal(kvass_json_size(kvass_json_get(root, "s")), 0);
    assert_null(kvass_json_at(kvass_json_get(root, "a"), 2));
    assert_null(kvass_json_get(root, "missing"));

    static const struct {
        const char *key;
        kvass_json_kind kind;
        const char *name;
    } kinds[] = {
        {"i", KVASS_JSON_INT, "an integer"},   {"r", KVASS_JSON_REAL, "a real"},
        {"t", KVASS_JSON_BOOL, "a boolean"},   {"n", KVASS_JSON_NULL, "null"},
        {"s", KVASS_JSON_STRING, "a string"},  {"a", KVASS_JSON_ARRAY, "an array"},
        {"o", KVASS_JSON_OBJECT, "an object"}, {"x", KVASS_JSON_ABSENT, "absent"},
    };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        const kvass_json *value = kvass_json_get(root, kinds[k].key);
        assert_int_equal(kvass_json_get_kind(value), kinds[k].kind);
        assert_string_equal(kvass_json_kind_name(value), kinds[k].name);
    }
    kvass_json_close(&root);
    assert_null(root);
}

static void test_absent(void **state)
{
    (void)state;
    int64_t i = 3;
    double r;
    bool b;
    assert_null(kvass_json_get(NULL, "x"));
    assert_null(kvass_json_at(NULL, 0));
    assert_int_equal(kvass_json_size(NULL), 0);
    assert_false(kvass_json_as_int(NULL, &i));
    assert_int_equal(i, 3);
    assert_false(kvass_json_as_real(NULL, &r));
    assert_false(kvass_json_as_bool(NULL, &b));
    assert_null(kvass_json_as_string(NULL, NULL));
    assert_null(kvass_json_iter(NULL));
    kvass_json_close(NULL);
}

static void test_order(void **state)
{
    (void)state;
    kvass_json *root = parse("{\"z\":0,\"a\":1,\"m\":2,\"b\":3}");
    static const char *const keys[] = {"z", "a", "m", "b"};
    int64_t n = 0;
    for (void *it = kvass_json_iter(root); it; it = kvass_json_next(root, it)) {
        int64_t value = -1;
        assert_string_equal(kvass_json_iter_key(it), keys[n]);
        assert_true(kvass_json_as_int(kvass_json_iter_value(it), &value));
        assert_int_equal(value, n);
        n++;
    }
    assert_int_equal(n, 4);
    kvass_json_close(&root);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *rule;
    } bad[] = {
        {"", "JSON_SYNTAX"},
        {"{", "JSON_SYNTAX"},
        {"{\"a\":1} x", "JSON_SYNTAX"},
        {"{\"a\":1,}", "JSON_SYNTAX"},
        {"{\"a\":NaN}", "JSON_SYNTAX"},
        {"{\"a\":1e999}", "JSON_SYNTAX"},
        {"{\"a\":18446744073709551615}", "JSON_SYNTAX"},
        {"{\"a\":01}", "JSON_SYNTAX"},
        {"{\"a\":\"\\u0000\"}", "JSON_SYNTAX"},
        {"{\"a\":\"\\ud800\"}", "JSON_SYNTAX"},
        {"{\"a\":\"\xff\"}", "JSON_SYNTAX"},
        {"{\"a\":\"\xc0\x80\"}", "JSON_SYNTAX"},
        {"\xef\xbb\xbf{}", "JSON_SYNTAX"},
        {"{\"a\":1,\"a\":2}", "JSON_DUPLICATE"},
        {"{\"a\":1,\"\\u0061\":2}", "JSON_DUPLICATE"},
        {"{\"o\":{\"a\":1,\"a\":1}}", "JSON_DUPLICATE"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        kvass_json *root = (kvass_json *)&root;
        kvass_error err = {0};
        assert_int_equal(kvass_json_parse(&root, bad[i].text, strlen(bad[i].text), "t.json", &err),
                         KVASS_FORMAT);
        assert_null(root);
        assert_int_equal(err.code, KVASS_FORMAT);
        assert_string_equal(err.rule, bad[i].rule);
        assert_non_null(strstr(err.message, "t.json: line 1, byte "));
    }
    kvass_json *root;
    kvass_error err;
    assert_int_equal(kvass_json_parse(&root, "{\"a\"\0:1}", 8, "t.json", &err), KVASS_FORMAT);
    assert_int_equal(kvass_json_parse(&root, "{\n \"a\": ?}", 10, "t.json", &err), KVASS_FORMAT);
    assert_non_null(strstr(err.message, "t.json: line 2, byte 9"));
}

static void test_deep(void **state)
{
    (void)state;
    static char text[200000];
    memset(text, '[', sizeof text);
    kvass_json *root;
    kvass_error err;
    assert_int_equal(kvass_json_parse(&root, text, sizeof text, "deep", &err), KVASS_FORMAT);
    assert_string_equal(err.rule, "JSON_SYNTAX");
    assert_null(root);
}

static void test_build(void **state)
{
    (void)state;
    kvass_json *root = kvass_json_new_object();
    assert_non_null(root);
    int64_t i = 0;
    double r = 0;
    bool b = false;
    assert_true(kvass_json_set_int(root, "i", INT64_MIN));
    assert_true(kvass_json_set_real(root, "r", 1e-5));
    assert_true(kvass_json_set_bool(root, "b", true));
    assert_true(kvass_json_set_string(root, "s", "llama"));
    assert_true(kvass_json_set_int(root, "i", -7));
    assert_true(kvass_json_as_int(kvass_json_get(root, "i"), &i));
    assert_int_equal(i, -7);
    assert_true(kvass_json_as_real(kvass_json_get(root, "r"), &r));
    assert_true(r == 1e-5);
    assert_true(kvass_json_as_bool(kvass_json_get(root, "b"), &b));
    assert_true(b);
    assert_string_equal(kvass_json_as_string(kvass_json_get(root, "s"), NULL), "llama");
    assert_false(kvass_json_set_string(root, "bad", "\xff"));
    assert_false(kvass_json_set_real(root, "inf", 1e308 * 10));
    assert_int_equal(kvass_json_size(root), 4);
    kvass_json_close(&root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),   cmocka_unit_test(test_absent), cmocka_unit_test(test_order),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_deep),   cmocka_unit_test(test_build),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
