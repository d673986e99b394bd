/* test_parity.c - all paths give the same logits: the engine's contract, in three levels.
 *   f32 store, float weights   within 1e-4 of the logits' standard deviation
 *   deterministic              bit for bit, any store
 *   f16 store                  mean KL divergence between paths at most 1e-5
 * and each path is bit for bit the same for 1, 2 and 5 threads. All of it twice: with pages in
 * order, and shuffled. The argument is a checkpoint; quantized weights are held to the KL bound,
 * too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/parity/parity.h"

enum { SEED = 7, MOST_TOKENS = 300 };

static parity_text text;
static bool quantized;
static float *reference, *got;

static void run(const parity_path *path, const parity_setup *setup, float *logits)
{
    memset(logits, 0xff, text.n_floats * sizeof *logits); /* NaN: what is not written is noticed */
    path->run(&text, setup, path->arg, logits);
}

/* every path against the reference path, under one setup */
static void compare_under(parity_setup setup)
{
    kvass_store store = setup.store;
    bool deterministic = setup.deterministic, shuffled = setup.shuffled;
    double worst = 0;
    run(&parity_paths[0], &setup, reference);
    for (const parity_path *path = parity_paths + 1; path->name; path++) {
        run(path, &setup, got);
        if (deterministic) {
            if (memcmp(got, reference, text.n_floats * sizeof *got) != 0) {
                fail_msg("%s: not bit-equal, worst difference %g", path->name,
                         parity_worst(&text, reference, got));
            }
        } else if (store == KVASS_STORE_F32 && !quantized) {
            double d = parity_worst(&text, reference, got);
            worst = d > worst ? d : worst;
            if (!(d <= 1e-4)) {
                fail_msg("%s: off by %g standard deviations", path->name, d);
            }
        } else {
            double kl = parity_mean_kl(&text, reference, got);
            worst = kl > worst ? kl : worst;
            if (!(kl <= 1e-5)) {
                fail_msg("%s: mean KL %g", path->name, kl);
            }
        }
    }
    print_message("store %d, deterministic %d, shuffled %d: worst %.3g\n", (int)store,
                  deterministic, shuffled, worst);
}

static void compare_paths(kvass_store store, bool deterministic, bool shuffled)
{
    parity_setup setup = {
        .store = store, .deterministic = deterministic, .shuffled = shuffled, .n_threads = 2};
    compare_under(setup);
}

static void paths_agree_f32(void **state)
{
    (void)state;
    compare_paths(KVASS_STORE_F32, false, false);
    compare_paths(KVASS_STORE_F32, false, true);
}

static void paths_agree_f16(void **state)
{
    (void)state;
    compare_paths(KVASS_STORE_F16, false, true); /* in order, it is the f32 test with other bytes */
}

static void paths_agree_quantized(void **state)
{
    (void)state;
    compare_paths(KVASS_STORE_Q8, false, false);
    compare_paths(KVASS_STORE_Q4, false, true);
}

static void deterministic_is_bit_equal(void **state)
{
    (void)state;
    compare_paths(KVASS_STORE_F32, true, true);
    compare_paths(KVASS_STORE_F16, true, false);
    compare_paths(KVASS_STORE_Q8, true, true);
    compare_paths(KVASS_STORE_Q4, true, false);
}

/* threads, and the order of pages, leave every path's bits alone */
static void threads_change_no_bit(void **state)
{
    (void)state;
    int n_run = 0;
    for (const parity_path *path = parity_paths; path->name; path++, n_run++) {
        /* more threads than CPUs are slow: every third path has to do with 5 of them */
        parity_setup setup = {.store = n_run % 2 == 0 ? KVASS_STORE_F16 : KVASS_STORE_F32,
                              .n_threads = 1};
        run(path, &setup, reference);
        for (int32_t n = 2; n <= (n_run % 3 == 0 ? 5 : 2); n += 3) {
            setup.n_threads = n;
            setup.shuffled = n == 5;
            run(path, &setup, got);
            if (memcmp(got, reference, text.n_floats * sizeof *got) != 0) {
                fail_msg("%s, %d threads: not bit-equal to 1 thread, worst difference %g",
                         path->name, n, parity_worst(&text, reference, got));
            }
        }
    }
}

static void make_text(const kvass_model *model)
{
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    quantized = strstr(info.format, "llama2.c v2") != NULL || strstr(info.path, "-q") != NULL;
    text.model = model;
    text.n_vocab = info.n_vocab;
    bool learned = strcmp(info.positions, "learned") == 0;
    text.n_tokens = learned && info.n_ctx < MOST_TOKENS ? info.n_ctx : MOST_TOKENS;
    text.n_floats = (size_t)text.n_tokens * (size_t)text.n_vocab;
    text.ids = calloc((size_t)text.n_tokens, sizeof *text.ids);
    reference = calloc(text.n_floats, sizeof *reference);
    got = calloc(text.n_floats, sizeof *got);
    assert_true(text.ids && reference && got);
    uint32_t state = SEED;
    for (int32_t i = 0; i < text.n_tokens; i++) {
        state = state * 1664525u + 1013904223u;
        text.ids[i] = (int32_t)((state >> 8) % (uint32_t)text.n_vocab);
    }
    print_message("%s: %d random tokens, seed %d\n", info.path, text.n_tokens, SEED);
}

int main(int argc, char **argv)
{
    kvass_error err;
    kvass_model *model;
    if (argc != 2 || kvass_model_open(&model, argv[1], NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "usage: test_parity CHECKPOINT: %s\n", argc == 2 ? err.message : "");
        return 2;
    }
    make_text(model);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_agree_f32),       cmocka_unit_test(paths_agree_f16),
        cmocka_unit_test(paths_agree_quantized), cmocka_unit_test(deterministic_is_bit_equal),
        cmocka_unit_test(threads_change_no_bit),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text.ids);
    free(reference);
    free(got);
    kvass_model_close(&model);
    return failed;
}
