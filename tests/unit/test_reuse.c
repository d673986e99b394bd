/* test_reuse.c - pages of closed sequences for prompts that begin alike: the logits are those of a
 * fresh context, bit for bit, whatever the hashes say; what a window has let go is not reused; the
 * pages are there again as soon as a running sequence wants them.
 */
#include "tests/unit/unit.h"

#include "engine/context.h"

enum { N_CTX = 200, SEED = 5 };

static kvass_model *llama, *own; /* plain; with windows, shared layers and meta tokens */

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
    o.n_batch = 64;
    o.n_threads = 1;
    o.deterministic = true;
    o.n_reuse = 2;
    o.page_seed = 3;
    return o;
}

static kvass_context *open_context(const kvass_model *model, const kvass_context_options *opt)
{
    kvass_error err;
    kvass_context *ctx;
    check(kvass_context_open(&ctx, model, opt, &err), &err);
    return ctx;
}

static kvass_seq *open_seq(kvass_context *ctx)
{
    kvass_error err;
    kvass_seq *seq;
    check(kvass_seq_open(&seq, ctx, &err), &err);
    return seq;
}

/* token i of text `kind`, which leaves text 0 at token `fork` */
static int32_t token_of(int32_t kind, int32_t fork, int32_t i)
{
    return (i * 7 + (i >= fork ? kind * 11 : 0)) % 50;
}

/* a text of n tokens in a new sequence, reusing what can be; compared with a fresh context; closed.
 * Returns how many were reused. */
static int32_t run_text(kvass_context *ctx, kvass_context_options o, int32_t kind, int32_t fork,
                        int32_t n)
{
    kvass_error err;
    kvass_model_info info;
    int32_t tokens[N_CTX], n_reused = -1;
    o.n_reuse = 0;
    o.n_seqs = 1;
    o.kv_budget = 0;
    o.page_seed = 0;
    kvass_model_get_info(ctx->model, &info);
    kvass_context *fresh = open_context(ctx->model, &o);
    kvass_seq *seq = open_seq(ctx), *plain = open_seq(fresh);
    for (int32_t i = 0; i < n; i++) {
        tokens[i] = token_of(kind, fork, i);
    }
    check(kvass_seq_reuse(seq, tokens, n, &n_reused, &err), &err);
    assert_true(n_reused >= 0 && n_reused < n);
    assert_int_equal(kvass_seq_n_tokens(seq), o.n_prefix + n_reused);
    assert_int_equal(n_reused > 0 && (n_reused + o.n_prefix + info.n_meta) % 32, 0);
    check(kvass_prefill(seq, tokens + n_reused, n - n_reused, &err), &err);
    check(kvass_prefill(plain, tokens, n, &err), &err);
    for (int32_t i = 0; i < 3; i++) {
        assert_int_equal(kvass_seq_n_tokens(seq), kvass_seq_n_tokens(plain));
        assert_memory_equal(kvass_seq_tokens(seq), kvass_seq_tokens(plain),
                            (size_t)kvass_seq_n_tokens(seq) * sizeof(int32_t));
        assert_memory_equal(kvass_seq_logits(seq), kvass_seq_logits(plain),
                            (size_t)info.n_vocab * sizeof(float));
        check(kvass_decode(seq, i, &err), &err);
        check(kvass_decode(plain, i, &err), &err);
    }
    kvass_seq_close(&seq);
    kvass_context_close(&fresh);
    return n_reused;
}

static void whole_pages_are_reused(void **state)
{
    (void)state;
    kvass_context_options o = small_options();
    kvass_context *ctx = open_context(llama, &o);
    kvass_cache_usage usage;
    assert_int_equal(run_text(ctx, o, 0, 0, 100), 0);
    assert_int_equal(run_text(ctx, o, 0, 0, 100), 96);
    assert_int_equal(run_text(ctx, o, 1, 80, 100), 64); /* leaves it in the third page */
    assert_int_equal(run_text(ctx, o, 1, 80, 97), 96);
    assert_int_equal(run_text(ctx, o, 1, 80, 96), 64); /* the last token is always run */
    assert_int_equal(run_text(ctx, o, 2, 5, 100), 0);  /* takes the place of the oldest: text 0 */
    assert_int_equal(run_text(ctx, o, 0, 0, 70), 64);  /* as text 1 begins so, too */
    kvass_context_get_usage(ctx, &usage);
    assert_int_equal(usage.reused_tokens, 96 + 64 + 96 + 64 + 64);
    kvass_context_close(&ctx);
}

/* a longer text takes the place of one that it contains */
static void contained_texts_take_no_place(void **state)
{
    (void)state;
    kvass_context_options o = small_options();
    kvass_context *ctx = open_context(llama, &o);
    assert_int_equal(run_text(ctx, o, 3, 0, 90), 0);
    for (int32_t n = 40; n <= 160; n += 40) {
        (void)run_text(ctx, o, 0, 0, n);
    }
    assert_int_equal(run_text(ctx, o, 3, 0, 90), 64);
    kvass_context_close(&ctx);
}

/* with meta tokens the pages begin elsewhere; a window of 20 keeps the last page or two */
static void windows_reuse_what_they_hold(void **state)
{
    (void)state;
    kvass_context_options o = small_options();
    kvass_context *ctx = open_context(own, &o);
    assert_int_equal(run_text(ctx, o, 0, 0, 100), 0);
    assert_int_equal(run_text(ctx, o, 0, 0, 130), 91); /* rows 0 to 95, 5 of them meta tokens */
    assert_int_equal(run_text(ctx, o, 1, 70, 130), 0); /* row 64 and before: let go */
    kvass_context_close(&ctx);

    o.retain = KVASS_RETAIN_WINDOW;
    o.window = 40;
    o.n_sinks = 4;
    ctx = open_context(llama, &o);
    assert_int_equal(run_text(ctx, o, 0, 0, 130), 0);
    assert_int_equal(run_text(ctx, o, 0, 0, 150), 128);
    assert_int_equal(run_text(ctx, o, 1, 70, 150), 0);
    kvass_context_close(&ctx);

    o.retain = KVASS_RETAIN_FULL;
    o.window = o.n_sinks = 0;
    o.store = KVASS_STORE_Q8; /* its newest rows are exact: pages far behind them cannot be last */
    ctx = open_context(llama, &o);
    assert_int_equal(run_text(ctx, o, 0, 0, 150), 0);
    assert_int_equal(run_text(ctx, o, 0, 0, 170), 128);
    assert_int_equal(run_text(ctx, o, 1, 40, 170), 0);
    kvass_context_close(&ctx);

    o.store = KVASS_STORE_F16;
    o.retain = KVASS_RETAIN_NONE;
    ctx = open_context(llama, &o);
    assert_int_equal(run_text(ctx, o, 0, 0, 40), 0);
    assert_int_equal(run_text(ctx, o, 0, 0, 40), 0);
    kvass_context_close(&ctx);
}

static void prefixes_come_first(void **state)
{
    (void)state;
    static const int32_t prefix[] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
    kvass_context_options o = small_options();
    o.prefix = prefix;
    o.n_prefix = 10;
    kvass_context *ctx = open_context(llama, &o);
    assert_int_equal(run_text(ctx, o, 0, 0, 60), 0);
    assert_int_equal(run_text(ctx, o, 0, 0, 60), 54);
    assert_int_equal(run_text(ctx, o, 0, 0, 15), 0);
    kvass_context_close(&ctx);
}

static uint64_t same_hash(uint64_t parent, const int32_t *tokens, int32_t n)
{
    (void)parent;
    (void)tokens;
    (void)n;
    return 4;
}

/* tokens decide, not hashes */
static void colliding_hashes_do_no_harm(void **state)
{
    (void)state;
    kvass_context_options o = small_options();
    kvass_context *ctx = open_context(llama, &o);
    ctx->reuse_hash = same_hash;
    assert_int_equal(run_text(ctx, o, 0, 0, 100), 0);
    assert_int_equal(run_text(ctx, o, 1, 0, 100), 0);
    assert_int_equal(run_text(ctx, o, 2, 40, 100), 32);
    assert_int_equal(run_text(ctx, o, 3, 70, 100), 64); /* text 0 is there, 1 had to go */
    kvass_context_close(&ctx);
}

static void pages_come_back_when_wanted(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    size_t scratch, one;
    kvass_cache_usage usage;
    o.n_reuse = 0;
    check(kvass_context_bytes(llama, &o, &scratch, &one, &err), &err);
    o.n_reuse = 4;
    o.kv_budget = one; /* no more than one full sequence takes */
    kvass_context *ctx = open_context(llama, &o);
    for (int32_t i = 0; i < 12; i++) {
        (void)run_text(ctx, o, i % 5, i % 3 * 40, 60 + i % 4 * 40);
    }
    (void)run_text(ctx, o, 7, 0, N_CTX - 3); /* all of it */
    kvass_context_get_usage(ctx, &usage);
    assert_true(usage.bytes_touched <= one && usage.bytes_reserved <= one);
    kvass_context_close(&ctx);
}

static void random_texts_are_never_wrong(void **state)
{
    (void)state;
    uint64_t random = SEED;
    print_message("seed %d\n", SEED);
    for (int m = 0; m < 3; m++) {
        kvass_context_options o = small_options();
        o.store = m == 2 ? KVASS_STORE_Q4 : KVASS_STORE_F16;
        o.n_reuse = 3;
        o.n_seqs = 2;
        kvass_context *ctx = open_context(m == 1 ? own : llama, &o);
        int32_t n_reused = 0;
        for (int i = 0; i < 60; i++) {
            int32_t kind = (int32_t)(unit_random(&random) % 3);
            int32_t fork = (int32_t)(unit_random(&random) % 4) * 35;
            n_reused += run_text(ctx, o, kind, fork, 1 + (int32_t)(unit_random(&random) % 190));
        }
        assert_true(n_reused > 300);
        kvass_context_close(&ctx);
    }
}

static void misuse_is_refused(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    kvass_context *ctx = open_context(llama, &o);
    int32_t tokens[N_CTX + 1] = {0}, n = -1;
    kvass_seq *seq = open_seq(ctx);
    assert_int_equal(kvass_seq_reuse(seq, tokens, N_CTX + 1, &n, &err), KVASS_CONTEXT_FULL);
    assert_int_equal(kvass_seq_reuse(seq, tokens, 0, &n, &err), KVASS_INVALID);
    assert_int_equal(kvass_seq_reuse(seq, NULL, 1, &n, &err), KVASS_INVALID);
    assert_int_equal(kvass_seq_reuse(NULL, tokens, 1, &n, &err), KVASS_INVALID);
    tokens[3] = 1 << 20;
    assert_int_equal(kvass_seq_reuse(seq, tokens, 5, &n, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "TOKEN_RANGE");
    tokens[3] = 0;
    check(kvass_decode(seq, 1, &err), &err);
    assert_int_equal(kvass_seq_reuse(seq, tokens, 5, &n, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "REUSE");
    assert_int_equal(n, -1);
    kvass_context_close(&ctx);
    o.n_reuse = -1;
    assert_int_equal(kvass_context_open(&ctx, llama, &o, &err), KVASS_INVALID);
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
        cmocka_unit_test(whole_pages_are_reused),
        cmocka_unit_test(contained_texts_take_no_place),
        cmocka_unit_test(windows_reuse_what_they_hold),
        cmocka_unit_test(prefixes_come_first),
        cmocka_unit_test(colliding_hashes_do_no_harm),
        cmocka_unit_test(pages_come_back_when_wanted),
        cmocka_unit_test(random_texts_are_never_wrong),
        cmocka_unit_test(misuse_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kvass_model_close(&llama);
    kvass_model_close(&own);
    return failed;
}
