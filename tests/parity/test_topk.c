/* test_topk.c - pages chosen by bounds of their keys: with room for all of them nothing changes;
 * with less, the logits are those of a double-precision loop that chooses from keys of its own, and
 * the same on every path that splits the text into prefill and decode alike, for any number of
 * threads and any order of pages. The argument is a checkpoint as for test_policies.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/parity/oracle.h"
#include "tests/parity/parity.h"

enum { SEED = 5, MOST_TOKENS = 260 };

static kvass_model *model;
static kvass_model_info info;
static parity_text text;
static float *reference, *got;
static double *truth;

static const parity_path *find_path(const char *name)
{
    for (const parity_path *path = parity_paths; path->name; path++) {
        if (strcmp(path->name, name) == 0) {
            return path;
        }
    }
    fail_msg("no path '%s'", name);
    return NULL;
}

static void run(const char *name, const parity_setup *setup, int32_t arg, float *logits)
{
    memset(logits, 0xff, text.n_floats * sizeof *logits);
    find_path(name)->run(&text, setup, arg, logits);
}

static void expect_same(const char *what)
{
    if (memcmp(got, reference, text.n_floats * sizeof *got) != 0) {
        fail_msg("%s: not bit-equal", what);
    }
}

/* bit for bit what `all` gives, also where everything that need not be is left to choice */
static void room_for_all_is_all(void **state)
{
    (void)state;
    static const parity_setup setups[] = {
        {.store = KVASS_STORE_F32},
        {.store = KVASS_STORE_F16, .shuffled = true},
        {.store = KVASS_STORE_Q8, .window = 100, .n_sinks = 40},
        {.store = KVASS_STORE_Q4},
    };
    for (size_t i = 0; i < sizeof setups / sizeof setups[0]; i++) {
        for (const parity_path *path = parity_paths + i; path->name; path++) {
            if (i > 0 && (path - parity_paths) % 3 == 0) {
                continue;
            }
            parity_setup setup = setups[i];
            setup.n_threads = 2;
            run(path->name, &setup, path->arg, reference);
            setup.n_topk = (text.n_tokens + 31) / 32;
            if (strncmp(path->name, "none", 4) != 0) { /* has no pages to choose from */
                run(path->name, &setup, path->arg, got);
                expect_same(path->name);
            }
        }
    }
}

static double distance_from_truth(void)
{
    double worst = 0, sum = 0, squares = 0, n = (double)text.n_floats;
    for (size_t i = 0; i < text.n_floats; i++) {
        double d = fabs(got[i] - truth[i]);
        worst = d > worst || isnan(d) ? d : worst;
        sum += truth[i];
        squares += truth[i] * truth[i];
    }
    return worst / sqrt(squares / n - sum / n * (sum / n));
}

static const parity_setup chosen[] = {
    {.n_topk = 1},
    {.n_topk = 2, .n_dense_layers = 1},
    {.n_topk = 3},
    {.n_topk = 5, .n_recent = 40},
    {.n_topk = 1, .n_recent = 70},
    {.n_topk = 3, .window = 150, .n_sinks = 0},
    {.n_topk = 2, .window = 130, .n_sinks = 40},
    {.n_topk = 2, .share = KVASS_SHARE_PAIRS},
};
enum { N_CHOSEN = sizeof chosen / sizeof chosen[0] };

static void check_truth(parity_setup setup, int32_t n_prefill)
{
    oracle_rules rules = {.window = setup.window,
                          .n_sinks = setup.n_sinks,
                          .cache_positions = setup.positions == KVASS_POSITIONS_CACHE,
                          .pairs = setup.share == KVASS_SHARE_PAIRS,
                          .n_topk = setup.n_topk,
                          .n_dense = setup.n_dense_layers,
                          .n_recent = setup.n_recent,
                          .n_prefill = n_prefill};
    double closest;
    assert_true(oracle_run(model, &rules, text.ids, text.n_tokens, truth, &closest));
    setup.n_threads = 2;
    run("decode", &setup, n_prefill, got);
    double d = distance_from_truth();
    print_message(
        "topk %d, dense %d, recent %d, window %d, prefill %d: off by %.2g; closest choice "
        "%.2g\n",
        setup.n_topk, setup.n_dense_layers, setup.n_recent, setup.window, n_prefill, d, closest);
    assert_true(d <= 2e-4);
}

static void choice_is_the_true_one(void **state)
{
    (void)state;
    for (int i = 0; i < N_CHOSEN; i++) {
        check_truth(chosen[i], 0);
    }
    check_truth(chosen[2], 77);
    if (strcmp(info.positions, "rope") == 0) {
        parity_setup setup = chosen[6];
        setup.positions = KVASS_POSITIONS_CACHE;
        check_truth(setup, 0);
    }
}

/* the truth moves when less is read: the test above can fail */
static void fewer_pages_change_the_logits(void **state)
{
    (void)state;
    oracle_rules all = {0};
    assert_true(oracle_run(model, &all, text.ids, text.n_tokens, truth, NULL));
    parity_setup setup = chosen[0];
    setup.n_threads = 1;
    run("decode", &setup, 0, got);
    assert_true(distance_from_truth() > 1e-2);
}

/* paths that split the text into prefill and decode at the same place: bit for bit */
static void same_split_is_bit_equal(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int32_t arg, n_prefill;
    } cases[] = {
        {"decode by 5", 5, 0},        {"decode by 5", 100, 0},    {"batch", 20, 0},
        {"fork at 31", 31, 31},       {"fork at 64", 64, 64},     {"fork at 77, parent", 77, 77},
        {"truncate to 32", 120, 120}, {"truncate to 45", 45, 45}, {"mixed, 50", 50, 50},
    };
    static const kvass_store stores[] = {KVASS_STORE_F16, KVASS_STORE_Q8, KVASS_STORE_Q4,
                                         KVASS_STORE_F32};
    for (int i = 0; i < N_CHOSEN; i++) {
        for (size_t c = (size_t)i % 3; c < sizeof cases / sizeof cases[0]; c += 3) {
            parity_setup setup = chosen[i];
            setup.deterministic = true;
            setup.n_threads = 1;
            setup.store = stores[i % 4];
            run("decode", &setup, cases[c].n_prefill, reference);
            setup.n_threads = 2 + (int32_t)c % 4;
            setup.shuffled = true;
            run(cases[c].path, &setup, cases[c].arg, got);
            expect_same(cases[c].path);
        }
    }
}

/* a prefill is dense however it is computed */
static void prefill_reads_everything(void **state)
{
    (void)state;
    for (int deterministic = 0; deterministic < 2; deterministic++) {
        parity_setup setup = {.n_threads = 2, .deterministic = deterministic == 1};
        run("prefill whole", &setup, 512, reference);
        setup.n_topk = 1;
        run("prefill whole", &setup, 512, got);
        expect_same("prefill");
    }
}

static void counts_and_refusals(void **state)
{
    (void)state;
    enum { N_TOPK = 2 };
    kvass_error err;
    kvass_context *ctx;
    kvass_seq *seq;
    kvass_cache_usage before, after;
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = text.n_tokens;
    o.select = KVASS_SELECT_TOPK;
    o.n_topk = N_TOPK;
    o.n_dense_layers = 1;
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    kvass_context_info context;
    kvass_context_get_info(ctx, &context);
    assert_string_equal(context.select, "topk");
    parity_check(kvass_seq_open(&seq, ctx, &err), &err);
    parity_check(kvass_prefill(seq, text.ids, 130, &err), &err);
    kvass_context_get_usage(ctx, &before);
    /* 8 bits for each of two bounds, and a scale, in blocks of 32 channels */
    size_t index = (size_t)((info.head_dim + 31) / 32 * info.n_kv_heads) * (2 * 32 + 4);
    int32_t n_pages = (text.n_tokens + 31) / 32;
    assert_int_equal(before.index_bytes, index * (size_t)(n_pages * info.n_layers));
    size_t page = (size_t)(32 * 2 * 2 * info.head_dim * info.n_kv_heads);
    assert_int_equal(before.bytes_reserved, (page + index) * (size_t)(n_pages * info.n_layers));
    assert_int_equal(before.bytes_touched, (page * 5 + index * 4) * (size_t)info.n_layers);
    parity_check(kvass_decode(seq, 1, &err), &err);
    kvass_context_get_usage(ctx, &after);
    assert_int_equal(after.pages_read - before.pages_read,
                     info.n_kv_heads * (5 + (info.n_layers - 1) * N_TOPK));
    kvass_context_close(&ctx);

    struct {
        kvass_context_options o;
        const char *rule;
    } cases[7];
    for (int i = 0; i < 7; i++) {
        cases[i].o = kvass_context_options_default();
        cases[i].o.select = i < 4 ? KVASS_SELECT_TOPK : KVASS_SELECT_ALL;
        cases[i].rule = "CONTEXT_OPTION";
    }
    cases[0].o.retain = KVASS_RETAIN_NONE, cases[0].rule = "SELECT";
    cases[1].o.n_topk = -1;
    cases[2].o.n_dense_layers = -1;
    cases[3].o.n_recent = -1;
    cases[4].o.n_topk = 1; /* without being asked for */
    cases[5].o.n_recent = 1;
    cases[6].o.select = (kvass_select)7, cases[6].rule = "CACHE_CHOICE";
    for (int i = 0; i < 7; i++) {
        assert_int_equal(kvass_context_open(&ctx, model, &cases[i].o, &err), KVASS_INVALID);
        assert_string_equal(err.rule, cases[i].rule);
        assert_null(ctx);
    }
}

/* the index counts: a budget that holds the pages alone gives fewer of them */
static void index_is_in_the_budget(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context *ctx;
    kvass_cache_usage usage;
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = text.n_tokens;
    size_t scratch, pages, all;
    parity_check(kvass_context_bytes(model, &o, &scratch, &pages, &err), &err);
    o.select = KVASS_SELECT_TOPK;
    parity_check(kvass_context_bytes(model, &o, &scratch, &all, &err), &err);
    assert_true(all > pages);
    o.kv_budget = pages;
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    kvass_context_get_usage(ctx, &usage);
    assert_true(usage.bytes_reserved <= pages && usage.bytes_reserved > pages * 3 / 4);
    kvass_context_close(&ctx);
}

int main(int argc, char **argv)
{
    kvass_error err;
    if (argc != 2 || kvass_model_open(&model, argv[1], NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "usage: test_topk CHECKPOINT: %s\n", argc == 2 ? err.message : "");
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
        cmocka_unit_test(room_for_all_is_all),           cmocka_unit_test(choice_is_the_true_one),
        cmocka_unit_test(fewer_pages_change_the_logits), cmocka_unit_test(same_split_is_bit_equal),
        cmocka_unit_test(prefill_reads_everything),      cmocka_unit_test(counts_and_refusals),
        cmocka_unit_test(index_is_in_the_budget),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text.ids);
    free(reference);
    free(got);
    free(truth);
    kvass_model_close(&model);
    return failed;
}
