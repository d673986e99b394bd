/* test_shared.c - one model, many threads: each has a context of its own, all get the same bits.
 * cmocka's asserts stay on the main thread: workers only fill their logits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kvass.h"

enum { N_WORKERS = 6, N_PROMPT = 40, N_DECODED = 20 };

static kvass_model *model;
static kvass_model_info info;

typedef struct worker {
    pthread_t thread;
    int32_t n_threads;
    kvass_status status;
    kvass_error err;
    float *logits; /* logits[n_vocab] after the last token */
} worker;

static void *run(void *arg)
{
    worker *w = arg;
    kvass_context *ctx = NULL;
    kvass_seq *seq = NULL;
    int32_t prompt[N_PROMPT];
    kvass_context_options o = kvass_context_options_default();
    o.n_threads = w->n_threads;
    o.n_ctx = N_PROMPT + N_DECODED;
    for (int32_t i = 0; i < N_PROMPT; i++) {
        prompt[i] = i * 5 % info.n_vocab;
    }
    if ((w->status = kvass_context_open(&ctx, model, &o, &w->err)) ||
        (w->status = kvass_seq_open(&seq, ctx, &w->err)) ||
        (w->status = kvass_prefill(seq, prompt, N_PROMPT, &w->err))) {
        kvass_context_close(&ctx);
        return NULL;
    }
    for (int32_t i = 0; i < N_DECODED && !w->status; i++) {
        w->status = kvass_decode(seq, i, &w->err);
    }
    if (!w->status) {
        memcpy(w->logits, kvass_seq_logits(seq), (size_t)info.n_vocab * sizeof *w->logits);
    }
    kvass_context_close(&ctx);
    return NULL;
}

static void contexts_on_many_threads(void **state)
{
    (void)state;
    worker workers[N_WORKERS];
    for (int i = 0; i < N_WORKERS; i++) {
        workers[i] = (worker){.n_threads = 1 + i % 2};
        workers[i].logits = calloc((size_t)info.n_vocab, sizeof(float));
        assert_non_null(workers[i].logits);
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run, &workers[i]), 0);
    }
    for (int i = 0; i < N_WORKERS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    for (int i = 0; i < N_WORKERS; i++) {
        assert_int_equal(workers[i].status, KVASS_OK);
        assert_memory_equal(workers[i].logits, workers[0].logits,
                            (size_t)info.n_vocab * sizeof(float));
    }
    for (int i = 0; i < N_WORKERS; i++) {
        free(workers[i].logits);
    }
}

int main(int argc, char **argv)
{
    kvass_error err;
    if (argc != 2 || kvass_model_open(&model, argv[1], NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "usage: test_shared CHECKPOINT: %s\n", argc == 2 ? err.message : "");
        return 2;
    }
    kvass_model_get_info(model, &info);
    const struct CMUnitTest tests[] = {cmocka_unit_test(contexts_on_many_threads)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kvass_model_close(&model);
    return failed;
}
