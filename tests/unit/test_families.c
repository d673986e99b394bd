/* test_families.c - what each family makes of its configuration: defaults where keys are missing,
 * both generations of keys, and options that no part of the engine does, refused by name. Families
 * are asked without any tensor; what their networks compute is tests/golden's.
 */
#include <math.h>

#include "model/config.h"
#include "tests/unit/model_files.h"

enum { MAX_LAYERS = 8 };

typedef struct reading {
    kvass_json *json;
    const kvass_family *family;
    kvass_config config;
    kvass_layer_spec specs[MAX_LAYERS];
    kvass_error err;
    kvass_status status;
} reading;

/* dim 32, 4 heads, 6 layers, under the names that one family or another has for them; `more` is a
 * list of further keys. */
static void read_family(reading *r, const char *type, const char *more)
{
    static const char common[] =
        "\"vocab_size\":100,\"hidden_size\":32,\"n_embd\":32,\"num_hidden_layers\":6,"
        "\"num_layers\":6,\"n_layer\":6,\"num_attention_heads\":4,\"num_heads\":4,\"n_head\":4,"
        "\"intermediate_size\":48,\"ffn_dim\":48,\"block_size\":64";
    char text[2048];
    int n = snprintf(text, sizeof text, "{%s%s%s%s%s%s}", type ? "\"model_type\":\"" : "",
                     type ? type : "", type ? "\"," : "", common, *more ? "," : "", more);
    *r = (reading){0};
    assert_int_equal(kvass_json_parse(&r->json, text, (size_t)n, "test", &r->err), KVASS_OK);
    kvass_checkpoint ckpt = {.config = r->json, .config_path = (char *)(uintptr_t) "config.json"};
    kvass_config_in in = {&ckpt, &r->err, KVASS_OK};
    in.status = kvass_family_find(&r->family, &ckpt, &r->err);
    r->config = kvass_config_default();
    if (in.status == KVASS_OK) {
        r->family->config(&in, &r->config);
    }
    for (int32_t l = 0; l < r->config.n_layers && in.status == KVASS_OK; l++) {
        r->specs[l] = (kvass_layer_spec){.norm = r->config.final_norm,
                                         .mlp = KVASS_MLP_GATED,
                                         .attn_scale = 1 / sqrtf((float)r->config.head_dim),
                                         .owner = l};
        r->family->layer(&in, &r->config, l, &r->specs[l]);
    }
    r->status = in.status;
}

static void expect_read(reading *r, const char *type, const char *more)
{
    read_family(r, type, more);
    if (r->status != KVASS_OK) {
        fail_msg("%s: %s: %s", type ? type : "no type", r->err.rule, r->err.message);
    }
}

static void defaults_are_each_familys_own(void **state)
{
    static const struct {
        const char *type, *more;
        float eps;
        int32_t n_ctx, head_dim, window[2]; /* of layers 0 and 5 */
        double theta;
        int32_t n_rot;
        kvass_act_kind act;
        kvass_block_kind block;
        bool tied;
    } cases[] = {
#define PRE   KVASS_BLOCK_PRE
#define TANH  KVASS_ACT_GELU_TANH
#define SILU  KVASS_ACT_SILU
#define KV(n) "\"num_key_value_heads\":" #n
        {"gpt2", "", 1e-5f, 1024, 8, {0, 0}, 0, 0, TANH, PRE, true},
        {"gpt_neo", "", 1e-5f, 2048, 8, {0, 256}, 0, 0, TANH, PRE, true},
        {"gpt_neox",
         "",
         1e-5f,
         2048,
         8,
         {0, 0},
         1e4,
         2,
         KVASS_ACT_GELU_ERF,
         KVASS_BLOCK_PARALLEL,
         false},
        {"opt", "", 1e-5f, 2048, 8, {0, 0}, 0, 0, KVASS_ACT_RELU, PRE, true},
        {"llama", "", 1e-6f, 2048, 8, {0, 0}, 1e4, 8, SILU, PRE, false},
        {"mistral", KV(2), 1e-6f, 131072, 8, {4096, 4096}, 1e4, 8, SILU, PRE, false},
        {"qwen2", KV(2), 1e-6f, 32768, 8, {0, 0}, 1e4, 8, SILU, PRE, false},
        {"qwen3", KV(2), 1e-6f, 32768, 128, {0, 0}, 1e4, 128, SILU, PRE, false},
        {"smollm3", "", 1e-6f, 32768, 8, {0, 0}, 2e6, 8, SILU, PRE, true},
        {"granite", "", 1e-6f, 2048, 8, {0, 0}, 1e4, 8, SILU, PRE, false},
        {"gemma", KV(1), 1e-6f, 8192, 256, {0, 0}, 1e4, 256, TANH, PRE, true},
        {"gemma2", "", 1e-6f, 8192, 256, {4096, 0}, 1e4, 256, TANH, KVASS_BLOCK_SANDWICH, true},
        {"gemma3_text",
         "",
         1e-6f,
         131072,
         256,
         {4096, 0},
         1e4,
         256,
         TANH,
         KVASS_BLOCK_SANDWICH,
         true},
        {"phi", "", 1e-5f, 2048, 8, {0, 0}, 1e4, 4, TANH, KVASS_BLOCK_ONE_NORM, false},
        {"phi3", "", 1e-5f, 4096, 8, {0, 0}, 1e4, 8, SILU, PRE, false},
        {"stablelm", KV(4), 1e-5f, 4096, 8, {0, 0}, 1e4, 2, SILU, PRE, false},
        {"olmo2", "", 1e-5f, 2048, 8, {0, 0}, 1e4, 8, SILU, KVASS_BLOCK_POST, false},
        {"starcoder2", "", 1e-5f, 4096, 8, {0, 0}, 1e4, 8, TANH, PRE, true},
        {"nanogpt", "", 1e-5f, 64, 8, {0, 0}, 0, 0, KVASS_ACT_GELU_ERF, PRE, true},
        {"mingpt", "", 1e-5f, 64, 8, {0, 0}, 0, 0, TANH, PRE, false},
        {NULL, "", 1e-5f, 64, 8, {0, 0}, 0, 0, KVASS_ACT_GELU_ERF, PRE, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reading r;
        expect_read(&r, cases[i].type, cases[i].more);
        print_message("%s\n", r.family->name);
        assert_true(r.config.norm_eps == cases[i].eps);
        assert_int_equal(r.config.n_ctx, cases[i].n_ctx);
        assert_int_equal(r.config.head_dim, cases[i].head_dim);
        assert_int_equal(r.config.tied, cases[i].tied);
        assert_int_equal(r.specs[0].window, cases[i].window[0]);
        assert_int_equal(r.specs[5].window, cases[i].window[1]);
        assert_true(r.specs[0].rope.theta == cases[i].theta);
        assert_int_equal(r.specs[0].rope.n_rot, cases[i].n_rot);
        assert_int_equal(r.specs[0].act, cases[i].act);
        assert_int_equal(r.specs[0].block, cases[i].block);
        assert_int_equal(r.specs[5].owner, 5);
        kvass_json_close(&r.json);
    }
}

/* the windows of six layers, as a bit each */
static void windows_are_where_the_family_has_them(void **state)
{
    static const struct {
        const char *type, *more;
        int32_t window;
        uint32_t layers;
    } cases[] = {
        {"mistral", KV(2) ",\"sliding_window\":7", 7, 0x3f},
        {"mistral", KV(2) ",\"sliding_window\":null", 0, 0},
        {"qwen2", KV(2) ",\"sliding_window\":7,\"max_window_layers\":2", 0, 0},
        {"qwen2", KV(2) ",\"use_sliding_window\":true,\"max_window_layers\":2", 4096, 0x3c},
        {"qwen3", KV(2) ",\"use_sliding_window\":true,\"max_window_layers\":0", 4096, 0x3f},
        {"qwen3",
         KV(2) ",\"use_sliding_window\":true,\"sliding_window\":5,\"layer_types\":["
               "\"sliding_attention\",\"full_attention\",\"full_attention\","
               "\"sliding_attention\",\"full_attention\",\"full_attention\"]",
         5, 0x09},
        {"smollm3", "\"use_sliding_window\":true,\"sliding_window\":9", 9, 0x08},
        {"smollm3",
         "\"use_sliding_window\":true,\"sliding_window\":9,\"no_rope_layers\":[0,1,1,0,1,1]", 9,
         0x09},
        {"gemma2", "\"sliding_window\":3", 3, 0x15},
        {"gemma3_text", "\"sliding_window\":3", 3, 0x1f},
        {"gemma3_text", "\"sliding_window\":3,\"sliding_window_pattern\":2", 3, 0x15},
        {"phi3", "\"sliding_window\":2047", 2047, 0x3f},
        {"starcoder2", "\"sliding_window\":4096", 4096, 0x3f},
        {"gpt_neo",
         "\"window_size\":8,\"attention_types\":[[[\"global\",\"local\"],2],"
         "[[\"local\"],2]]",
         8, 0x3a},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reading r;
        expect_read(&r, cases[i].type, cases[i].more);
        for (int32_t l = 0; l < 6; l++) {
            assert_int_equal(r.specs[l].window,
                             (cases[i].layers >> l & 1) != 0 ? cases[i].window : 0);
        }
        kvass_json_close(&r.json);
    }
}

static void factors_scales_and_caps_are_read(void **state)
{
    reading r;
    (void)state;
    expect_read(&r, "granite",
                "\"embedding_multiplier\":12,\"residual_multiplier\":0.25,\"logits_scaling\":8,"
                "\"attention_multiplier\":0.125");
    assert_true(r.config.embed_scale == 12 && r.config.residual_scale == 0.25f);
    assert_true(r.config.logit_scale == 0.125f && r.specs[3].attn_scale == 0.125f);
    kvass_json_close(&r.json);

    expect_read(&r, "gemma2", "\"query_pre_attn_scalar\":64");
    assert_true(r.config.norm_offset == 1 && r.config.embed_scale == sqrtf(32));
    assert_true(r.config.logit_cap == 30 && r.specs[1].attn_cap == 50);
    assert_true(r.specs[1].attn_scale == 0.125f);
    kvass_json_close(&r.json);

    expect_read(&r, "gemma2", "\"final_logit_softcapping\":null,\"attn_logit_softcapping\":null");
    assert_true(r.config.logit_cap == 0 && r.specs[1].attn_cap == 0);
    kvass_json_close(&r.json);

    expect_read(&r, "gemma", KV(1) ",\"hidden_act\":\"gelu\"");
    assert_int_equal(r.specs[0].act, TANH);
    kvass_json_close(&r.json);

    expect_read(&r, "gpt_neo", "");
    assert_true(r.specs[0].attn_scale == 1);
    kvass_json_close(&r.json);

    expect_read(&r, "smollm3", "");
    assert_int_equal(r.specs[2].rope.n_rot, 8);
    assert_int_equal(r.specs[3].rope.n_rot, 0);
    kvass_json_close(&r.json);
}

static void rotations_come_from_both_generations(void **state)
{
    reading old, made;
    (void)state;
    expect_read(&old, "gpt_neox", "\"rotary_pct\":0.5,\"rotary_emb_base\":500");
    expect_read(&made, "gpt_neox",
                "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":500,"
                "\"partial_rotary_factor\":0.5}");
    assert_int_equal(old.specs[0].rope.n_rot, 4);
    assert_true(old.specs[0].rope.theta == 500);
    assert_memory_equal(&old.specs[0].rope, &made.specs[0].rope, sizeof(kvass_rope_spec));
    kvass_json_close(&old.json);
    kvass_json_close(&made.json);

    expect_read(&old, "gemma3_text",
                "\"rope_theta\":7000,\"rope_local_base_freq\":300,"
                "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}");
    expect_read(&made, "gemma3_text",
                "\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\",\"factor\":8,"
                "\"rope_theta\":7000},\"sliding_attention\":{\"rope_theta\":300}}");
    for (int32_t l = 0; l < 6; l++) {
        const kvass_rope_spec *a = &old.specs[l].rope, *b = &made.specs[l].rope;
        assert_true(a->theta == (l == 5 ? 7000 : 300) && a->theta == b->theta);
        assert_int_equal(a->scaling, l == 5 ? KVASS_ROPE_LINEAR : KVASS_ROPE_PLAIN);
        assert_int_equal(b->scaling, a->scaling);
        assert_true(a->factor == b->factor);
    }
    kvass_json_close(&old.json);
    kvass_json_close(&made.json);
}

#define ORIGINAL     "\"original_max_position_embeddings\":64,"
#define FACTORS(key) "\"" key "\":[1,1.5,2,2.5]"

static void stretched_contexts_are_bounded(void **state)
{
    reading r;
    (void)state;
    /* dynamic scaling changes what is cached as soon as the text outgrows the trained context */
    expect_read(&r, "llama",
                "\"max_position_embeddings\":64,"
                "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}");
    assert_true(r.config.ctx_bound);
    assert_int_equal(r.config.n_ctx, 64);
    assert_int_equal(r.specs[0].rope.scaling, KVASS_ROPE_PLAIN);
    kvass_json_close(&r.json);

    expect_read(&r, "llama", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}");
    assert_false(r.config.ctx_bound);
    kvass_json_close(&r.json);

    /* the first files of Phi 3 say su, or yarn, and bring lists */
    static const char *const names[] = {"longrope", "su", "yarn"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char more[512];
        (void)snprintf(more, sizeof more,
                       "\"max_position_embeddings\":1024,\"original_max_position_embeddings\":64,"
                       "\"rope_scaling\":{\"type\":\"%s\"," FACTORS("short_factor") "," FACTORS(
                           "long_factor") "}",
                       names[i]);
        expect_read(&r, "phi3", more);
        assert_int_equal(r.config.n_ctx, 64);
        assert_false(r.config.ctx_bound);
        assert_int_equal(r.specs[0].rope.scaling, KVASS_ROPE_LONG);
        assert_int_equal(r.specs[0].rope.original_ctx, 64);
        assert_float_equal(r.specs[0].rope.attn_factor, sqrt(1 + log(16) / log(64)), 1e-12);
        kvass_json_close(&r.json);
    }
}

static void unknown_options_are_refused(void **state)
{
    static const struct {
        const char *type, *more, *rule, *needle;
    } cases[] = {
        {"mamba", "", "FAMILY",
         "found \"mamba\", expected one of gemma, gemma2, gemma3_text, gpt2"},
        {"gemma3", "", "FAMILY", "found \"gemma3\""},
        {"gpt_neo", "\"attention_types\":[[[\"global\"],5]]", "CONFIG_RANGE",
         "for layer 5, found nothing"},
        {"gpt_neo", "\"attention_types\":[[[\"global\",\"strided\"],3]]", "CONFIG_RANGE",
         "for layer 1, found strided"},
        {"gpt_neo", "\"attention_types\":7", "CONFIG_RANGE", "for layer 0"},
        {"gpt_neo", "\"attention_types\":[[[],9]]", "CONFIG_RANGE", "for layer 0"},
        {"gpt_neo", "\"window_size\":0", "CONFIG_RANGE", "\"window_size\""},
        {"gpt_neox", KV(2), "CONFIG_DIVIDE", "as many key-value heads as heads"},
        {"gpt_neox", "\"hidden_act\":\"mish\"", "ACTIVATION", "found \"mish\""},
        {"gpt_neox", "\"rotary_pct\":0.4", "CONFIG_DIVIDE", "found 3 of a head dimension of 8"},
        {"opt", "\"word_embed_proj_dim\":16", "FAMILY", "expected 32 as \"hidden_size\", found 16"},
        {"opt", "\"do_layer_norm_before\":false", "FAMILY", "expected true, found false"},
        {"opt", "\"_remove_final_layer_norm\":true", "FAMILY", "expected false, found true"},
        {"opt", "\"layer_norm_elementwise_affine\":false", "FAMILY", "elementwise_affine"},
        {"mistral", KV(2) ",\"sliding_window\":-1", "CONFIG_RANGE", "\"sliding_window\""},
        {"qwen2",
         KV(2) ",\"use_sliding_window\":true,\"max_window_layers\":0,"
               "\"sliding_window\":null",
         "CONFIG_RANGE", "\"sliding_window\": expected an integer"},
        {"qwen2", KV(2) ",\"use_sliding_window\":true,\"layer_types\":[\"full_attention\"]",
         "CONFIG_TYPE", "expected a list of 6, one per layer, found an array of 1"},
        {"qwen3", KV(2) ",\"head_dim\":7", "CONFIG_DIVIDE", "found 7 of a head dimension of 7"},
        {"smollm3", "\"no_rope_layers\":[1,1,1,\"0\",1,1]", "CONFIG_TYPE", "\"no_rope_layers\"[3]"},
        {"smollm3", "\"no_rope_layer_interval\":0", "CONFIG_RANGE", "no_rope_layer_interval"},
        {"granite", "\"logits_scaling\":0", "CONFIG_RANGE", "\"logits_scaling\""},
        {"granite", "\"residual_multiplier\":\"1\"", "CONFIG_TYPE", "\"residual_multiplier\""},
        {"granite", "\"attention_multiplier\":1e-60", "CONFIG_RANGE", "that a float can hold"},
        {"gemma", KV(1) ",\"use_bidirectional_attention\":true", "FAMILY", "bidirectional"},
        {"gemma2", "\"attn_logit_softcapping\":-1", "CONFIG_RANGE", "attn_logit_softcapping"},
        {"gemma2", "\"query_pre_attn_scalar\":0", "CONFIG_RANGE", "query_pre_attn_scalar"},
        {"gemma2", "\"sliding_window\":null", "CONFIG_RANGE", "\"sliding_window\""},
        {"gemma3_text", "\"attn_logit_softcapping\":50", "FAMILY", "expected null, found"},
        {"gemma3_text", "\"sliding_window_pattern\":0", "CONFIG_RANGE", "sliding_window_pattern"},
        {"gemma3_text",
         "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6},"
         "\"sliding_attention\":{\"rope_type\":\"dynamic\",\"factor\":2}}",
         "ROPE_SCALING", "expected one scaling for all layers"},
        {"phi", "\"tie_word_embeddings\":true", "FAMILY", "expected false, found true"},
        {"phi3", "\"rope_scaling\":{\"type\":\"longrope\"}", "CONFIG_MISSING",
         "rope_scaling.original_max_position_embeddings"},
        {"phi3", ORIGINAL "\"rope_scaling\":{\"type\":\"longrope\"}", "CONFIG_MISSING",
         "short_factor"},
        {"phi3", ORIGINAL "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1]}",
         "CONFIG_TYPE", "expected a list of 4 numbers, found an array of 3"},
        {"stablelm", "", "CONFIG_DIVIDE", "found 32 and 4"},
        {"starcoder2", "\"norm_epsilon\":0", "CONFIG_RANGE", "\"norm_epsilon\""},
        {"nanogpt", "\"bias\":1", "CONFIG_TYPE", "\"bias\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reading r;
        read_family(&r, cases[i].type, cases[i].more);
        if (r.status == KVASS_OK || strcmp(r.err.rule, cases[i].rule) != 0 ||
            !strstr(r.err.message, cases[i].needle)) {
            fail_msg("%s, %s: expected %s (%s), found %s: %s", cases[i].type, cases[i].more,
                     cases[i].rule, cases[i].needle, r.status ? r.err.rule : "no failure",
                     r.status ? r.err.message : "");
        }
        kvass_json_close(&r.json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_each_familys_own),
        cmocka_unit_test(windows_are_where_the_family_has_them),
        cmocka_unit_test(factors_scales_and_caps_are_read),
        cmocka_unit_test(rotations_come_from_both_generations),
        cmocka_unit_test(stretched_contexts_are_bounded),
        cmocka_unit_test(unknown_options_are_refused),
    };
    return cmocka_run_group_tests_name("families", tests, NULL, NULL);
}
