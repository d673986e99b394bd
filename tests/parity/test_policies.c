/* test_policies.c - windows, sinks, positions in the cache and shared layers: every path agrees
 * with every other, and all with a double-precision loop that has no cache at all. The argument is
 * a checkpoint of float weights with plain rotary or learned positions.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/parity/oracle.h"
#include "tests/parity/parity.h"

enum { SEED = 11, MOST_TOKENS = 280 };

static kvass_model *model;
static kvass_model_info info;
static parity_text text;
static float *reference, *got;
static double *truth;

/* what is compared: a window also of a single key, narrower and wider than a page, than a prefill
 */
static const struct {
    int32_t window, n_sinks;
} windows[] = {{1, 0}, {4, 0}, {33, 4}, {100, 40}, {270, 3}};
enum { N_WINDOWS = sizeof windows / sizeof windows[0] };

static double standard_deviation(const double *x, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        squares += x[i] * x[i];
    }
    return sqrt(squares / (double)n - sum / (double)n * (sum / (double)n));
}

static double distance_from_truth(const float *logits)
{
    double worst = 0;
    for (size_t i = 0; i < text.n_floats; i++) {
        double d = fabs(logits[i] - truth[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    return worst / standard_deviation(truth, text.n_floats);
}

static void run(const parity_path *path, const parity_setup *setup, float *logits)
{
    memset(logits, 0xff, text.n_floats * sizeof *logits);
    path->run(&text, setup, path->arg, logits);
}

/* f32 and default mode against the truth, then deterministic mode bit for bit between paths */
static void check_setup(parity_setup setup)
{
    oracle_rules rules = {.window = setup.window,
                          .n_sinks = setup.n_sinks,
                          .cache_positions = setup.positions == KVASS_POSITIONS_CACHE,
                          .pairs = setup.share == KVASS_SHARE_PAIRS};
    double worst = 0;
    assert_true(oracle_run(model, &rules, text.ids, text.n_tokens, truth, NULL));
    setup.n_threads = 2;
    for (const parity_path *path = parity_paths; path->name; path++) {
        run(path, &setup, got);
        double d = distance_from_truth(got);
        worst = d > worst ? d : worst;
        if (!(d <= 2e-4)) {
            fail_msg("window %d, %d sinks, %s: off by %g standard deviations", setup.window,
                     setup.n_sinks, path->name, d);
        }
    }
    setup.deterministic = true;
    setup.store = KVASS_STORE_F16;
    for (const parity_path *path = parity_paths; path->name; path++) {
        run(path, &setup, path == parity_paths ? reference : got);
        setup.shuffled = !setup.shuffled;
        if (path != parity_paths && memcmp(got, reference, text.n_floats * sizeof *got) != 0) {
            fail_msg("window %d, %d sinks, %s: not bit-equal", setup.window, setup.n_sinks,
                     path->name);
        }
    }
    print_message("window %d, %d sinks, positions %d, share %d: worst %.2g\n", setup.window,
                  setup.n_sinks, (int)setup.positions, (int)setup.share, worst);
}

static void windows_with_original_positions(void **state)
{
    (void)state;
    for (int i = 0; i < N_WINDOWS; i++) {
        check_setup((parity_setup){.window = windows[i].window, .n_sinks = windows[i].n_sinks});
    }
}

static void windows_with_positions_in_the_cache(void **state)
{
    (void)state;
    if (strcmp(info.positions, "rope") != 0) {
        kvass_error err;
        kvass_context *ctx;
        kvass_context_options o = kvass_context_options_default();
        o.retain = KVASS_RETAIN_WINDOW;
        o.window = 8;
        o.positions = KVASS_POSITIONS_CACHE;
        assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_UNSUPPORTED);
        assert_string_equal(err.rule, "POSITIONS");
        return;
    }
    for (int i = 2; i < N_WINDOWS; i++) {
        check_setup((parity_setup){.window = windows[i].window,
                                   .n_sinks = windows[i].n_sinks,
                                   .positions = KVASS_POSITIONS_CACHE});
    }
}

static void pairs_of_layers_share(void **state)
{
    (void)state;
    check_setup((parity_setup){.share = KVASS_SHARE_PAIRS});
    check_setup((parity_setup){.share = KVASS_SHARE_PAIRS, .window = 50, .n_sinks = 4});
    kvass_error err;
    kvass_context *ctx;
    kvass_cache_usage own, shared;
    kvass_context_options o = kvass_context_options_default();
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    kvass_context_get_usage(ctx, &own);
    kvass_context_close(&ctx);
    o.share = KVASS_SHARE_PAIRS;
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    kvass_context_get_usage(ctx, &shared);
    kvass_context_close(&ctx);
    int32_t n_owners = (info.n_layers + 1) / 2;
    assert_int_equal(shared.bytes_per_token * (size_t)info.n_layers,
                     own.bytes_per_token * (size_t)n_owners);
}

/* What is read quantized and what exactly, and how pages are quantized: every path against the
 * truth, which knows of both. A value halfway between two levels may fall either way, so a little
 * is left; exact rows in place of quantized ones are a hundred times as far away or more. */
static void quantized_stores(void **state)
{
    (void)state;
    static const kvass_store stores[] = {KVASS_STORE_Q8, KVASS_STORE_Q4};
    for (int i = 0; i < 4; i++) {
        oracle_rules rules = {.window = i < 2 ? 0 : 100, .n_sinks = i < 2 ? 0 : 5};
        rules.store = stores[i % 2];
        assert_true(oracle_run(model, &rules, text.ids, text.n_tokens, truth, NULL));
        parity_setup setup = {
            .store = rules.store, .window = rules.window, .n_sinks = rules.n_sinks, .n_threads = 2};
        double worst = 0;
        for (const parity_path *path = parity_paths; path->name; path++) {
            run(path, &setup, got);
            double d = distance_from_truth(got);
            worst = d > worst ? d : worst;
        }
        setup.store = KVASS_STORE_F32;
        run(parity_paths, &setup, got);
        double exact = distance_from_truth(got);
        print_message("store %d, window %d: worst %.2g, exact rows %.2g\n", (int)rules.store,
                      rules.window, worst, exact);
        assert_true(worst < exact / 40);
    }
}

/* a prefix computed once gives the logits of the same tokens fed to each sequence */
static void prefix_is_computed_once(void **state)
{
    (void)state;
    enum { N_PREFIX = 45, N_MORE = 70 };
    static const struct {
        kvass_retain retain;
        int32_t window, n_sinks; /* the sinks of the run without a prefix */
    } cases[] = {
        {KVASS_RETAIN_FULL, 0, 0}, {KVASS_RETAIN_NONE, 0, 0}, {KVASS_RETAIN_WINDOW, 20, N_PREFIX}};
    kvass_error err;
    size_t row = (size_t)text.n_vocab * sizeof(float);
    for (int i = 0; i < 3; i++) {
        kvass_context_options o = kvass_context_options_default();
        o.n_ctx = N_PREFIX + N_MORE;
        o.deterministic = true;
        o.n_threads = 2;
        o.n_seqs = 2;
        o.retain = cases[i].retain;
        o.window = cases[i].window;
        o.n_sinks = cases[i].n_sinks;
        kvass_context *plain, *prefixed;
        parity_check(kvass_context_open(&plain, model, &o, &err), &err);
        o.prefix = text.ids;
        o.n_prefix = N_PREFIX;
        o.n_sinks = 0;
        parity_check(kvass_context_open(&prefixed, model, &o, &err), &err);
        kvass_seq *a, *b[2];
        parity_check(kvass_seq_open(&a, plain, &err), &err);
        parity_check(kvass_prefill(a, text.ids, N_PREFIX, &err), &err);
        for (int s = 0; s < 2; s++) {
            parity_check(kvass_seq_open(&b[s], prefixed, &err), &err);
            assert_int_equal(kvass_seq_n_tokens(b[s]), N_PREFIX);
            assert_memory_equal(kvass_seq_tokens(b[s]), text.ids, N_PREFIX * sizeof(int32_t));
            assert_int_equal(kvass_seq_can_truncate(b[s]), N_PREFIX);
        }
        for (int t = 0; t < N_MORE; t++) {
            parity_check(kvass_decode(a, text.ids[N_PREFIX + t], &err), &err);
            for (int s = 0; s < 2; s++) {
                parity_check(kvass_decode(b[s], text.ids[N_PREFIX + t], &err), &err);
                assert_memory_equal(kvass_seq_logits(a), kvass_seq_logits(b[s]), row);
            }
        }
        assert_int_equal(kvass_decode(b[0], 0, &err), KVASS_CONTEXT_FULL);
        kvass_seq_reset(b[0]);
        assert_int_equal(kvass_seq_n_tokens(b[0]), N_PREFIX);
        kvass_seq_reset(a);
        parity_check(kvass_prefill(a, text.ids, N_PREFIX, &err), &err);
        parity_check(kvass_decode(a, 1, &err), &err);
        parity_check(kvass_decode(b[0], 1, &err), &err);
        assert_memory_equal(kvass_seq_logits(a), kvass_seq_logits(b[0]), row);
        kvass_context_close(&plain);
        kvass_context_close(&prefixed);
    }
}

/* memory is flat however long the text, and the lowest cut is told */
static void windows_give_pages_back(void **state)
{
    (void)state;
    enum { WINDOW = 40, N_SINKS = 4 };
    kvass_error err;
    kvass_context *ctx;
    kvass_seq *seq;
    kvass_cache_usage usage;
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = text.n_tokens;
    o.retain = KVASS_RETAIN_WINDOW;
    o.window = WINDOW;
    o.n_sinks = N_SINKS;
    o.n_batch = 16;
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    parity_check(kvass_seq_open(&seq, ctx, &err), &err);
    int32_t most = 0;
    for (int32_t t = 0; t < text.n_tokens; t++) {
        parity_check(kvass_decode(seq, text.ids[t], &err), &err);
        kvass_context_get_usage(ctx, &usage);
        most = usage.n_pages_used > most ? usage.n_pages_used : most;
    }
    /* 40 rows lie on at most 3 pages, and the sinks on one more */
    assert_true(most <= info.n_layers * 4);
    assert_int_equal(usage.bytes_per_token, 0);
    assert_true(usage.evicted_tokens >= text.n_tokens - WINDOW - 2 * 32);
    int32_t lowest = kvass_seq_can_truncate(seq);
    assert_true(lowest > 0 && lowest < text.n_tokens);
    assert_int_equal(kvass_seq_truncate(seq, lowest - 1, &err), KVASS_INVALID);
    assert_int_equal(kvass_seq_n_tokens(seq), text.n_tokens);
    parity_check(kvass_seq_truncate(seq, lowest, &err), &err);
    kvass_seq_close(&seq);
    kvass_context_get_usage(ctx, &usage);
    assert_int_equal(usage.n_pages_used, 0);
    kvass_context_close(&ctx);
}

/* a window of 4 and a first prefill of 7, in a cache of just its window */
static void prefill_longer_than_the_window(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = kvass_context_options_default();
    o.retain = KVASS_RETAIN_WINDOW;
    o.window = 4;
    o.deterministic = true;
    o.n_ctx = 64;
    kvass_context *ctx;
    kvass_seq *seq;
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    parity_check(kvass_seq_open(&seq, ctx, &err), &err);
    parity_check(kvass_prefill(seq, text.ids, 7, &err), &err);
    memcpy(reference, kvass_seq_logits(seq), (size_t)text.n_vocab * sizeof(float));
    kvass_seq_reset(seq);
    for (int32_t t = 0; t < 7; t++) {
        parity_check(kvass_decode(seq, text.ids[t], &err), &err);
    }
    assert_memory_equal(reference, kvass_seq_logits(seq), (size_t)text.n_vocab * sizeof(float));
    kvass_context_close(&ctx);
}

static void bad_choices_are_refused(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context *ctx;
    int32_t ids[] = {0, info.n_vocab};
    struct {
        kvass_context_options o;
        const char *rule;
    } cases[6];
    for (int i = 0; i < 6; i++) {
        cases[i].o = kvass_context_options_default();
        cases[i].rule = "CONTEXT_OPTION";
    }
    cases[0].o.retain = KVASS_RETAIN_WINDOW; /* without its size */
    cases[1].o.window = 5;                   /* without being asked for */
    cases[2].o.n_sinks = 5;
    cases[3].o.prefix = ids, cases[3].o.n_prefix = 2, cases[3].rule = "TOKEN_RANGE";
    cases[4].o.n_prefix = 1, cases[4].rule = "PREFIX";
    cases[5].o.share = (kvass_share)9, cases[5].rule = "CACHE_CHOICE";
    for (int i = 0; i < 6; i++) {
        assert_int_equal(kvass_context_open(&ctx, model, &cases[i].o, &err), KVASS_INVALID);
        assert_string_equal(err.rule, cases[i].rule);
        assert_null(ctx);
    }
    kvass_context_options o = kvass_context_options_default();
    o.retain = KVASS_RETAIN_WINDOW;
    o.window = 64;
    o.kv_budget = 1000;
    assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_BUDGET);
    assert_non_null(strstr(err.message, "bytes hold"));
}

int main(int argc, char **argv)
{
    kvass_error err;
    if (argc != 2 || kvass_model_open(&model, argv[1], NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "usage: test_policies CHECKPOINT: %s\n",
                      argc == 2 ? err.message : "");
        return 2;
    }
    kvass_model_get_info(model, &info);
    bool learned = strcmp(info.positions, "learned") == 0;
    text.model = model;
    text.n_vocab = info.n_vocab;
    text.n_tokens = learned && info.n_ctx < MOST_TOKENS ? info.n_ctx : MOST_TOKENS;
    text.n_floats = (size_t)text.n_tokens * (size_t)text.n_vocab;
    text.ids = calloc((size_t)text.n_tokens, sizeof *text.ids);
    reference = calloc(text.n_floats, sizeof *reference);
    got = calloc(text.n_floats, sizeof *got);
    truth = calloc(text.n_floats, sizeof *truth);
    if (!text.ids || !reference || !got || !truth) {
        return 2;
    }
    uint32_t state = SEED;
    for (int32_t i = 0; i < text.n_tokens; i++) {
        state = state * 1664525u + 1013904223u;
        text.ids[i] = (int32_t)((state >> 8) % (uint32_t)text.n_vocab);
    }
    print_message("%s: %d random tokens, seed %d\n", info.path, text.n_tokens, SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_with_original_positions),
        cmocka_unit_test(windows_with_positions_in_the_cache),
        cmocka_unit_test(pairs_of_layers_share),
        cmocka_unit_test(quantized_stores),
        cmocka_unit_test(prefix_is_computed_once),
        cmocka_unit_test(windows_give_pages_back),
        cmocka_unit_test(prefill_longer_than_the_window),
        cmocka_unit_test(bad_choices_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text.ids);
    free(reference);
    free(got);
    free(truth);
    kvass_model_close(&model);
    return failed;
}
