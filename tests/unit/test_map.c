/* test_map.c - the map: any bytes as keys, first value wins, memory failures, readers in parallel.
 */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* map.c is compiled in here: with an allocator that can fail, and in a second build of this file
 * (WEAK_HASH) with a hash that sends everything to 64 places */
static size_t n_allocs, fail_at;

static void *failing_realloc(void *old, size_t n_bytes)
{
    return ++n_allocs == fail_at ? NULL : realloc(old, n_bytes);
}
#define realloc failing_realloc
#ifdef WEAK_HASH
static uint64_t weak_hash(const char *key, size_t n_bytes, uint64_t seed)
{
    (void)seed;
    return n_bytes >= 4 ? (uint64_t)(key[n_bytes - 4] & 63) << 20 : 0;
}
#define KVASS_MAP_HASH weak_hash
#endif
#include "engine/base/map.c"

#define N_KEYS 3000

/* Key i: a length of 0..40, NULs inside, long common beginnings. */
static size_t make_key(int32_t i, char key[64])
{
    memset(key, 0, 64);
    if (i == 0) {
        return 0;
    }
    size_t n = (size_t)(i % 37) + 4;
    for (size_t b = 0; b < 4; b++) {
        key[n - 4 + b] = (char)((uint32_t)i >> (8 * b));
    }
    return n;
}

static kvass_status fill(kvass_map *map, kvass_error *err)
{
    char key[64];
    for (int32_t i = 0; i < N_KEYS; i++) {
        kvass_status status = kvass_map_put(map, key, make_key(i, key), i, NULL, err);
        if (status != KVASS_OK) {
            return status;
        }
    }
    return KVASS_OK;
}

static void check_filled(const kvass_map *map)
{
    char key[64];
    for (int32_t i = 0; i < N_KEYS; i++) {
        assert_int_equal(kvass_map_get(map, key, make_key(i, key)), i);
    }
    for (int32_t i = N_KEYS; i < 2 * N_KEYS; i++) {
        assert_int_equal(kvass_map_get(map, key, make_key(i, key)), -1);
    }
    assert_int_equal(kvass_map_size(map), N_KEYS);
}

static void test_text(void **state)
{
    (void)state;
    kvass_error err;
    kvass_map *map;
    assert_int_equal(kvass_map_open(&map, &err), KVASS_OK);
    assert_int_equal(kvass_map_size(map), 0);
    assert_int_equal(kvass_map_get(map, "", 0), -1);
    assert_int_equal(fill(map, &err), KVASS_OK);
    check_filled(map);
    int32_t old = 7;
    assert_int_equal(kvass_map_put(map, "", 0, 5, &old, &err), KVASS_OK);
    assert_int_equal(old, 0);
    assert_int_equal(kvass_map_get(map, "", 0), 0);
    assert_int_equal(kvass_map_put(map, "a\0b", 3, 5, &old, &err), KVASS_OK);
    assert_int_equal(old, -1);
    assert_int_equal(kvass_map_get(map, "a\0b", 3), 5);
    assert_int_equal(kvass_map_get(map, "a\0c", 3), -1);
    assert_int_equal(kvass_map_get(map, "a", 1), -1);
    kvass_map_close(&map);
    assert_null(map);
    kvass_map_close(&map);
    kvass_map_close(NULL);
}

/* Every allocation of a build fails once: an error each time, and an empty map that works again. */
static void test_nomem(void **state)
{
    (void)state;
    kvass_error err;
    kvass_map *map;
    assert_int_equal(kvass_map_open(&map, &err), KVASS_OK);
    kvass_status status;
    size_t n_failures = 0;
    for (size_t at = 1;; at++) {
        n_allocs = 0;
        fail_at = at;
        status = fill(map, &err);
        if (status == KVASS_OK) {
            break;
        }
        n_failures++;
        assert_int_equal(status, KVASS_NOMEM);
        assert_string_equal(err.rule, "NOMEM");
        assert_int_equal(kvass_map_size(map), 0);
        assert_int_equal(kvass_map_get(map, "", 0), -1);
    }
    assert_true(n_failures > 20);
    check_filled(map);
    kvass_map_close(&map);
    fail_at = 0;
}

static void *read_all(void *arg)
{
    const kvass_map *map = arg;
    char key[64];
    size_t n_wrong = 0;
    for (int32_t i = 0; i < 2 * N_KEYS; i++) {
        n_wrong += kvass_map_get(map, key, make_key(i, key)) != (i < N_KEYS ? i : -1);
    }
    return (void *)(uintptr_t)n_wrong;
}

static void *build_own(void *arg)
{
    (void)arg;
    kvass_map *map;
    if (kvass_map_open(&map, NULL) != KVASS_OK) {
        return (void *)1;
    }
    void *n_wrong = (void *)1;
    if (fill(map, NULL) == KVASS_OK) {
        n_wrong = read_all(map);
    }
    kvass_map_close(&map);
    return n_wrong;
}

/* Readers of one map beside builders of others. */
static void test_threads(void **state)
{
    (void)state;
    kvass_map *map;
    assert_int_equal(kvass_map_open(&map, NULL), KVASS_OK);
    assert_int_equal(fill(map, NULL), KVASS_OK);
    pthread_t threads[6];
    for (int i = 0; i < 6; i++) {
        int rc =
            pthread_create(&threads[i], NULL, i < 4 ? read_all : build_own, i < 4 ? map : NULL);
        assert_int_equal(rc, 0);
    }
    for (int i = 0; i < 6; i++) {
        void *n_wrong = NULL;
        assert_int_equal(pthread_join(threads[i], &n_wrong), 0);
        assert_null(n_wrong);
    }
    kvass_map_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_nomem),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name(TEST_NAME, tests, NULL, NULL);
}
