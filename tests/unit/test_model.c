/* test_model.c - a model as a whole: every tensor it needs is checked, and what it tells about
 * itself.
 */
#include "model/model.h"
#include "tests/unit/model_files.h"

/* ---- every expected tensor ------------------------------------------------------------------- */

static void write_with(const folder *f, bool gpt2, const char *skip, const char *grow)
{
    builder *b = calloc(1, sizeof *b);
    b->skip = skip;
    b->grow = grow;
    if (gpt2) {
        add_tiny_gpt2(b, "F32", "transformer.", 16);
    } else {
        add_tiny_llama(b, "F32", true, true);
    }
    write_builder(b, in_folder(f, "model.safetensors"));
    write_text(f, "config.json",
               gpt2 ? TINY_GPT2_CONFIG "}"
                    : TINY_LLAMA_CONFIG ",\"attention_bias\":true,\"mlp_bias\":true}");
    free(b);
}

/* Leave out, then enlarge, each tensor in turn: it is named by the refusal. */
static void each_tensor_is_checked(const folder *f, bool gpt2, const char *embed)
{
    write_with(f, gpt2, NULL, NULL);
    kvass_model *all = expect_opens(f->path, NULL);
    kvass_tensor_info t;
    for (int32_t i = 0; kvass_model_get_tensor(all, i, &t, NULL) == KVASS_OK; i++) {
        char name[160];
        (void)snprintf(name, sizeof name, "tensor \"%s\": shape [", t.name);
        write_with(f, gpt2, NULL, t.name);
        expect_refused(f->path, "TENSOR_SHAPE", name);
        expect_refused(f->path, "TENSOR_SHAPE", "needs [");
        write_with(f, gpt2, t.name, NULL);
        if (strcmp(t.name, "lm_head.weight") == 0) {
            kvass_model *m = expect_opens(f->path, NULL);
            assert_true(m->config.tied);
            kvass_model_close(&m);
        } else if (strstr(t.name, embed)) {
            expect_refused(f->path, "TENSOR_MISSING", embed);
        } else {
            (void)snprintf(name, sizeof name, "tensor \"%s\": expected it as", t.name);
            expect_refused(f->path, "TENSOR_MISSING", name);
        }
    }
    kvass_model_close(&all);
}

static void each_tensor_of_llama_is_checked(void **state)
{
    each_tensor_is_checked(*state, false, "embed_tokens.weight");
}

static void each_tensor_of_gpt2_is_checked(void **state)
{
    each_tensor_is_checked(*state, true, "wte.weight");
}

/* A known type without arithmetic here is refused when it is needed, and only then. */
static void types_matter_when_needed(void **state)
{
    const folder *f = *state;
    builder *b = calloc(1, sizeof *b);
    add_tiny_llama(b, "F32", true, false);
    add_tensor(b, "unused", "F32", 1, 0);
    b->header[b->n_header] = '\0';
    char *type = strstr(strstr(b->header, "\"unused\""), "F32");
    memcpy(type, "I32", 3);
    write_builder(b, in_folder(f, "model.safetensors"));
    write_text(f, "config.json", TINY_LLAMA_CONFIG "}");
    kvass_model *m = expect_opens(f->path, NULL);
    kvass_model_close(&m);
    static const char *const needed[] = {"\"model.layers.1.mlp.up_proj.weight\"",
                                         "\"model.norm.weight\"", "\"lm_head.weight\""};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        type = strstr(strstr(b->header, needed[i]), "F32");
        memcpy(type, "U32", 3);
        write_raw(in_folder(f, "model.safetensors"), b->header, b->n_header, b->data, b->n_data);
        expect_refused(f->path, "DTYPE_UNSUPPORTED", needed[i]);
        expect_refused(f->path, "DTYPE_UNSUPPORTED", "type U32: expected F32, F16 or BF16");
        memcpy(type, "F32", 3);
    }
    free(b);
}

/* ---- what a model tells ---------------------------------------------------------------------- */

static void header_only_reads_no_weight(void **state)
{
    const folder *f = *state;
    kvass_model_options opt = kvass_model_options_default();
    kvass_model_info full, bare;
    write_gpt2(f, "F16", "", 16, "");
    kvass_model *m = expect_opens(f->path, NULL);
    opt.header_only = true;
    kvass_model *h = expect_opens(f->path, &opt);
    kvass_model_get_info(m, &full);
    kvass_model_get_info(h, &bare);
    assert_true(h->header_only && !m->header_only);
    assert_true(full.fingerprint == bare.fingerprint);
    assert_int_equal(full.n_params, bare.n_params);
    assert_int_equal(full.weight_bytes, bare.weight_bytes);
    assert_null(h->layers[1].wk.w.data);
    assert_null(h->layers[1].wk.b);
    assert_null(h->tok_embed.data);
    assert_null(h->lm_head.w.data);
    assert_null(h->block);
    assert_int_equal(h->layers[1].w_down.w.n_in, 12);
    assert_int_equal(h->layers[1].w_down.w.row_bytes, 24);
    kvass_model_close(&m);
    kvass_model_close(&h);
}

static void tensors_can_be_listed_and_read(void **state)
{
    const folder *f = *state;
    kvass_model_options opt = kvass_model_options_default();
    kvass_error err = {0};
    kvass_tensor_info t = {0}, before = {0};
    char bytes[2][64];
    write_llama(f, "BF16", false, false, "");
    for (int i = 0; i < 2; i++) {
        opt.use_mmap = i == 1;
        kvass_model *m = expect_opens(f->path, &opt);
        for (int32_t k = 0; k < m->ckpt->n_tensors; k++) {
            assert_int_equal(kvass_model_get_tensor(m, k, &t, &err), KVASS_OK);
            assert_true(k == 0 || strcmp(before.name, t.name) < 0);
            before = t;
        }
        assert_string_equal(t.name, "model.norm.weight");
        assert_int_equal(t.dtype, KVASS_DTYPE_BF16);
        assert_int_equal(t.n_dims, 1);
        assert_int_equal(t.shape[0], 8);
        assert_int_equal(t.n_bytes, 16);
        assert_int_equal(kvass_model_read_tensor(m, 19, 0, bytes[i], 16, &err), KVASS_OK);
        assert_int_equal(t.data != NULL, i == 1);
        if (t.data) {
            assert_memory_equal(t.data, bytes[1], 16);
        }
        assert_int_equal(kvass_model_get_tensor(m, 20, &t, &err), KVASS_INVALID);
        assert_int_equal(kvass_model_get_tensor(m, -1, &t, &err), KVASS_INVALID);
        assert_int_equal(kvass_model_read_tensor(m, 19, 10, bytes[i], 7, &err), KVASS_INVALID);
        kvass_model_close(&m);
    }
    assert_memory_equal(bytes[0], bytes[1], 16);
}

static uint64_t fingerprint_of(const folder *f)
{
    kvass_model_info info;
    kvass_model *m = expect_opens(f->path, NULL);
    kvass_model_get_info(m, &info);
    kvass_model_close(&m);
    return info.fingerprint;
}

static void fingerprints_tell_models_apart(void **state)
{
    const folder *f = *state;
    uint64_t prints[6];
    write_llama(f, "F32", false, false, "");
    prints[0] = fingerprint_of(f);
    assert_true(prints[0] == fingerprint_of(f));
    write_llama(f, "F16", false, false, "");
    prints[1] = fingerprint_of(f);
    write_llama(f, "F32", false, false, ",\"rope_theta\":20000");
    prints[2] = fingerprint_of(f);
    write_llama(f, "F32", true, false, "");
    prints[3] = fingerprint_of(f);
    write_llama(f, "F32", false, false, "");
    size_t n;
    char *bytes = unit_slurp(in_folder(f, "model.safetensors"), &n);
    bytes[n - 1] ^= 1;
    unit_write(in_folder(f, "model.safetensors"), bytes, n);
    free(bytes);
    prints[4] = fingerprint_of(f);
    write_llama(f, "F32", false, false, "");
    char *config = unit_slurp(in_folder(f, "config.json"), &n);
    memcpy(strstr(config, "1e-5"), "1e-4", 4);
    unit_write(in_folder(f, "config.json"), config, n);
    free(config);
    prints[5] = fingerprint_of(f);
    for (int i = 0; i < 6; i++) {
        for (int k = 0; k < i; k++) {
            assert_true(prints[i] != prints[k]);
        }
    }
}

static void options_of_another_library_are_handled(void **state)
{
    const folder *f = *state;
    kvass_error err = {0};
    kvass_model *m = (kvass_model *)&err;
    kvass_model_options opt = kvass_model_options_default();
    write_llama(f, "F32", false, false, "");
    opt.struct_size += 8;
    assert_int_equal(kvass_model_open(&m, f->path, &opt, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "STRUCT_SIZE");
    assert_null(m);
    assert_int_equal(kvass_model_open(NULL, f->path, NULL, &err), KVASS_INVALID);
    assert_int_equal(kvass_model_open(&m, NULL, NULL, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "ARGUMENT");
    assert_int_equal(kvass_model_open(&m, f->path, NULL, NULL), KVASS_OK);
    kvass_model_close(&m);
    assert_null(m);
    kvass_model_close(&m);
    kvass_model_close(NULL);
}

static void the_real_gpt2_opens(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    kvass_model_info info;
    kvass_model *m = expect_opens(unit_shared("models/gpt2-chains", path), NULL);
    kvass_model_get_info(m, &info);
    assert_string_equal(info.family, "gpt2");
    assert_int_equal(info.n_layers, 4);
    assert_int_equal(info.ffn_dim, 256);
    assert_int_equal(info.bos, -1);
    assert_int_equal(info.n_eos, 1);
    assert_int_equal(info.eos[0], 51);
    assert_int_equal(info.n_warnings, 1);
    assert_non_null(strstr(kvass_model_warning(m, 0), "50256 is outside the vocabulary of 53"));
    kvass_model_close(&m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_tensor_of_llama_is_checked),
        TEST(each_tensor_of_gpt2_is_checked),
        TEST(types_matter_when_needed),
        TEST(header_only_reads_no_weight),
        TEST(tensors_can_be_listed_and_read),
        TEST(fingerprints_tell_models_apart),
        TEST(options_of_another_library_are_handled),
        cmocka_unit_test(the_real_gpt2_opens),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
