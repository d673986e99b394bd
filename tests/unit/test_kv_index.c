/* test_kv_index.c - bounds of pages against the keys themselves: no key scores higher, whatever its
 * channels look like, and the bound is not much above what exact bounds give. Then the choice among
 * scores against sorting all of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cache/kv.h"

enum { N_PAGES = 7, N_ROWS = N_PAGES * KV_PAGE_ROWS, N_Q = 3, MOST_DIM = 130, MOST_SCORES = 300 };

static uint32_t state = 11; /* the seed */

static double uniform(void) /* -1 to 1 */
{
    state = state * 1664525u + 1013904223u;
    return (double)(state >> 8) / (1 << 23) - 1.0;
}

/* the value of a channel: some far from zero, one with large values, one without any */
static float key_value(int32_t channel)
{
    double x = uniform() + uniform();
    return (float)(channel % 9 == 3    ? 20.0 + x
                   : channel % 9 == 5  ? -0.1 + 0.01 * x
                   : channel % 31 == 7 ? 90.0 * x
                   : channel % 9 == 8  ? 0.0
                                       : x);
}

typedef struct index_case {
    kvass_arena arena;
    kvass_kernels kernels;
    kv_owner owner;
    kv_pool pool;
    kv_seq seq;
    kv_pick_scratch scratch;
} index_case;

static void carve(index_case *t, const kv_dims *dims)
{
    size_t n_blocks = N_Q * (size_t)kvass_kv_blocks(dims->head_dim), width = (size_t)dims->head_dim;
    kv_owner_plan(&t->owner, dims, (kv_policy){0});
    t->owner.n_pages = N_PAGES;
    kv_pool_carve(&t->pool, dims, &t->owner, &t->arena);
    kv_seq_carve(&t->seq, dims, &t->owner, &t->arena);
    t->scratch = (kv_pick_scratch){
        .tile = kvass_arena_take(&t->arena, KV_PAGE_ROWS * width, sizeof(float)),
        .halves = kvass_arena_take(&t->arena, N_Q * 2 * width, sizeof(float)),
        .probe = {.w = kvass_arena_take(&t->arena, n_blocks * KVASS_KV_BLOCK, sizeof(int16_t)),
                  .d = kvass_arena_take(&t->arena, n_blocks, sizeof(float)),
                  .lost = kvass_arena_take(&t->arena, n_blocks, sizeof(float))},
        .bounds = kvass_arena_take(&t->arena, 1, kv_index_page_bytes(dims)),
        .each = kvass_arena_take(&t->arena, N_Q * KV_INDEX_EACH, sizeof(float)),
        .scores = kvass_arena_take(&t->arena, N_PAGES, sizeof(float)),
    };
}

/* keys[N_ROWS, head_dim] as the cache keeps them */
static void fill(index_case *t, const kv_store_ops *store, int32_t head_dim, uint32_t isa,
                 uint64_t page_seed, float *keys)
{
    kv_dims dims = {.n_owners = 1,
                    .n_kv_heads = 1,
                    .head_dim = head_dim,
                    .n_ctx = N_ROWS,
                    .n_batch = N_ROWS,
                    .exact_bounds = store->exact_bounds,
                    .indexed = true};
    *t = (index_case){.kernels = kvass_kernels_get(isa)};
    carve(t, &dims);
    assert_true(kvass_arena_commit(&t->arena));
    carve(t, &dims);
    assert_int_equal(kv_pool_open(&t->pool, store, &t->kernels, page_seed, NULL), KVASS_OK);
    int32_t n_new = N_ROWS;
    kv_seq *seq = &t->seq;
    assert_true(kv_reserve(&t->pool, &seq, &n_new, 1));
    for (int32_t pos = 0; pos < N_ROWS; pos++) {
        float *key = keys + (size_t)pos * (size_t)head_dim;
        for (int32_t c = 0; c < head_dim; c++) {
            key[c] = key_value(c);
        }
        kv_seq_put(&t->pool, seq, 0, 0, pos, key, key);
    }
    (void)kv_seq_commit(&t->pool, seq, n_new);
    for (int32_t i = 0; i < N_PAGES; i++) {
        kv_span span = {*kv_seq_entry(&t->pool, seq, 0, i) * KV_PAGE_ROWS, KV_PAGE_ROWS, 0};
        store->key.load(&t->kernels, kv_pool_key_range(&t->pool, 0, 0), span, head_dim,
                        keys + (size_t)(i * KV_PAGE_ROWS * head_dim));
    }
}

/* the greatest product of any query with any key of a page, and what exact bounds give; *slack is
 * what rounding may add to it */
static void truth_of(const float *keys, const float *q, int32_t head_dim, int32_t page,
                     double *best, double *bound, double *slack)
{
    const float *rows = keys + (size_t)(page * KV_PAGE_ROWS * head_dim);
    *best = *bound = -INFINITY;
    *slack = 0.0;
    for (int32_t g = 0; g < N_Q; g++) {
        double sum = 0.0, more = 0.0;
        for (int32_t c = 0; c < head_dim; c++) {
            double x = q[g * head_dim + c], least = INFINITY, most = -INFINITY;
            for (int32_t r = 0; r < KV_PAGE_ROWS; r++) {
                least = fmin(least, rows[r * head_dim + c]);
                most = fmax(most, rows[r * head_dim + c]);
            }
            sum += fmax(x * least, x * most);
            more += fabs(x) * 180.0 / 127.0; /* no key is larger */
        }
        for (int32_t r = 0; r < KV_PAGE_ROWS; r++) {
            double product = 0.0;
            for (int32_t c = 0; c < head_dim; c++) {
                product += (double)q[g * head_dim + c] * (double)rows[r * head_dim + c];
            }
            *best = fmax(*best, product);
        }
        *bound = fmax(*bound, sum);
        *slack = fmax(*slack, 1.1 * more);
    }
}

static void check_bounds(const kv_store_ops *store, int32_t head_dim, uint32_t isa,
                         uint64_t page_seed)
{
    static float keys[N_ROWS * MOST_DIM], q[N_Q * MOST_DIM];
    index_case t;
    fill(&t, store, head_dim, isa, page_seed, keys);
    for (int32_t turn = 0; turn < 20; turn++) {
        for (int32_t i = 0; i < N_Q * head_dim; i++) {
            q[i] = (float)(uniform() * (i % 17 == turn % 17 ? 12.0 : 1.0) * (i % 5 != 3));
        }
        kv_query query = {.q = q, .n_q = N_Q};
        int32_t begin = turn % 3;
        kv_index_score(&t.pool, &t.seq, 0, &query, begin, N_PAGES, &t.scratch);
        for (int32_t page = begin; page < N_PAGES; page++) {
            double best, bound, slack, score = (double)t.scratch.scores[page - begin];
            truth_of(keys, q, head_dim, page, &best, &bound, &slack);
            double fuzz = 1e-5 * slack; /* sums in f32 */
            if (!(score >= best - fuzz) || !(score >= bound - fuzz) || !(score <= bound + slack)) {
                fail_msg("%s, head_dim %d, isa %u: score %g, exact bound %g, best key %g",
                         store->name, head_dim, isa, score, bound, best);
            }
        }
    }
    kv_seq_truncate(&t.pool, &t.seq, 0);
    kv_pool_close(&t.pool);
    kvass_arena_release(&t.arena);
}

static void no_key_exceeds_its_bound(void **unused)
{
    (void)unused;
    static const int32_t head_dims[] = {1, 8, 31, 32, 33, 64, 80, MOST_DIM};
    for (size_t i = 0; i < sizeof head_dims / sizeof head_dims[0]; i++) {
        for (uint64_t page_seed = 0; page_seed < 2; page_seed++) {
            check_bounds(&kv_store_f16, head_dims[i], 0, page_seed);
            check_bounds(&kv_store_f16, head_dims[i], ~0u, page_seed);
            check_bounds(&kv_store_f32, head_dims[i], ~0u, page_seed);
        }
    }
}

static void keys_that_are_not_finite_come_last(void **unused)
{
    (void)unused;
    enum { HEAD_DIM = 8 };
    static float keys[N_ROWS * HEAD_DIM];
    index_case t;
    fill(&t, &kv_store_f16, HEAD_DIM, ~0u, 0, keys);
    float q[N_Q * HEAD_DIM] = {1, -1, 2, 0.5f}, row[HEAD_DIM] = {NAN, INFINITY};
    t.kernels.narrow_f16(row, HEAD_DIM, kv_pool_key_range(&t.pool, 0, 0));
    kv_index_forget(&t.pool, 0, 0);
    kv_index_pages(&t.pool, &t.seq, 0, 0, 1);
    kv_query query = {.q = q, .n_q = N_Q};
    kv_index_score(&t.pool, &t.seq, 0, &query, 0, N_PAGES, &t.scratch);
    assert_true(isinf(t.scratch.scores[0]) && t.scratch.scores[0] < 0);
    assert_true(isfinite(t.scratch.scores[1]));
    for (int32_t i = 0; i < HEAD_DIM; i++) { /* nor do queries that are not disturb anything */
        q[i] = i % 2 ? NAN : INFINITY;
    }
    kv_index_score(&t.pool, &t.seq, 0, &query, 0, N_PAGES, &t.scratch);
    for (int32_t page = 0; page < N_PAGES; page++) {
        assert_true(isnan(t.scratch.scores[page]) == 0);
    }
    kv_seq_truncate(&t.pool, &t.seq, 0);
    kv_pool_close(&t.pool);
    kvass_arena_release(&t.arena);
}

static void choice_is_that_of_sorting(void **unused)
{
    (void)unused;
    static float scores[MOST_SCORES];
    static int32_t best[MOST_SCORES];
    static bool chosen[MOST_SCORES];
    for (int32_t turn = 0; turn < 600; turn++) {
        int32_t n = 1 + turn % MOST_SCORES, n_best = (int32_t)((uniform() + 1.0) / 2.0 * n);
        int32_t kinds = turn % 4; /* 0: hardly any are equal; then ever more */
        for (int32_t i = 0; i < n; i++) {
            double x = 30.0 * uniform();
            scores[i] = (float)(kinds == 0 ? x : rint(x / 10 * kinds));
            scores[i] = turn % 5 == 0 && i % 7 == 0 ? -INFINITY : scores[i];
        }
        kv_select_best(scores, n, n_best, best);
        memset(chosen, 0, sizeof chosen);
        for (int32_t left = n_best; left > 0; left--) {
            int32_t first = -1;
            for (int32_t i = 0; i < n; i++) {
                if (!chosen[i] && (first < 0 || scores[i] > scores[first])) {
                    first = i;
                }
            }
            chosen[first] = true;
        }
        for (int32_t i = 0, at = 0; i < n; i++) {
            if (chosen[i] && best[at++] != i) {
                fail_msg("turn %d: %d of %d: place %d holds %d, not %d", turn, n_best, n, at - 1,
                         best[at - 1], i);
            }
        }
        kv_select_sort(scores, n_best, best);
        for (int32_t i = 1; i < n_best; i++) {
            float a = scores[best[i - 1]], b = scores[best[i]];
            assert_true(a > b || (a == b && best[i - 1] < best[i]));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_key_exceeds_its_bound),
        cmocka_unit_test(keys_that_are_not_finite_come_last),
        cmocka_unit_test(choice_is_that_of_sorting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
