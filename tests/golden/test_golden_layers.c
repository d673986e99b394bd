/* test_golden_layers.c - the residual after every layer of every reference checkpoint: names the
 * first layer that goes wrong. Looks inside the context: the cancel callback is polled once per
 * layer, and what it finds in ctx->x is what the layer before left behind.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/context.h"
#include "tests/golden/golden_file.h"

enum { MAX_LAYERS = 64 };

typedef struct watch {
    const kvass_context *ctx;
    const golden *g;
    int32_t n_polls;
    double worst[MAX_LAYERS]; /* worst[n_layers]: distance from the golden, over the marked
                                 positions */
} watch;

/* Compare the residual that layer `layer` has left. */
static void look(watch *w, int32_t layer)
{
    const golden *g = w->g;

    w->worst[layer] = 0;
    for (int32_t i = 0; i < g->n_marks; i++) {
        const float *got = w->ctx->x + (size_t)g->marks[i] * (size_t)g->dim;
        const float *want =
            g->residual + ((size_t)layer * (size_t)g->n_marks + (size_t)i) * (size_t)g->dim;
        w->worst[layer] = fmax(w->worst[layer], golden_distance(got, 1, want, g->dim));
    }
}

/* Polled before each layer. */
static bool before_layer(void *user)
{
    watch *w = user;

    if (w->n_polls > 0) {
        look(w, w->n_polls - 1);
    }
    w->n_polls++;
    return false;
}

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s): %s", kvass_status_text(status), err->rule, err->message);
    }
}

/* All positions in one chunk, on one thread: nobody moves on while the callback looks. */
static void run(const kvass_model *model, watch *w)
{
    kvass_context_options opt = kvass_context_options_default();
    kvass_context *ctx = NULL;
    kvass_seq *seq = NULL;
    kvass_error err;

    opt.n_ctx = w->g->n_tokens;
    opt.n_batch = w->g->n_tokens;
    opt.n_threads = 1;
    opt.store = KVASS_STORE_F32;
    check(kvass_context_open(&ctx, model, &opt, &err), &err);
    check(kvass_seq_open(&seq, ctx, &err), &err);
    w->ctx = ctx;
    kvass_context_set_cancel(ctx, before_layer, w);
    check(kvass_prefill(seq, w->g->ids, w->g->n_tokens, &err), &err);
    assert_int_equal(w->n_polls, w->g->n_layers);
    look(w, w->g->n_layers - 1);
    kvass_context_close(&ctx);
}

static void test_case(void **state)
{
    const golden_case *c = *state;
    char model_path[GOLDEN_PATH_BYTES], logits_path[GOLDEN_PATH_BYTES];
    kvass_model *model = NULL;
    kvass_error err;
    golden g;
    watch w = {.g = &g};

    if (!golden_find(c, model_path, logits_path)) {
        print_message("%s: no shared data\n", c->name);
        skip();
    }
    golden_read(&g, logits_path);
    assert_in_range(g.n_layers, 1, MAX_LAYERS);
    check(kvass_model_open(&model, model_path, NULL, &err), &err);
    run(model, &w);
    print_message("%-40s", c->name);
    for (int32_t layer = 0; layer < g.n_layers; layer++) {
        print_message(" %.1e", w.worst[layer]);
    }
    print_message("\n");
    kvass_model_close(&model);
    const int32_t n_layers = g.n_layers;
    golden_free(&g);

    for (int32_t layer = 0; layer < n_layers; layer++) {
        if (!(w.worst[layer] <= GOLDEN_BOUND)) {
            fail_msg("%s: layer %d is the first that is wrong: %.3g standard deviations off, %.3g "
                     "allowed",
                     c->name, (int)layer, w.worst[layer], GOLDEN_BOUND);
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
    return cmocka_run_group_tests(tests, NULL, NULL);
}
