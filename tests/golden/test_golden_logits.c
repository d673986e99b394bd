/* test_golden_logits.c - the logits of every reference checkpoint, at every position.
 * Through the public header alone: the full-sequence path in one call, the cached path token by
 * token, and with nothing retained; f32 and f16 stores; every instruction set and the portable one;
 * and the deterministic mode. One argument picks the cases whose name matches it ("gpt2*"), a
 * second one leaves some of them out.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/kvass.h"
#include "tests/golden/golden_file.h"

/* Keys and values rounded to f16 are off by up to 2^-11 of themselves each; scores of a few units
 * and two or three layers make that some thousandths of the logits' spread. */
#define F16_BOUND 1e-2

enum { ISA_BEST = -1 };

typedef struct variant {
    const char *name;
    kvass_retain retain;
    kvass_store store;
    kvass_phase phase;
    int isa;
    bool deterministic;
    double bound;
} variant;

static const variant variants[] = {
    {"prefill", KVASS_RETAIN_FULL, KVASS_STORE_F32, KVASS_PREFILL, ISA_BEST, false, GOLDEN_BOUND},
    {"decode", KVASS_RETAIN_FULL, KVASS_STORE_F32, KVASS_DECODE, ISA_BEST, false, GOLDEN_BOUND},
    {"none", KVASS_RETAIN_NONE, KVASS_STORE_F32, KVASS_DECODE, ISA_BEST, false, GOLDEN_BOUND},
    {"scalar prefill", KVASS_RETAIN_FULL, KVASS_STORE_F32, KVASS_PREFILL, KVASS_ISA_SCALAR, false,
     GOLDEN_BOUND},
    {"scalar decode", KVASS_RETAIN_FULL, KVASS_STORE_F32, KVASS_DECODE, KVASS_ISA_SCALAR, false,
     GOLDEN_BOUND},
    {"deterministic", KVASS_RETAIN_FULL, KVASS_STORE_F32, KVASS_PREFILL, ISA_BEST, true,
     GOLDEN_BOUND},
    {"f16 prefill", KVASS_RETAIN_FULL, KVASS_STORE_F16, KVASS_PREFILL, ISA_BEST, false, F16_BOUND},
    {"f16 decode", KVASS_RETAIN_FULL, KVASS_STORE_F16, KVASS_DECODE, ISA_BEST, false, F16_BOUND},
    {"f16 none", KVASS_RETAIN_NONE, KVASS_STORE_F16, KVASS_DECODE, ISA_BEST, false, F16_BOUND},
};
enum { N_VARIANTS = sizeof variants / sizeof variants[0] };

/* How far one variant is from its golden. */
typedef struct result {
    double worst;
    int32_t pos;      /* where that is */
    int32_t n_greedy; /* ids that were the best after those before them */
} result;

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s): %s", kvass_status_text(status), err->rule, err->message);
    }
}

/* logits[n_vocab] of position pos */
static void compare(const golden *g, int32_t pos, const float *logits, result *r)
{
    assert_non_null(logits);
    const float *want = g->logits + (size_t)pos * (size_t)g->n_cols;
    const double distance = golden_distance(logits, g->n_vocab / g->n_cols, want, g->n_cols);

    if (!(distance <= r->worst)) {
        r->worst = distance;
        r->pos = pos;
    }
    int32_t best = 0;
    for (int32_t id = 1; id < g->n_vocab; id++) {
        best = logits[id] > logits[best] ? id : best;
    }
    r->n_greedy += pos + 1 < g->n_tokens && best == g->ids[pos + 1];
}

/* Every position in one call. */
static void run_prefill(kvass_context *ctx, kvass_seq *seq, const golden *g, result *r)
{
    kvass_row *rows = calloc((size_t)g->n_tokens, sizeof *rows);
    kvass_error err;

    assert_non_null(rows);
    for (int32_t i = 0; i < g->n_tokens; i++) {
        rows[i] = (kvass_row){seq, g->ids[i], KVASS_PREFILL, true};
    }
    const kvass_status status = kvass_forward(ctx, rows, g->n_tokens, &err);
    free(rows);
    check(status, &err);
    for (int32_t i = 0; i < g->n_tokens; i++) {
        compare(g, i, kvass_context_logits(ctx, i), r);
    }
    assert_null(kvass_context_logits(ctx, g->n_tokens));
}

/* One call for each position. */
static void run_decode(kvass_seq *seq, const golden *g, result *r)
{
    kvass_error err;

    for (int32_t i = 0; i < g->n_tokens; i++) {
        check(kvass_decode(seq, g->ids[i], &err), &err);
        compare(g, i, kvass_seq_logits(seq), r);
    }
}

static result run_variant(const kvass_model *model, const golden *g, const variant *v)
{
    kvass_context_options opt = kvass_context_options_default();
    kvass_context *ctx = NULL;
    kvass_seq *seq = NULL;
    kvass_error err;
    result r = {0};

    opt.n_ctx = g->n_tokens;
    opt.n_logits = g->n_tokens;
    opt.n_threads = v->phase == KVASS_PREFILL ? 2 : 1; /* many tiny steps gain nothing from more */
    opt.retain = v->retain;
    opt.store = v->store;
    opt.deterministic = v->deterministic;
    opt.isa = (uint32_t)v->isa;
    check(kvass_context_open(&ctx, model, &opt, &err), &err);
    check(kvass_seq_open(&seq, ctx, &err), &err);
    if (v->phase == KVASS_PREFILL) {
        run_prefill(ctx, seq, g, &r);
    } else {
        run_decode(seq, g, &r);
    }
    assert_int_equal(kvass_seq_n_tokens(seq), g->n_tokens);
    kvass_context_close(&ctx);
    return r;
}

static void test_case(void **state)
{
    const golden_case *c = *state;
    char model_path[GOLDEN_PATH_BYTES], logits_path[GOLDEN_PATH_BYTES];
    kvass_model *model = NULL;
    kvass_model_info info;
    kvass_error err;
    result results[N_VARIANTS];
    golden g;

    if (!golden_find(c, model_path, logits_path)) {
        print_message("%s: no shared data\n", c->name);
        skip();
    }
    golden_read(&g, logits_path);
    check(kvass_model_open(&model, model_path, NULL, &err), &err);
    kvass_model_get_info(model, &info);
    assert_int_equal(info.n_vocab, g.n_vocab);
    assert_int_equal(info.n_layers, g.n_layers);
    assert_int_equal(info.dim, g.dim);

    print_message("%-24s", c->name);
    for (size_t i = 0; i < N_VARIANTS; i++) {
        results[i] = run_variant(model, &g, &variants[i]);
        print_message("%s %s %.1e", i > 0 ? "," : "", variants[i].name, results[i].worst);
    }
    print_message("\n");
    const int32_t n_next = g.n_tokens - 1;
    kvass_model_close(&model);
    golden_free(&g);

    for (size_t i = 0; i < N_VARIANTS; i++) {
        if (!(results[i].worst <= variants[i].bound)) {
            fail_msg("%s, %s: %.3g standard deviations off at position %d, %.3g allowed", c->name,
                     variants[i].name, results[i].worst, (int)results[i].pos, variants[i].bound);
        }
        if (c->greedy) {
            assert_int_equal(results[i].n_greedy, n_next);
        }
    }
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[GOLDEN_N_CASES];

    for (size_t i = 0; i < GOLDEN_N_CASES; i++) {
        tests[i] = (struct CMUnitTest){.name = golden_cases[i].name,
                                       .test_func = test_case,
                                       .initial_state = (void *)&golden_cases[i]};
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    if (argc > 2) {
        cmocka_set_skip_filter(argv[2]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
