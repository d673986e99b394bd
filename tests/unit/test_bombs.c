/* test_bombs.c - small files with huge claims: memory stays within 64 MiB + 16 times the header.
 * Each case runs in a process of its own whose address space is limited to what it has plus that
 * bound, so an allocation beyond it fails and the case ends with NOMEM instead of its rule. Links
 * no BLAS, which would need hundreds of megabytes by itself.
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/gguf_files.h"

#if defined(__SANITIZE_ADDRESS__)
#define LIMITED 0 /* the sanitizer's own address space is far beyond any limit */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LIMITED 0
#endif
#endif
#ifndef LIMITED
#define LIMITED 1
#endif

enum { MIB = 1 << 20 };

static void limit_memory(size_t n_header)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1) {
        _exit(3);
    }
    (void)fclose(f);
    rlim_t limit = pages * (rlim_t)sysconf(_SC_PAGESIZE) + 64 * MIB + 16 * n_header;
    struct rlimit r = {.rlim_cur = limit, .rlim_max = limit};
    if (LIMITED && setrlimit(RLIMIT_AS, &r) != 0) {
        _exit(3);
    }
}

/* Opening `path` under the limit must fail by `rule`. */
static void expect_bounded(const char *path, size_t n_header, const char *rule)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        kvass_model *model;
        kvass_error err = {0};
        limit_memory(n_header);
        kvass_status status = kvass_model_open(&model, path, NULL, &err);
        if (status != KVASS_OK && strcmp(err.rule, rule) == 0) {
            _exit(0);
        }
        (void)fprintf(stderr, "expected %s, found %s: %s\n", rule, err.rule, err.message);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

typedef struct text {
    char *bytes;
    size_t n, cap;
} text;

static void append(text *t, const char *fmt, int i)
{
    if (t->cap - t->n < 256) {
        t->cap = 2 * t->cap + 4096;
        t->bytes = realloc(t->bytes, t->cap);
        assert_non_null(t->bytes);
    }
    t->n += (size_t)snprintf(t->bytes + t->n, t->cap - t->n, fmt, i);
}

/* prefix, then n times item (with a number), commas between, then suffix */
static text repeat(const char *prefix, const char *item, int n, const char *suffix)
{
    text t = {0};
    append(&t, prefix, 0);
    for (int i = 0; i < n; i++) {
        append(&t, i > 0 ? "," : "", 0);
        append(&t, item, i);
    }
    append(&t, suffix, 0);
    return t;
}

static void safetensors_headers(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *prefix, *item;
        int n;
        const char *suffix, *rule;
    } cases[] = {
        {"{", "\"%x\":{\"dtype\":\"F4\",\"shape\":[0],\"data_offsets\":[0,0]}", 200000, "}",
         "CONFIG_FILE"},
        {"{", "\"%x\":{\"dtype\":\"F4\",\"shape\":[0],\"data_offsets\":[0,0]}", 1000001, "}",
         "TENSOR_COUNT"},
        {"{", "\"a\":{\"dtype\":\"F4\",\"shape\":[0],\"data_offsets\":[0,0]}", 200000, "}",
         "DUPLICATE_TENSOR"},
        {"{", "\"%x\":{\"dtype\":\"F32\",\"shape\":[9,9],\"data_offsets\":[0,324]}", 200000, "}",
         "OFFSET"},
        {"{\"__metadata__\":{", "\"%x\":\"\"", 65536, "}}", "NO_TENSORS"},
        {"{\"__metadata__\":{", "\"%x\":\"\"", 1000000, "}}", "HEADER_METADATA"},
        {"{\"a\":", "[", 1000000, "", "HEADER_JSON"},
        {"{\"a\":{\"shape\":[", "1", 1000000, "]}}", "SHAPE"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[", "", 1,
         "1000000000000],\"data_offsets\":[0,4000000000000]}}", "OFFSET"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text t = repeat(cases[i].prefix, cases[i].item, cases[i].n, cases[i].suffix);
        write_raw(in_folder(f, "m.safetensors"), t.bytes, t.n, NULL, 0);
        free(t.bytes);
        expect_bounded(in_folder(f, "m.safetensors"), t.n, cases[i].rule);
    }
}

static void claimed_header_sizes(void **state)
{
    const folder *f = *state;
    static const unsigned char bytes[] = {0, 0xe1, 0xf5, 5, 0, 0, 0, 0, '{', '"', 'a', '"'};
    unit_write(in_folder(f, "m.safetensors"), bytes, sizeof bytes);
    expect_bounded(in_folder(f, "m.safetensors"), 0, "HEADER_SIZE");
}

static void indexes(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *prefix, *item;
        int n;
        const char *suffix, *rule;
    } cases[] = {
        {"{\"weight_map\":{", "\"%x\":\"a.safetensors\"", 200000, "}}", "FILE_OPEN"},
        {"{\"weight_map\":{", "\"a\":\"%x.safetensors\"", 2, "}}", "DUPLICATE_TENSOR"},
        {"{\"weight_map\":{", "\"%1$x\":\"%1$x.safetensors\"", 100000, "}}", "INDEX_SHARDS"},
        {"{\"metadata\":[", "{}", 1000000, "]}", "INDEX_JSON"},
        {"{\"x\":[", "[]", 1000000, "]}", "INDEX_JSON"},
        {"{\"x\":", "[", 100000, "", "INDEX_JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text t = repeat(cases[i].prefix, cases[i].item, cases[i].n, cases[i].suffix);
        unit_write(in_folder(f, "m.safetensors.index.json"), t.bytes, t.n);
        free(t.bytes);
        expect_bounded(in_folder(f, "m.safetensors.index.json"), t.n, cases[i].rule);
    }
    char *large = calloc(1, 33 * MIB);
    memset(large, ' ', 33 * MIB);
    large[0] = '{';
    unit_write(in_folder(f, "m.safetensors.index.json"), large, 33 * MIB);
    expect_bounded(in_folder(f, "m.safetensors.index.json"), 0, "FILE_SIZE");
    free(large);
}

static void configurations(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *prefix, *item;
        int n;
        const char *suffix, *rule;
    } cases[] = {
        {"{\"model_type\":[", "{}", 174000, "]}", "FAMILY"},
        {"{\"model_type\":[", "[]", 174000, "]}", "FAMILY"},
        {"{\"model_type\":[", "0", 260000, "]}", "FAMILY"},
        {"{", "\"%x\":0", 50000, "}", "FAMILY"},
        {"[", "[", 200000, "", "JSON_SYNTAX"},
        {"{", "\"%x\":0", 500000, "}", "FILE_SIZE"},
    };
    builder *b = calloc(1, sizeof *b);
    add_tiny_llama(b, "F32", false, false);
    write_builder(b, in_folder(f, "model.safetensors"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text t = repeat(cases[i].prefix, cases[i].item, cases[i].n, cases[i].suffix);
        unit_write(in_folder(f, "config.json"), t.bytes, t.n);
        free(t.bytes);
        expect_bounded(f->path, t.n, cases[i].rule);
    }
    write_text(f, "config.json",
               "{\"model_type\":\"llama\",\"vocab_size\":2097152,\"hidden_size\":65536,"
               "\"num_hidden_layers\":1024,\"num_attention_heads\":2,"
               "\"intermediate_size\":1048576,\"max_position_embeddings\":16777216}");
    expect_bounded(f->path, 0, "TENSOR_MISSING");
    free(b);
}

static void llama2c_headers(void **state)
{
    const folder *f = *state;
    static const int32_t headers[][9] = {
        {0x616b3432, 1, 65536, 1 << 20, 1024, 2, 2, 1 << 21, 1 << 24},
        {65536, 1 << 20, 1024, 2, 2, -(1 << 21), 1 << 24, 0, 0},
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        unsigned char bytes[512] = {0};
        memcpy(bytes, headers[i], sizeof headers[i]);
        unit_write(in_folder(f, "m.bin"), bytes, sizeof bytes);
        expect_bounded(in_folder(f, "m.bin"), 0, "LLAMA2C_SIZE");
    }
}

static void gguf_headers(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *words, *rule;
    } claims[] = {
        {"G3 C1000000,0 z:99", "GGUF_COUNT"},
        {"G3 C0,65536 z:99", "GGUF_COUNT"},
        {"G3 C0,1 s:b u32:8 u64:16777216 z:99", "GGUF_STRING"},
        {"G3 C0,1 s:b u32:9 u32:8 u64:1000000000 z:99", "GGUF_ARRAY"},
        {"G3 C0,1 s:b u32:9 u32:10 u64:1000000000 z:99", "GGUF_ARRAY"},
        {"G3 general.architecture=s:llama %t:0:0x1000000000 z:99", "GGUF_DATA"},
    };
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        expect_bounded(gguf_file(f, claims[i].words), 64, claims[i].rule);
    }
    /* many small things: keys, strings, tensors of one name */
    for (int kind = 0; kind < 3; kind++) {
        gguf_out o = {0};
        static const int counts[] = {65536, 1000000, 100000};
        gguf_spell(&o, "G3");
        if (kind == 1) {
            gguf_spell(&o, "s:b u32:9 u32:8 u64:1000000");
        }
        for (int i = 0; i < counts[kind]; i++) {
            char key[16];
            (void)snprintf(key, sizeof key, "%x", (unsigned)i);
            if (kind == 0) {
                gguf_put_value(&o, key, strlen(key), "b:1");
            } else if (kind == 1) {
                gguf_put_string(&o, "", 0);
            } else {
                gguf_spell(&o, "s:t u32:1 u64:8 u32:0");
                gguf_put_int(&o, (uint64_t)i * 32, 8);
            }
        }
        o.has_claims = true;
        o.claims[0] = kind == 2 ? (uint64_t)counts[kind] : 0;
        o.claims[1] = kind == 0 ? (uint64_t)counts[kind] : kind == 1;
        size_t n = o.n;
        gguf_write(&o, in_folder(f, "m.gguf"));
        expect_bounded(in_folder(f, "m.gguf"), n, kind == 2 ? "GGUF_DATA" : "FAMILY");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(safetensors_headers), TEST(claimed_header_sizes), TEST(indexes),
        TEST(configurations),      TEST(llama2c_headers),      TEST(gguf_headers),
    };
    return cmocka_run_group_tests_name("bombs", tests, NULL, NULL);
}
