/* test_golden_quants.c - every quantized type of GGUF against the values that the reference package
 * gives, bit for bit, in every kernel table, and the other way what its quantizers make of values;
 * what tools/reference/quants.py and packs.py wrote.
 */
#include <math.h>

#include "engine/base/reader.h"
#include "engine/kernels/kernels.h"
#include "engine/kernels/pack.h"
#include "tests/unit/unit.h"

static const uint32_t masks[] = {KVASS_ISA_SCALAR, ~0u};

static kvass_dtype dtype_of(const char *name)
{
    for (int i = 0; i < KVASS_N_DTYPES; i++) {
        if (strcmp(kvass_dtype_name((kvass_dtype)i), name) == 0) {
            return (kvass_dtype)i;
        }
    }
    fail_msg("no type %s", name);
    return KVASS_DTYPE_F32;
}

static void compare(const char *name, const unsigned char *blocks, uint32_t n_bytes,
                    const unsigned char *values, uint32_t n)
{
    kvass_dtype dtype = dtype_of(name);
    size_t row_bytes;
    assert_true(kvass_dtype_row_bytes(dtype, n, &row_bytes));
    assert_int_equal(row_bytes, n_bytes);
    float *out = malloc((size_t)n * sizeof *out);
    assert_non_null(out);
    for (size_t m = 0; m < sizeof masks / sizeof *masks; m++) {
        kvass_kernels k = kvass_kernels_get(masks[m]);
        memset(out, 0xff, (size_t)n * sizeof *out);
        k.widen[dtype](blocks, (int32_t)n, out);
        for (uint32_t i = 0; i < n; i++) {
            if (memcmp(&out[i], values + (size_t)i * sizeof *out, sizeof *out) != 0) {
                float want;
                memcpy(&want, values + (size_t)i * sizeof *out, sizeof want);
                fail_msg("%s: %s: value %u: expected %.9g, found %.9g", k.name, name, (unsigned)i,
                         (double)want, (double)out[i]);
            }
        }
    }
    free(out);
}

static void test_values(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    const char *root = getenv("KVASS_SOURCE_ROOT");
    size_t n;
    int n_types = 0;
    (void)snprintf(path, sizeof path, "%s/tests/golden/quants.bin", root ? root : ".");
    char *bytes = unit_slurp(path, &n);
    kvass_reader r = {(const unsigned char *)bytes, n, 0};
    for (; kvass_reader_left(&r) > 0; n_types++) {
        char name[9] = "";
        uint32_t n_values = 0, n_bytes = 0;
        const unsigned char *text = kvass_reader_take(&r, 8);
        assert_non_null(text);
        memcpy(name, text, 8);
        assert_true(kvass_reader_u32(&r, &n_values) && kvass_reader_u32(&r, &n_bytes));
        const unsigned char *blocks = kvass_reader_take(&r, n_bytes);
        const unsigned char *values = kvass_reader_take(&r, (size_t)n_values * sizeof(float));
        assert_true(blocks && values);
        compare(name, blocks, n_bytes, values, n_values);
    }
    assert_int_equal(n_types, 10);
    free(bytes);
}

static void test_packs(void **state)
{
    (void)state;
    char path[UNIT_PATH_BYTES];
    const char *root = getenv("KVASS_SOURCE_ROOT");
    size_t n;
    int n_types = 0;
    (void)snprintf(path, sizeof path, "%s/tests/golden/packs.bin", root ? root : ".");
    char *bytes = unit_slurp(path, &n);
    kvass_reader r = {(const unsigned char *)bytes, n, 0};
    for (; kvass_reader_left(&r) > 0; n_types++) {
        char name[9] = "";
        uint32_t n_values = 0, n_bytes = 0;
        const unsigned char *text = kvass_reader_take(&r, 8);
        assert_non_null(text);
        memcpy(name, text, 8);
        assert_true(kvass_reader_u32(&r, &n_values) && kvass_reader_u32(&r, &n_bytes));
        const unsigned char *values = kvass_reader_take(&r, (size_t)n_values * sizeof(float));
        const unsigned char *blocks = kvass_reader_take(&r, n_bytes);
        assert_true(values && blocks);
        float *x = malloc((size_t)n_values * sizeof *x);
        unsigned char *out = malloc(n_bytes);
        assert_true(x && out);
        memcpy(x, values, (size_t)n_values * sizeof *x);
        assert_int_equal(kvass_pack(dtype_of(name), x, (int32_t)n_values, out), -1);
        for (uint32_t i = 0; i < n_bytes; i++) {
            if (out[i] != blocks[i]) {
                fail_msg("%s: byte %u: expected %d, found %d", name, (unsigned)i, blocks[i],
                         out[i]);
            }
        }
        free(x);
        free(out);
    }
    assert_int_equal(n_types, 5);
    free(bytes);
}

/* what a type cannot hold is named by its place */
static void test_unfit(void **state)
{
    static const struct {
        kvass_dtype dtype;
        float value;
        bool fits;
    } cases[] = {
        {KVASS_DTYPE_F32, INFINITY, true},     {KVASS_DTYPE_BF16, INFINITY, true},
        {KVASS_DTYPE_F16, 65504, true},        {KVASS_DTYPE_F16, 65520, false},
        {KVASS_DTYPE_F16, -1e30f, false},      {KVASS_DTYPE_F16, INFINITY, true},
        {KVASS_DTYPE_Q8_0, 65504 * 127, true}, {KVASS_DTYPE_Q8_0, 1e7f, false},
        {KVASS_DTYPE_Q8_0, NAN, false},        {KVASS_DTYPE_Q8_0, 1e-45f, true},
        {KVASS_DTYPE_Q4_0, -INFINITY, false},  {KVASS_DTYPE_Q4_0, 1e6f, false},
        {KVASS_DTYPE_Q4_0, -1e-45f, true},     {KVASS_DTYPE_Q4_1, 65504, true},
        {KVASS_DTYPE_Q4_1, 65520, false},      {KVASS_DTYPE_Q4_1, NAN, false},
        {KVASS_DTYPE_Q4_1, 1e-45f, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float x[64] = {0};
        unsigned char out[256];
        x[37] = cases[i].value;
        assert_int_equal(kvass_pack(cases[i].dtype, x, 64, out), cases[i].fits ? -1 : 37);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_packs),
                                       cmocka_unit_test(test_unfit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
