/* test_model_config.c - config.json and generation_config.json: what is read, what is refused and
 * where, what becomes a warning. Each case takes a tiny model that opens and changes its
 * configuration.
 */
#include <math.h>

#include "model/model.h"
#include "tests/unit/model_files.h"

/* The tiny configuration with `key` set to `value` (NULL: left out). */
static void write_config(const folder *f, const char *config, const char *key, const char *value)
{
    char text[2048], quoted[64];
    (void)snprintf(quoted, sizeof quoted, "\"%s\":", key);
    (void)snprintf(text, sizeof text, "%s}", config);
    char *at = strstr(text, quoted);
    if (at) { /* cut the old one out, with a comma */
        char *end = at + strlen(quoted);
        while (*end != ',' && *end != '}') {
            end++;
        }
        bool first = at[-1] == '{';
        memmove(first ? at : at - 1, first ? end + 1 : end, strlen(end) + (first ? 0 : 1));
    }
    if (value) {
        size_t n = strlen(text) - 1;
        (void)snprintf(text + n, sizeof text - n, ",%s%s}", quoted, value);
    }
    write_text(f, "config.json", text);
}

typedef struct refusal {
    const char *key, *value, *rule, *needle;
} refusal;

static void expect_refusals(const folder *f, const char *config, const refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        write_config(f, config, cases[i].key, cases[i].value);
        expect_refused(f->path, cases[i].rule, cases[i].needle);
        expect_refused(f->path, cases[i].rule, "config.json");
    }
}

#define LLAMA3 "\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"

static void llama_refusals(void **state)
{
    const folder *f = *state;
    static const refusal cases[] = {
        {"hidden_size", NULL, "CONFIG_MISSING", "\"hidden_size\": expected an integer"},
        {"hidden_size", "null", "CONFIG_MISSING", "\"hidden_size\""},
        {"hidden_size", "8.0", "CONFIG_TYPE", "\"hidden_size\": expected an integer, found a real"},
        {"hidden_size", "\"8\"", "CONFIG_TYPE", "found a string"},
        {"hidden_size", "1e999", "JSON_SYNTAX", "line 1"},
        {"hidden_size", "NaN", "JSON_SYNTAX", "line 1"},
        {"hidden_size", "0", "CONFIG_RANGE", "expected 1 .. 65536, found 0"},
        {"hidden_size", "-8", "CONFIG_RANGE", "found -8"},
        {"hidden_size", "65537", "CONFIG_RANGE", "found 65537"},
        {"hidden_size", "9223372036854775807", "CONFIG_RANGE", "found 9223372036854775807"},
        {"num_hidden_layers", "1000000000", "CONFIG_RANGE", "1 .. 1024"},
        {"num_hidden_layers", NULL, "CONFIG_MISSING", "\"num_hidden_layers\""},
        {"num_hidden_layers", "3", "TENSOR_MISSING", "model.layers.2.input_layernorm.weight"},
        {"vocab_size", "2097153", "CONFIG_RANGE", "1 .. 2097152"},
        {"vocab_size", "6", "TENSOR_SHAPE", "shape [5, 8], but "},
        {"max_position_embeddings", "16777217", "CONFIG_RANGE", "1 .. 16777216"},
        {"intermediate_size", "7", "TENSOR_SHAPE", "needs [7, 8]"},
        {"num_attention_heads", "3", "CONFIG_DIVIDE", "3 heads and dimension 8"},
        {"num_key_value_heads", "3", "CONFIG_DIVIDE", "found 3 and 2"},
        {"num_key_value_heads", "0", "CONFIG_RANGE", "\"num_key_value_heads\""},
        {"num_key_value_heads", "2", "TENSOR_SHAPE", "k_proj.weight\": shape [4, 8]"},
        {"num_attention_heads", "8", "CONFIG_DIVIDE", "even number of rotated values"},
        {"head_dim", "65536", "CONFIG_RANGE", "found 2 times 65536"},
        {"head_dim", "3", "CONFIG_DIVIDE", "found 3 of a head dimension of 3"},
        {"head_dim", "6", "TENSOR_SHAPE", "q_proj.weight\": shape [8, 8]"},
        {"rms_norm_eps", "0", "CONFIG_RANGE", "\"rms_norm_eps\""},
        {"rms_norm_eps", "-1e-5", "CONFIG_RANGE", "\"rms_norm_eps\""},
        {"rms_norm_eps", "1e-60", "CONFIG_RANGE", "\"rms_norm_eps\""},
        {"rms_norm_eps", "1.5", "CONFIG_RANGE", "\"rms_norm_eps\""},
        {"rms_norm_eps", "\"1e-5\"", "CONFIG_TYPE", "expected a number, found a string"},
        {"hidden_act", "\"mish\"", "ACTIVATION", "expected silu, swish, gelu,"},
        {"hidden_act", "3", "CONFIG_TYPE", "\"hidden_act\": expected a string"},
        {"tie_word_embeddings", "1", "CONFIG_TYPE", "expected true or false, found an integer"},
        {"attention_bias", "true", "TENSOR_MISSING", "self_attn.q_proj.bias"},
        {"mlp_bias", "true", "TENSOR_MISSING", "mlp.gate_proj.bias"},
        {"rope_theta", "1", "CONFIG_RANGE", "\"rope_theta\""},
        {"rope_theta", "-10000", "CONFIG_RANGE", "\"rope_theta\""},
        {"rope_theta", "\"x\"", "CONFIG_TYPE", "\"rope_theta\""},
        {"rope_scaling", "3", "CONFIG_TYPE", "\"rope_scaling\": expected an object"},
        {"rope_scaling", "{\"factor\":2}", "CONFIG_MISSING", "rope_scaling.rope_type"},
        {"rope_scaling", "{\"type\":3}", "CONFIG_TYPE", "rope_scaling.type"},
        {"rope_parameters", "{\"rope_type\":\"proportional\"}", "ROPE_SCALING",
         "\"rope_parameters.rope_type\": expected default, linear, llama3, yarn, longrope or "
         "dynamic, "
         "found \"proportional\""},
        {"rope_scaling", "{\"type\":\"yarn\",\"factor\":0}", "CONFIG_RANGE", "\"factor\""},
        {"rope_scaling", "{\"type\":\"yarn\",\"factor\":2,\"beta_fast\":-1}", "CONFIG_RANGE",
         "\"beta_fast\""},
        {"rope_scaling",
         "{\"type\":\"longrope\",\"original_max_position_embeddings\":8,\"short_factor\":[1,1]}",
         "CONFIG_MISSING", "\"rope_scaling.long_factor\": expected a list of 2 numbers"},
        {"rope_scaling",
         "{\"type\":\"su\",\"original_max_position_embeddings\":8,\"short_factor\":[1]}",
         "CONFIG_TYPE",
         "\"rope_scaling.short_factor\": expected a list of 2 numbers, found an array of 1"},
        {"rope_scaling",
         "{\"type\":\"longrope\",\"original_max_position_embeddings\":8,\"short_factor\":[1,0]}",
         "CONFIG_RANGE", "\"rope_scaling.short_factor\"[1]: expected a number above 0"},
        {"rope_scaling", "{\"type\":\"linear\"}", "CONFIG_MISSING", "rope_scaling.factor"},
        {"rope_scaling", "{\"type\":\"linear\",\"factor\":0}", "CONFIG_RANGE", "\"factor\""},
        {"rope_scaling", "{" LLAMA3 "\"high_freq_factor\":4}", "CONFIG_MISSING",
         "rope_scaling.original_max_position_embeddings"},
        {"rope_scaling", "{" LLAMA3 "\"original_max_position_embeddings\":8}", "CONFIG_MISSING",
         "rope_scaling.high_freq_factor"},
        {"rope_scaling",
         "{" LLAMA3 "\"high_freq_factor\":1,\"original_max_position_embeddings\":8}",
         "CONFIG_RANGE", "low_freq_factor below high_freq_factor"},
        {"partial_rotary_factor", "0.75", "CONFIG_DIVIDE", "found 3 of a head dimension of 4"},
        {"partial_rotary_factor", "1.5", "CONFIG_RANGE", "\"partial_rotary_factor\""},
        {"bos_token_id", "\"1\"", "CONFIG_TYPE", "\"bos_token_id\""},
        {"eos_token_id", "1.5", "CONFIG_TYPE", "\"eos_token_id\""},
        {"eos_token_id", "[1,\"2\"]", "CONFIG_TYPE", "\"eos_token_id\": expected a list of"},
        {"model_type", "\"mamba\"", "FAMILY", "found \"mamba\", expected one of gemma, gemma2,"},
        {"model_type", NULL, "FAMILY", "found absent"},
        {"model_type", "3", "FAMILY", "found an integer"},
        {"quantization_config", "{\"quant_method\":\"gptq\"}", "QUANTIZATION", "found \"gptq\""},
    };
    write_llama(f, "F32", true, false, "");
    expect_refusals(f, TINY_LLAMA_CONFIG, cases, sizeof cases / sizeof *cases);
}

static void gpt2_refusals(void **state)
{
    const folder *f = *state;
    static const refusal cases[] = {
        {"n_embd", NULL, "CONFIG_MISSING", "\"n_embd\""},
        {"n_head", "3", "CONFIG_DIVIDE", "3 heads"},
        {"n_inner", "null", "TENSOR_SHAPE", "c_fc.weight\": shape [8, 12], but "},
        {"n_inner", "11", "TENSOR_SHAPE", "needs [8, 11]"},
        {"n_positions", "12", "TENSOR_SHAPE", "wpe.weight\": shape [16, 8]"},
        {"layer_norm_epsilon", "0", "CONFIG_RANGE", "\"layer_norm_epsilon\""},
        {"activation_function", "\"quick_gelu\"", "ACTIVATION", "found \"quick_gelu\""},
        {"add_cross_attention", "true", "FAMILY", "\"add_cross_attention\": expected false"},
        {"scale_attn_weights", "0", "CONFIG_TYPE", "\"scale_attn_weights\""},
    };
    write_gpt2(f, "F32", "transformer.", 16, "");
    expect_refusals(f, TINY_GPT2_CONFIG, cases, sizeof cases / sizeof *cases);
}

static void broken_files_are_refused(void **state)
{
    const folder *f = *state;
    write_llama(f, "F32", true, false, "");
    assert_int_equal(unlink(in_folder(f, "config.json")), 0);
    expect_refused(f->path, "CONFIG_FILE", "config.json");
    write_text(f, "config.json", "[1]");
    expect_refused(f->path, "CONFIG_TYPE", "expected an object, found an array");
    write_text(f, "config.json", TINY_LLAMA_CONFIG ",\"vocab_size\":5}");
    expect_refused(f->path, "JSON_DUPLICATE", "config.json");
    write_text(f, "config.json", "");
    expect_refused(f->path, "JSON_SYNTAX", "config.json");
    write_text(f, "config.json", TINY_LLAMA_CONFIG "}");
    expect_truncations_refused(f, "config.json", SIZE_MAX);
    write_text(f, "generation_config.json", "{\"eos_token_id\":");
    expect_refused(f->path, "JSON_SYNTAX", "generation_config.json");
    write_text(f, "generation_config.json", "{\"eos_token_id\":\"x\"}");
    expect_refused(f->path, "CONFIG_TYPE", "generation_config.json");

    char *large = malloc(600 * 1024);
    memset(large, ' ', 600 * 1024);
    unit_write(in_folder(f, "config.json"), large, 600 * 1024);
    expect_refused(f->path, "FILE_SIZE", "config.json");
    free(large);
}

/* ---- what is read ---------------------------------------------------------------------------- */

static kvass_model *open_with(const folder *f, const char *config, const char *key,
                              const char *value)
{
    write_config(f, config, key, value);
    return expect_opens(f->path, NULL);
}

static void rope_comes_from_either_generation(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *key, *value;
        struct {
            int32_t n_rot;
            double theta;
            kvass_rope_scaling scaling;
            double factor, low_freq_factor, high_freq_factor;
            int32_t original_ctx;
        } expected;
    } cases[] = {
        {"x", "0", {4, 10000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_theta", "500000", {4, 500000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_theta", "null", {4, 10000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_scaling", "null", {4, 10000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_scaling", "{}", {4, 10000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_scaling", "{\"type\":\"default\"}", {4, 10000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_scaling",
         "{\"type\":\"linear\",\"factor\":2.5}",
         {4, 10000, KVASS_ROPE_LINEAR, 2.5, 0, 0, 0}},
        {"rope_parameters", "{\"rope_theta\":5e5}", {4, 500000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_parameters",
         "{\"rope_type\":\"default\",\"rope_theta\":5e5}",
         {4, 500000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_parameters",
         "{\"rope_type\":\"default\",\"partial_rotary_factor\":0.5}",
         {2, 10000, KVASS_ROPE_PLAIN, 1, 0, 0, 0}},
        {"rope_parameters",
         "{" LLAMA3 "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192}",
         {4, 10000, KVASS_ROPE_LLAMA3, 8, 1, 4, 8192}},
        {"rope_scaling",
         "{" LLAMA3 "\"high_freq_factor\":4,\"original_max_position_embeddings\":8192,"
         "\"type\":\"llama3\"},\"rope_theta\":5e5",
         {4, 500000, KVASS_ROPE_LLAMA3, 8, 1, 4, 8192}},
    };
    write_llama(f, "F32", true, false, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kvass_model *m = open_with(f, TINY_LLAMA_CONFIG, cases[i].key, cases[i].value);
        for (int32_t l = 0; l < 2; l++) {
            const kvass_rope_spec *r = &m->layers[l].spec.rope;
            assert_int_equal(r->n_rot, cases[i].expected.n_rot);
            assert_int_equal(r->scaling, cases[i].expected.scaling);
            assert_int_equal(r->original_ctx, cases[i].expected.original_ctx);
            assert_true(r->theta == cases[i].expected.theta);
            assert_true(r->factor == cases[i].expected.factor);
            assert_true(r->low_freq_factor == cases[i].expected.low_freq_factor);
            assert_true(r->high_freq_factor == cases[i].expected.high_freq_factor);
        }
        kvass_model_close(&m);
    }
}

static void defaults_are_the_familys(void **state)
{
    const folder *f = *state;
    write_llama(f, "F32", true, false, "");
    kvass_model *m = open_with(f, TINY_LLAMA_CONFIG, "rms_norm_eps", NULL);
    assert_true(m->config.norm_eps == 1e-6f);
    kvass_model_close(&m);
    m = open_with(f, TINY_LLAMA_CONFIG, "max_position_embeddings", NULL);
    assert_int_equal(m->config.n_ctx, 2048);
    assert_int_equal(m->layers[1].spec.act, KVASS_ACT_SILU);
    assert_true(m->layers[1].spec.attn_scale == 0.5f);
    kvass_model_close(&m);
    m = open_with(f, TINY_LLAMA_CONFIG, "eos_token_id", NULL);
    assert_int_equal(m->config.n_eos, 1);
    assert_int_equal(m->config.eos[0], 2);
    kvass_model_close(&m);
}

static void gpt2_scales_are_read(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *key, *value;
        float scale[2];
    } cases[] = {
        {"x", "1", {0.5f, 0.5f}},
        {"scale_attn_weights", "false", {1.0f, 1.0f}},
        {"scale_attn_by_inverse_layer_idx", "true", {0.5f, 0.25f}},
    };
    write_gpt2(f, "F32", "transformer.", 16, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kvass_model *m = open_with(f, TINY_GPT2_CONFIG, cases[i].key, cases[i].value);
        for (int32_t l = 0; l < 2; l++) {
            assert_true(m->layers[l].spec.attn_scale == cases[i].scale[l]);
            assert_int_equal(m->layers[l].spec.rope.n_rot, 0);
        }
        kvass_model_close(&m);
    }
}

static void activations_are_known_by_name(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *name;
        kvass_act_kind act;
    } cases[] = {{"\"silu\"", KVASS_ACT_SILU},
                 {"\"swish\"", KVASS_ACT_SILU},
                 {"\"gelu\"", KVASS_ACT_GELU_ERF},
                 {"\"gelu_new\"", KVASS_ACT_GELU_TANH},
                 {"\"gelu_pytorch_tanh\"", KVASS_ACT_GELU_TANH},
                 {"\"gelu_fast\"", KVASS_ACT_GELU_TANH},
                 {"\"relu\"", KVASS_ACT_RELU}};
    write_gpt2(f, "F32", "transformer.", 16, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kvass_model *m = open_with(f, TINY_GPT2_CONFIG, "activation_function", cases[i].name);
        assert_int_equal(m->layers[1].spec.act, cases[i].act);
        kvass_model_close(&m);
    }
}

static void ids_outside_the_vocabulary_are_dropped(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *key, *value, *generation;
        int32_t bos, n_eos, eos[4], n_warnings;
    } cases[] = {
        {"x", "0", NULL, 1, 1, {2}, 0},
        {"bos_token_id", "5", NULL, -1, 1, {2}, 1},
        {"bos_token_id", "-1", NULL, -1, 1, {2}, 1},
        {"bos_token_id", "null", NULL, -1, 1, {2}, 0},
        {"eos_token_id", "null", NULL, 1, 0, {0}, 0},
        {"eos_token_id", "[3,0,3]", NULL, 1, 2, {3, 0}, 0},
        {"eos_token_id", "[3,5,-1]", NULL, 1, 1, {3}, 2},
        {"eos_token_id", "9223372036854775807", NULL, 1, 0, {0}, 1},
        {"x", "0", "{\"eos_token_id\":[2,4]}", 1, 2, {2, 4}, 0},
        {"eos_token_id", "null", "{\"eos_token_id\":4}", 1, 1, {4}, 0},
        {"x", "0", "{\"eos_token_id\":77,\"bos_token_id\":3}", 1, 1, {2}, 1},
        {"x", "0", "[]", 1, 1, {2}, 0},
    };
    write_llama(f, "F32", true, false, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kvass_model_info info;
        (void)unlink(in_folder(f, "generation_config.json"));
        if (cases[i].generation) {
            write_text(f, "generation_config.json", cases[i].generation);
        }
        kvass_model *m = open_with(f, TINY_LLAMA_CONFIG, cases[i].key, cases[i].value);
        kvass_model_get_info(m, &info);
        assert_int_equal(info.bos, cases[i].bos);
        assert_int_equal(info.n_eos, cases[i].n_eos);
        assert_memory_equal(info.eos, cases[i].eos, (size_t)info.n_eos * sizeof *info.eos);
        assert_int_equal(info.n_warnings, cases[i].n_warnings);
        kvass_model_close(&m);
    }
}

static void sampling_is_the_authors(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *generation;
        float temperature, top_p, min_p, repeat_penalty;
        int32_t top_k, n_warnings;
    } cases[] = {
        {NULL, .8f, .95f, .05f, 1, 40, 0},
        {"[]", .8f, .95f, .05f, 1, 40, 0},
        {"{\"temperature\":0.5,\"top_k\":7}", .8f, .95f, .05f, 1, 40, 0},
        {"{\"do_sample\":false,\"temperature\":0.5}", .8f, .95f, .05f, 1, 40, 0},
        {"{\"do_sample\":null,\"temperature\":0.5}", .8f, .95f, .05f, 1, 40, 0},
        {"{\"do_sample\":true}", .8f, .95f, .05f, 1, 40, 0},
        {"{\"do_sample\":true,\"temperature\":0.5,\"top_k\":7,\"top_p\":1,\"min_p\":0,"
         "\"repetition_penalty\":1.25}",
         .5f, 1, 0, 1.25f, 7, 0},
        {"{\"do_sample\":true,\"temperature\":null,\"top_k\":0}", .8f, .95f, .05f, 1, 0, 0},
        {"{\"do_sample\":true,\"temperature\":-1,\"top_p\":0,\"min_p\":1,\"top_k\":-1,"
         "\"repetition_penalty\":0}",
         .8f, .95f, .05f, 1, 40, 5},
    };
    write_llama(f, "F32", true, false, "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kvass_sampler_options opt = {
            .temperature = .8f, .top_k = 40, .top_p = .95f, .min_p = .05f, .repeat_penalty = 1};
        kvass_model_info info;
        (void)unlink(in_folder(f, "generation_config.json"));
        if (cases[i].generation) {
            write_text(f, "generation_config.json", cases[i].generation);
        }
        kvass_model *m = open_with(f, TINY_LLAMA_CONFIG, "x", "0");
        kvass_model_get_sampling(m, &opt);
        kvass_model_get_info(m, &info);
        assert_float_equal(opt.temperature, cases[i].temperature, 0);
        assert_int_equal(opt.top_k, cases[i].top_k);
        assert_float_equal(opt.top_p, cases[i].top_p, 0);
        assert_float_equal(opt.min_p, cases[i].min_p, 0);
        assert_float_equal(opt.repeat_penalty, cases[i].repeat_penalty, 0);
        assert_int_equal(info.n_warnings, cases[i].n_warnings);
        kvass_model_close(&m);
    }
    static const char *const wrong[] = {"{\"do_sample\":1}",
                                        "{\"do_sample\":true,\"top_k\":\"many\"}",
                                        "{\"do_sample\":true,\"temperature\":true}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text(f, "generation_config.json", wrong[i]);
        expect_refused(f->path, "CONFIG_TYPE", "generation_config.json");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(llama_refusals),
        TEST(gpt2_refusals),
        TEST(broken_files_are_refused),
        TEST(rope_comes_from_either_generation),
        TEST(defaults_are_the_familys),
        TEST(gpt2_scales_are_read),
        TEST(activations_are_known_by_name),
        TEST(ids_outside_the_vocabulary_are_dropped),
        TEST(sampling_is_the_authors),
    };
    return cmocka_run_group_tests_name("model_config", tests, NULL, NULL);
}
