/* test_cache_alone.c - the cache for people who bring their own attention: create, append, read,
 * advance, reset, usage, overflow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "engine/kvass.h"

enum { N_LAYERS = 3, N_KV_HEADS = 2, HEAD_DIM = 5, N_CTX = 70, ROW = N_KV_HEADS * HEAD_DIM };

static float k_in[N_LAYERS][N_CTX * ROW], v_in[N_LAYERS][N_CTX * ROW];
static float k_out[N_CTX * ROW], v_out[N_CTX * ROW];

static kvass_cache *open_cache(kvass_store store)
{
    kvass_error err;
    kvass_cache *cache;
    kvass_cache_dims dims = kvass_cache_dims_default();
    dims.n_layers = N_LAYERS;
    dims.n_kv_heads = N_KV_HEADS;
    dims.head_dim = HEAD_DIM;
    dims.n_ctx = N_CTX;
    dims.store = store;
    assert_int_equal(kvass_cache_open(&cache, &dims, &err), KVASS_OK);
    for (int l = 0; l < N_LAYERS; l++) {
        for (int i = 0; i < N_CTX * ROW; i++) { /* small multiples of 1/8: exact in f16 */
            k_in[l][i] = (float)((i * 7 + l) % 1000) / 8.0f;
            v_in[l][i] = (float)((i * 11 + l) % 1000) / -8.0f;
        }
    }
    return cache;
}

static kvass_status append(kvass_cache *cache, int32_t layer, int32_t at, int32_t n)
{
    kvass_error err;
    return kvass_cache_append(cache, layer, k_in[layer] + at * ROW, v_in[layer] + at * ROW, n,
                              &err);
}

static void check_rows(const kvass_cache *cache, int32_t layer, int32_t n)
{
    kvass_error err;
    assert_int_equal(kvass_cache_n_rows(cache, layer), n);
    assert_int_equal(kvass_cache_read(cache, layer, k_out, v_out, &err), KVASS_OK);
    assert_memory_equal(k_out, k_in[layer], (size_t)n * ROW * sizeof(float));
    assert_memory_equal(v_out, v_in[layer], (size_t)n * ROW * sizeof(float));
}

/* what was appended is read back, the newest row included, before and after advance */
static void rows_come_back(kvass_store store)
{
    kvass_error err;
    kvass_cache *cache = open_cache(store);
    int32_t n = 0;
    static const int32_t chunks[] = {7, 1, 1, 25, 30, 1, 5};
    for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++) {
        for (int32_t l = 0; l < N_LAYERS; l++) {
            assert_int_equal(append(cache, l, n, chunks[c]), KVASS_OK);
            check_rows(cache, l, n + chunks[c]);
            check_rows(cache, (l + 1) % N_LAYERS, l + 1 < N_LAYERS ? n : n + chunks[c]);
        }
        assert_int_equal(kvass_cache_advance(cache, &err), KVASS_OK);
        n += chunks[c];
        check_rows(cache, 1, n);
    }
    assert_int_equal(n, N_CTX);
    kvass_cache_close(&cache);
    assert_null(cache);
}

static void rows_come_back_f32(void **state)
{
    (void)state;
    rows_come_back(KVASS_STORE_F32);
}

static void rows_come_back_f16(void **state)
{
    (void)state;
    rows_come_back(KVASS_STORE_F16);
}

/* one layer may run ahead by several appends before the others follow */
static void appends_add_up(void **state)
{
    (void)state;
    kvass_error err;
    kvass_cache *cache = open_cache(KVASS_STORE_F32);
    for (int32_t l = 0; l < N_LAYERS; l++) {
        for (int32_t i = 0; i < 40; i++) {
            assert_int_equal(append(cache, l, i, 1), KVASS_OK);
        }
    }
    assert_int_equal(kvass_cache_advance(cache, &err), KVASS_OK);
    check_rows(cache, 0, 40);
    kvass_cache_close(&cache);
}

static void overflow_is_an_error(void **state)
{
    (void)state;
    kvass_error err;
    kvass_cache *cache = open_cache(KVASS_STORE_F32);
    for (int32_t l = 0; l < N_LAYERS; l++) {
        assert_int_equal(append(cache, l, 0, N_CTX - 1), KVASS_OK);
    }
    assert_int_equal(kvass_cache_append(cache, 0, k_in[0], v_in[0], 2, &err), KVASS_CONTEXT_FULL);
    assert_non_null(strstr(err.message, "70"));
    assert_int_equal(kvass_cache_n_rows(cache, 0), N_CTX - 1);
    for (int32_t l = 0; l < N_LAYERS; l++) {
        assert_int_equal(append(cache, l, N_CTX - 1, 1), KVASS_OK);
    }
    assert_int_equal(kvass_cache_advance(cache, &err), KVASS_OK);
    assert_int_equal(append(cache, 0, 0, 1), KVASS_CONTEXT_FULL);
    check_rows(cache, 2, N_CTX);
    kvass_cache_close(&cache);
}

static void uneven_layers_do_not_advance(void **state)
{
    (void)state;
    kvass_error err;
    kvass_cache *cache = open_cache(KVASS_STORE_F32);
    assert_int_equal(append(cache, 0, 0, 2), KVASS_OK);
    assert_int_equal(append(cache, 1, 0, 2), KVASS_OK);
    assert_int_equal(kvass_cache_advance(cache, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "CACHE_LAYERS");
    assert_int_equal(append(cache, 2, 0, 2), KVASS_OK);
    assert_int_equal(kvass_cache_advance(cache, &err), KVASS_OK);
    kvass_cache_close(&cache);
}

static void usage_and_reset(void **state)
{
    (void)state;
    kvass_error err;
    kvass_cache_usage u;
    kvass_cache *cache = open_cache(KVASS_STORE_F16);
    size_t row = (size_t)N_LAYERS * 2 * ROW * 2;
    for (int32_t l = 0; l < N_LAYERS; l++) {
        assert_int_equal(append(cache, l, 0, 33), KVASS_OK);
    }
    assert_int_equal(kvass_cache_advance(cache, &err), KVASS_OK);
    kvass_cache_get_usage(cache, &u);
    assert_int_equal(u.bytes_per_token, row);
    assert_int_equal(u.bytes_used, row * 64);
    assert_int_equal(u.bytes_reserved, row * 96);
    assert_int_equal(append(cache, 0, 33, 1), KVASS_OK);
    kvass_cache_reset(cache);
    kvass_cache_get_usage(cache, &u);
    assert_int_equal(u.bytes_used, 0);
    assert_int_equal(u.bytes_touched, row * 64);
    check_rows(cache, 0, 0);
    assert_int_equal(append(cache, 1, 0, 3), KVASS_OK);
    check_rows(cache, 1, 3);
    kvass_cache_close(&cache);
}

static void bad_arguments_are_refused(void **state)
{
    (void)state;
    kvass_error err;
    kvass_cache *cache = open_cache(KVASS_STORE_F32), *none;
    kvass_cache_dims dims = kvass_cache_dims_default();
    assert_int_equal(kvass_cache_open(&none, &dims, &err), KVASS_INVALID); /* all sizes are 0 */
    assert_null(none);
    assert_int_equal(kvass_cache_open(&none, NULL, &err), KVASS_INVALID);
    assert_int_equal(kvass_cache_append(cache, N_LAYERS, k_in[0], v_in[0], 1, &err), KVASS_INVALID);
    assert_int_equal(kvass_cache_append(cache, -1, k_in[0], v_in[0], 1, &err), KVASS_INVALID);
    assert_int_equal(kvass_cache_append(cache, 0, NULL, v_in[0], 1, &err), KVASS_INVALID);
    assert_int_equal(kvass_cache_append(cache, 0, k_in[0], v_in[0], -1, &err), KVASS_INVALID);
    assert_int_equal(kvass_cache_read(cache, 9, k_out, v_out, &err), KVASS_INVALID);
    assert_int_equal(kvass_cache_read(cache, 0, NULL, NULL, &err), KVASS_OK);
    kvass_cache_close(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_f32),
        cmocka_unit_test(rows_come_back_f16),
        cmocka_unit_test(appends_add_up),
        cmocka_unit_test(overflow_is_an_error),
        cmocka_unit_test(usage_and_reset),
        cmocka_unit_test(uneven_layers_do_not_advance),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
