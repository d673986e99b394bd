/* test_gguf.c - GGUF files: what each kind of malformed one is answered with, and that a good one
 * means the same network as its safetensors twin.
 */
#include "engine/base/packed.h"
#include "model/model.h"
#include "tests/unit/gguf_files.h"

#define FRONT "G3 general.architecture=s:llama "

typedef struct bad {
    const char *words, *rule, *needle;
} bad;

static void refuse_all(const folder *f, const bad *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        expect_refused(gguf_file(f, cases[i].words), cases[i].rule, cases[i].needle);
    }
}

static void fronts(void **state)
{
    static const bad cases[] = {
        {"raw:GGUF", "GGUF_TRUNCATED", "byte 4: expected 4 bytes"},
        {"raw:GGUF u32:3 u64:1", "GGUF_TRUNCATED", "byte 16: expected 8 bytes"},
        {"G0", "GGUF_VERSION", "expected 2 or 3, found 0"},
        {"G1", "GGUF_VERSION", "expected 2 or 3, found 1"},
        {"G4", "GGUF_VERSION", "expected 2 or 3, found 4"},
        {"G50331648", "GGUF_ENDIAN", "found a big-endian one"},
        {"G33554432", "GGUF_ENDIAN", "found a big-endian one"},
        {"G3 C0xffffffffffffffff,0", "GGUF_COUNT", "found 18446744073709551615 and 0"},
        {"G3 C0,0xffffffffffffffff", "GGUF_COUNT", "found 0 and 18446744073709551615"},
        {"G3 C1000001,0 z:200", "GGUF_COUNT", "at most 1000000 tensors"},
        {"G3 C0,65537 z:200", "GGUF_COUNT", "65536 values"},
        {"G3 C0,1000 z:200", "GGUF_COUNT", "fit the 200 bytes left"},
        {"G3 C20,0 z:200", "GGUF_COUNT", "20 tensors: found only 200 bytes left"},
        {"G3", "FAMILY", "\"general.architecture\": expected one of"},
        {"G3 general.architecture=u:7", "FAMILY", "found the kind u32"},
        {"G3 general.architecture=s:mamba", "FAMILY", "found \"mamba\""},
        {"G3 general.architecture=[s:llama", "FAMILY", "found an array of 1 x string"},
        {FRONT, "NO_TENSORS", "found none"},
    };
    refuse_all(*state, cases, sizeof cases / sizeof *cases);
}

static void values(void **state)
{
    static const bad cases[] = {
        {"G3 C0,1 u64:0 u32:4 u32:1 z:9", "GGUF_KEY", "byte 24: a key: expected a length of 1 "},
        {"G3 C0,1 u64:0xffffffffffffffff z:99", "GGUF_KEY", "found 18446744073709551615 with"},
        {"G3 C0,1 u64:65536 z:99", "GGUF_KEY", "1 .. 65535"},
        {"G3 C0,1 u64:50 raw:short z:9", "GGUF_KEY", "found 50 with 14 bytes left"},
        {"G3 C0,2 a=u:1 s:b u32:13 z:9", "GGUF_VALUE", "expected 0 .. 12, found 13"},
        {"G3 C0,1 s:b u32:0xffffffff z:9", "GGUF_VALUE", "found 4294967295"},
        {"G3 a=u:1 a=u:1", "GGUF_KEY", "the key \"a\" stands there twice"},
        {"G3 a=u:1 b=s:x a=f:2", "GGUF_KEY", "byte 63: the key \"a\""},
        {"G3 C0,1 s:keyname u32:4", "GGUF_TRUNCATED", "expected 4 bytes"},
        {"G3 C0,1 s:keyname u32:10 u32:1", "GGUF_TRUNCATED", "expected 8 bytes"},
        {"G3 C0,1 s:b u32:8 u64:0xffffffffffffffff z:9", "GGUF_STRING", "0 .. 16777216"},
        {"G3 C0,1 s:b u32:8 u64:10 raw:short", "GGUF_STRING", "found 10 with 5 bytes left"},
        {"G3 C0,1 s:b u32:9 u32:9 u64:1 z:99", "GGUF_ARRAY", "found an array of arrays"},
        {"G3 C0,1 s:b u32:9 u32:13 u64:1 z:9", "GGUF_VALUE", "found 13"},
        {"G3 C0,1 s:b u32:9 u32:4 u64:0x4000000000000000 z:9", "GGUF_ARRAY",
         "4611686018427387904 x u32: found only 9 bytes left"},
        {"G3 C0,1 s:b u32:9 u32:0 u64:0xffffffffffffffff z:9", "GGUF_ARRAY", "x u8"},
        {"G3 C0,1 s:b u32:9 u32:8 u64:1000000000 z:9", "GGUF_ARRAY", "x string"},
        {"G3 C0,1 s:b u32:9 u32:8 u64:2 s:a u64:99 z:9", "GGUF_STRING", "found 99 with 9"},
        {"G3 C0,1 s:b u32:9 u32:8 u64:2 u64:0 u64:5 raw:abc", "GGUF_STRING", "found 5 with 3"},
        {"G3 general.alignment=s:32", "GGUF_ALIGNMENT", "found the kind string"},
        {"G3 general.alignment=U:32", "GGUF_ALIGNMENT", "found the kind u64"},
        {"G3 general.alignment=[u:32", "GGUF_ALIGNMENT", "found an array of 1 x u32"},
        {"G3 general.alignment=u:0", "GGUF_ALIGNMENT", "found the kind u32 0"},
        {"G3 general.alignment=u:48", "GGUF_ALIGNMENT", "found the kind u32 48"},
        {"G3 general.alignment=u:131072", "GGUF_ALIGNMENT", "at most 65536"},
        {"G3 general.alignment=u:2147483648", "GGUF_ALIGNMENT", "2147483648"},
    };
    refuse_all(*state, cases, sizeof cases / sizeof *cases);
}

static void tensors(void **state)
{
    static const bad cases[] = {
        {FRONT "%:0:8 D", "GGUF_TENSOR", "expected a length of 1 .. 127"},
        {FRONT "C1,1 u64:128 z:200", "GGUF_TENSOR", "found 128"},
        {FRONT "C1,1 u64:4 raw:ab u8:0 raw:c u32:1 u64:8 u32:0 u64:0 z:64", "GGUF_TENSOR",
         "expected no NUL, found one after \"ab\""},
        {FRONT "C1,1 s:t u32:0 z:99", "GGUF_SHAPE", "expected 1 .. 4 dimensions, found 0"},
        {FRONT "%t:0:1,1,1,1,1 D", "GGUF_SHAPE", "expected 1 .. 4 dimensions, found 5"},
        {FRONT "C1,1 s:t u32:0xffffffff z:99", "GGUF_SHAPE", "found 4294967295"},
        {FRONT "%t:0:8,0 D", "GGUF_SHAPE", "dimension 1: expected 1 or more"},
        {FRONT "%t:0:0xffffffffffffffff z:64", "GGUF_SHAPE", "dimension 0"},
        {FRONT "%t:0:0x8000000000000000 z:64", "GGUF_SHAPE", "dimension 0"},
        {FRONT "%t:0:0x100000000,0x100000000 z:64", "GGUF_SHAPE", "dimension 1"},
        {FRONT "%t:0:0x7fffffffffffffff z:64", "GGUF_SHAPE", "its size in bytes overflows"},
        {FRONT "%t:0:0x3fffffffffffffff z:64", "GGUF_DATA", "found a file of"},
        {FRONT "%t:4:32 z:64", "GGUF_TYPE", "type 4 is unknown, or was withdrawn"},
        {FRONT "%t:31:32 z:64", "GGUF_TYPE", "type 31"},
        {FRONT "%t:40:32 z:64", "GGUF_TYPE", "type 40"},
        {FRONT "%t:4000000000:32 z:64", "GGUF_TYPE", "type 4000000000"},
        {FRONT "%t:8:40 D", "GGUF_SHAPE",
         "type Q8_0: expected rows of whole blocks of 32, found "
         "rows of 40"},
        {FRONT "%t:14:128 D", "GGUF_SHAPE", "type Q6_K: expected rows of whole blocks of 256"},
        {FRONT "%t:12:1,256 D", "GGUF_SHAPE", "type Q4_K"},
        {FRONT "C1,1 s:t u32:1 u64:8 u32:0 u64:7 z:99", "GGUF_OFFSET", "found 7 (unaligned)"},
        {FRONT "C1,1 s:t u32:1 u64:8 u32:0 u64:32 z:99", "GGUF_OFFSET", "found 32 (hole)"},
        {FRONT "C2,1 s:t u32:1 u64:8 u32:0 u64:0 s:v u32:1 u64:8 u32:0 u64:0 z:99", "GGUF_OFFSET",
         "tensor \"v\": expected its data at offset 32, where the one before ends, found 0 "
         "(overlap)"},
        {FRONT "C2,1 s:t u32:1 u64:8 u32:0 u64:32 s:v u32:1 u64:8 u32:0 u64:0 z:99", "GGUF_OFFSET",
         "tensor \"t\""},
        {FRONT "C1,1 s:t u32:1 u64:8 u32:0 u64:0xffffffffffffffe0 z:99", "GGUF_OFFSET", "(hole)"},
        {FRONT "C2,1 %t:0:8 z:1", "GGUF_COUNT", "2 tensors: found only"},
        {FRONT "C2,1 %t:0:8 s:a~rather~long~name u32:2 u64:3 u32:1", "GGUF_TRUNCATED",
         "expected 8 bytes"},
        {FRONT "%t:0:8 %t:0:8 D", "DUPLICATE_TENSOR", "tensor \"t\" is defined twice"},
        {FRONT "%t:0:64 z:64", "GGUF_DATA", "expected its 256 bytes at byte"},
        {FRONT "%t:0:8 %u:0:8 z:64", "GGUF_DATA", "tensor \"u\""},
        {FRONT "%t:0:8 D", "TENSOR_MISSING", "\"token_embd.weight\""},
    };
    refuse_all(*state, cases, sizeof cases / sizeof *cases);
}

/* ---- configurations -------------------------------------------------------------------------- */

static void configurations(void **state)
{
#define WITH(more)    GGUF_LLAMA_KEYS more " " GGUF_LLAMA_TENSORS "D"
#define WITHOUT(keys) FRONT keys " " GGUF_LLAMA_TENSORS "D"
    static const bad cases[] = {
        {WITHOUT(""), "CONFIG_MISSING", "\"llama.embedding_length\": expected an integer"},
        {WITHOUT("llama.block_count=s:2"), "CONFIG_TYPE",
         "\"llama.block_count\": expected an integer, found the kind string"},
        {WITHOUT("llama.block_count=[u:"), "CONFIG_TYPE", "found an array of 0 x u32"},
        {WITHOUT("llama.feed_forward_length=[u:6,7"), "CONFIG_TYPE",
         "expected the same number for every layer, found 6 and 7"},
        {WITHOUT("llama.block_count=U:0xffffffffffffffff"), "CONFIG_TYPE", "the kind u64"},
        {WITHOUT("llama.embedding_length=u:8 llama.block_count=u:4000000000"), "CONFIG_RANGE",
         "1 .. 1024, found 4000000000"},
        {WITHOUT("llama.attention.layer_norm_rms_epsilon=u:1"), "CONFIG_TYPE",
         "expected a floating-point number, found the kind u32"},
        {WITHOUT("llama.attention.layer_norm_rms_epsilon=f:nan"), "CONFIG_RANGE", "found nan"},
        {WITH("llama.rope.freq_base=f:inf"), "CONFIG_RANGE", "finite number, found inf"},
        {WITH("llama.rope.freq_base=f:0.5"), "CONFIG_RANGE", "\"llama.rope.freq_base\""},
        {WITH("llama.rope.dimension_count=f:4"), "CONFIG_TYPE", "rope.dimension_count"},
        {WITH("llama.rope.dimension_count=u:3"), "CONFIG_DIVIDE", "found 3 of a head"},
        {WITH("llama.rope.scaling.type=u:1"), "CONFIG_TYPE", "expected a string"},
        {WITH("llama.rope.scaling.type=s:magic"), "ROPE_SCALING", "found \"magic\""},
        {WITH("llama.rope.scaling.type=s:linear"), "CONFIG_MISSING",
         "\"llama.rope.scaling.factor\""},
        {WITH("llama.attention.key_length=u:6"), "TENSOR_SHAPE", "q_proj"},
        {WITH("split.count=u:600"), "GGUF_SPLIT", "\"split.count\" 600"},
        {WITH("split.count=u:2 split.no=u:2"), "GGUF_SPLIT", "\"split.no\" 2"},
        {WITH("split.count=u:2 split.no=u:0"), "GGUF_SPLIT", "ends in \"-00001-of-00002.gguf\""},
        {GGUF_LLAMA_KEYS "%token_embd.weight:0:8 " GGUF_LLAMA_REST "D", "TENSOR_SHAPE",
         "embed_tokens"},
        {WITH("%blk.0.attn_sinks.weight:0:2"), "TENSOR_UNUSED", "\"blk.0.attn_sinks.weight\""},
        {WITH("%blk.2.attn_norm.weight:0:8"), "TENSOR_UNUSED", "model.layers.2.input_layernorm"},
        {WITH("%blk.0.attn_q.bias:0:8"), "TENSOR_MISSING", "k_proj.bias"},
        {WITH("%rope_freqs.weight:0:2,2"), "ROPE_SCALING", "in 2 dimensions"},
        {WITH("%rope_freqs.weight:0:600"), "ROPE_SCALING", "found 600 of type F32"},
        {WITH("%rope_freqs.weight:1:2"), "ROPE_SCALING", "of type F16"},
        {WITH("%rope_freqs.weight:0:3"), "CONFIG_TYPE", "expected a list of 2 numbers"},
        {GGUF_LLAMA_KEYS "%token_embd.weight:24:8,5 " GGUF_LLAMA_REST "D", "DTYPE_UNSUPPORTED",
         "type I8: expected"},
    };
    refuse_all(*state, cases, sizeof cases / sizeof *cases);
}

/* ---- good files ------------------------------------------------------------------------------ */

/* In the names of the safetensors twin. */
static float twin_value(const char *name, size_t i)
{
    static const struct {
        const char *gguf, *twin;
    } names[] = {
        {"attn_norm", "input_layernorm"}, {"ffn_norm", "post_attention_layernorm"},
        {"attn_q", "self_attn.q_proj"},   {"attn_k", "self_attn.k_proj"},
        {"attn_v", "self_attn.v_proj"},   {"attn_output", "self_attn.o_proj"},
        {"ffn_gate", "mlp.gate_proj"},    {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"},
    };
    char twin[128];
    if (strcmp(name, "token_embd.weight") == 0) {
        return value_of("model.embed_tokens.weight", i);
    }
    if (strcmp(name, "output_norm.weight") == 0) {
        return value_of("model.norm.weight", i);
    }
    if (strcmp(name, "output.weight") == 0) {
        return value_of("lm_head.weight", i);
    }
    const char *part = name + strlen("blk.0."), *ending = strrchr(name, '.');
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        if (strlen(names[n].gguf) == (size_t)(ending - part) &&
            strncmp(names[n].gguf, part, (size_t)(ending - part)) == 0) {
            (void)snprintf(twin, sizeof twin, "model.layers.%c.%s%s", name[4], names[n].twin,
                           ending);
        }
    }
    /* heads of 4 rows of 8: row 2j + k of the file is row j + 2k of the twin */
    if (strstr(twin, "q_proj") || strstr(twin, "k_proj")) {
        size_t width = strcmp(ending, ".weight") == 0 ? 8 : 1, row = i / width, k = row % 4;
        i = (row - k + k / 2 + k % 2 * 2) * width + i % width;
    }
    return value_of(twin, i);
}

static void expect_same_weight(const kvass_weight *a, const kvass_weight *b)
{
    assert_int_equal(a->n_out, b->n_out);
    assert_int_equal(a->n_in, b->n_in);
    assert_int_equal(a->dtype, b->dtype);
    assert_memory_equal(a->data, b->data, (size_t)a->n_out * a->row_bytes);
}

static void expect_twins(const kvass_model *a, const kvass_model *b)
{
    assert_int_equal(a->config.n_layers, b->config.n_layers);
    assert_int_equal(a->config.tied, b->config.tied);
    assert_int_equal(a->config.n_ctx, b->config.n_ctx);
    assert_int_equal(a->config.bos, b->config.bos);
    assert_int_equal(a->config.n_eos, b->config.n_eos);
    assert_int_equal(a->config.eos[0], b->config.eos[0]);
    assert_true(a->config.norm_eps == b->config.norm_eps);
    expect_same_weight(&a->tok_embed, &b->tok_embed);
    expect_same_weight(&a->lm_head.w, &b->lm_head.w);
    for (int32_t l = 0; l < a->config.n_layers; l++) {
        const kvass_layer *x = &a->layers[l], *y = &b->layers[l];
        const kvass_linear *p[] = {&x->wq,     &x->wk,   &x->wv,    &x->wo,
                                   &x->w_gate, &x->w_up, &x->w_down};
        const kvass_linear *q[] = {&y->wq,     &y->wk,   &y->wv,    &y->wo,
                                   &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
            expect_same_weight(&p[i]->w, &q[i]->w);
        }
        assert_memory_equal(x->attn_norm.w, y->attn_norm.w, 8 * sizeof(float));
        assert_memory_equal(x->mlp_norm.w, y->mlp_norm.w, 8 * sizeof(float));
        assert_int_equal(x->spec.rope.n_rot, y->spec.rope.n_rot);
    }
}

static void a_good_file_is_its_twin(void **state)
{
    const folder *f = *state;
    static const char *const versions[] = {"G2 ", "G3 "};
    for (int i = 0; i < 8; i++) {
        bool head = i % 2 == 1, mapped = i / 2 % 2 == 1;
        gguf_out o = {.value = twin_value};
        gguf_spell(&o, versions[i / 4]);
        gguf_spell(&o, &GGUF_LLAMA_KEYS[3]);
        gguf_spell(&o, head ? "%output.weight:0:8,5" : "");
        gguf_spell(&o, GGUF_LLAMA_TENSORS "D");
        gguf_write(&o, in_folder(f, "m.gguf"));
        write_llama(f, "F32", head, false,
                    head ? ",\"tie_word_embeddings\":false" : ",\"tie_word_embeddings\":true");
        kvass_model_options opt = kvass_model_options_default();
        opt.use_mmap = mapped;
        kvass_model *a = expect_opens(in_folder(f, "m.gguf"), &opt);
        kvass_model *b = expect_opens(f->path, NULL);
        kvass_model_info info;
        kvass_model_get_info(a, &info);
        assert_string_equal(info.format, i / 4 == 0 ? "GGUF v2" : "GGUF v3");
        assert_int_equal(info.n_warnings, 0);
        expect_twins(a, b);
        kvass_model_close(&a);
        kvass_model_close(&b);
    }
}

static float value_of_place(const char *name, size_t i)
{
    (void)name;
    return (float)i;
}

/* packed or not */
static void expect_same_row(const kvass_weight *a, int32_t row_a, const kvass_weight *b,
                            int32_t row_b)
{
    const kvass_dtype_traits *t = kvass_dtype_get(a->dtype);
    unsigned char bytes_a[KVASS_BLOCK_BYTES_MAX], bytes_b[KVASS_BLOCK_BYTES_MAX];
    for (int32_t i = 0; i * t->n_block < a->n_in; i++) {
        const void *block_a = kvass_weight_block(a, row_a, i, bytes_a);
        const void *block_b = kvass_weight_block(b, row_b, i, bytes_b);
        assert_memory_equal(block_a, block_b, (size_t)t->block_bytes);
    }
}

/* Every element type that can be run binds with rows of its own size. */
static void types_bind(void **state)
{
    const folder *f = *state;
    static const char template[] =
        "G3 general.architecture=s:llama llama.block_count=u:1 llama.embedding_length=u:256 "
        "llama.feed_forward_length=u:256 llama.attention.head_count=u:4 "
        "%token_embd.weight:#:256,3 %output_norm.weight:0:256 %blk.0.attn_norm.weight:0:256 "
        "%blk.0.ffn_norm.weight:0:256 %blk.0.attn_q.weight:#:256,256 "
        "%blk.0.attn_k.weight:#:256,256 %blk.0.attn_v.weight:#:256,256 "
        "%blk.0.attn_output.weight:#:256,256 %blk.0.ffn_gate.weight:#:256,256 "
        "%blk.0.ffn_up.weight:#:256,256 %blk.0.ffn_down.weight:#:256,256 D";
    static const int numbers[] = {0, 1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 30};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char words[2048];
        size_t at = 0;
        for (const char *c = template; *c; c++) {
            at += (size_t)snprintf(words + at, sizeof words - at, *c == '#' ? "%d" : "%c",
                                   *c == '#' ? numbers[i] : *c);
        }
        gguf_out o = {.value = value_of_place};
        gguf_spell(&o, words);
        gguf_write(&o, in_folder(f, "m.gguf"));
        kvass_model *m = expect_opens(in_folder(f, "m.gguf"), NULL);
        const kvass_gguf_type *type = kvass_gguf_type_get((uint32_t)numbers[i]);
        const kvass_weight *wq = &m->layers[0].wq.w, *wv = &m->layers[0].wv.w;
        assert_int_equal(wq->dtype, type->dtype);
        assert_int_equal(wq->row_bytes, 256 / type->n_block * type->block_bytes);
        assert_int_equal(m->config.n_vocab, 3);
        assert_int_equal(wq->packed, kvass_dtype_is_integer(wq->dtype));
        /* rows of queries lie in another order than in the file, rows of values do not */
        expect_same_row(wq, 0, wv, 0);
        expect_same_row(wq, 1, wv, 2);
        expect_same_row(wq, 32, wv, 1);
        kvass_model_close(&m);
    }
}

static void split_files(void **state)
{
    const folder *f = *state;
    gguf_out o = {.value = twin_value};
    static const char first[] = "m-00001-of-00002.gguf", second[] = "m-00002-of-00002.gguf";
    write_llama(f, "F32", false, false, ",\"tie_word_embeddings\":true");
    kvass_model *twin = expect_opens(f->path, NULL);
    for (int i = 0; i < 6; i++) {
        gguf_spell(&o, GGUF_LLAMA_KEYS "split.no=u:0 split.count=u:2 ");
        gguf_spell(&o, i == 2 ? "split.tensors.count=i:7" : "");
        gguf_spell(&o, "%token_embd.weight:0:8,5 D");
        gguf_write(&o, in_folder(f, first));
        o.value = twin_value;
        gguf_spell(&o, i == 1   ? "G3 split.no=u:0 split.count=u:2 "
                       : i == 3 ? "G3 split.no=u:1 split.count=u:3 "
                       : i == 4 ? "G3 "
                                : "G3 split.no=u:1 split.count=u:2 ");
        gguf_spell(&o, i == 5 ? "%token_embd.weight:0:8,5 D" : GGUF_LLAMA_REST "D");
        gguf_write(&o, in_folder(f, second));
        o.value = twin_value;
        if (i == 0) {
            kvass_model *m = expect_opens(in_folder(f, first), NULL);
            expect_twins(m, twin);
            kvass_model_close(&m);
            expect_refused(in_folder(f, second), "FAMILY", "general.architecture");
        } else if (i == 2) {
            expect_refused(in_folder(f, first), "GGUF_SPLIT", "expected 20, which the parts");
        } else if (i == 5) {
            expect_refused(in_folder(f, first), "DUPLICATE_TENSOR", second);
        } else {
            expect_refused(in_folder(f, first), "GGUF_SPLIT", "expected part 2 of 2");
        }
    }
    kvass_model_close(&twin);
    (void)unlink(in_folder(f, second));
    expect_refused(in_folder(f, first), "FILE_OPEN", second);
}

/* Cut anywhere, a good file is refused. */
static void truncations(void **state)
{
    const folder *f = *state;
    gguf_out o = {.value = twin_value};
    size_t n;
    gguf_spell(&o, GGUF_LLAMA_KEYS GGUF_LLAMA_TENSORS "D");
    gguf_write(&o, in_folder(f, "whole"));
    char *bytes = unit_slurp(in_folder(f, "whole"), &n);
    for (size_t cut = 4; cut + GGUF_ALIGNMENT < n; cut += cut < 400 ? 1 : 29) {
        kvass_model *m = NULL;
        kvass_error err = {0};
        unit_write(in_folder(f, "m.gguf"), bytes, cut);
        kvass_status status = kvass_model_open(&m, in_folder(f, "m.gguf"), NULL, &err);
        if (status != KVASS_FORMAT && status != KVASS_UNSUPPORTED) {
            fail_msg("cut at %zu: %s (%s)", cut, kvass_status_text(status), err.message);
        }
    }
    free(bytes);
}

static void trailing_bytes_are_told(void **state)
{
    const folder *f = *state;
    kvass_model *m = expect_opens(gguf_file(f, GGUF_LLAMA_KEYS GGUF_LLAMA_TENSORS "D z:33"), NULL);
    assert_non_null(kvass_model_warning(m, 0));
    assert_non_null(strstr(kvass_model_warning(m, 0), "33 bytes after the last tensor"));
    kvass_model_close(&m);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fronts),
        TEST(values),
        TEST(tensors),
        TEST(configurations),
        TEST(a_good_file_is_its_twin),
        TEST(types_bind),
        TEST(split_files),
        TEST(truncations),
        TEST(trailing_bytes_are_told),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
