/* test_table.c - what vocabularies are found by: the table, pairs of ids, words of ids. Compared
 * with plain arrays, with good hashes and with bad ones, and with every allocation failing in turn.
 */
#include "tests/unit/unit.h"

#include <stdlib.h>

/* the sources are compiled in here, with an allocator that can fail */
static size_t n_allocs, fail_at;

static void *failing(void *old, size_t n_bytes)
{
    return ++n_allocs == fail_at ? NULL : realloc(old, n_bytes);
}

static void *failing_zeroed(size_t n, size_t n_bytes)
{
    return ++n_allocs == fail_at ? NULL : calloc(n, n_bytes);
}
#define realloc         failing
#define malloc(n_bytes) failing(NULL, n_bytes)
#define calloc          failing_zeroed
#define reserve         reserve_pairs
#include "engine/base/pairs.c"
#undef reserve
#include "engine/base/table.c"
#include "tokenizer/words.c"

enum { N = 3000 };

static void test_table(void **state)
{
    (void)state;
    /* all different, all in one place, all the same */
    static const uint32_t factors[] = {0x9e3779b1u, 0x10000u, 0};
    for (size_t f = 0; f < sizeof factors / sizeof *factors; f++) {
        kvass_table table;
        assert_int_equal(kvass_table_open(&table, 0, NULL), KVASS_OK);
        for (int32_t i = 0; i < N; i++) {
            uint32_t hash = (uint32_t)i * factors[f];
            assert_int_equal(kvass_table_add(&table, hash, i, NULL), KVASS_OK);
        }
        assert_int_equal(table.n, N);
        for (int32_t i = 0; i < 2 * N; i++) {
            uint32_t hash = (uint32_t)i * factors[f];
            size_t at, n_found = 0, n_all = 0;
            for (int32_t found = kvass_table_first(&table, hash, &at); found >= 0;
                 found = kvass_table_next(&table, hash, &at)) {
                assert_in_range(found, 0, N - 1);
                assert_int_equal((uint32_t)found * factors[f], hash);
                n_found += found == i;
                n_all++;
            }
            assert_int_equal(n_found, i < N);
            assert_int_equal(n_all, factors[f] == 0 ? N : i < N);
            i += factors[f] == 0 ? 499 : 0;
        }
        kvass_table_close(&table);
        assert_null(table.slots);
    }
}

/* A claim of many numbers costs no more memory than a large vocabulary. */
static void test_claims(void **state)
{
    (void)state;
    kvass_table table;
    assert_int_equal(kvass_table_open(&table, SIZE_MAX, NULL), KVASS_OK);
    assert_int_equal(table.mask + 1, MAX_FIRST_SLOTS);
    assert_int_equal(kvass_table_add(&table, 7, INT32_MAX - 1, NULL), KVASS_OK);
    size_t at;
    assert_int_equal(kvass_table_first(&table, 7, &at), INT32_MAX - 1);
    assert_int_equal(kvass_table_next(&table, 7, &at), -1);
    kvass_table_close(&table);
    kvass_pairs pairs;
    kvass_error err;
    assert_int_equal(kvass_pairs_open(&pairs, SIZE_MAX / 4, &err), KVASS_NOMEM);
    kvass_pairs_close(&pairs);
}

static kvass_status fill_pairs(kvass_pairs *pairs)
{
    kvass_status status = kvass_pairs_open(pairs, 10, NULL);
    for (int32_t i = 0; i < N && status == KVASS_OK; i++) {
        bool fresh = false;
        int32_t left = i * 715827, right = INT32_MAX - i % 50;
        status = kvass_pairs_add(pairs, left, right, i, &fresh, NULL);
        assert_true(fresh || status != KVASS_OK);
        assert_int_equal(pairs->n, i + (status == KVASS_OK));
    }
    return status;
}

static void test_pairs(void **state)
{
    (void)state;
    kvass_pairs pairs;
    for (fail_at = 0;; fail_at++) { /* 0: none fails */
        n_allocs = 0;
        kvass_status status = fill_pairs(&pairs);
        bool failed = fail_at > 0 && n_allocs >= fail_at;
        assert_int_equal(status, failed ? KVASS_NOMEM : KVASS_OK);
        for (int32_t i = 0; i < N && pairs.table.slots; i++) {
            int32_t left = i * 715827, right = INT32_MAX - i % 50;
            int32_t place = (size_t)i < pairs.n ? i : -1;
            assert_int_equal(kvass_pairs_find(&pairs, left, right), place);
            assert_int_equal(kvass_pairs_find(&pairs, right, left), -1);
            assert_true(place < 0 || pairs.all[i].value == i);
        }
        if (fail_at > 0 && !failed) {
            break;
        }
        if (fail_at == 0) {
            bool fresh = true;
            assert_int_equal(kvass_pairs_add(&pairs, 715827, INT32_MAX - 1, 9, &fresh, NULL), 0);
            assert_false(fresh);
            assert_int_equal(pairs.n, N);
            assert_int_equal(pairs.all[1].value, 1);
        }
        kvass_pairs_close(&pairs);
    }
    assert_true(fail_at > 10);
    fail_at = 0;
    kvass_pairs_close(&pairs);
}

/* Word i: a length of 0 .. 40, NULs inside, long common beginnings. */
static size_t make_word(int32_t i, char word[64])
{
    memset(word, 0, 64);
    if (i == 0) {
        return 0;
    }
    size_t n = (size_t)(i % 37) + 4;
    for (size_t b = 0; b < 4; b++) {
        word[n - 4 + b] = (char)((uint32_t)i >> (8 * b));
    }
    return n;
}

static kvass_status fill_words(tok_words *words, int32_t *n)
{
    char word[64];
    *n = 0;
    kvass_status status = kvass_words_open(words, 2 * N, 100, NULL);
    for (int32_t i = 0; i < N && status == KVASS_OK; i++) {
        int32_t old = 7;
        status = kvass_words_add(words, 2 * i, word, make_word(i, word), &old, NULL);
        assert_int_equal(old, status == KVASS_OK ? -1 : 7);
        *n += status == KVASS_OK;
    }
    return status;
}

static void test_words(void **state)
{
    (void)state;
    tok_words words;
    char word[64];
    int32_t n;
    for (fail_at = 0;; fail_at++) {
        n_allocs = 0;
        kvass_status status = fill_words(&words, &n);
        bool failed = fail_at > 0 && n_allocs >= fail_at;
        assert_int_equal(status, failed ? KVASS_NOMEM : KVASS_OK);
        for (int32_t i = 0; i < 2 * N && words.table.slots; i++) {
            size_t n_word = make_word(i, word);
            int32_t id = i < n ? 2 * i : -1;
            assert_int_equal(kvass_words_get(&words, word, n_word), id);
            assert_int_equal(kvass_words_near(&words, i, word, n_word), id);
            assert_int_equal(kvass_words_near(&words, 2 * i, word, n_word), id);
            assert_int_equal(kvass_words_near(&words, -1, word, n_word), id);
        }
        if (fail_at > 0 && !failed) {
            break;
        }
        if (fail_at == 0) { /* a word that is there keeps its id; the other id gets none */
            int32_t old = -1;
            assert_int_equal(kvass_words_add(&words, 1, word, make_word(5, word), &old, NULL), 0);
            assert_int_equal(old, 10);
            assert_int_equal(kvass_words_near(&words, 1, word, make_word(5, word)), 10);
            assert_int_equal(words.all[1].n_bytes, TOK_NO_WORD);
        }
        kvass_words_close(&words);
    }
    assert_true(fail_at > 8);
    fail_at = 0;
    kvass_words_close(&words);
    kvass_words_close(&words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
