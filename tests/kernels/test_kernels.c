/* test_kernels.c - every kernel of every instruction set that this CPU has, against double
 * precision and against scalar; then bad kernels, which the same checks must catch.
 *
 * Options, or environment: --seed N (KVASS_TEST_SEED) replays the random numbers of a run, --filter
 * PATTERN ("*matmul*", "avx2/?elu") picks tests; KVASS_TEST_ISA is a mask of instruction sets to
 * test.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "engine/base/half.h"
#include "tests/kernels/check.h"

#define DEFAULT_SEED 20231121

typedef struct entry {
    const char *name;
    check_fn *run;
} entry;

static const entry entries[] = {
    {"dot", check_dot},
    {"rmsnorm", check_rmsnorm},
    {"layernorm", check_layernorm},
    {"max", check_max},
    {"exp", check_exp_accuracy},
    {"exp_sum", check_exp_sum},
    {"softmax", check_softmax},
    {"rope", check_rope},
    {"silu", check_silu},
    {"gelu_tanh", check_gelu_tanh},
    {"gelu_erf", check_gelu_erf},
    {"relu", check_relu},
    {"softcap", check_softcap},
    {"add", check_add},
    {"mul", check_mul},
    {"scale", check_scale},
    {"widen", check_widen},
    {"narrow_f16", check_narrow_f16},
    {"matmul_f32", check_matmul_f32},
    {"matmul_f16", check_matmul_f16},
    {"matmul_bf16", check_matmul_bf16},
    {"matmul_q8_f32", check_matmul_q8_f32},
    {"matmul_int", check_matmul_int},
    {"quantize", check_quantize},
    {"kv_dot", check_kv_dot},
    {"kv_acc", check_kv_acc},
    {"kv_dot_q8", check_kv_dot_q8},
    {"kv_acc_q8", check_kv_acc_q8},
    {"kv_dot_q4", check_kv_dot_q4},
    {"kv_acc_q4", check_kv_acc_q4},
    {"kv_bound", check_kv_bound},
    {"gemm_nt", check_gemm_nt},
    {"gemm_nn", check_gemm_nn},
};
#define N_ENTRIES (sizeof entries / sizeof entries[0])
#define N_ISAS    3
#define N_OTHERS  3

static check checker;
static kvass_kernels scalar, tables[N_ISAS];

typedef struct job {
    const entry *entry;
    const kvass_kernels *table;
    char name[64];
} job;

static void test_entry(void **state)
{
    const job *j = *state;
    check_reset(&checker);
    j->entry->run(&checker, j->table);
    if (checker.failed) {
        fail_msg("%s (seed %llu): %s", j->name, (unsigned long long)checker.seed, checker.message);
    }
}

/* Tables of different instruction sets live side by side, and a mask takes sets away. */
static void test_tables(void **state)
{
    (void)state;
    kvass_kernels none = kvass_kernels_get(KVASS_ISA_SCALAR);
    kvass_kernels all = kvass_kernels_get(~0u);
    assert_string_equal(none.name, "scalar");
    bool has_avx2 = (kvass_kernels_cpu_isa() & KVASS_ISA_AVX2) != 0;
    bool has_avx512 = (kvass_kernels_cpu_isa() & KVASS_ISA_AVX512) != 0;
    assert_string_equal(all.name, has_avx512 ? "avx512" : has_avx2 ? "avx2" : "scalar");
    assert_int_equal(none.dot != all.dot, has_avx2);
    const void *pointer;
    size_t end = offsetof(kvass_kernels, gemm_is_blas); /* functions lie before it */
    for (size_t i = offsetof(kvass_kernels, widen); i < end; i += sizeof pointer) {
        memcpy(&pointer, (const char *)&all + i, sizeof pointer);
        assert_non_null(pointer);
    }
    assert_non_null(all.quantize);
    for (int d = 0; d < KVASS_N_DTYPES; d++) { /* a product of one kind or the other */
        bool integer = kvass_dtype_is_integer((kvass_dtype)d);
        assert_int_equal(all.matmul[d] != NULL, !integer);
        assert_int_equal(all.matmul_int[d] != NULL, integer);
    }
}

/* half.h over its whole domain: every f16 and bf16, and what lies around every bf16's neighbours.
 * (What lies around every f16 is part of narrow_f16.) */
static void test_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float wide = kvass_f16_to_f32((uint16_t)h);
        double expected = check_f16_value((uint16_t)h);
        assert_true((double)wide == expected || (wide != wide && expected != expected));
        assert_int_equal(kvass_f32_bits(wide) >> 31, h >> 15);
        assert_int_equal(kvass_f32_to_f16(wide), wide == wide ? h : h | 0x200u);

        wide = kvass_bf16_to_f32((uint16_t)h);
        expected = check_bf16_value((uint16_t)h);
        assert_true((double)wide == expected || (wide != wide && expected != expected));
        assert_int_equal(kvass_f32_to_bf16(wide), wide == wide ? h : h | 0x40u);
        if ((h & 0x7f80u) !=
            0x7f80u) { /* finite: halfway up goes to even, beside it to the nearer */
            uint32_t middle = (h << 16) + 0x8000u;
            assert_int_equal(kvass_f32_to_bf16(kvass_bits_f32(middle)), h + h % 2);
            assert_int_equal(kvass_f32_to_bf16(kvass_bits_f32(middle - 1)), h);
            assert_int_equal(kvass_f32_to_bf16(kvass_bits_f32(middle + 1)), h + 1);
        }
    }
}

/* ---- planted kernels ------------------------------------------------------------------------- */

static void silu_drops_tail(float *x, int32_t n)
{
    scalar.silu(x, n / 8 * 8);
}

static void add_off_by_one(float *y, const float *x, int32_t n)
{
    scalar.add(y + (n > 0), x, n - (n > 0));
}

static void relu_writes_past(float *x, int32_t n)
{
    scalar.relu(x, n);
    x[n] = 0.0f;
}

static float dot_drops_tail(const float *a, const float *b, int32_t n)
{
    return scalar.dot(a, b, n / 8 * 8);
}

static void scale_spoils_front(float *y, float s, int32_t n)
{
    scalar.scale(y, s, n);
    y[-1] = 0.0f;
}

static void mul_changes_input(float *y, const float *x, int32_t n)
{
    scalar.mul(y, x, n);
    if (n > 0) {
        float *writable;
        memcpy(&writable, &x, sizeof writable);
        writable[n - 1] += 1.0f;
    }
}

static float max_from_zero(const float *s, int32_t n)
{
    float max = scalar.max(s, n);
    return max < 0.0f ? 0.0f : max;
}

/* m > 1 in another order than m = 1: right, but with other bits */
static void matmul_bits_by_m(const void *w, size_t row_bytes, int32_t n_in, int32_t row0,
                             int32_t row1, const float *x, int32_t ldx, int32_t m, float *y,
                             int32_t ldy)
{
    scalar.matmul[KVASS_DTYPE_F32](w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
    for (int32_t r = row0; m > 1 && r < row1; r++) {
        const float *row = (const float *)w + (size_t)r * (size_t)n_in;
        float sum = 0.0f;
        for (int32_t i = 0; i < n_in; i++) {
            sum += row[i] * x[i];
        }
        y[r] = sum;
    }
}

static void matmul_writes_next_row(const void *w, size_t row_bytes, int32_t n_in, int32_t row0,
                                   int32_t row1, const float *x, int32_t ldx, int32_t m, float *y,
                                   int32_t ldy)
{
    scalar.matmul[KVASS_DTYPE_F16](w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
    y[row1] = 0.0f;
}

/* y = d_w * (d_x * S): another rounding */
static void matmul_int_rounds_twice(const kvass_weight *w, int32_t row0, int32_t row1,
                                    const kvass_acts *x, int32_t m, float *y, int32_t ldy)
{
    scalar.matmul_int[KVASS_DTYPE_Q4_0](w, row0, row1, x, m, y, ldy);
    for (int32_t r = row0; r < row1; r++) {
        y[r] = nextafterf(y[r], 1.0f);
    }
}

static void quantize_truncates(const float *x, int32_t n, int8_t *q, float *d, int32_t *sum)
{
    scalar.quantize(x, n, q, d, sum);
    for (int32_t i = 0; i < n; i++) {
        sum[i / KVASS_QBLOCK] -= q[i] % 2;
        q[i] = (int8_t)(q[i] - q[i] % 2);
    }
}

static void kv_acc_backwards(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                             const float *rows, int32_t n_rows, float *out)
{
    for (int32_t j = n_rows; j-- > 0;) {
        scalar.kv_acc_f32(w + j, ld_w, n_q, head_dim, rows + (size_t)j * (size_t)head_dim, 1, out);
    }
}

static void kv_dot_q4_without_minima(const float *q, int32_t n_q, int32_t head_dim,
                                     const uint8_t *nibbles, const uint16_t *minima,
                                     const uint16_t *steps, int32_t n_rows, float scale,
                                     float *scores, int32_t ld_scores)
{
    (void)minima;
    scalar.kv_dot_q4(q, n_q, head_dim, nibbles, steps, steps, n_rows, scale, scores, ld_scores);
}

static void expect_caught(const char *what, check_fn *run, const kvass_kernels *bad)
{
    check_reset(&checker);
    checker.n_places = PLACE_PAGE_END; /* a write past a buffer's end must not be fatal here */
    run(&checker, bad);
    checker.n_places = N_PLACES;
    if (!checker.failed) {
        fail_msg("%s was not caught (seed %llu)", what, (unsigned long long)checker.seed);
    }
    print_message("caught: %s\n", checker.message);
}

static void test_planted(void **state)
{
    (void)state;
    kvass_kernels bad = scalar;
    bad.silu = silu_drops_tail;
    bad.add = add_off_by_one;
    bad.relu = relu_writes_past;
    bad.dot = dot_drops_tail;
    bad.scale = scale_spoils_front;
    bad.mul = mul_changes_input;
    bad.max = max_from_zero;
    bad.matmul[KVASS_DTYPE_F32] = matmul_bits_by_m;
    bad.matmul[KVASS_DTYPE_F16] = matmul_writes_next_row;
    bad.matmul_int[KVASS_DTYPE_Q4_0] = matmul_int_rounds_twice;
    bad.quantize = quantize_truncates;
    bad.kv_acc_f32 = kv_acc_backwards;
    bad.kv_dot_q4 = kv_dot_q4_without_minima;
    expect_caught("a dropped tail", check_silu, &bad);
    expect_caught("an element too far", check_add, &bad);
    expect_caught("a write past the end", check_relu, &bad);
    expect_caught("a reduction without its tail", check_dot, &bad);
    expect_caught("a write in front", check_scale, &bad);
    expect_caught("a changed input", check_mul, &bad);
    expect_caught("a maximum that starts from zero", check_max, &bad);
    expect_caught("bits that depend on m", check_matmul_f32, &bad);
    expect_caught("a row too many", check_matmul_f16, &bad);
    expect_caught("another rounding", check_matmul_int, &bad);
    expect_caught("activations cut off", check_quantize, &bad);
    expect_caught("rows added backwards", check_kv_acc, &bad);
    expect_caught("minima left out", check_kv_dot_q4, &bad);
}

/* ---------------------------------------------------------------------------------------------- */

static int add_jobs(job *jobs, struct CMUnitTest *tests)
{
    const char *text = getenv("KVASS_TEST_ISA");
    uint32_t allowed = text ? (uint32_t)strtoul(text, NULL, 0) : ~0u;
    int n_tables = 0, n = 0;
    tables[n_tables++] = scalar;
    if (kvass_kernels_cpu_isa() & allowed & KVASS_ISA_AVX2) {
        tables[n_tables++] = kvass_kernels_get(KVASS_ISA_AVX2);
    }
    if (kvass_kernels_cpu_isa() & allowed & KVASS_ISA_AVX512) {
        tables[n_tables++] = kvass_kernels_get(KVASS_ISA_AVX2 | KVASS_ISA_AVX512);
    }
    for (int i = 0; i < n_tables; i++) {
        for (size_t e = 0; e < N_ENTRIES; e++, n++) {
            jobs[n].entry = &entries[e];
            jobs[n].table = &tables[i];
            snprintf(jobs[n].name, sizeof jobs[n].name, "%s/%s", tables[i].name, entries[e].name);
            tests[n] = (struct CMUnitTest){jobs[n].name, test_entry, NULL, NULL, &jobs[n]};
        }
    }
    return n;
}

int main(int argc, char **argv)
{
    static job jobs[N_ISAS * N_ENTRIES];
    static struct CMUnitTest tests[N_ISAS * N_ENTRIES + N_OTHERS];
    const char *text = getenv("KVASS_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : DEFAULT_SEED;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0) {
            seed = strtoull(argv[i + 1], NULL, 0);
        } else if (strcmp(argv[i], "--filter") == 0) {
            cmocka_set_test_filter(argv[i + 1]);
        }
    }
    printf("seed %llu\n", (unsigned long long)seed);
#ifdef _OPENMP
    omp_set_num_threads(1); /* sgemm outside a team stays on this thread */
#endif
    scalar = kvass_kernels_get(KVASS_ISA_SCALAR);
    check_open(&checker, seed);
    checker.scalar = &scalar;
    int n = add_jobs(jobs, tests);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_tables);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_half);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_planted);
    int n_failed = _cmocka_run_group_tests("kernels", tests, (size_t)n, NULL, NULL);
    check_close(&checker);
    return n_failed != 0;
}
