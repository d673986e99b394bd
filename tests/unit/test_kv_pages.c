/* test_kv_pages.c - pages, holders and copies on write, against a plain copy of every timeline.
 * Random appends, forks, cuts and refused reservations on several sequences over a pool that is too
 * small for all of them; after each step every row of every sequence must still be what it was
 * given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "engine/cache/kv.h"

enum {
    N_OWNERS = 2,
    N_KV_HEADS = 2,
    HEAD_DIM = 3,
    N_CTX = 200,
    N_PAGES = 14,
    N_BATCH = 45,
    N_PINNED = 5,
    N_SEQS = 4,
    N_STEPS = 4000,
};

static kvass_arena arena;
static kv_owner owners[N_OWNERS];
static int32_t window; /* of the second owner layer; 0 = all */
static kvass_kernels kernels;
static kv_pool pool;
static kv_seq seqs[N_SEQS];
static float past[N_SEQS][N_CTX]; /* the value each position was given */
static uint32_t state;

static int32_t random_below(int32_t n)
{
    state = state * 1664525u + 1013904223u;
    return (int32_t)((state >> 8) % (uint32_t)n);
}

static void carve(void)
{
    kv_dims dims = {.n_owners = N_OWNERS,
                    .n_kv_heads = N_KV_HEADS,
                    .head_dim = HEAD_DIM,
                    .n_ctx = N_CTX,
                    .n_batch = N_BATCH};
    for (int32_t i = 0; i < N_OWNERS; i++) {
        kv_owner_plan(&owners[i], &dims, (kv_policy){N_PINNED, i == 1 ? window : 0});
        owners[i].n_pages = N_PAGES;
    }
    kv_pool_carve(&pool, &dims, owners, &arena);
    for (int32_t s = 0; s < N_SEQS; s++) {
        kv_seq_carve(&seqs[s], &dims, owners, &arena);
    }
}

static void open_pool(const kv_store_ops *store, uint64_t page_seed)
{
    kernels = kvass_kernels_get(0);
    arena = (kvass_arena){0};
    carve();
    assert_true(kvass_arena_commit(&arena));
    carve();
    assert_int_equal(kv_pool_open(&pool, store, &kernels, page_seed, NULL), KVASS_OK);
}

static void close_pool(void)
{
    for (int32_t s = 0; s < N_SEQS; s++) {
        kv_seq_truncate(&pool, &seqs[s], 0);
    }
    for (int32_t owner = 0; owner < N_OWNERS; owner++) {
        assert_int_equal(owners[owner].n_free, N_PAGES);
    }
    kv_pool_close(&pool);
    kvass_arena_release(&arena);
}

/* what row `pos` of a head holds: told apart by owner, head, direction and element */
static float value_of(float base, int32_t owner, int32_t kv_head, int32_t is_value, int32_t d)
{
    return base + (float)(((owner * N_KV_HEADS + kv_head) * 2 + is_value) * HEAD_DIM + d) / 64.0f;
}

static void put_row(int32_t s, int32_t pos)
{
    float k[HEAD_DIM], v[HEAD_DIM];
    past[s][pos] = (float)random_below(31); /* and 1/64ths: exact in f16 */
    for (int32_t owner = 0; owner < N_OWNERS; owner++) {
        for (int32_t kv_head = 0; kv_head < N_KV_HEADS; kv_head++) {
            for (int32_t d = 0; d < HEAD_DIM; d++) {
                k[d] = value_of(past[s][pos], owner, kv_head, 0, d);
                v[d] = value_of(past[s][pos], owner, kv_head, 1, d);
            }
            kv_seq_put(&pool, &seqs[s], owner, kv_head, pos, k, v);
        }
    }
}

static void check_head(int32_t s, int32_t owner, int32_t kv_head, kv_view view)
{
    kv_span spans[N_CTX / KV_PAGE_ROWS + 3];
    float k[N_CTX * HEAD_DIM], v[N_CTX * HEAD_DIM];
    int32_t n_spans = kv_seq_spans(&pool, &seqs[s], owner, view, spans);
    int32_t pos = view.n_pinned > 0 ? 0 : view.lo;
    for (int32_t i = 0; i < n_spans; i++) {
        pos = pos == view.n_pinned ? view.lo : pos;
        assert_int_equal(spans[i].pos, pos);
        pool.store->key.load(&kernels, kv_pool_key_range(&pool, owner, kv_head), spans[i], HEAD_DIM,
                             k);
        pool.store->value.load(&kernels, kv_pool_value_range(&pool, owner, kv_head), spans[i],
                               HEAD_DIM, v);
        for (int32_t r = 0; r < spans[i].n_rows; r++, pos++) {
            for (int32_t d = 0; d < HEAD_DIM; d++) {
                float base = past[s][pos];
                assert_true(k[r * HEAD_DIM + d] == value_of(base, owner, kv_head, 0, d));
                assert_true(v[r * HEAD_DIM + d] == value_of(base, owner, kv_head, 1, d));
            }
        }
    }
    assert_int_equal(pos, view.lo == view.hi ? view.n_pinned : view.hi);
}

static void check_all(void)
{
    for (int32_t s = 0; s < N_SEQS; s++) {
        int32_t n = seqs[s].n_rows;
        int32_t lo = n > 0 ? random_below(n) : 0;
        for (int32_t owner = 0; owner < N_OWNERS; owner++) {
            for (int32_t kv_head = 0; kv_head < N_KV_HEADS; kv_head++) {
                /* what the next query would see, its own row aside */
                kv_view next = owners[owner].retain->view(&owners[owner].policy, n);
                next.hi = n;
                check_head(s, owner, kv_head, next);
                if (owners[owner].policy.window == 0) {
                    check_head(s, owner, kv_head, (kv_view){lo / 2, lo, n});
                }
            }
        }
    }
}

/* several sequences at once; when there are too few pages nothing may change */
static void step_append(void)
{
    kv_seq *who[N_SEQS];
    int32_t n_new[N_SEQS], index[N_SEQS], n = 0;
    for (int32_t s = 0; s < N_SEQS; s++) {
        int32_t most = N_CTX - seqs[s].n_rows;
        if (random_below(2) && most > 0) {
            who[n] = &seqs[s];
            index[n] = s;
            n_new[n++] = random_below(most < N_BATCH / N_SEQS ? most + 1 : N_BATCH / N_SEQS);
        }
    }
    int32_t free_before = owners[0].n_free;
    if (!kv_reserve(&pool, who, n_new, n)) {
        assert_int_equal(owners[0].n_free, free_before);
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        int32_t first = who[i]->n_rows;
        for (int32_t r = 0; r < n_new[i]; r++) {
            put_row(index[i], first + r);
        }
        int32_t n_kept = random_below(4) == 0 ? random_below(n_new[i] + 1) : n_new[i];
        (void)kv_seq_commit(&pool, who[i], n_kept);
        kv_seq_rollback(&pool, who[i]);
        assert_int_equal(who[i]->n_rows, first + n_kept);
    }
}

static void step_fork(void)
{
    int32_t from = random_below(N_SEQS), to = random_below(N_SEQS);
    if (from == to) {
        return;
    }
    kv_seq_truncate(&pool, &seqs[to], 0);
    kv_seq_fork(&pool, &seqs[to], &seqs[from]);
    memcpy(past[to], past[from], sizeof past[to]);
}

static void run_random(const kv_store_ops *store, uint64_t page_seed, uint32_t seed, int32_t w)
{
    state = seed;
    window = w;
    print_message("%s, page seed %llu, seed %u, window %d\n", store->name,
                  (unsigned long long)page_seed, seed, window);
    open_pool(store, page_seed);
    for (int32_t step = 0; step < N_STEPS; step++) {
        int32_t what = random_below(8);
        if (what < 5) {
            step_append();
        } else if (what < 6) {
            step_fork();
        } else {
            int32_t s = random_below(N_SEQS);
            int32_t lowest = kv_seq_can_truncate(&pool, &seqs[s]);
            int32_t n = lowest + random_below(seqs[s].n_rows - lowest + 1);
            kv_seq_truncate(&pool, &seqs[s], random_below(8) == 0 ? 0 : n);
        }
        check_all();
    }
    close_pool();
    window = 0;
}

static void random_timelines_f32(void **unused)
{
    (void)unused;
    run_random(&kv_store_f32, 0, 1, 0);
    run_random(&kv_store_f32, 99, 2, 0);
}

static void random_timelines_f16(void **unused)
{
    (void)unused;
    run_random(&kv_store_f16, 0, 3, 0);
}

static void random_windows(void **unused)
{
    (void)unused;
    static const int32_t windows[] = {1, 2, 31, 32, 33, 64, 90};
    for (uint32_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        run_random(&kv_store_f32, i % 2, 10 + i, windows[i]);
    }
}

/* however long the text, a window of W holds at most ceil((W + n_batch - 1) / 32) + 1 pages and the
 * pinned ones */
static void windows_stay_small(void **unused)
{
    (void)unused;
    for (window = 1; window < 100; window += 7) {
        open_pool(&kv_store_f32, 0);
        kv_seq *seq = &seqs[0];
        int32_t most = kv_pages_for(window + N_BATCH - 1) + 1 + 1;
        for (int32_t n = 0; n < N_CTX;) {
            int32_t n_new = N_CTX - n < N_BATCH ? N_CTX - n : N_BATCH;
            assert_true(kv_reserve(&pool, &seq, &n_new, 1));
            assert_true(N_PAGES - owners[1].n_free <= most);
            (void)kv_seq_commit(&pool, seq, n_new);
            n += n_new;
        }
        assert_true(N_PAGES - owners[1].n_free <= kv_pages_for(window) + 2);
        close_pool();
    }
    window = 0;
}

/* a lone sequence in a fresh pool is one span; a shuffled pool hands out other pages */
static void fresh_pool_is_one_span(void **unused)
{
    (void)unused;
    for (uint64_t page_seed = 0; page_seed < 2; page_seed++) {
        open_pool(&kv_store_f32, page_seed);
        kv_seq *seq = &seqs[0];
        int32_t n_new = N_BATCH;
        kv_span spans[N_CTX / KV_PAGE_ROWS + 3];
        assert_true(kv_reserve(&pool, &seq, &n_new, 1));
        int32_t n = kv_seq_spans(&pool, seq, 0, (kv_view){0, 0, n_new}, spans);
        assert_true(page_seed == 0 ? n == 1 : n > 1);
        (void)kv_seq_commit(&pool, seq, n_new);
        close_pool();
    }
}

/* of two that share an open page and both write, only one needs a copy */
static void last_holder_keeps_the_page(void **unused)
{
    (void)unused;
    open_pool(&kv_store_f32, 0);
    kv_seq *both[2] = {&seqs[0], &seqs[1]};
    int32_t n_new[2] = {20, 0};
    assert_true(kv_reserve(&pool, both, n_new, 1));
    (void)kv_seq_commit(&pool, &seqs[0], n_new[0]);
    kv_seq_fork(&pool, &seqs[1], &seqs[0]);
    int32_t n_free = owners[0].n_free;
    n_new[0] = n_new[1] = 1;
    assert_true(kv_reserve(&pool, both, n_new, 2));
    assert_int_equal(owners[0].n_free, n_free - 1);
    kv_seq_rollback(&pool, &seqs[0]);
    kv_seq_rollback(&pool, &seqs[1]);
    close_pool();
}

static void usage_counts_pages(void **unused)
{
    (void)unused;
    open_pool(&kv_store_f16, 0);
    kvass_cache_usage usage;
    size_t row = sizeof(uint16_t) * 2 * HEAD_DIM * N_KV_HEADS;
    kv_seq *seq = &seqs[0];
    int32_t n_new = 33;
    assert_true(kv_reserve(&pool, &seq, &n_new, 1));
    (void)kv_seq_commit(&pool, seq, n_new);
    kv_seq_fork(&pool, &seqs[1], seq);
    kv_seq_truncate(&pool, seq, 20);
    kv_pool_get_usage(&pool, &usage);
    assert_int_equal(usage.bytes_per_token, row * N_OWNERS);
    assert_int_equal(usage.bytes_reserved, row * N_OWNERS * N_PAGES * KV_PAGE_ROWS);
    assert_int_equal(usage.n_pages_used, 2 * N_OWNERS);
    assert_int_equal(usage.bytes_used, row * N_OWNERS * 2 * KV_PAGE_ROWS);
    assert_int_equal(usage.bytes_shared, row * N_OWNERS * 1 * KV_PAGE_ROWS);
    assert_int_equal(usage.bytes_touched, usage.bytes_used);
    close_pool();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_timelines_f32),   cmocka_unit_test(random_timelines_f16),
        cmocka_unit_test(random_windows),         cmocka_unit_test(windows_stay_small),
        cmocka_unit_test(fresh_pool_is_one_span), cmocka_unit_test(last_holder_keeps_the_page),
        cmocka_unit_test(usage_counts_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
