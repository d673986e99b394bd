/* test_safetensors.c - every rule a safetensors file or an index of shards can break: which name
 * the refusal has and whether its message tells the place. Memory for hostile headers:
 * test_bombs.c.
 */
#include "tests/unit/model_files.h"

static void write_st(const folder *f, const char *header, size_t n_data)
{
    write_raw(in_folder(f, "m.safetensors"), header, strlen(header), NULL, n_data);
}

#define T(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void headers_are_refused_by_rule(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *header;
        size_t n_data;
        const char *rule, *needle;
    } cases[] = {
        {"[]", 0, "HEADER_JSON", "byte 8: expected '{'"},
        {"  ", 0, "HEADER_JSON", "byte 10: expected '{'"},
        {"{]", 0, "HEADER_JSON", "byte 9: "},
        {"{} x", 0, "HEADER_JSON", "byte 11: "},
        {"{\"a\":1}", 0, "HEADER_JSON", "byte 13: expected '{', found '1'"},
        {"{\"a\":{}}", 0, "HEADER_JSON", "tensor \"a\": \"dtype\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 0, "HEADER_JSON",
         "\"data_offsets\" is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "HEADER_JSON",
         "found \"dtype\" again"},
        {"{\"a\":{\"x\":{\"y\":1}}}", 0, "HEADER_JSON", "found \"x\""},
        {"{" T("a", "F32", "[1]", "[0,4]") ",}", 4, "HEADER_JSON", "byte "},
        {"{" T("a\\u0000b", "F32", "[1]", "[0,4]") "}", 4, "HEADER_JSON", "escape"},
        {"{" T("\\ud800", "F32", "[1]", "[0,4]") "}", 4, "HEADER_JSON", "escape"},
        {"{" T("\xff", "F32", "[1]", "[0,4]") "}", 4, "HEADER_JSON", "UTF-8"},
        {"\xef\xbb\xbf{}", 0, "HEADER_JSON", "byte 8: expected '{', found byte 0xef"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "HEADER_METADATA", "expected a string"},
        {"{\"__metadata__\":[]}", 0, "HEADER_METADATA", "expected '{'"},
        {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, "HEADER_METADATA", "different keys"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "DUPLICATE_TENSOR", "twice"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8,
         "DUPLICATE_TENSOR", "tensor \"a\""},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("\\u0061", "F32", "[1]", "[4,8]") "}", 8,
         "DUPLICATE_TENSOR", "tensor \"a\""},
        {"{" T("a", "F33", "[1]", "[0,4]") "}", 4, "DTYPE_UNKNOWN",
         "tensor \"a\": no such type: \"F33\""},
        {"{" T("a", "f32", "[1]", "[0,4]") "}", 4, "DTYPE_UNKNOWN", "\"f32\""},
        {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, "SHAPE", "whole number"},
        {"{" T("a", "F32", "[1.5]", "[0,4]") "}", 4, "SHAPE", "plain digits"},
        {"{" T("a", "F32", "[1e0]", "[0,4]") "}", 4, "SHAPE", "plain digits"},
        {"{" T("a", "F32", "[\"1\"]", "[0,4]") "}", 4, "SHAPE", "whole number"},
        {"{" T("a", "F32", "1", "[0,4]") "}", 4, "SHAPE", "expected '['"},
        {"{" T("a", "F32", "[9223372036854775808]", "[0,4]") "}", 4, "SHAPE", "2^63"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "SHAPE", "at most 8 dimensions"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "[0,4]") "}", 4, "OVERFLOW", "tensor \"a\""},
        {"{" T("a", "F32", "[9223372036854775807]", "[0,4]") "}", 4, "OVERFLOW", "tensor \"a\""},
        {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, "OFFSET", "tensor \"a\""},
        {"{" T("a", "F32", "[1]", "[0]") "}", 4, "OFFSET", "two offsets"},
        {"{" T("a", "F32", "[1]", "[0,4,8]") "}", 4, "OFFSET", "two offsets"},
        {"{" T("a", "F32", "[1]", "[-4,0]") "}", 4, "OFFSET", "whole number"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}", 3, "OFFSET", "within 3 bytes"},
        {"{" T("a", "F32", "[250000000]", "[0,1000000000]") "}", 1000, "OFFSET",
         "within 1000 bytes"},
        {"{" T("a", "F32", "[2]", "[0,4]") "}", 4, "OFFSET", "needs 8 bytes, its offsets span 4"},
        {"{" T("a", "F32", "[0,5]", "[0,4]") "}", 4, "OFFSET", "needs 0 bytes"},
        {"{" T("a", "F4", "[3]", "[0,1]") "}", 1, "OFFSET", "tensor \"a\""},
        {"{" T("a", "F32", "[1]", "[4,8]") "}", 8, "OFFSET", "(hole)"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12, "OFFSET",
         "tensor \"b\""},
        {"{" T("a", "F32", "[2]", "[0,8]") "," T("b", "F32", "[1]", "[4,8]") "}", 8, "OFFSET",
         "(overlap)"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}", 5, "OFFSET", "expected a file of"},
        {"{}", 0, "NO_TENSORS", "found none"},
        {"{\"__metadata__\":{\"format\":\"pt\"}}  ", 0, "NO_TENSORS", "found none"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_st(f, cases[i].header, cases[i].n_data);
        expect_refused(in_folder(f, "m.safetensors"), cases[i].rule, cases[i].needle);
        expect_refused(in_folder(f, "m.safetensors"), cases[i].rule, "m.safetensors");
    }
}

static void header_sizes_are_checked_first(void **state)
{
    const folder *f = *state;
    static const unsigned char cases[][12] = {
        {0},
        {1},
        {100, 0, 0, 0, 0, 0, 0, 0, '{'},
        {0x01, 0xe1, 0xf5, 0x05, 0, 0, 0, 0, '{'}, /* 100,000,001 */
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{'},
        {0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{'}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unit_write(in_folder(f, "m.safetensors"), cases[i], sizeof cases[i]);
        expect_refused(in_folder(f, "m.safetensors"), "HEADER_SIZE", "m.safetensors: byte 0");
    }
}

/* Legal: white space before and after the object, zero-sized tensors, scalars, odd offsets, unknown
 * uses of known types. The configuration is what is refused then. */
static void legal_headers_pass(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *header;
        size_t n_data;
    } cases[] = {
        {" \n{" T("a", "F32", "[]", "[0,4]") "}  ", 4},
        {"{" T("a", "F32", "[0]", "[0,0]") "," T("b", "F32", "[3,0,9]", "[0,0]") "," T(
             "c", "U8", "[3]", "[0,3]") "," T("d", "F32", "[1]", "[3,7]") "}",
         7},
        {"{\"a\":{\"data_offsets\":[0,8],\"shape\":[1],\"dtype\":\"I64\"}}", 8},
        {"{" T("a", "F32", "[0,9223372036854775807,9223372036854775807]", "[0,0]") "}", 0},
        {"{" T("a", "F4", "[4]", "[0,2]") "}", 2},
        {"{\"__metadata__\":{\"a\":\"{\\\"x\\\":1}\"}," T("a", "BF16", "[1]", "[0,2]") "}", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_st(f, cases[i].header, cases[i].n_data);
        expect_refused(in_folder(f, "m.safetensors"), "CONFIG_FILE", "config.json");
    }
}

static void truncation_is_refused_at_every_byte(void **state)
{
    const folder *f = *state;
    builder *b = calloc(1, sizeof *b);
    add_tiny_llama(b, "F16", true, true);
    write_builder(b, in_folder(f, "model.safetensors"));
    write_text(f, "config.json", TINY_LLAMA_CONFIG ",\"attention_bias\":true,\"mlp_bias\":true}");
    kvass_model *model = expect_opens(f->path, NULL);
    kvass_model_close(&model);
    expect_truncations_refused(f, "model.safetensors", SIZE_MAX);
    free(b);
}

/* ---- shards ---------------------------------------------------------------------------------- */

/* A tiny llama in two files; `index` may have %s for "model-1.safetensors" to be listed elsewhere.
 */
static void write_shards(const folder *f)
{
    builder *b = calloc(1, sizeof *b);
    b->skip = "model.norm.weight";
    add_tiny_llama(b, "F32", false, false);
    write_builder(b, in_folder(f, "a.safetensors"));
    memset(b, 0, sizeof *b);
    add_tensor(b, "model.norm.weight", "F32", 8, 0);
    write_builder(b, in_folder(f, "b.safetensors"));
    write_text(f, "config.json", TINY_LLAMA_CONFIG "}");
    free(b);
}

/* The index of write_shards, with a say about the last tensor and the rest of the object. */
static void write_index(const folder *f, const char *norm, const char *rest)
{
    static const char *const names[] = {
        "input_layernorm",  "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj",
        "self_attn.v_proj", "self_attn.o_proj",         "mlp.gate_proj",    "mlp.up_proj",
        "mlp.down_proj"};
    char text[8192];
    size_t n = (size_t)snprintf(text, sizeof text,
                                "{\"weight_map\":{"
                                "\"model.embed_tokens.weight\":\"a.safetensors\"");
    for (int l = 0; l < 2; l++) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            n += (size_t)snprintf(text + n, sizeof text - n,
                                  ",\"model.layers.%d.%s.weight\":\"a.safetensors\"", l, names[i]);
        }
    }
    (void)snprintf(text + n, sizeof text - n, "%s}%s}", norm, rest);
    write_text(f, "model.safetensors.index.json", text);
}

#define NORM_IN(shard) ",\"model.norm.weight\":\"" shard "\""

static void shards_are_read_as_one(void **state)
{
    const folder *f = *state;
    write_shards(f);
    write_index(f, NORM_IN("b.safetensors"), ",\"metadata\":{\"x\":[1,{}],\"total_size\":17}");
    const char *const paths[] = {f->path, in_folder(f, "model.safetensors.index.json")};
    for (size_t i = 0; i < 2; i++) {
        kvass_model_info info;
        kvass_model *model = expect_opens(paths[i], NULL);
        kvass_model_get_info(model, &info);
        assert_string_equal(info.format, "safetensors (sharded)");
        assert_int_equal(info.n_tensors, 20);
        assert_true(info.tied);
        assert_int_equal(info.n_warnings, 2);
        assert_non_null(strstr(kvass_model_warning(model, 0), "total_size is 17"));
        assert_non_null(strstr(kvass_model_warning(model, 1), "lm_head.weight"));
        assert_null(kvass_model_warning(model, 2));
        kvass_model_close(&model);
    }
}

/* As in a Hugging Face cache, shards may be symbolic links to files with other names elsewhere. */
static void linked_shards_are_followed(void **state)
{
    const folder *f = *state;
    char target[2 * UNIT_PATH_BYTES], link[2 * UNIT_PATH_BYTES];
    write_shards(f);
    write_index(f, NORM_IN("b.safetensors"), "");
    (void)snprintf(target, sizeof target, "%s/0123456789abcdef", f->path);
    (void)snprintf(link, sizeof link, "%s/b.safetensors", f->path);
    assert_int_equal(rename(link, target), 0);
    assert_int_equal(symlink("./0123456789abcdef", link), 0);
    kvass_model *model = expect_opens(f->path, NULL);
    kvass_model_close(&model);
}

static void indexes_are_refused_by_rule(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *norm, *rest, *rule, *needle;
    } cases[] = {
        {NORM_IN("/etc/passwd"), "", "INDEX_NAME", "\"/etc/passwd\""},
        {NORM_IN("../b.safetensors"), "", "INDEX_NAME", "\"../b.safetensors\""},
        {NORM_IN("x/b.safetensors"), "", "INDEX_NAME", "\"x/b.safetensors\""},
        {NORM_IN(""), "", "INDEX_NAME", "\"\""},
        {NORM_IN(".."), "", "INDEX_NAME", "\"..\""},
        {NORM_IN("b.bin"), "", "INDEX_NAME", "\"b.bin\""},
        {NORM_IN(".safetensors"), "", "INDEX_NAME", "\".safetensors\""},
        {NORM_IN("b\\u0000.safetensors"), "", "INDEX_JSON", "escape"},
        {NORM_IN("c.safetensors"), "", "FILE_OPEN", "c.safetensors"},
        {NORM_IN("a.safetensors"), "", "INDEX_TENSOR", "the 20 tensors it lists, found 19"},
        {",\"other\":\"b.safetensors\"", "", "INDEX_TENSOR",
         "tensor \"model.norm.weight\": expected it in no shard, found it in b.safetensors"},
        {"", "", "TENSOR_MISSING", "model.norm.weight"},
        {NORM_IN("b.safetensors") NORM_IN("a.safetensors"), "", "DUPLICATE_TENSOR",
         "model.norm.weight"},
        {",\"model.norm.weight\":3", "", "INDEX_JSON", "expected a string, found '3'"},
        {NORM_IN("b.safetensors"), ",\"weight_map\":{}", "INDEX_JSON",
         "\"weight_map\" stands there twice"},
        {NORM_IN("b.safetensors"), ",\"metadata\":3", "INDEX_JSON", "expected '{'"},
        {NORM_IN("b.safetensors"), "} {", "INDEX_JSON", "nothing but white space"},
    };
    write_shards(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_index(f, cases[i].norm, cases[i].rest);
        expect_refused(f->path, cases[i].rule, cases[i].needle);
    }
    write_text(f, "model.safetensors.index.json", "{\"metadata\":{}}");
    expect_refused(f->path, "INDEX_JSON", "weight_map");
    write_text(f, "model.safetensors.index.json", "{\"weight_map\":{}}");
    expect_refused(f->path, "INDEX_JSON", "weight_map");
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    const folder *f = *state;
    builder *b = calloc(1, sizeof *b);
    write_shards(f);
    add_tensor(b, "model.norm.weight", "F32", 8, 0);
    add_tensor(b, "model.layers.0.mlp.up_proj.weight", "F32", 6, 8);
    write_builder(b, in_folder(f, "b.safetensors"));
    write_index(f, NORM_IN("b.safetensors"), "");
    expect_refused(f->path, "DUPLICATE_TENSOR", "model.layers.0.mlp.up_proj.weight");
    free(b);
}

static void too_many_shards_are_refused(void **state)
{
    const folder *f = *state;
    char *text = malloc(1 << 20);
    size_t n = (size_t)sprintf(text, "{\"weight_map\":{");
    for (int i = 0; i < 10000; i++) {
        n += (size_t)sprintf(text + n, "%s\"t%d\":\"s%d.safetensors\"", i > 0 ? "," : "", i, i);
    }
    (void)sprintf(text + n, "}}");
    write_text(f, "model.safetensors.index.json", text);
    expect_refused(f->path, "INDEX_SHARDS", "at most 512");
    free(text);
}

static void index_truncation_is_refused_at_every_byte(void **state)
{
    const folder *f = *state;
    write_shards(f);
    write_index(f, NORM_IN("b.safetensors"), ",\"metadata\":{\"total_size\":1.5e3}");
    kvass_model *model = expect_opens(f->path, NULL);
    kvass_model_close(&model);
    expect_truncations_refused(f, "model.safetensors.index.json", SIZE_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(headers_are_refused_by_rule), TEST(header_sizes_are_checked_first),
        TEST(legal_headers_pass),          TEST(truncation_is_refused_at_every_byte),
        TEST(shards_are_read_as_one),      TEST(linked_shards_are_followed),
        TEST(indexes_are_refused_by_rule), TEST(a_tensor_in_two_shards_is_refused),
        TEST(too_many_shards_are_refused), TEST(index_truncation_is_refused_at_every_byte),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
