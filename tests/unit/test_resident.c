/* test_resident.c - touched bytes are what the process grows by: a cache of 256 MiB and more,
 * filled bit by bit, against the resident size that the kernel reports. A page that was given back
 * and is written again is counted once.
 */
#include "tests/unit/unit.h"

#include "engine/kvass.h"

enum { N_LAYERS = 4, N_KV_HEADS = 8, HEAD_DIM = 128, N_CTX = 8704, STEP = 1088 };

#define TOLERANCE 0.05

static double resident_bytes(void)
{
    long pages = 0, all;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%ld %ld", &all, &pages) != 2) {
        print_message("skipped: no /proc/self/statm\n");
        skip();
    }
    (void)fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* whether the kernel hands out memory in pieces so large that a few rows in each range of the pool
 * take much more than they need */
static bool has_huge_pages(void)
{
    char line[64] = "";
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    if (f) {
        (void)!fgets(line, sizeof line, f);
        (void)fclose(f);
    }
    return strstr(line, "[always]") != NULL;
}

static void append(kvass_cache *cache, const float *rows, int32_t n)
{
    kvass_error err;
    for (int32_t l = 0; l < N_LAYERS; l++) {
        if (kvass_cache_append(cache, l, rows, rows, n, &err) != KVASS_OK) {
            fail_msg("%s", err.message);
        }
    }
    assert_int_equal(kvass_cache_advance(cache, &err), KVASS_OK);
}

static void expect_growth(const kvass_cache *cache, double before, double at_least)
{
    kvass_cache_usage usage;
    kvass_cache_get_usage(cache, &usage);
    double grown = resident_bytes() - before, touched = (double)usage.bytes_touched;
    print_message("touched %.1f MiB, resident size grown by %.1f MiB\n", touched / 1048576,
                  grown / 1048576);
    assert_true(touched >= at_least);
    assert_true(grown > (1 - TOLERANCE) * touched && grown < (1 + TOLERANCE) * touched);
    assert_int_equal(usage.bytes_touched,
                     (size_t)usage.n_pages_touched * usage.bytes_per_token / N_LAYERS * 32);
    assert_int_equal(usage.bytes_resident, usage.bytes_used);
    assert_true(usage.bytes_touched <= usage.bytes_reserved);
}

static void touched_is_resident(void **state)
{
    (void)state;
    kvass_error err;
    kvass_cache *cache;
    kvass_cache_dims dims = kvass_cache_dims_default();
    dims.n_layers = N_LAYERS;
    dims.n_kv_heads = N_KV_HEADS;
    dims.head_dim = HEAD_DIM;
    dims.n_ctx = N_CTX;
    dims.store = KVASS_STORE_F32;
    size_t n_floats = (size_t)STEP * N_KV_HEADS * HEAD_DIM;
    float *rows = malloc(n_floats * sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < n_floats; i++) {
        rows[i] = 1;
    }
    double before = resident_bytes();
    assert_int_equal(kvass_cache_open(&cache, &dims, &err), KVASS_OK);
    kvass_cache_usage usage;
    kvass_cache_get_usage(cache, &usage);
    assert_int_equal(usage.bytes_touched, 0);
    assert_true(resident_bytes() - before < 1 << 20); /* reserved, not taken */
    append(cache, rows, STEP);
    if (!has_huge_pages()) {
        expect_growth(cache, before, 32 << 20);
    }
    append(cache, rows, STEP);
    kvass_cache_reset(cache);
    for (int32_t n = 0; n < N_CTX; n += STEP) {
        append(cache, rows, STEP);
    }
    expect_growth(cache, before, 256 << 20);
    kvass_cache_close(&cache);
    assert_true(resident_bytes() - before < 1 << 20);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(touched_is_resident)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
