/* test_llama2c.c - llama2.c files: each version's layout, each refusal, and the real files.
 * Files are built by a writer of their own here, in the order that llama2.c's export writes.
 */
#include "model/model.h"
#include "tests/unit/model_files.h"

typedef struct spec {
    int32_t version, dim, ffn_dim, n_layers, n_heads, n_kv_heads, n_vocab, n_ctx, group;
    bool tied;
} spec;

static const spec base = {0, 8, 6, 2, 2, 1, 5, 16, 0, true};
static const spec base_v2 = {2, 64, 32, 2, 2, 1, 5, 16, 32, true};

typedef struct out {
    unsigned char *bytes;
    size_t n, cap;
} out;

static void put(out *o, const void *bytes, size_t n)
{
    while (o->n + n > o->cap) {
        o->cap = 2 * o->cap + 4096;
        o->bytes = realloc(o->bytes, o->cap);
        assert_non_null(o->bytes);
    }
    memcpy(o->bytes + o->n, bytes, n);
    o->n += n;
}

static void put_i32(out *o, int32_t value)
{
    put(o, &value, sizeof value);
}

/* value_of() of the tensor's name, or int8 and one scale per group that give a known product */
static void put_tensor(out *o, const spec *s, const char *name, int32_t n_out, int32_t n_in)
{
    size_t n = (size_t)n_out * (size_t)(n_in > 0 ? n_in : 1);
    if (s->group == 0 || n_in == 0) {
        for (size_t i = 0; i < n; i++) {
            float value = value_of(name, i);
            put(o, &value, sizeof value);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        signed char q = (signed char)(value_of(name, i) * 64.0f);
        put(o, &q, 1);
    }
    for (size_t g = 0; g < n / (size_t)s->group; g++) {
        float scale = (float)(g + 1) / 128.0f;
        put(o, &scale, sizeof scale);
    }
}

static void put_layers(out *o, const spec *s, const char *name, int32_t n_out, int32_t n_in)
{
    for (int32_t l = 0; l < s->n_layers; l++) {
        char full[128];
        (void)snprintf(full, sizeof full, "%s.%d", name, l);
        put_tensor(o, s, full, n_out, n_in);
    }
}

static void put_header(out *o, const spec *s)
{
    if (s->version > 0) {
        put_i32(o, 0x616b3432);
        put_i32(o, s->version);
    }
    put_i32(o, s->dim);
    put_i32(o, s->ffn_dim);
    put_i32(o, s->n_layers);
    put_i32(o, s->n_heads);
    put_i32(o, s->n_kv_heads);
    put_i32(o, s->version == 0 && !s->tied ? -s->n_vocab : s->n_vocab);
    put_i32(o, s->n_ctx);
    if (s->version > 0) {
        unsigned char rest[256] = {0};
        rest[0] = s->tied;
        memcpy(rest + 1, &s->group, sizeof s->group);
        put(o, rest, 256 - o->n);
    }
}

static void put_weights(out *o, const spec *s)
{
    int32_t dim = s->dim, kv = dim / s->n_heads * s->n_kv_heads, ffn = s->ffn_dim;
    if (s->version > 0) {
        put_layers(o, s, "attn_norm", dim, 0);
        put_layers(o, s, "mlp_norm", dim, 0);
        put_tensor(o, s, "final_norm", dim, 0);
    }
    put_tensor(o, s, "embed", s->n_vocab, dim);
    if (s->version == 0) {
        put_layers(o, s, "attn_norm", dim, 0);
    }
    put_layers(o, s, "wq", dim, dim);
    put_layers(o, s, "wk", kv, dim);
    put_layers(o, s, "wv", kv, dim);
    put_layers(o, s, "wo", dim, dim);
    if (s->version == 0) {
        put_layers(o, s, "mlp_norm", dim, 0);
    }
    put_layers(o, s, "w_gate", ffn, dim);
    put_layers(o, s, "w_down", dim, ffn);
    put_layers(o, s, "w_up", ffn, dim);
    if (s->version == 0) {
        put_tensor(o, s, "final_norm", dim, 0);
        put_tensor(o, s, "rope tables", s->n_ctx * (dim / s->n_heads), 0);
    }
    if (!s->tied) {
        put_tensor(o, s, "lm_head", s->n_vocab, dim);
    }
}

static void write_spec(const folder *f, const char *name, const spec *s)
{
    out o = {0};
    put_header(&o, s);
    put_weights(&o, s);
    unit_write(in_folder(f, name), o.bytes, o.n);
    free(o.bytes);
}

/* What row r, column c of w must be, where r counts in rotate-half order when head_dim > 0. */
static void check_matrix(const kvass_weight *w, const char *name, int32_t n_out, int32_t n_in,
                         int32_t head_dim, int32_t group)
{
    assert_int_equal(w->n_out, n_out);
    assert_int_equal(w->n_in, n_in);
    for (int32_t r = 0; r < n_out; r++) {
        int32_t row = r;
        if (head_dim > 0) {
            int32_t i = r % head_dim, half = head_dim / 2;
            row = r - i + (i < half ? 2 * i : 2 * (i - half) + 1);
        }
        for (int32_t c = 0; c < n_in; c++) {
            size_t at = (size_t)row * (size_t)n_in + (size_t)c;
            const unsigned char *bytes = (const unsigned char *)w->data + (size_t)r * w->row_bytes;
            float value, expected = value_of(name, at);
            if (group > 0) {
                const unsigned char *block = bytes + (size_t)c / 32 * 36;
                signed char q = (signed char)block[4 + c % 32];
                float scale = (float)(at / (size_t)group + 1) / 128.0f, found;
                memcpy(&found, block, sizeof found);
                assert_true(found == scale);
                value = (float)q;
                expected = (float)(signed char)(expected * 64.0f);
            } else {
                memcpy(&value, bytes + (size_t)c * sizeof value, sizeof value);
            }
            assert_true(value == expected);
        }
    }
}

static void check_norm(const kvass_norm *norm, const char *name, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        assert_true(norm->w[i] == value_of(name, (size_t)i));
    }
    assert_null(norm->b);
}

static void check_model(const kvass_model *m, const spec *s)
{
    char n[128];
    int32_t dim = s->dim, hd = dim / s->n_heads, kv = hd * s->n_kv_heads, ffn = s->ffn_dim;
#define NAME(what) (snprintf(n, sizeof n, "%s.%d", what, (int)l), n)
    for (int32_t l = 0; l < s->n_layers; l++) {
        const kvass_layer *layer = &m->layers[l];
        check_norm(&layer->attn_norm, NAME("attn_norm"), dim);
        check_norm(&layer->mlp_norm, NAME("mlp_norm"), dim);
        check_matrix(&layer->wq.w, NAME("wq"), dim, dim, hd, s->group);
        check_matrix(&layer->wk.w, NAME("wk"), kv, dim, hd, s->group);
        check_matrix(&layer->wv.w, NAME("wv"), kv, dim, 0, s->group);
        check_matrix(&layer->wo.w, NAME("wo"), dim, dim, 0, s->group);
        check_matrix(&layer->w_gate.w, NAME("w_gate"), ffn, dim, 0, s->group);
        check_matrix(&layer->w_up.w, NAME("w_up"), ffn, dim, 0, s->group);
        check_matrix(&layer->w_down.w, NAME("w_down"), dim, ffn, 0, s->group);
        assert_int_equal(layer->spec.rope.n_rot, hd);
        assert_true(layer->spec.rope.theta == 10000.0);
    }
#undef NAME
    check_norm(&m->final_norm, "final_norm", dim);
    check_matrix(&m->tok_embed, "embed", s->n_vocab, dim, 0, s->group);
    check_matrix(&m->lm_head.w, s->tied ? "embed" : "lm_head", s->n_vocab, dim, 0, s->group);
    assert_int_equal(m->config.tied, s->tied);
    assert_int_equal(m->config.n_ctx, s->n_ctx);
    assert_true(m->config.norm_eps == 1e-5f);
}

static void each_version_is_bound(void **state)
{
    const folder *f = *state;
    for (int32_t i = 0; i < 12; i++) {
        spec s = i / 4 == 2 ? base_v2 : base;
        s.version = i / 4;
        s.tied = i % 2 == 0;
        s.group = i / 4 < 2 ? 0 : i % 4 < 2 ? 32 : 64;
        s.ffn_dim = s.group > 0 ? s.group : s.ffn_dim;
        write_spec(f, "m.bin", &s);
        for (int mmap = 0; mmap < 2; mmap++) {
            kvass_model_options opt = kvass_model_options_default();
            opt.use_mmap = mmap == 1;
            kvass_model_info info;
            kvass_model *m = expect_opens(in_folder(f, "m.bin"), &opt);
            kvass_model_get_info(m, &info);
            assert_string_equal(info.family, "llama");
            assert_int_equal(info.format[strlen("llama2.c v")], '0' + s.version);
            assert_int_equal(info.n_tensors, 18 + 2 + (s.tied ? 0 : 1));
            assert_int_equal(info.n_warnings, 0);
            assert_int_equal(info.bos, 1);
            assert_int_equal(info.n_eos, 2);
            assert_int_equal(info.eos[0], 1);
            assert_int_equal(info.eos[1], 2);
            check_model(m, &s);
            kvass_model_close(&m);
        }
    }
}

/* A real v0 file may start with any bytes at all: one with dim 640 or 60 looks like something else.
 */
static void v0_is_known_by_its_size_alone(void **state)
{
    const folder *f = *state;
    static const int32_t dims[] = {640, 60};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        spec s = base;
        s.dim = dims[i];
        s.n_layers = 1;
        write_spec(f, "no-suffix", &s);
        kvass_model *m = expect_opens(in_folder(f, "no-suffix"), NULL);
        assert_int_equal(m->config.dim, dims[i]);
        kvass_model_close(&m);
    }
}

static void headers_are_refused_by_rule(void **state)
{
    const folder *f = *state;
    static const struct {
        spec s;
        const char *rule, *needle;
    } cases[] = {
        {{0, 0, 6, 2, 2, 1, 5, 16, 0, true}, "LLAMA2C_HEADER", "dim: expected 1 .. 65536, found 0"},
        {{0, -8, 6, 2, 2, 1, 5, 16, 0, true},
         "LLAMA2C_HEADER",
         "dim: expected 1 .. 65536, found -8"},
        {{0, 8, 1 << 30, 2, 2, 1, 5, 16, 0, true}, "LLAMA2C_HEADER", "ffn_dim"},
        {{0, 8, 6, 1000000000, 2, 1, 5, 16, 0, true}, "LLAMA2C_HEADER", "n_layers"},
        {{0, 8, 6, 0, 2, 1, 5, 16, 0, true}, "LLAMA2C_HEADER", "n_layers"},
        {{0, 8, 6, 2, 0, 1, 5, 16, 0, true}, "LLAMA2C_HEADER", "n_heads"},
        {{0, 8, 6, 2, 2, 0, 5, 16, 0, true}, "LLAMA2C_HEADER", "n_kv_heads"},
        {{0, 8, 6, 2, 2, 1, 0, 16, 0, true}, "LLAMA2C_HEADER", "n_vocab"},
        {{0, 8, 6, 2, 2, 1, INT32_MIN, 16, 0, true}, "LLAMA2C_HEADER", "n_vocab"},
        {{0, 8, 6, 2, 2, 1, INT32_MAX, 16, 0, true}, "LLAMA2C_HEADER", "n_vocab"},
        {{0, 8, 6, 2, 2, 1, 5, 1 << 25, 0, true}, "LLAMA2C_HEADER", "n_ctx"},
        {{0, 8, 6, 2, 3, 1, 5, 16, 0, true}, "LLAMA2C_HEADER", "n_heads to divide dim"},
        {{0, 12, 6, 2, 4, 3, 5, 16, 0, true},
         "LLAMA2C_HEADER",
         "found dim 12, n_heads 4, n_kv_heads 3"},
        {{0, 6, 6, 2, 2, 1, 5, 16, 0, true}, "LLAMA2C_HEADER", "even parts"},
        {{0, 65536, 1 << 20, 1024, 2, 2, 1 << 21, 1 << 24, 0, true}, "LLAMA2C_SIZE", "exactly"},
        {{1, 8, 6, 2, 2, 1, -5, 16, 0, true}, "LLAMA2C_HEADER", "n_vocab"},
        {{3, 8, 6, 2, 2, 1, 5, 16, 0, true}, "LLAMA2C_VERSION", "expected 1 or 2, found 3"},
        {{-1, 8, 6, 2, 2, 1, 5, 16, 0, true}, "LLAMA2C_VERSION", "found -1"},
        {{2, 64, 32, 2, 2, 1, 5, 16, 0, true}, "LLAMA2C_GROUP", "found 0"},
        {{2, 64, 32, 2, 2, 1, 5, 16, -32, true}, "LLAMA2C_GROUP", "found -32"},
        {{2, 64, 32, 2, 2, 1, 5, 16, 16, true}, "LLAMA2C_GROUP", "multiple of 32, found 16"},
        {{2, 64, 32, 2, 2, 1, 5, 16, 48, true}, "LLAMA2C_GROUP", "found 48"},
        {{2, 64, 32, 2, 2, 1, 5, 16, 64, true},
         "LLAMA2C_GROUP",
         "group size 64: expected it to divide"},
        {{2, 64, 32, 2, 2, 1, 5, 16, 1 << 30, true}, "LLAMA2C_GROUP", "divide dim 64"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        out o = {0};
        spec s = cases[i].s;
        int32_t version = s.version;
        s.version = version < 0 ? 1 : version;
        put_header(&o, &s);
        if (version < 0) {
            memcpy(o.bytes + 4, &version, sizeof version);
        }
        unsigned char zeros[512] = {0};
        put(&o, zeros, sizeof zeros);
        unit_write(in_folder(f, "m.bin"), o.bytes, o.n);
        expect_refused(in_folder(f, "m.bin"), cases[i].rule, cases[i].needle);
        expect_refused(in_folder(f, "m.bin"), cases[i].rule, "m.bin");
        free(o.bytes);
    }
}

static void the_shared_flag_is_checked(void **state)
{
    const folder *f = *state;
    spec s = base;
    s.version = 1;
    out o = {0};
    put_header(&o, &s);
    put_weights(&o, &s);
    o.bytes[36] = 2;
    unit_write(in_folder(f, "m.bin"), o.bytes, o.n);
    expect_refused(in_folder(f, "m.bin"), "LLAMA2C_HEADER",
                   "shared flag: expected 0 or 1, found 2");
    free(o.bytes);
}

static void any_other_size_is_refused(void **state)
{
    const folder *f = *state;
    for (int32_t version = 0; version < 3; version++) {
        spec s = version == 2 ? base_v2 : base;
        s.version = version;
        out o = {0};
        put_header(&o, &s);
        put_weights(&o, &s);
        put(&o, "\0\0\0\0", 4);
        unit_write(in_folder(f, "m.bin"), o.bytes, o.n);
        expect_refused(in_folder(f, "m.bin"), "LLAMA2C_SIZE", "exactly");
        unit_write(in_folder(f, "m.bin"), o.bytes, o.n - 5);
        expect_refused(in_folder(f, "m.bin"), "LLAMA2C_SIZE", "exactly");
        free(o.bytes);
    }
}

static void truncation_is_refused_at_every_byte(void **state)
{
    const folder *f = *state;
    for (int32_t version = 0; version < 3; version++) {
        spec s = version == 2 ? base_v2 : base;
        s.version = version;
        write_spec(f, "m.bin", &s);
        expect_truncations_refused(f, "m.bin", 3000);
    }
}

/* ---- real files ------------------------------------------------------------------------------ */

static void same_weight(const kvass_weight *a, const kvass_weight *b)
{
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->n_out, b->n_out);
    assert_int_equal(a->n_in, b->n_in);
    assert_memory_equal(a->data, b->data, (size_t)a->n_out * a->row_bytes);
}

static void v0_and_v1_of_one_model_are_the_same(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    kvass_model_info info[2];
    kvass_model *m[2];
    m[0] = expect_opens(unit_shared("models/stories260K/stories260K.bin", path), NULL);
    m[1] = expect_opens(unit_shared("models/stories260K/stories260K_v1.bin", path), NULL);
    for (int i = 0; i < 2; i++) {
        kvass_model_get_info(m[i], &info[i]);
        assert_int_equal(info[i].n_params, 260032);
        assert_int_equal(info[i].n_layers, 5);
        assert_int_equal(info[i].head_dim, 8);
        assert_true(info[i].tied);
    }
    assert_true(info[0].fingerprint == info[1].fingerprint);
    same_weight(&m[0]->tok_embed, &m[1]->tok_embed);
    assert_memory_equal(m[0]->final_norm.w, m[1]->final_norm.w, 64 * sizeof(float));
    for (int32_t l = 0; l < 5; l++) {
        const kvass_layer *a = &m[0]->layers[l], *b = &m[1]->layers[l];
        assert_memory_equal(a->attn_norm.w, b->attn_norm.w, 64 * sizeof(float));
        assert_memory_equal(a->mlp_norm.w, b->mlp_norm.w, 64 * sizeof(float));
        same_weight(&a->wq.w, &b->wq.w);
        same_weight(&a->wk.w, &b->wk.w);
        same_weight(&a->wv.w, &b->wv.w);
        same_weight(&a->wo.w, &b->wo.w);
        same_weight(&a->w_gate.w, &b->w_gate.w);
        same_weight(&a->w_up.w, &b->w_up.w);
        same_weight(&a->w_down.w, &b->w_down.w);
    }
    kvass_model_close(&m[0]);
    kvass_model_close(&m[1]);
}

static void real_files_open(void **state)
{
    (void)state;
    static const struct {
        const char *name, *format;
        int32_t n_layers, dim, n_vocab, n_ctx;
    } files[] = {
        {"models/stories-tok105/model5000.bin", "llama2.c v0", 5, 128, 105, 256},
        {"models/stories-xs/model.bin", "llama2.c v0", 5, 64, 512, 256},
        {"models/llama2c-v2-q8/model_qint80.bin", "llama2.c v2", 4, 64, 1024, 64},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[UNIT_PATH_BYTES];
        kvass_model_info info;
        kvass_model *m = expect_opens(unit_shared(files[i].name, path), NULL);
        kvass_model_get_info(m, &info);
        assert_string_equal(info.format, files[i].format);
        assert_int_equal(info.n_layers, files[i].n_layers);
        assert_int_equal(info.dim, files[i].dim);
        assert_int_equal(info.n_vocab, files[i].n_vocab);
        assert_int_equal(info.n_ctx, files[i].n_ctx);
        assert_int_equal(info.n_warnings, 0);
        kvass_model_close(&m);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_version_is_bound),
        TEST(v0_is_known_by_its_size_alone),
        TEST(headers_are_refused_by_rule),
        TEST(the_shared_flag_is_checked),
        TEST(any_other_size_is_refused),
        TEST(truncation_is_refused_at_every_byte),
        cmocka_unit_test(v0_and_v1_of_one_model_are_the_same),
        cmocka_unit_test(real_files_open),
    };
    return cmocka_run_group_tests_name("llama2c", tests, NULL, NULL);
}
