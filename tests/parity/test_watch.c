/* test_watch.c - attention as a watched sequence tells it: the weights are those of a
 * double-precision loop, rows sum to 1, what a query may not see is exactly zero and called by its
 * reason, on every path, for every cache; and being watched changes no bit of the logits. The first
 * argument is a checkpoint as for test_policies, the second one with meta tokens and windows.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/parity/oracle.h"
#include "tests/parity/parity.h"

enum { SEED = 7, N_TOKENS = 280 };

typedef struct watched {
    kvass_attention_map *maps; /* maps[n_layers * n_heads] */
    int32_t n_maps, n;
} watched;

static const char *plain_path, *meta_path;
static kvass_model *model;
static kvass_model_info info;
static int32_t ids[N_TOKENS];

static void open_model(const char *path)
{
    kvass_error err;
    parity_check(kvass_model_open(&model, path, NULL, &err), &err);
    kvass_model_get_info(model, &info);
    uint32_t random = SEED;
    for (int32_t i = 0; i < N_TOKENS; i++) {
        random = random * 1664525u + 1013904223u;
        ids[i] = (int32_t)((random >> 8) % (uint32_t)info.n_vocab);
    }
}

static watched new_maps(int32_t n)
{
    watched w = {.n_maps = info.n_layers * info.n_heads, .n = n};
    w.maps = calloc((size_t)w.n_maps, sizeof *w.maps);
    assert_non_null(w.maps);
    for (int32_t i = 0; i < w.n_maps; i++) {
        size_t n_cells = (size_t)n * (size_t)n;
        w.maps[i] = (kvass_attention_map){.layer = i / info.n_heads,
                                          .head = i % info.n_heads,
                                          .n = n,
                                          .weights = malloc(n_cells * sizeof(float)),
                                          .keys = malloc(n_cells)};
        assert_non_null(w.maps[i].weights);
        assert_non_null(w.maps[i].keys);
    }
    return w;
}

static void free_maps(watched *w)
{
    for (int32_t i = 0; i < w->n_maps; i++) {
        free(w->maps[i].weights);
        free(w->maps[i].keys);
    }
    free(w->maps);
}

/* n_prefill tokens at once, in chunks of n_batch, the rest one by one; logits[n_vocab] of the last.
 */
static void run(const kvass_context_options *o, int32_t n_prefill, const watched *w, float *logits)
{
    kvass_error err;
    kvass_context *ctx;
    kvass_seq *seq;
    parity_check(kvass_context_open(&ctx, model, o, &err), &err);
    parity_check(kvass_seq_open(&seq, ctx, &err), &err);
    if (w) {
        parity_check(kvass_seq_watch(seq, w->maps, w->n_maps, &err), &err);
    }
    if (n_prefill > 0) {
        parity_check(kvass_prefill(seq, ids, n_prefill, &err), &err);
    }
    for (int32_t i = n_prefill; i < N_TOKENS; i++) {
        parity_check(kvass_decode(seq, ids[i], &err), &err);
    }
    memcpy(logits, kvass_seq_logits(seq), (size_t)info.n_vocab * sizeof *logits);
    kvass_seq_close(&seq);
    kvass_context_close(&ctx);
}

/* Each row sums to 1 over what it reads, and is 0 elsewhere. */
static void check_rows(const watched *w, int32_t first_row)
{
    for (int32_t m = 0; m < w->n_maps; m++) {
        for (int32_t q = first_row; q < w->n; q++) {
            const float *weights = w->maps[m].weights + (size_t)q * (size_t)w->n;
            const unsigned char *keys = w->maps[m].keys + (size_t)q * (size_t)w->n;
            double sum = 0;
            for (int32_t j = 0; j < w->n; j++) {
                kvass_key key = (kvass_key)keys[j];
                bool read = key == KVASS_KEY_META || key == KVASS_KEY_SINK ||
                            key == KVASS_KEY_WINDOW || key == KVASS_KEY_PAGE;
                assert_true(key < KVASS_N_KEYS);
                assert_int_equal(key == KVASS_KEY_FUTURE, j > q);
                assert_true(weights[j] >= 0 && weights[j] <= 1.00001f);
                assert_true(read || weights[j] == 0.0f);
                sum += (double)weights[j];
            }
            assert_true(fabs(sum - 1) < 1e-4);
        }
    }
}

static void check_weights(const watched *w, const double *truth, double most)
{
    double worst = 0;
    for (int32_t m = 0; m < w->n_maps; m++) {
        size_t n_cells = (size_t)w->n * (size_t)w->n;
        for (size_t i = 0; i < n_cells; i++) {
            double d = fabs((double)w->maps[m].weights[i] - truth[(size_t)m * n_cells + i]);
            worst = d > worst || isnan(d) ? d : worst;
        }
    }
    print_message("  off by %.2g\n", worst);
    assert_true(worst < most);
}

/* what key j must be called by a query at q under a window behind sinks, in plain words */
static kvass_key expected_key(const kvass_context_options *o, int32_t q, int32_t j)
{
    if (j > q) {
        return KVASS_KEY_FUTURE;
    }
    if (o->window == 0) {
        return KVASS_KEY_WINDOW;
    }
    return j < o->n_sinks      ? KVASS_KEY_SINK
           : q - j < o->window ? KVASS_KEY_WINDOW
                               : KVASS_KEY_EVICTED;
}

static void check_keys(const watched *w, const kvass_context_options *o)
{
    for (int32_t m = 0; m < w->n_maps; m++) {
        for (int32_t q = 0; q < w->n; q++) {
            for (int32_t j = 0; j < w->n; j++) {
                int found = w->maps[m].keys[(size_t)q * (size_t)w->n + (size_t)j];
                if (found != (int)expected_key(o, q, j)) {
                    fail_msg("map %d, query %d, key %d: %s, expected %s", m, q, j,
                             kvass_key_name((kvass_key)found),
                             kvass_key_name(expected_key(o, q, j)));
                }
            }
        }
    }
}

static const struct {
    const char *name;
    int32_t window, n_sinks;
    bool cache_positions, pairs, deterministic;
    kvass_store store;
    int32_t n_prefill, n_batch, n_threads;
    double most;
} cases[] = {
    {"prefill", 0, 0, false, false, false, KVASS_STORE_F32, N_TOKENS, 512, 1, 1e-5},
    {"prefill in chunks", 0, 0, false, false, false, KVASS_STORE_F32, N_TOKENS, 70, 3, 1e-5},
    {"decode", 0, 0, false, false, false, KVASS_STORE_F32, 0, 512, 1, 1e-5},
    {"decode split over threads", 0, 0, false, false, false, KVASS_STORE_F32, 0, 512, 3, 1e-5},
    {"both, deterministic", 0, 0, false, false, true, KVASS_STORE_F32, 150, 64, 2, 1e-5},
    {"window and sinks, prefill", 100, 40, false, false, false, KVASS_STORE_F32, N_TOKENS, 64, 2,
     1e-5},
    {"window and sinks, decode", 33, 4, false, false, false, KVASS_STORE_F32, 0, 64, 2, 1e-5},
    {"window, cache positions", 40, 4, true, false, false, KVASS_STORE_F32, 200, 64, 2, 1e-5},
    {"window 1", 1, 0, false, false, false, KVASS_STORE_F32, 100, 64, 2, 1e-5},
    {"shared pairs", 0, 0, false, true, false, KVASS_STORE_F32, 100, 64, 2, 1e-5},
    {"f16", 0, 0, false, false, false, KVASS_STORE_F16, 100, 64, 2, 5e-3},
    {"q8", 0, 0, false, false, false, KVASS_STORE_Q8, 100, 64, 2, 1e-3},
    {"q8 behind a window", 100, 4, false, false, false, KVASS_STORE_Q8, 0, 64, 2, 1e-3},
};

static void weights_are_true(void **state)
{
    (void)state;
    open_model(plain_path);
    watched w = new_maps(N_TOKENS);
    size_t n_cells = (size_t)w.n_maps * N_TOKENS * N_TOKENS;
    double *truth = calloc(n_cells, sizeof *truth);
    double *logits = calloc((size_t)N_TOKENS * (size_t)info.n_vocab, sizeof *logits);
    float *watched_logits = calloc((size_t)info.n_vocab, sizeof *watched_logits);
    float *plain_logits = calloc((size_t)info.n_vocab, sizeof *plain_logits);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool rope = strcmp(info.positions, "rope") == 0;
        if (cases[i].cache_positions && !rope) {
            continue;
        }
        print_message("%s\n", cases[i].name);
        kvass_context_options o = kvass_context_options_default();
        o.n_ctx = N_TOKENS;
        o.retain = cases[i].window > 0 ? KVASS_RETAIN_WINDOW : KVASS_RETAIN_FULL;
        o.window = cases[i].window;
        o.n_sinks = cases[i].n_sinks;
        o.positions = cases[i].cache_positions ? KVASS_POSITIONS_CACHE : KVASS_POSITIONS_ORIGINAL;
        o.share = cases[i].pairs ? KVASS_SHARE_PAIRS : KVASS_SHARE_MODEL;
        o.store = cases[i].store;
        o.deterministic = cases[i].deterministic;
        o.n_batch = cases[i].n_batch;
        o.n_threads = cases[i].n_threads;
        oracle_rules rules = {.window = o.window,
                              .n_sinks = o.n_sinks,
                              .cache_positions = cases[i].cache_positions,
                              .pairs = cases[i].pairs,
                              .store = o.store,
                              .weights = truth};
        assert_true(oracle_run(model, &rules, ids, N_TOKENS, logits, NULL));
        run(&o, cases[i].n_prefill, &w, watched_logits);
        check_rows(&w, 0);
        check_keys(&w, &o);
        check_weights(&w, truth, cases[i].most);
        run(&o, cases[i].n_prefill, NULL, plain_logits);
        assert_memory_equal(watched_logits, plain_logits,
                            (size_t)info.n_vocab * sizeof *plain_logits);
    }
    free(truth);
    free(logits);
    free(watched_logits);
    free(plain_logits);
    free_maps(&w);
    kvass_model_close(&model);
}

/* what a decoded token reads of pages: its newest ones, chosen ones, and not the others */
static void chosen_pages_are_told(void **state)
{
    (void)state;
    enum { N_PREFILL = 200, N_TOPK = 3 };
    open_model(plain_path);
    watched w = new_maps(N_TOKENS);
    double *truth = calloc((size_t)w.n_maps * N_TOKENS * N_TOKENS, sizeof *truth);
    double *logits = calloc((size_t)N_TOKENS * (size_t)info.n_vocab, sizeof *logits);
    float *last = calloc((size_t)info.n_vocab, sizeof *last);
    oracle_rules rules = {.n_topk = N_TOPK, .n_dense = 1, .n_prefill = N_PREFILL, .weights = truth};
    assert_true(oracle_run(model, &rules, ids, N_TOKENS, logits, NULL));
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = N_TOKENS;
    o.store = KVASS_STORE_F32;
    o.select = KVASS_SELECT_TOPK;
    o.n_topk = N_TOPK;
    o.n_dense_layers = 1;
    o.n_threads = 2;
    run(&o, N_PREFILL, &w, last);
    check_rows(&w, 0);
    check_weights(&w, truth, 1e-5);
    for (int32_t m = 0; m < w.n_maps; m++) {
        for (int32_t q = 0; q < N_TOKENS; q++) {
            int n_of[KVASS_N_KEYS] = {0};
            for (int32_t j = 0; j < N_TOKENS; j++) {
                n_of[w.maps[m].keys[(size_t)q * N_TOKENS + (size_t)j]]++;
            }
            bool dense = w.maps[m].layer == 0 || q < N_PREFILL;
            int32_t own = q / 32 * 32; /* where the row's own page begins */
            assert_int_equal(n_of[KVASS_KEY_PAGE], dense ? 0 : (N_TOPK - 1) * 32);
            assert_int_equal(n_of[KVASS_KEY_WINDOW], dense ? q + 1 : q + 1 - own);
            assert_int_equal(n_of[KVASS_KEY_SKIPPED], dense ? 0 : own - (N_TOPK - 1) * 32);
        }
    }
    free(truth);
    free(logits);
    free(last);
    free_maps(&w);
    kvass_model_close(&model);
}

/* meta tokens and a prefix are what every query reads, behind any window; by every path alike */
static void meta_tokens_are_told(void **state)
{
    (void)state;
    enum { N_PREFIX = 3 };
    open_model(meta_path);
    assert_true(info.n_meta > 0);
    int32_t n_first = info.n_meta + N_PREFIX, n = N_TOKENS + n_first;
    watched a = new_maps(n), b = new_maps(n);
    float *last = calloc((size_t)info.n_vocab, sizeof *last);
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = N_TOKENS + N_PREFIX;
    o.store = KVASS_STORE_F32;
    o.n_threads = 2;
    o.prefix = ids;
    o.n_prefix = N_PREFIX;
    o.retain = KVASS_RETAIN_WINDOW;
    o.window = 20;
    o.n_sinks = N_PREFIX + 2;
    run(&o, N_TOKENS, &a, last);
    check_rows(&a, n_first);
    run(&o, 0, &b, last);
    check_rows(&b, n_first);
    for (int32_t m = 0; m < a.n_maps; m++) {
        kvass_layer_info layer;
        kvass_error err;
        parity_check(kvass_model_get_layer(model, a.maps[m].layer, &layer, &err), &err);
        bool narrower = layer.window > 0 && layer.window <= o.window;
        int32_t window = narrower ? layer.window : o.window, n_sinks = narrower ? 0 : 2;
        for (int32_t q = n_first; q < n; q++) {
            for (int32_t j = 0; j < n; j++) {
                size_t at = (size_t)q * (size_t)n + (size_t)j;
                kvass_key want = j > q                   ? KVASS_KEY_FUTURE
                                 : j < n_first           ? KVASS_KEY_META
                                 : j < n_first + n_sinks ? KVASS_KEY_SINK
                                 : q - j < window        ? KVASS_KEY_WINDOW
                                                         : KVASS_KEY_EVICTED;
                assert_int_equal(a.maps[m].keys[at], want);
                assert_int_equal(b.maps[m].keys[at], want);
                assert_true(fabs((double)a.maps[m].weights[at] - (double)b.maps[m].weights[at]) <
                            1e-4);
            }
        }
    }
    free(last);
    free_maps(&a);
    free_maps(&b);
    kvass_model_close(&model);
}

/* one sequence is watched, as far as there is room, until it is closed or nobody is */
static void only_the_watched_is_told(void **state)
{
    (void)state;
    open_model(plain_path);
    kvass_error err;
    kvass_context *ctx;
    kvass_seq *seq, *other;
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = 64;
    o.n_seqs = 2;
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    parity_check(kvass_seq_open(&seq, ctx, &err), &err);
    parity_check(kvass_seq_open(&other, ctx, &err), &err);
    float weights[16];
    unsigned char keys[16];
    kvass_attention_map map = {.layer = 1, .head = 1, .n = 4, .weights = weights, .keys = keys};
    parity_check(kvass_seq_watch(seq, &map, 1, &err), &err);
    parity_check(kvass_prefill(other, ids, 10, &err), &err);
    for (int i = 0; i < 16; i++) {
        assert_true(weights[i] == 0.0f && keys[i] == KVASS_KEY_FUTURE);
    }
    parity_check(kvass_prefill(seq, ids, 10, &err), &err); /* more than there is room for */
    assert_true(weights[0] == 1.0f && weights[15] > 0.0f);
    weights[15] = -1;
    parity_check(kvass_seq_watch(seq, NULL, 0, &err), &err);
    kvass_seq_reset(seq);
    parity_check(kvass_prefill(seq, ids, 10, &err), &err);
    assert_true(weights[15] == -1.0f);
    parity_check(kvass_seq_watch(seq, &map, 1, &err), &err);
    kvass_seq_close(&seq);
    parity_check(kvass_seq_open(&seq, ctx, &err), &err); /* the same place */
    parity_check(kvass_prefill(seq, ids, 10, &err), &err);
    assert_true(weights[15] == 0.0f);

    kvass_attention_map bad[5] = {map, map, map, map, map};
    bad[0].layer = info.n_layers;
    bad[1].head = -1;
    bad[2].n = 0;
    bad[3].keys = NULL;
    bad[4].n = 65;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(kvass_seq_watch(seq, &bad[i], 1, &err), KVASS_INVALID);
        assert_string_equal(err.rule, "MAP");
    }
    assert_int_equal(kvass_seq_watch(seq, NULL, 1, &err), KVASS_INVALID);
    assert_int_equal(kvass_seq_watch(NULL, &map, 1, &err), KVASS_INVALID);
    assert_string_equal(kvass_key_name(KVASS_KEY_EVICTED), "evicted");
    assert_string_equal(kvass_key_name(KVASS_N_KEYS), "?");
    kvass_context_close(&ctx);
    kvass_model_close(&model);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    plain_path = argv[1];
    meta_path = argv[2];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_true),
        cmocka_unit_test(chosen_pages_are_told),
        cmocka_unit_test(meta_tokens_are_told),
        cmocka_unit_test(only_the_watched_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
