/* test_sampler.c - the sampler against an oracle that sorts everything and adds in double.
 * The oracle gives the set that may be drawn and its probabilities; the sampler is then asked many
 * times. Random inputs print their seed when an assertion fails.
 */
#include "engine/kvass.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_VOCAB 600

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static float random_logit(uint32_t *state)
{
    return (float)(next_random(state) % 20001) / 1000.0f - 10.0f;
}

static kvass_sampler_options plain(void)
{
    kvass_sampler_options opt = kvass_sampler_options_default();
    opt.temperature = 1.0f;
    opt.top_k = 0;
    opt.top_p = 1.0f;
    opt.min_p = 0.0f;
    opt.seed = 7;
    return opt;
}

static kvass_sampler *open_ok(int32_t n_vocab, const kvass_sampler_options *opt)
{
    kvass_sampler *sampler;
    kvass_error err;
    assert_int_equal(kvass_sampler_open(&sampler, n_vocab, opt, &err), KVASS_OK);
    assert_non_null(sampler);
    return sampler;
}

static int32_t pick_ok(kvass_sampler *sampler, const float *logits)
{
    int32_t token = -1;
    kvass_error err;
    assert_int_equal(kvass_sampler_pick(sampler, logits, NULL, 0, &token, &err), KVASS_OK);
    return token;
}

static void defaults_are_as_documented(void **state)
{
    (void)state;
    kvass_sampler_options opt = kvass_sampler_options_default();
    assert_int_equal(opt.struct_size, sizeof opt);
    assert_float_equal(opt.temperature, 0.8, 1e-7);
    assert_int_equal(opt.top_k, 40);
    assert_float_equal(opt.top_p, 0.95, 1e-7);
    assert_float_equal(opt.min_p, 0.05, 1e-7);
    assert_float_equal(opt.repeat_penalty, 1.0, 0);
    assert_int_equal(opt.repeat_last, 64);
}

static void expect_refused(const char *name, kvass_sampler_options opt)
{
    kvass_sampler *sampler = (kvass_sampler *)&opt; /* must become NULL */
    kvass_error err;
    assert_int_equal(kvass_sampler_open(&sampler, 10, &opt, &err), KVASS_INVALID);
    assert_null(sampler);
    assert_string_equal(err.rule, "SAMPLER_RANGE");
    assert_non_null(strstr(err.message, name));
}

static void parameters_out_of_range_are_named(void **state)
{
    (void)state;
    const float bad_temperature[] = {-0.1f, -INFINITY, INFINITY, NAN};
    const float bad_top_p[] = {0.0f, -0.5f, 1.0001f, INFINITY, NAN};
    const float bad_min_p[] = {-0.01f, 1.0f, INFINITY, -INFINITY, NAN};
    const float bad_penalty[] = {0.0f, -1.0f, INFINITY, -INFINITY, NAN};
    kvass_sampler_options opt;
    for (size_t i = 0; i < sizeof bad_temperature / sizeof(float); i++) {
        opt = plain();
        opt.temperature = bad_temperature[i];
        expect_refused("temperature", opt);
    }
    for (size_t i = 0; i < sizeof bad_top_p / sizeof(float); i++) {
        opt = plain();
        opt.top_p = bad_top_p[i];
        expect_refused("top_p", opt);
    }
    for (size_t i = 0; i < sizeof bad_min_p / sizeof(float); i++) {
        opt = plain();
        opt.min_p = bad_min_p[i];
        expect_refused("min_p", opt);
    }
    for (size_t i = 0; i < sizeof bad_penalty / sizeof(float); i++) {
        opt = plain();
        opt.repeat_penalty = bad_penalty[i];
        expect_refused("repeat_penalty", opt);
    }
    opt = plain();
    opt.top_k = -1;
    expect_refused("top_k", opt);
    opt = plain();
    opt.repeat_last = -1;
    expect_refused("repeat_last", opt);
}

static void arguments_are_checked(void **state)
{
    (void)state;
    kvass_error err;
    kvass_sampler *sampler;
    assert_int_equal(kvass_sampler_open(NULL, 10, NULL, &err), KVASS_INVALID);
    assert_int_equal(kvass_sampler_open(&sampler, 0, NULL, &err), KVASS_INVALID);
    assert_null(sampler);
    kvass_sampler_options opt = plain();
    const size_t bad_sizes[] = {0, sizeof(size_t) - 1, sizeof opt + 1};
    for (size_t i = 0; i < 3; i++) {
        opt.struct_size = bad_sizes[i];
        assert_int_equal(kvass_sampler_open(&sampler, 10, &opt, &err), KVASS_INVALID);
        assert_string_equal(err.rule, "STRUCT_SIZE");
    }

    sampler = open_ok(3, NULL);
    const float logits[3] = {0, 1, 2};
    const int32_t high[1] = {3}, low[1] = {-1};
    int32_t token = -5;
    assert_int_equal(kvass_sampler_pick(sampler, logits, high, 1, &token, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "TOKEN_ID");
    assert_int_equal(kvass_sampler_pick(sampler, logits, low, 1, &token, &err), KVASS_INVALID);
    assert_int_equal(kvass_sampler_pick(sampler, logits, NULL, 1, &token, &err), KVASS_INVALID);
    assert_int_equal(kvass_sampler_pick(sampler, logits, NULL, -1, &token, &err), KVASS_INVALID);
    assert_int_equal(kvass_sampler_pick(sampler, NULL, NULL, 0, &token, &err), KVASS_INVALID);
    assert_int_equal(kvass_sampler_pick(NULL, logits, NULL, 0, &token, &err), KVASS_INVALID);
    assert_int_equal(kvass_sampler_pick(sampler, logits, high, 1, &token, NULL), KVASS_INVALID);
    assert_int_equal(token, -5);
    kvass_sampler_close(&sampler);
    assert_null(sampler);
    kvass_sampler_close(&sampler);
    kvass_sampler_close(NULL);
}

static void greedy_takes_the_lowest_id_among_equals(void **state)
{
    (void)state;
    const float logits[6] = {1, 3, -2, 3, 3, 0};
    const float temperatures[] = {0.0f, 0.0099f};
    for (size_t i = 0; i < 2; i++) {
        kvass_sampler_options opt = plain();
        opt.temperature = temperatures[i];
        kvass_sampler *sampler = open_ok(6, &opt);
        assert_int_equal(pick_ok(sampler, logits), 1);
        kvass_sampler_close(&sampler);
    }
    /* the same order decides who is among the top k */
    kvass_sampler_options opt = plain();
    opt.top_k = 1;
    kvass_sampler *sampler = open_ok(6, &opt);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pick_ok(sampler, logits), 1);
    }
    kvass_sampler_close(&sampler);
}

static void nan_anywhere_is_an_error_and_costs_no_random_number(void **state)
{
    (void)state;
    float logits[64];
    for (int i = 0; i < 64; i++) {
        logits[i] = (float)(i % 7);
    }
    kvass_sampler_options opt = plain();
    kvass_sampler *sampler = open_ok(64, &opt), *twin = open_ok(64, &opt);
    const int places[] = {0, 31, 63};
    kvass_error err;
    for (size_t i = 0; i < 3; i++) {
        float saved = logits[places[i]];
        logits[places[i]] = NAN;
        int32_t token = -5;
        assert_int_equal(kvass_sampler_pick(sampler, logits, NULL, 0, &token, &err),
                         KVASS_NAN_LOGITS);
        assert_int_equal(token, -5);
        char place[32];
        (void)snprintf(place, sizeof place, "logit %d of 64", places[i]);
        assert_non_null(strstr(err.message, place));
        logits[places[i]] = saved;
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pick_ok(sampler, logits), pick_ok(twin, logits));
    }
    kvass_sampler_close(&sampler);
    kvass_sampler_close(&twin);
}

static void infinite_logits_are_never_chosen(void **state)
{
    (void)state;
    const float logits[5] = {INFINITY, -1, -INFINITY, 2, INFINITY};
    kvass_sampler_options opt = plain();
    kvass_sampler *sampler = open_ok(5, &opt);
    for (int i = 0; i < 200; i++) {
        int32_t token = pick_ok(sampler, logits);
        assert_true(token == 1 || token == 3);
    }
    kvass_sampler_close(&sampler);
    opt.temperature = 0;
    sampler = open_ok(5, &opt);
    assert_int_equal(pick_ok(sampler, logits), 3);
    const float none[5] = {INFINITY, -INFINITY, -INFINITY, INFINITY, INFINITY};
    int32_t token;
    kvass_error err;
    assert_int_equal(kvass_sampler_pick(sampler, none, NULL, 0, &token, &err), KVASS_NAN_LOGITS);
    kvass_sampler_close(&sampler);
}

/* ---- the oracle ----------------------------------------------------------------------------- */

typedef struct entry {
    double logit, p;
    int32_t id;
} entry;

static int by_logit(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->logit != y->logit) {
        return x->logit > y->logit ? -1 : 1;
    }
    return x->id < y->id ? -1 : 1;
}

/* p[n_vocab] = the probability of each id under opt */
static void oracle(const float *logits, int32_t n_vocab, const kvass_sampler_options *opt,
                   double *p)
{
    static entry e[MAX_VOCAB];
    for (int32_t i = 0; i < n_vocab; i++) {
        e[i] = (entry){.logit = logits[i], .id = i};
        p[i] = 0;
    }
    qsort(e, (size_t)n_vocab, sizeof e[0], by_logit);
    int32_t n = opt->top_k > 0 && opt->top_k < n_vocab ? opt->top_k : n_vocab;
    double sum = 0, mass = 0;
    for (int32_t i = 0; i < n; i++) {
        e[i].p = exp((e[i].logit - e[0].logit) / opt->temperature);
        sum += e[i].p;
    }
    int32_t n_kept = 0;
    while (n_kept < n && (n_kept == 0 || mass < opt->top_p * sum || opt->top_p == 1)) {
        mass += e[n_kept++].p;
    }
    while (n_kept > 1 && e[n_kept - 1].p < opt->min_p) {
        mass -= e[--n_kept].p;
    }
    for (int32_t i = 0; i < n_kept; i++) {
        p[e[i].id] = e[i].p / mass;
    }
}

static void only_the_allowed_are_drawn_as_often_as_they_should(void **state)
{
    (void)state;
    const float temperatures[] = {0.3f, 0.8f, 1.0f, 4.0f};
    const int32_t top_ks[] = {0, 1, 5, 40, 1000};
    const float top_ps[] = {1.0f, 0.95f, 0.5f, 1e-6f};
    const float min_ps[] = {0.0f, 0.05f, 0.6f, 0.999f};
    const int n_draws = 400;
    for (uint32_t round = 0; round < 320; round++) {
        uint32_t seed = 0x5eed0000u + round, rng = seed;
        kvass_sampler_options opt = plain();
        opt.temperature = temperatures[round % 4];
        opt.top_k = top_ks[round / 4 % 5];
        opt.top_p = top_ps[round / 20 % 4];
        opt.min_p = min_ps[round / 80];
        opt.seed = seed;
        int32_t n_vocab = 1 + (int32_t)(next_random(&rng) % MAX_VOCAB);
        static float logits[MAX_VOCAB];
        static double p[MAX_VOCAB];
        static int n_seen[MAX_VOCAB];
        memset(n_seen, 0, sizeof n_seen);
        for (int32_t i = 0; i < n_vocab; i++) {
            /* every other round has few distinct values, so that ties matter */
            logits[i] = round % 2 ? random_logit(&rng) : (float)(next_random(&rng) % 5);
        }
        oracle(logits, n_vocab, &opt, p);
        kvass_sampler *sampler = open_ok(n_vocab, &opt);
        for (int i = 0; i < n_draws; i++) {
            n_seen[pick_ok(sampler, logits)]++;
        }
        kvass_sampler_close(&sampler);
        for (int32_t i = 0; i < n_vocab; i++) {
            /* six standard deviations and a little for the rarest */
            double slack = 6 * sqrt(n_draws * p[i] * (1 - p[i])) + 3;
            if (n_seen[i] > 0 && p[i] == 0) {
                fail_msg("seed %#x: id %d was drawn but is filtered out", seed, (int)i);
            }
            if (fabs(n_seen[i] - n_draws * p[i]) > slack) {
                fail_msg("seed %#x: id %d drawn %d times, expected %g", seed, (int)i, n_seen[i],
                         n_draws * p[i]);
            }
        }
    }
}

static void one_candidate_always_stays(void **state)
{
    (void)state;
    float logits[100];
    for (int i = 0; i < 100; i++) {
        logits[i] = i == 42 ? 3e38f : -3e38f;
    }
    kvass_sampler_options opt = plain();
    opt.top_k = 1;
    opt.top_p = 1e-30f;
    opt.min_p = 0.999999f;
    const float temperatures[] = {0.01f, 1.0f, 1e30f};
    for (size_t t = 0; t < 3; t++) {
        opt.temperature = temperatures[t];
        for (int32_t k = 0; k < 2; k++) {
            opt.top_k = k;
            kvass_sampler *sampler = open_ok(100, &opt);
            int32_t token = pick_ok(sampler, logits);
            if (temperatures[t] < 1e30f) {
                assert_int_equal(token, 42);
            } else {
                assert_in_range(token, 0, 99);
            }
            kvass_sampler_close(&sampler);
        }
    }
}

static void the_seed_decides_everything(void **state)
{
    (void)state;
    float logits[200];
    uint32_t rng = 99;
    for (int i = 0; i < 200; i++) {
        logits[i] = random_logit(&rng) / 5;
    }
    kvass_sampler_options opt = plain();
    int n_different = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        opt.seed = seed;
        kvass_sampler *one = open_ok(200, &opt), *same = open_ok(200, &opt);
        opt.seed = seed + 1;
        kvass_sampler *other = open_ok(200, &opt);
        for (int i = 0; i < 50; i++) {
            int32_t token = pick_ok(one, logits);
            assert_int_equal(token, pick_ok(same, logits));
            n_different += token != pick_ok(other, logits);
        }
        kvass_sampler_close(&one);
        kvass_sampler_close(&same);
        kvass_sampler_close(&other);
    }
    assert_true(n_different > 800);
}

static int32_t greedy_after(const float *logits, const int32_t *recent, int32_t n_recent,
                            float penalty, int32_t repeat_last)
{
    kvass_sampler_options opt = plain();
    opt.temperature = 0;
    opt.repeat_penalty = penalty;
    opt.repeat_last = repeat_last;
    kvass_sampler *sampler = open_ok(4, &opt);
    int32_t token;
    assert_int_equal(kvass_sampler_pick(sampler, logits, recent, n_recent, &token, NULL), KVASS_OK);
    kvass_sampler_close(&sampler);
    return token;
}

static void repetition_is_penalised_once_and_within_reach(void **state)
{
    (void)state;
    const float positive[4] = {4.0f, 3.0f, 1.0f, 0.5f};
    const float negative[4] = {-1.0f, -1.5f, -4.0f, -9.0f};
    const int32_t zero[3] = {0, 0, 0};
    const int32_t old[3] = {0, 2, 3};
    assert_int_equal(greedy_after(positive, NULL, 0, 2.0f, 64), 0);
    assert_int_equal(greedy_after(positive, zero, 1, 2.0f, 64), 1);
    assert_int_equal(greedy_after(negative, zero, 1, 2.0f, 64), 1);
    /* 4 / 1.3 is still the best; three times over it would not be */
    assert_int_equal(greedy_after(positive, zero, 3, 1.3f, 64), 0);
    /* below 1 repetition is rewarded */
    assert_int_equal(greedy_after(positive, &old[1], 1, 0.2f, 64), 2);
    /* out of reach */
    assert_int_equal(greedy_after(positive, old, 3, 2.0f, 2), 0);
    assert_int_equal(greedy_after(positive, old, 3, 2.0f, 3), 1);
    assert_int_equal(greedy_after(positive, zero, 3, 2.0f, 0), 0);
    /* extreme penalties stay finite */
    assert_int_equal(greedy_after(positive, zero, 1, 1e-38f, 64), 0);
    assert_int_equal(greedy_after(negative, zero, 1, 3e38f, 64), 1);
}

static void a_large_vocabulary_gives_the_same_as_the_oracle(void **state)
{
    (void)state;
    const int32_t n_vocab = 150000;
    float *logits = malloc((size_t)n_vocab * sizeof *logits);
    assert_non_null(logits);
    uint32_t rng = 4;
    for (int32_t i = 0; i < n_vocab; i++) {
        logits[i] = random_logit(&rng) - 5;
    }
    logits[149999] = 20;
    logits[0] = 19;
    logits[77777] = 18;
    kvass_sampler_options opt = plain();
    opt.top_k = 3;
    kvass_sampler *sampler = open_ok(n_vocab, &opt);
    for (int i = 0; i < 30; i++) {
        int32_t token = pick_ok(sampler, logits);
        assert_true(token == 149999 || token == 0 || token == 77777);
    }
    kvass_sampler_close(&sampler);
    free(logits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_as_documented),
        cmocka_unit_test(parameters_out_of_range_are_named),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(greedy_takes_the_lowest_id_among_equals),
        cmocka_unit_test(nan_anywhere_is_an_error_and_costs_no_random_number),
        cmocka_unit_test(infinite_logits_are_never_chosen),
        cmocka_unit_test(only_the_allowed_are_drawn_as_often_as_they_should),
        cmocka_unit_test(one_candidate_always_stays),
        cmocka_unit_test(the_seed_decides_everything),
        cmocka_unit_test(repetition_is_penalised_once_and_within_reach),
        cmocka_unit_test(a_large_vocabulary_gives_the_same_as_the_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
