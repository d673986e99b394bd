/* test_golden_convert.c - every reference checkpoint, converted to GGUF and to safetensors: what
 * was written gives the same logits, bit for bit, or is refused because no such file can say it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/kvass.h"
#include "tests/golden/golden_file.h"

enum { MAX_TOKENS = 40 };

/* What GGUF files cannot say, by the rule of the refusal. */
static const struct {
    const char *name, *rule, *needle;
} refused[] = {
    {"kvass", "CONVERT_FAMILY", "no architecture for kvass"},
    {"weights/tiny-lean", "CONVERT_FAMILY", "no architecture for kvass"},
    {"families/gpt_neo", "CONVERT_FAMILY", "no architecture for gpt_neo"},
    {"families/opt", "CONVERT_FAMILY", "no architecture for opt"},
    {"families/qwen2", "CONVERT_LOSS", "the window of layer 1: 33, read back as 0"},
    {"families/smollm3", "CONVERT_LOSS", "the window of layer 1: 64, read back as 0"},
    {"families/gemma2", "CONVERT_LOSS", "the scale of scores of layer 0"},
    {"families/gemma3_text-new", "CONVERT_LOSS", "the window of layer 0"},
    {"families/phi", "CONVERT_LOSS", "\"model.layers.0.self_attn.q_layernorm.weight\""},
    {"families/stablelm", "CONVERT_LOSS", "self_attn.q_layernorm.norms.0.weight\""},
    {"families/nanogpt", "CONVERT_LOSS", "as gpt2 it could not be read back"},
    {"torch nanoGPT", "CONVERT_LOSS", "as gpt2 it could not be read back"},
};

/* Near, but not to the bit: GGUF keeps what divides frequencies as f32; files have no blocks with
 * f32 scales, so those weights become f32, with which activations are not quantized. */
static const struct {
    const char *name;
    kvass_container container;
    double bound;
} rounded[] = {
    {"llama-rope3", KVASS_CONTAINER_GGUF, 1e-4},
    {"llama-rope3-old", KVASS_CONTAINER_GGUF, 1e-4},
    {"families/phi3", KVASS_CONTAINER_GGUF, 1e-4},
    {"families/phi3-short", KVASS_CONTAINER_GGUF, 1e-4},
    {"llama-mha v2-g32.bin", KVASS_CONTAINER_GGUF, 0.1},
    {"llama-mha v2-g32.bin", KVASS_CONTAINER_SAFETENSORS, 0.1},
    {"llama-q8 v2-g64.bin", KVASS_CONTAINER_GGUF, 0.1},
    {"llama-q8 v2-g64.bin", KVASS_CONTAINER_SAFETENSORS, 0.1},
};

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s): %s", kvass_status_text(status), err->rule, err->message);
    }
}

static kvass_model *open_model(const char *path)
{
    kvass_model *model = NULL;
    kvass_error err;
    check(kvass_model_open(&model, path, NULL, &err), &err);
    return model;
}

/* logits[n_tokens, n_vocab] */
static float *run(const kvass_model *model, const golden *g, int32_t n_tokens)
{
    kvass_context_options opt = kvass_context_options_default();
    kvass_context *ctx = NULL;
    kvass_seq *seq = NULL;
    kvass_error err;
    kvass_row rows[MAX_TOKENS];
    float *logits = malloc((size_t)n_tokens * (size_t)g->n_vocab * sizeof *logits);
    assert_non_null(logits);
    opt.n_ctx = opt.n_logits = n_tokens;
    opt.n_threads = 1;
    opt.store = KVASS_STORE_F32;
    check(kvass_context_open(&ctx, model, &opt, &err), &err);
    check(kvass_seq_open(&seq, ctx, &err), &err);
    for (int32_t i = 0; i < n_tokens; i++) {
        rows[i] = (kvass_row){seq, g->ids[i], KVASS_PREFILL, true};
    }
    check(kvass_forward(ctx, rows, n_tokens, &err), &err);
    for (int32_t i = 0; i < n_tokens; i++) {
        memcpy(logits + (size_t)i * (size_t)g->n_vocab, kvass_context_logits(ctx, i),
               (size_t)g->n_vocab * sizeof *logits);
    }
    kvass_context_close(&ctx);
    return logits;
}

static double bound_of(const char *name, kvass_container container)
{
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        if (strcmp(rounded[i].name, name) == 0 && rounded[i].container == container) {
            return rounded[i].bound;
        }
    }
    return 0;
}

static void compare(const golden_case *c, kvass_container container, const golden *g, int32_t n,
                    const float *want, const float *got)
{
    double bound = bound_of(c->name, container);
    for (int32_t i = 0; i < n; i++) {
        size_t at = (size_t)i * (size_t)g->n_vocab;
        double distance = golden_distance(got + at, 1, want + at, g->n_vocab);
        bool same = memcmp(got + at, want + at, (size_t)g->n_vocab * sizeof *got) == 0;
        if (bound == 0 ? !same : !(distance <= bound)) {
            fail_msg("%s, %s, position %d: %.3g standard deviations off", c->name,
                     container == KVASS_CONTAINER_GGUF ? "GGUF" : "safetensors", (int)i, distance);
        }
    }
}

/* Whether `status` is the refusal that is due. */
static bool is_refused(const golden_case *c, kvass_status status, const kvass_error *err)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(refused[i].name, c->name) == 0) {
            assert_int_equal(status, KVASS_UNSUPPORTED);
            assert_string_equal(err->rule, refused[i].rule);
            if (!strstr(err->message, refused[i].needle)) {
                fail_msg("%s: expected '%s' in '%s'", c->name, refused[i].needle, err->message);
            }
            return true;
        }
    }
    return false;
}

static void remove_all(const char *path)
{
    static const char *const names[] = {"model.safetensors", "config.json",
                                        "generation_config.json", "tokenizer.json",
                                        "tokenizer_config.json"};
    char inner[GOLDEN_PATH_BYTES + 32];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(inner, sizeof inner, "%s/%s", path, names[i]);
        (void)unlink(inner);
    }
    assert_int_equal(remove(path), 0);
}

static void convert(const golden_case *c, const kvass_model *model, const golden *g, int32_t n,
                    const float *want, kvass_container container, const char *path)
{
    kvass_convert_options opt = kvass_convert_options_default();
    kvass_error err = {0};
    opt.container = container;
    kvass_status status = kvass_model_convert(model, path, &opt, &err);
    if (container == KVASS_CONTAINER_GGUF && is_refused(c, status, &err)) {
        assert_int_not_equal(access(path, F_OK), 0);
        return;
    }
    check(status, &err);
    kvass_model *back = open_model(path);
    float *got = run(back, g, n);
    compare(c, container, g, n, want, got);
    free(got);
    kvass_model_close(&back);
    remove_all(path);
}

static void test_case(void **state)
{
    const golden_case *c = *state;
    char path[GOLDEN_PATH_BYTES], logits_path[GOLDEN_PATH_BYTES];
    char folder[] = "/tmp/kvass-convert-XXXXXX", out[64];
    golden g;
    if (!golden_find(c, path, logits_path)) {
        print_message("%s: no shared data\n", c->name);
        skip();
    }
    golden_read(&g, logits_path);
    int32_t n = g.n_tokens < MAX_TOKENS ? g.n_tokens : MAX_TOKENS;
    kvass_model *model = open_model(path);
    float *want = run(model, &g, n);
    assert_non_null(mkdtemp(folder));
    (void)snprintf(out, sizeof out, "%s/out", folder);
    convert(c, model, &g, n, want, KVASS_CONTAINER_GGUF, out);
    convert(c, model, &g, n, want, KVASS_CONTAINER_SAFETENSORS, out);
    assert_int_equal(rmdir(folder), 0);
    free(want);
    kvass_model_close(&model);
    golden_free(&g);
}

/* Quantized weights, which lie interleaved in memory unless their file is mapped: on from there
 * they stay what they are. */
static void quantized_again(void **state)
{
    static const kvass_dtype types[] = {KVASS_DTYPE_Q8_0, KVASS_DTYPE_Q4_0, KVASS_DTYPE_Q4_1};
    static const golden_case c = {.name = "quantized"};
    char model_path[GOLDEN_PATH_BYTES], logits_path[GOLDEN_PATH_BYTES];
    char folder[] = "/tmp/kvass-convert-XXXXXX", first[64], out[64];
    golden g;
    (void)state;
    assert_true(golden_find(&golden_cases[0], model_path, logits_path));
    golden_read(&g, logits_path);
    assert_non_null(mkdtemp(folder));
    (void)snprintf(first, sizeof first, "%s/first", folder);
    (void)snprintf(out, sizeof out, "%s/out", folder);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        kvass_convert_options opt = kvass_convert_options_default();
        kvass_error err;
        opt.type = types[i];
        kvass_model *model = open_model(model_path);
        check(kvass_model_convert(model, first, &opt, &err), &err);
        kvass_model_close(&model);
        model = open_model(first);
        float *want = run(model, &g, MAX_TOKENS);
        convert(&c, model, &g, MAX_TOKENS, want, KVASS_CONTAINER_GGUF, out);
        opt.type = KVASS_DTYPE_F32;
        check(kvass_model_convert(model, out, &opt, &err), &err);
        kvass_model *wide = open_model(out);
        float *got = run(wide, &g, MAX_TOKENS);
        for (int32_t p = 0; p < MAX_TOKENS; p++) { /* activations are quantized in one of them */
            size_t at = (size_t)p * (size_t)g.n_vocab;
            assert_true(golden_distance(got + at, 1, want + at, g.n_vocab) < 0.1);
        }
        free(want);
        free(got);
        kvass_model_close(&wide);
        kvass_model_close(&model);
        assert_int_equal(remove(first) | remove(out), 0);
    }
    assert_int_equal(rmdir(folder), 0);
    golden_free(&g);
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[GOLDEN_N_CASES + 1];
    tests[GOLDEN_N_CASES] = (struct CMUnitTest)cmocka_unit_test(quantized_again);
    for (size_t i = 0; i < GOLDEN_N_CASES; i++) {
        tests[i] = (struct CMUnitTest){.name = golden_cases[i].name,
                                       .test_func = test_case,
                                       .initial_state = (void *)&golden_cases[i]};
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
