/* test_budget.c - a cache's budget is kept, and when it does not suffice the error says what would:
 * each number it names is tried, and so is the next one.
 */
#include "tests/unit/unit.h"

#include "engine/kvass.h"

enum { N_CTX = 180, N_PREFIX = 37 };

static kvass_model *llama, *own; /* plain; with windows, shared layers and meta tokens */
static int32_t tokens[N_CTX + 1];

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s)", err->message, err->rule);
    }
}

static kvass_context_options small_options(void)
{
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = N_CTX;
    o.n_batch = 32;
    o.n_threads = 1;
    return o;
}

/* the number that stands before `what` in the text */
static size_t number_before(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    if (!at) {
        fail_msg("'%s' lacks '%s'", text, what);
    }
    while (at > text && at[-1] >= '0' && at[-1] <= '9') {
        at--;
    }
    return (size_t)strtoull(at, NULL, 10);
}

/* and the one behind it */
static int32_t number_after(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    if (!at) {
        fail_msg("'%s' lacks '%s'", text, what);
    }
    return (int32_t)strtol(at + strlen(what), NULL, 10);
}

static void expect_kept(const kvass_context *ctx, size_t budget)
{
    kvass_cache_usage u;
    kvass_context_get_usage(ctx, &u);
    assert_true(u.bytes_reserved + u.tail_bytes <= budget);
    assert_true(u.bytes_touched <= u.bytes_reserved);
}

/* n tokens to each of n_seqs sequences */
static kvass_status fill(kvass_context *ctx, int32_t n_seqs, int32_t n, kvass_error *err)
{
    kvass_seq *seqs[3];
    kvass_status status = KVASS_OK;
    for (int32_t s = 0; s < n_seqs; s++) {
        check(kvass_seq_open(&seqs[s], ctx, err), err);
    }
    for (int32_t s = 0; s < n_seqs && status == KVASS_OK; s++) {
        status = n > 0 ? kvass_prefill(seqs[s], tokens, n, err) : KVASS_OK;
    }
    for (int32_t s = 0; s < n_seqs; s++) {
        kvass_seq_close(&seqs[s]);
    }
    return status;
}

/* What the message of a call that found no pages promises. Beside windows, whose pages come and go,
 * it promises what always fits; else no more would fit. */
static void try_promises(const kvass_model *model, kvass_context_options o, const char *message)
{
    kvass_context *ctx;
    kvass_error err;
    int32_t one = number_after(message, "one sequence of ");
    int32_t each = (int32_t)number_before(message, " each");
    int32_t n_full = number_after(message, " or ");
    assert_true(one >= each && n_full < o.n_seqs);
    check(kvass_context_open(&ctx, model, &o, &err), &err);
    check(fill(ctx, 1, one - o.n_prefix, &err), &err);
    if (one < N_CTX && model == llama) {
        assert_int_equal(fill(ctx, 1, one - o.n_prefix + 1, &err), KVASS_BUDGET);
    }
    if (each > 0) {
        check(fill(ctx, o.n_seqs, each - o.n_prefix, &err), &err);
    }
    if (n_full > 0) {
        check(fill(ctx, n_full, N_CTX - o.n_prefix, &err), &err);
    }
    if (model == llama) {
        assert_int_equal(fill(ctx, n_full + 1, N_CTX - o.n_prefix, &err), KVASS_BUDGET);
    }
    expect_kept(ctx, o.kv_budget);
    kvass_context_close(&ctx);
    o.kv_budget = number_before(message, " bytes hold all");
    check(kvass_context_open(&ctx, model, &o, &err), &err);
    check(fill(ctx, o.n_seqs, N_CTX - o.n_prefix, &err), &err);
    kvass_context_close(&ctx);
}

static void budgets_of(const kvass_model *model, kvass_context_options o)
{
    kvass_context *ctx;
    kvass_error err;
    size_t scratch, pages;
    check(kvass_context_bytes(model, &o, &scratch, &pages, &err), &err);
    /* nothing fits: the least that does is named, and it does */
    o.kv_budget = 1;
    assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_BUDGET);
    assert_string_equal(err.rule, "KV_BUDGET");
    size_t all = number_before(err.message, " bytes hold all");
    assert_true(o.store == KVASS_STORE_Q8 ? all > pages : all == pages); /* with exact tails */
    size_t least = number_before(err.message, " bytes hold one");
    o.kv_budget = least - 1;
    assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_BUDGET);
    for (size_t budget = least; budget < all; budget += (all - least) / 5 + 1) {
        o.kv_budget = budget;
        check(kvass_context_open(&ctx, model, &o, &err), &err);
        kvass_status status = fill(ctx, o.n_seqs, N_CTX - o.n_prefix, &err);
        expect_kept(ctx, budget);
        kvass_context_close(&ctx);
        if (status != KVASS_OK) { /* what is left may suffice by the size of a page */
            assert_int_equal(status, KVASS_BUDGET);
            assert_string_equal(err.rule, "KV_PAGES");
            try_promises(model, o, err.message);
        }
    }
}

static void budgets_are_kept(void **state)
{
    (void)state;
    const kvass_model *models[] = {llama, own};
    for (int m = 0; m < 2; m++) {
        kvass_context_options o = small_options();
        budgets_of(models[m], o);
        o.n_seqs = 3;
        budgets_of(models[m], o);
        o.prefix = tokens;
        o.n_prefix = N_PREFIX;
        budgets_of(models[m], o);
        o.store = KVASS_STORE_Q8;
        o.n_prefix = 0;
        budgets_of(models[m], o);
    }
}

static void nothing_kept_has_a_budget_too(void **state)
{
    (void)state;
    kvass_context *ctx;
    kvass_error err;
    size_t scratch, all;
    kvass_context_options o = small_options();
    o.retain = KVASS_RETAIN_NONE;
    check(kvass_context_bytes(own, &o, &scratch, &all, &err), &err);
    o.kv_budget = all - 1;
    check(kvass_context_open(&ctx, own, &o, &err), &err);
    assert_int_equal(fill(ctx, 1, N_CTX, &err), KVASS_BUDGET);
    int32_t n = number_after(err.message, "which hold ");
    assert_int_equal(number_before(err.message, " bytes hold all"), all);
    check(fill(ctx, 1, n, &err), &err);
    assert_int_equal(fill(ctx, 1, n + 1, &err), KVASS_BUDGET);
    kvass_context_close(&ctx);
}

int main(void)
{
    kvass_error err;
    const char *root = getenv("KVASS_SOURCE_ROOT");
    char name[UNIT_PATH_BYTES];
    (void)snprintf(name, sizeof name, "%s/tests/golden/llama-gqa", root ? root : ".");
    if (kvass_model_open(&llama, name, NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 2;
    }
    (void)snprintf(name, sizeof name, "%s/tests/golden/kvass", root ? root : ".");
    if (kvass_model_open(&own, name, NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 2;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets_are_kept),
        cmocka_unit_test(nothing_kept_has_a_budget_too),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kvass_model_close(&llama);
    kvass_model_close(&own);
    return failed;
}
