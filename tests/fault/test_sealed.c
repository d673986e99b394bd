/* test_sealed.c - after opening, nothing allocates: not prefill, decode, batches, forks, truncation
 * or sampling, for any cache and number of threads. One round before counting lets OpenMP and
 * OpenBLAS take what they keep; what they take later is their own affair.
 */
#include "tests/unit/unit.h"

#include "engine/kvass.h"
#include "tests/fault/fault.h"

enum { N_CTX = 96, N_PROMPT = 41 };

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        (void)fault_end();
        fail_msg("%s", err->message);
    }
}

static void reject(kvass_status status)
{
    if (status == KVASS_OK) {
        (void)fault_end();
        fail_msg("expected a refusal");
    }
}

/* All that a context can be asked for; `sampler` picks what comes next. */
static void use(kvass_context *ctx, kvass_sampler *sampler, int32_t n_vocab)
{
    kvass_error err = {0};
    kvass_seq *a, *b;
    int32_t prompt[N_CTX], next;
    for (int32_t i = 0; i < N_CTX; i++) {
        prompt[i] = (7 * i + 1) % n_vocab;
    }
    check(kvass_seq_open(&a, ctx, &err), &err);
    check(kvass_prefill(a, prompt, N_PROMPT, &err), &err);
    for (int i = 0; i < 5; i++) {
        check(kvass_sampler_pick(sampler, kvass_seq_logits(a), kvass_seq_tokens(a),
                                 kvass_seq_n_tokens(a), &next, &err),
              &err);
        check(kvass_decode(a, next, &err), &err);
    }
    check(kvass_seq_fork(&b, a, &err), &err);
    kvass_seq *both[] = {a, b};
    const int32_t tokens[] = {1, 2};
    check(kvass_decode_batch(both, tokens, 2, &err), &err);
    kvass_row rows[] = {
        {a, 3, KVASS_DECODE, true}, {b, 4, KVASS_PREFILL, false}, {b, 5, KVASS_PREFILL, true}};
    check(kvass_forward(ctx, rows, 3, &err), &err);
    int32_t lowest = kvass_seq_can_truncate(b);
    check(kvass_seq_truncate(b, lowest > 33 ? lowest : 33, &err), &err);
    check(kvass_prefill(b, prompt, 9, &err), &err);
    reject(kvass_prefill(b, prompt, N_CTX, &err)); /* failing costs nothing either */
    reject(kvass_decode(b, n_vocab, &err));
    kvass_seq_reset(a);
    check(kvass_decode(a, 1, &err), &err);
    kvass_seq_close(&a);
    kvass_seq_close(&b);
}

static void count_for(const kvass_model *model, const kvass_context_options *opt)
{
    kvass_error err = {0};
    kvass_context *ctx;
    kvass_sampler *sampler;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    check(kvass_context_open(&ctx, model, opt, &err), &err);
    check(kvass_sampler_open(&sampler, info.n_vocab, NULL, &err), &err);
    use(ctx, sampler, info.n_vocab);
    fault_begin(FAULT_COUNT, 0, false);
    use(ctx, sampler, info.n_vocab);
    use(ctx, sampler, info.n_vocab);
    long n = fault_end();
    kvass_sampler_close(&sampler);
    kvass_context_close(&ctx);
    if (n > 0) {
        fail_msg("%s: %ld allocations (retain %d, store %d, %d threads, deterministic %d)",
                 info.path, n, (int)opt->retain, (int)opt->store, opt->n_threads,
                 opt->deterministic);
    }
}

static void nothing_allocates(void **state)
{
    static const char *const names[] = {"llama-gqa", "gpt2", "llama-bf16", "llama-q8/v2-g64.bin",
                                        "kvass"};
    static const int32_t prefix[] = {3, 1, 4, 1, 5, 9, 2, 6};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[UNIT_PATH_BYTES];
        const char *root = getenv("KVASS_SOURCE_ROOT");
        (void)snprintf(path, sizeof path, "%s/tests/golden/%s", root ? root : ".", names[i]);
        kvass_error err = {0};
        kvass_model *model;
        check(kvass_model_open(&model, path, NULL, &err), &err);
        for (int choice = 0; choice < 64; choice += 3) { /* a third of all mixtures */
            kvass_context_options opt = kvass_context_options_default();
            opt.n_ctx = N_CTX;
            opt.n_batch = 16;
            opt.n_seqs = 2;
            opt.n_logits = 2;
            opt.retain = choice & 1 ? KVASS_RETAIN_NONE : KVASS_RETAIN_FULL;
            opt.store = choice & 2 ? KVASS_STORE_F16 : KVASS_STORE_F32;
            opt.n_threads = choice & 4 ? 2 : 1;
            opt.deterministic = choice & 8;
            if (choice & 16 && opt.retain == KVASS_RETAIN_FULL) {
                opt.retain = KVASS_RETAIN_WINDOW;
                opt.window = 7;
                opt.n_sinks = 2;
            }
            if (choice & 32) {
                opt.prefix = prefix;
                opt.n_prefix = sizeof prefix / sizeof *prefix;
            }
            count_for(model, &opt);
        }
        kvass_model_close(&model);
    }
}

/* the counter does count */
static void counting_works(void **state)
{
    (void)state;
    fault_begin(FAULT_COUNT, 0, false);
    void *volatile block = malloc(1);
    long n = fault_end();
    free(block);
    assert_int_equal(n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counting_works),
        cmocka_unit_test(nothing_allocates),
    };
    if (!fault_prepare()) {
        (void)fprintf(stderr, "sealed: jansson's code was not found\n");
        return 1;
    }
    return cmocka_run_group_tests_name("sealed", tests, NULL, NULL);
}
