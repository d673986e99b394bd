/* test_bind.c - from tensors to what the engine runs: transposing, splitting, widening, viewing,
 * and the checks in between. Expected values follow from a tensor's name and place (model_files.h).
 */
#include "model/model.h"
#include "tests/unit/model_files.h"

static const char *const dtypes[] = {"F32", "F16", "BF16"};

static float element(const kvass_weight *w, int32_t r, int32_t c)
{
    const unsigned char *row = (const unsigned char *)w->data + (size_t)r * w->row_bytes;
    float f;
    uint16_t h;
    if (w->dtype == KVASS_DTYPE_F32) {
        memcpy(&f, row + (size_t)c * sizeof f, sizeof f);
        return f;
    }
    memcpy(&h, row + (size_t)c * sizeof h, sizeof h);
    return w->dtype == KVASS_DTYPE_F16 ? kvass_f16_to_f32(h) : kvass_bf16_to_f32(h);
}

/* w[n_out, n_in] is the tensor `name` as it is */
static void check_rows(const kvass_weight *w, const char *name, int32_t n_out, int32_t n_in)
{
    assert_int_equal(w->n_out, n_out);
    assert_int_equal(w->n_in, n_in);
    for (int32_t r = 0; r < n_out; r++) {
        for (int32_t c = 0; c < n_in; c++) {
            assert_true(element(w, r, c) == value_of(name, (size_t)(r * n_in + c)));
        }
    }
}

/* w[n_out, n_in] is columns column .. of the tensor `name`[n_in, n_columns] */
static void check_columns(const kvass_weight *w, const char *name, int32_t n_out, int32_t n_in,
                          int32_t column, int32_t n_columns)
{
    assert_int_equal(w->n_out, n_out);
    assert_int_equal(w->n_in, n_in);
    for (int32_t r = 0; r < n_out; r++) {
        for (int32_t c = 0; c < n_in; c++) {
            assert_true(element(w, r, c) == value_of(name, (size_t)(c * n_columns + column + r)));
        }
    }
}

static void check_vector(const float *v, const char *name, int32_t first, int32_t n)
{
    assert_non_null(v);
    for (int32_t i = 0; i < n; i++) {
        assert_true(v[i] == value_of(name, (size_t)(first + i)));
    }
}

/* ---- llama ----------------------------------------------------------------------------------- */

static void check_linear(const kvass_linear *w, int32_t l, const char *what, int32_t n_out,
                         int32_t n_in, bool bias)
{
    char name[128];
    (void)snprintf(name, sizeof name, "model.layers.%d.%s.weight", (int)l, what);
    check_rows(&w->w, name, n_out, n_in);
    (void)snprintf(name, sizeof name, "model.layers.%d.%s.bias", (int)l, what);
    if (bias) {
        check_vector(w->b, name, 0, n_out);
    } else {
        assert_null(w->b);
    }
}

static void check_llama(const kvass_model *m, bool head, bool bias)
{
    for (int32_t l = 0; l < 2; l++) {
        const kvass_layer *layer = &m->layers[l];
        char name[128];
        (void)snprintf(name, sizeof name, "model.layers.%d.input_layernorm.weight", (int)l);
        check_vector(layer->attn_norm.w, name, 0, 8);
        (void)snprintf(name, sizeof name, "model.layers.%d.post_attention_layernorm.weight",
                       (int)l);
        check_vector(layer->mlp_norm.w, name, 0, 8);
        check_linear(&layer->wq, l, "self_attn.q_proj", 8, 8, bias);
        check_linear(&layer->wk, l, "self_attn.k_proj", 4, 8, bias);
        check_linear(&layer->wv, l, "self_attn.v_proj", 4, 8, bias);
        check_linear(&layer->wo, l, "self_attn.o_proj", 8, 8, bias);
        check_linear(&layer->w_gate, l, "mlp.gate_proj", 6, 8, bias);
        check_linear(&layer->w_up, l, "mlp.up_proj", 6, 8, bias);
        check_linear(&layer->w_down, l, "mlp.down_proj", 8, 6, bias);
        assert_int_equal(layer->spec.owner, l);
    }
    check_vector(m->final_norm.w, "model.norm.weight", 0, 8);
    check_rows(&m->tok_embed, "model.embed_tokens.weight", 5, 8);
    check_rows(&m->lm_head.w, head ? "lm_head.weight" : "model.embed_tokens.weight", 5, 8);
    assert_null(m->lm_head.b);
    assert_null(m->pos_embed.data);
}

static void llama_binds_in_every_type(void **state)
{
    const folder *f = *state;
    for (int i = 0; i < 24; i++) {
        bool head = i % 2 == 1, bias = i / 2 % 2 == 1;
        kvass_model_options opt = kvass_model_options_default();
        opt.use_mmap = i / 4 % 2 == 1;
        write_llama(f, dtypes[i / 8], head, bias, "");
        kvass_model_info info;
        kvass_model *m = expect_opens(f->path, &opt);
        kvass_model_get_info(m, &info);
        check_llama(m, head, bias);
        assert_string_equal(kvass_dtype_name(m->layers[0].wq.w.dtype), i / 8 == 0   ? "f32"
                                                                       : i / 8 == 1 ? "f16"
                                                                                    : "bf16");
        assert_int_equal(info.tied, !head);
        assert_int_equal(info.n_params, 752 + (head ? 40 : 0) + (bias ? 88 : 0));
        assert_int_equal(info.n_warnings, head ? 0 : 1);
        kvass_model_close(&m);
    }
}

static bool inside(const void *p, const void *start, size_t n_bytes)
{
    return (const char *)p >= (const char *)start &&
           (const char *)p < (const char *)start + n_bytes;
}

/* Mapped: what can be viewed is a view; read: nothing is. */
static void a_map_is_viewed_where_it_fits(void **state)
{
    const folder *f = *state;
    kvass_model_options opt = kvass_model_options_default();
    opt.use_mmap = true;
    for (int i = 0; i < 3; i++) {
        write_llama(f, dtypes[i], false, false, "");
        kvass_model *m = expect_opens(f->path, &opt);
        const kvass_file *file = &m->ckpt->files[0];
        assert_non_null(file->map);
        /* the header's length decides about alignment, so the test asks for what can be */
        bool aligned = m->ckpt->tensors[0].offset % (i == 0 ? 4 : 2) == 0;
        assert_int_equal(inside(m->layers[1].wo.w.data, file->map, (size_t)file->size), aligned);
        assert_int_equal(inside(m->final_norm.w, file->map, (size_t)file->size), aligned && i == 0);
        kvass_model_close(&m);
    }
}

/* Alignment 0 .. 3 of the data: the same weights, viewed or copied. */
static void unaligned_data_is_copied(void **state)
{
    const folder *f = *state;
    write_llama(f, "F32", false, false, "");
    for (size_t pad = 0; pad < 8; pad++) {
        builder *b = calloc(1, sizeof *b);
        add_tiny_llama(b, "F32", false, false);
        b->header[b->n_header++] = '}';
        memset(b->header + b->n_header, ' ', pad);
        write_raw(in_folder(f, "model.safetensors"), b->header, b->n_header + pad, b->data,
                  b->n_data);
        kvass_model_options opt = kvass_model_options_default();
        opt.use_mmap = true;
        kvass_model *m = expect_opens(f->path, &opt);
        bool aligned = (8 + b->n_header + pad) % 4 == 0;
        const kvass_file *file = &m->ckpt->files[0];
        assert_int_equal(inside(m->layers[0].wq.w.data, file->map, (size_t)file->size), aligned);
        check_llama(m, false, false);
        kvass_model_close(&m);
        free(b);
    }
}

static void tied_wins_over_an_output_matrix(void **state)
{
    const folder *f = *state;
    write_llama(f, "F32", true, false, ",\"tie_word_embeddings\":true");
    kvass_model *m = expect_opens(f->path, NULL);
    assert_ptr_equal(m->lm_head.w.data, m->tok_embed.data);
    assert_non_null(strstr(kvass_model_warning(m, 0), "1 tensors are not used"));
    kvass_model_close(&m);
}

/* Biases that the configuration does not ask for are left alone, as a warning says. */
static void unused_tensors_are_mentioned(void **state)
{
    const folder *f = *state;
    write_llama(f, "F32", true, true, "");
    write_text(f, "config.json", TINY_LLAMA_CONFIG "}");
    kvass_model *m = expect_opens(f->path, NULL);
    assert_non_null(strstr(kvass_model_warning(m, 0), "14 tensors are not used by a llama"));
    assert_non_null(strstr(kvass_model_warning(m, 0), "model.layers.0.mlp.down_proj.bias"));
    check_llama(m, true, false);
    kvass_model_close(&m);
}

/* ---- gpt2 ------------------------------------------------------------------------------------ */

static void check_gpt2(const kvass_model *m, const char *prefix)
{
    char n[128];
#define NAME(what) (snprintf(n, sizeof n, "%sh.%d.%s", prefix, (int)l, what), n)
    for (int32_t l = 0; l < 2; l++) {
        const kvass_layer *layer = &m->layers[l];
        check_vector(layer->attn_norm.w, NAME("ln_1.weight"), 0, 8);
        check_vector(layer->attn_norm.b, NAME("ln_1.bias"), 0, 8);
        check_vector(layer->mlp_norm.w, NAME("ln_2.weight"), 0, 8);
        check_vector(layer->mlp_norm.b, NAME("ln_2.bias"), 0, 8);
        check_columns(&layer->wq.w, NAME("attn.c_attn.weight"), 8, 8, 0, 24);
        check_columns(&layer->wk.w, NAME("attn.c_attn.weight"), 8, 8, 8, 24);
        check_columns(&layer->wv.w, NAME("attn.c_attn.weight"), 8, 8, 16, 24);
        check_vector(layer->wq.b, NAME("attn.c_attn.bias"), 0, 8);
        check_vector(layer->wk.b, NAME("attn.c_attn.bias"), 8, 8);
        check_vector(layer->wv.b, NAME("attn.c_attn.bias"), 16, 8);
        check_columns(&layer->wo.w, NAME("attn.c_proj.weight"), 8, 8, 0, 8);
        check_vector(layer->wo.b, NAME("attn.c_proj.bias"), 0, 8);
        check_columns(&layer->w_up.w, NAME("mlp.c_fc.weight"), 12, 8, 0, 12);
        check_vector(layer->w_up.b, NAME("mlp.c_fc.bias"), 0, 12);
        check_columns(&layer->w_down.w, NAME("mlp.c_proj.weight"), 8, 12, 0, 8);
        check_vector(layer->w_down.b, NAME("mlp.c_proj.bias"), 0, 8);
        assert_null(layer->w_gate.w.data);
    }
#undef NAME
    (void)snprintf(n, sizeof n, "%swte.weight", prefix);
    check_rows(&m->tok_embed, n, 5, 8);
    assert_ptr_equal(m->lm_head.w.data, m->tok_embed.data);
    (void)snprintf(n, sizeof n, "%swpe.weight", prefix);
    check_rows(&m->pos_embed, n, m->config.n_ctx, 8);
    (void)snprintf(n, sizeof n, "%sln_f.weight", prefix);
    check_vector(m->final_norm.w, n, 0, 8);
    (void)snprintf(n, sizeof n, "%sln_f.bias", prefix);
    check_vector(m->final_norm.b, n, 0, 8);
}

static void gpt2_binds_in_every_type(void **state)
{
    const folder *f = *state;
    for (int i = 0; i < 12; i++) {
        const char *prefix = i % 2 == 0 ? "transformer." : "";
        kvass_model_options opt = kvass_model_options_default();
        opt.use_mmap = i / 2 % 2 == 1;
        write_gpt2(f, dtypes[i / 4], prefix, 16, "");
        kvass_model_info info;
        kvass_model *m = expect_opens(f->path, &opt);
        kvass_model_get_info(m, &info);
        check_gpt2(m, prefix);
        assert_string_equal(info.positions, "learned");
        assert_true(info.tied);
        assert_int_equal(info.n_ctx, 16);
        assert_int_equal(info.n_warnings, 0);
        assert_int_equal(info.n_params, 40 + 128 + 16 + 2 * (16 + 216 + 72 + 16 + 108 + 104));
        kvass_model_close(&m);
    }
}

static void the_context_is_no_longer_than_its_table(void **state)
{
    const folder *f = *state;
    write_gpt2(f, "F32", "", 11, "");
    kvass_model *m = expect_opens(f->path, NULL);
    assert_int_equal(m->config.n_ctx, 11);
    assert_non_null(strstr(kvass_model_warning(m, 0), "has 11 positions, fewer than the 16"));
    check_gpt2(m, "");
    kvass_model_close(&m);
}

static void masks_of_old_files_are_ignored(void **state)
{
    const folder *f = *state;
    builder *b = calloc(1, sizeof *b);
    add_tiny_gpt2(b, "F32", "", 16);
    add_tensor(b, "h.0.attn.bias", "F32", 16, 16);
    add_tensor(b, "h.1.attn.masked_bias", "F32", 1, 0);
    write_builder(b, in_folder(f, "model.safetensors"));
    write_text(f, "config.json", TINY_GPT2_CONFIG "}");
    kvass_model *m = expect_opens(f->path, NULL);
    assert_null(kvass_model_warning(m, 0));
    kvass_model_close(&m);
    free(b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(llama_binds_in_every_type),
        TEST(a_map_is_viewed_where_it_fits),
        TEST(unaligned_data_is_copied),
        TEST(tied_wins_over_an_output_matrix),
        TEST(unused_tensors_are_mentioned),
        TEST(gpt2_binds_in_every_type),
        TEST(the_context_is_no_longer_than_its_table),
        TEST(masks_of_old_files_are_ignored),
    };
    return cmocka_run_group_tests_name("bind", tests, NULL, NULL);
}
