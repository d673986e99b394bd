/* test_matrix.c - every cache there is: each retain with each store, selection, owner and kind of
 * positions, on the checkpoint that is the argument. A combination either works by every path, bit
 * for bit in deterministic mode whatever the order of pages and the number of threads and within
 * the contract's bounds otherwise, or is refused by name. A new choice joins by a line in a table
 * below; what it must be refused with stands in refusal().
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/parity/parity.h"

enum { SEED = 23, N_TOKENS = 130, N_TOKENS_NONE = 70 /* each of its steps runs the whole past */ };

static const struct {
    const char *name;
    int32_t window, n_sinks;
    bool none;
} retains[] = {
    {"full", 0, 0, false},
    {"window 5", 5, 0, false},
    {"window 33, 4 sinks", 33, 4, false},
    {"none", 0, 0, true},
};

static const struct {
    const char *name;
    kvass_store store;
} stores[] = {
    {"f32", KVASS_STORE_F32},
    {"f16", KVASS_STORE_F16},
    {"q8", KVASS_STORE_Q8},
    {"q4", KVASS_STORE_Q4},
};

static const struct {
    const char *name;
    kvass_share share;
} owners[] = {
    {"own", KVASS_SHARE_MODEL},
    {"pairs", KVASS_SHARE_PAIRS},
};

static const struct {
    const char *name;
    kvass_positions positions;
} places[] = {
    {"original", KVASS_POSITIONS_ORIGINAL},
    {"cache", KVASS_POSITIONS_CACHE},
};

static const struct {
    const char *name;
    int32_t n_topk;
} selects[] = {
    {"all", 0},
    {"topk, all pages", 1000}, /* the same as all */
    {"topk, 1 page", 1},
};

/* the paths of parity_paths that are run; others are for longer texts */
static const char *const paths[] = {
    "prefill by 1", "prefill by 7", "prefill by 64",  "decode", "decode by 5",
    "fork at 31",   "fork at 64",   "truncate to 45", "batch",  "mixed, 50",
};

/* those that decode every token: where pages are chosen a prefill reads more than a decode */
static const char *const decoding[] = {"decode", "decode by 5", "batch"};

#define N_OF(table) (sizeof(table) / sizeof *(table))

static parity_text text;
static kvass_model_info info;
static float *reference, *got;
static int n_run, n_refused;

/* The rule that a combination is refused by; NULL when it must work. */
static const char *refusal(const parity_setup *setup)
{
    if (setup->n_topk > 0 && setup->none) {
        return "SELECT"; /* of pages that are kept */
    }
    if (setup->positions == KVASS_POSITIONS_CACHE && strcmp(info.positions, "rope") != 0) {
        return "POSITIONS"; /* a learned position cannot be moved */
    }
    if (setup->positions == KVASS_POSITIONS_CACHE && setup->window == 0) {
        return "POSITIONS"; /* nothing is missing in between */
    }
    return NULL;
}

/* whether a decoded token reads less than a prefilled one */
static bool chooses(const parity_setup *setup)
{
    return setup->n_topk == 1;
}

static void expect_refused(const parity_setup *setup, const char *rule, const char *name)
{
    kvass_error err = {0};
    kvass_context *ctx = NULL;
    kvass_context_options o = parity_options(&text, setup);
    kvass_status status = kvass_context_open(&ctx, text.model, &o, &err);
    if (status == KVASS_OK || strcmp(err.rule, rule) != 0) {
        kvass_context_close(&ctx);
        fail_msg("%s: expected %s, found %s", name, rule, status == KVASS_OK ? "OK" : err.rule);
    }
    assert_null(ctx);
    assert_true(strlen(err.message) > 20);
    n_refused++;
}

static void run(const parity_path *path, const parity_setup *setup, float *logits)
{
    memset(logits, 0xff, text.n_floats * sizeof *logits); /* NaN: what is not written is noticed */
    path->run(&text, setup, path->arg, logits);
}

static const parity_path *path_named(const char *name)
{
    for (const parity_path *path = parity_paths; path->name; path++) {
        if (strcmp(path->name, name) == 0) {
            return path;
        }
    }
    fail_msg("no path '%s'", name);
    return NULL;
}

static bool same_bits(void)
{
    return memcmp(reference, got, text.n_floats * sizeof *got) == 0;
}

/* deterministic mode: paths, page orders and threads change no bit */
static void check_bits(parity_setup setup, const char *name)
{
    setup.deterministic = true;
    const char *const *names = chooses(&setup) ? decoding : paths;
    size_t n_paths = chooses(&setup) ? N_OF(decoding) : N_OF(paths);
    run(chooses(&setup) ? path_named("decode") : &parity_paths[0], &setup, reference);
    for (size_t i = 0; i < n_paths; i++) {
        setup.shuffled = (n_run + (int)i) % 2 == 0;
        setup.n_threads = i == 2 || (n_run % 8 == 0 && i == 3) ? 3 : 1; /* dear on a busy machine */
        run(path_named(names[i]), &setup, got);
        if (!same_bits()) {
            fail_msg("%s, %s, %d threads: not bit-equal, off by %g standard deviations", name,
                     names[i], setup.n_threads, parity_worst(&text, reference, got));
        }
    }
}

/* default mode: threads change no bit of a path, and paths are within the contract's bounds */
static void check_bounds(parity_setup setup, const char *name)
{
    static const char *const few[] = {"prefill by 7", "decode", "batch"};
    const parity_path *first = chooses(&setup) ? path_named("decode") : &parity_paths[0];
    run(first, &setup, reference);
    setup.n_threads = 3;
    setup.shuffled = true;
    run(first, &setup, got);
    if (!same_bits()) {
        fail_msg("%s: 3 threads are not bit-equal to 1", name);
    }
    setup.n_threads = 1;
    for (size_t i = chooses(&setup); i < N_OF(few); i++) {
        run(path_named(few[i]), &setup, got);
        double worst = parity_worst(&text, reference, got);
        double kl = parity_mean_kl(&text, reference, got);
        if (setup.store == KVASS_STORE_F32 ? !(worst <= 1e-4) : !(kl <= 1e-5)) {
            fail_msg("%s, %s: off by %g standard deviations, mean KL %g", name, few[i], worst, kl);
        }
    }
}

static void try_combination(size_t retain, size_t store, size_t select, size_t owner, size_t place)
{
    char name[128];
    parity_setup setup = {.store = stores[store].store,
                          .n_threads = 1,
                          .window = retains[retain].window,
                          .n_sinks = retains[retain].n_sinks,
                          .none = retains[retain].none,
                          .n_topk = selects[select].n_topk,
                          .share = owners[owner].share,
                          .positions = places[place].positions};
    (void)snprintf(name, sizeof name, "%s, %s, %s, owner %s, positions %s", retains[retain].name,
                   stores[store].name, selects[select].name, owners[owner].name,
                   places[place].name);
    text.n_tokens = setup.none ? N_TOKENS_NONE : N_TOKENS;
    text.n_floats = (size_t)text.n_tokens * (size_t)text.n_vocab;
    const char *rule = refusal(&setup);
    if (rule) {
        expect_refused(&setup, rule, name);
        return;
    }
    check_bits(setup, name);
    check_bounds(setup, name);
    n_run++;
}

static void every_combination_works_or_is_refused(void **state)
{
    size_t retain = (size_t)(uintptr_t)*state;
    n_run = n_refused = 0;
    for (size_t store = 0; store < N_OF(stores); store++) {
        for (size_t select = 0; select < N_OF(selects); select++) {
            for (size_t owner = 0; owner < N_OF(owners); owner++) {
                for (size_t place = 0; place < N_OF(places); place++) {
                    try_combination(retain, store, select, owner, place);
                }
            }
        }
    }
    print_message("%s: %d combinations work, %d are refused\n", retains[retain].name, n_run,
                  n_refused);
    assert_true(n_run > 0);
}

int main(int argc, char **argv)
{
    kvass_error err;
    kvass_model *model;
    if (argc != 2 || kvass_model_open(&model, argv[1], NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "usage: test_matrix CHECKPOINT: %s\n", argc == 2 ? err.message : "");
        return 2;
    }
    kvass_model_get_info(model, &info);
    text.model = model;
    text.n_vocab = info.n_vocab;
    size_t n_floats = (size_t)N_TOKENS * (size_t)info.n_vocab;
    text.ids = calloc(N_TOKENS, sizeof *text.ids);
    reference = calloc(n_floats, sizeof *reference);
    got = calloc(n_floats, sizeof *got);
    if (!text.ids || !reference || !got) {
        return 2;
    }
    uint32_t state = SEED;
    for (int32_t i = 0; i < N_TOKENS; i++) {
        state = state * 1664525u + 1013904223u;
        text.ids[i] = (int32_t)((state >> 8) % (uint32_t)text.n_vocab);
    }
    print_message("%s: %d random tokens, seed %d\n", info.path, N_TOKENS, SEED);
    struct CMUnitTest tests[N_OF(retains)];
    for (size_t i = 0; i < N_OF(retains); i++) {
        tests[i] = (struct CMUnitTest){.name = retains[i].name,
                                       .test_func = every_combination_works_or_is_refused,
                                       .initial_state = (void *)(uintptr_t)i};
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text.ids);
    free(reference);
    free(got);
    kvass_model_close(&model);
    return failed;
}
