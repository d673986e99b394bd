/* test_model_nomem.c - opening a model with the n-th allocation failing, for every n: once, and
 * from then on. The answer is NOMEM and nothing leaks (the sanitizer build sees to that). The
 * allocating functions are wrapped at link time, so only this program and the layers in it are
 * affected.
 */
#include "tests/unit/gguf_files.h"

static long left = -1; /* allocations until one fails; negative: none does */
static bool for_good;  /* and all after it */
static long n_refused;

static bool refuse_now(void)
{
    if (left > 0) {
        left--;
        return false;
    }
    bool refuse = left == 0;
    left = for_good ? left : -1;
    n_refused += refuse;
    return refuse;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n)
{
    return refuse_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return refuse_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return refuse_now() ? NULL : __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n)
{
    return refuse_now() ? NULL : __real_aligned_alloc(alignment, n);
}

char *__wrap_strdup(const char *s)
{
    return refuse_now() ? NULL : __real_strdup(s);
}

/* A warning that found no memory is lost; apart from those, every failing allocation is told. */
static void fail_each_allocation(const char *path, int32_t n_warnings)
{
    for (int round = 0; round < 2; round++) {
        int32_t n_lost = 0;
        bool done = false;
        for (long n = 0; !done; n++) {
            kvass_model *model = NULL;
            kvass_error err = {0};
            left = n;
            for_good = round == 1;
            kvass_status status = kvass_model_open(&model, path, NULL, &err);
            left = -1;
            done = n_refused == 0; /* there were no more than n allocations */
            n_refused = 0;
            if (status == KVASS_OK) {
                n_lost += done ? 0 : 1;
                kvass_model_close(&model);
            } else {
                assert_int_equal(status, KVASS_NOMEM);
                assert_string_equal(err.rule, "NOMEM");
                assert_null(model);
            }
            assert_true(n < 10000);
        }
        assert_true(n_lost <= 2 * n_warnings);
    }
}

static void safetensors(void **state)
{
    const folder *f = *state;
    write_llama(f, "BF16", false, true, "");
    fail_each_allocation(f->path, 1);
    write_gpt2(f, "F32", "", 16, "");
    fail_each_allocation(f->path, 0);
}

static void shards(void **state)
{
    const folder *f = *state;
    write_llama(f, "F32", false, false, "");
    assert_int_equal(unlink(in_folder(f, "model.safetensors")), 0);
    builder *b = calloc(1, sizeof *b);
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"weight_map\":{");
    for (int i = 0; i < 3; i++) {
        char name[32];
        memset(b, 0, sizeof *b);
        (void)snprintf(name, sizeof name, "t%d", i);
        add_tensor(b, name, "F32", 2, 2);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%s\":\"%s.safetensors\"",
                              i > 0 ? "," : "", name, name);
        (void)snprintf(name, sizeof name, "t%d.safetensors", i);
        write_builder(b, in_folder(f, name));
    }
    add_tiny_llama(memset(b, 0, sizeof *b), "F32", false, false);
    write_builder(b, in_folder(f, "main.safetensors"));
    b->header[b->n_header] = '\0';
    for (char *at = b->header; (at = strstr(at, "\"model.")); at++) {
        n += (size_t)snprintf(text + n, sizeof text - n, ",%.*s\":\"main.safetensors\"",
                              (int)(strchr(at + 1, '"') - at), at);
    }
    (void)snprintf(text + n, sizeof text - n, "}}");
    write_text(f, "model.safetensors.index.json", text);
    free(b);
    fail_each_allocation(f->path, 2);
}

static void llama2c(void **state)
{
    const folder *f = *state;
    /* header, embedding, norm, four matrices, norm, three matrices, norm, RoPE tables */
    enum { N = 7 + 3 * 4 + 4 + 4 * 16 + 4 + 3 * 8 + 4 + 2 * 4 };
    /* dim 4, ffn_dim 2, 1 layer, 1 head, 1 kv head, n_vocab 3, n_ctx 2 */
    static const int32_t file[N] = {4, 2, 1, 1, 1, 3, 2};
    unit_write(in_folder(f, "m.bin"), file, sizeof file);
    fail_each_allocation(in_folder(f, "m.bin"), 0);
}

static void gguf(void **state)
{
    const folder *f = *state;
    fail_each_allocation(gguf_file(f, GGUF_LLAMA_KEYS
                                   "llama.rope.scaling.type=s:linear "
                                   "llama.rope.scaling.factor=f:2 " GGUF_LLAMA_TENSORS "D"),
                         0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(safetensors), TEST(shards), TEST(llama2c), TEST(gguf)};
    return cmocka_run_group_tests_name("model_nomem", tests, NULL, NULL);
}
