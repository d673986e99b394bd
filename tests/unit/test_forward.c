/* test_forward.c - kvass_forward's promises beyond equal logits: one product per matrix, refusals
 * that change nothing, cancelling at every layer, logits where they were asked for, honest usage.
 * Sees the engine's inside only to count products.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/context.h"

enum { N_CTX = 100, N_LAYERS_PRODUCTS = 7 };

static kvass_model *model;
static kvass_model_info info;

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s): %s", kvass_status_text(status), err->rule, err->message);
    }
}

static kvass_context_options small_options(void)
{
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = N_CTX;
    o.n_threads = 2;
    o.store = KVASS_STORE_F32;
    return o;
}

static kvass_context *open_context(const kvass_context_options *o)
{
    kvass_error err;
    kvass_context *ctx;
    check(kvass_context_open(&ctx, model, o, &err), &err);
    return ctx;
}

static kvass_seq *open_seq(kvass_context *ctx)
{
    kvass_error err;
    kvass_seq *seq;
    check(kvass_seq_open(&seq, ctx, &err), &err);
    return seq;
}

static void prefill_some(kvass_seq *seq, int32_t n)
{
    kvass_error err;
    int32_t tokens[N_CTX];
    for (int32_t i = 0; i < n; i++) {
        tokens[i] = (i * 13 + 5) % info.n_vocab;
    }
    check(kvass_prefill(seq, tokens, n, &err), &err);
}

static void one_product_per_matrix(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    o.n_seqs = 5;
    kvass_context *ctx = open_context(&o);
    kvass_row rows[64];
    int32_t n = 0;
    for (int32_t s = 0; s < 5; s++) {
        kvass_seq *seq = open_seq(ctx);
        if (s >= 2) {
            prefill_some(seq, s);
        }
        for (int32_t i = 0; i < (s < 2 ? 20 : 1); i++) {
            rows[n++] = (kvass_row){seq, i, s < 2 ? KVASS_PREFILL : KVASS_DECODE, s >= 2};
        }
    }
    ctx->n_products = 0;
    check(kvass_forward(ctx, rows, n, &err), &err);
    /* q k v o gate up down per layer, and the output matrix */
    assert_int_equal(ctx->n_products, info.n_layers * N_LAYERS_PRODUCTS + 1);
    kvass_context_close(&ctx);
}

/* what a refused call must leave alone */
typedef struct snapshot {
    int32_t n_tokens, n_pages_used;
    float logits[512];
} snapshot;

static snapshot take(const kvass_context *ctx, const kvass_seq *seq)
{
    kvass_cache_usage usage;
    snapshot s = {0};
    kvass_context_get_usage(ctx, &usage);
    s.n_tokens = kvass_seq_n_tokens(seq);
    s.n_pages_used = usage.n_pages_used;
    memcpy(s.logits, kvass_seq_logits(seq), (size_t)info.n_vocab * sizeof(float));
    return s;
}

static void refused(kvass_context *ctx, kvass_seq *seq, const kvass_row *rows, int32_t n,
                    kvass_status status, const char *rule)
{
    kvass_error err = {0};
    snapshot before = take(ctx, seq);
    assert_int_equal(kvass_forward(ctx, rows, n, &err), status);
    assert_int_equal(err.code, status);
    assert_string_equal(err.rule, rule);
    assert_true(strlen(err.message) > 0);
    assert_int_equal(kvass_forward(ctx, rows, n, NULL), status);
    snapshot after = take(ctx, seq);
    assert_memory_equal(&before, &after, sizeof before);
}

static void bad_rows_change_nothing(void **state)
{
    (void)state;
    kvass_context_options o = small_options();
    o.n_seqs = 2;
    kvass_context *ctx = open_context(&o), *other = open_context(&o);
    kvass_seq *a = open_seq(ctx), *b = open_seq(ctx), *stranger = open_seq(other);
    prefill_some(a, 10);
    kvass_row good = {a, 1, KVASS_DECODE, false};
    kvass_row rows[N_CTX + 1];
    for (int32_t i = 0; i <= N_CTX; i++) {
        rows[i] = good;
    }
    refused(ctx, a, rows, N_CTX - 9, KVASS_CONTEXT_FULL, "CONTEXT_FULL");
    refused(ctx, a, rows, 0, KVASS_INVALID, "ARGUMENT");
    refused(ctx, a, NULL, 1, KVASS_INVALID, "ARGUMENT");
    rows[1].token = info.n_vocab;
    refused(ctx, a, rows, 2, KVASS_INVALID, "TOKEN_RANGE");
    rows[1].token = -1;
    refused(ctx, a, rows, 2, KVASS_INVALID, "TOKEN_RANGE");
    rows[1] = good;
    rows[1].seq = NULL;
    refused(ctx, a, rows, 2, KVASS_INVALID, "ROW_SEQ");
    rows[1].seq = stranger;
    refused(ctx, a, rows, 2, KVASS_INVALID, "ROW_SEQ");
    rows[1] = good;
    rows[1].phase = KVASS_PREFILL;
    refused(ctx, a, rows, 2, KVASS_INVALID, "ROW_PHASE");
    rows[1].phase = (kvass_phase)7;
    refused(ctx, a, rows, 2, KVASS_INVALID, "ROW_PHASE");
    rows[1] = good;
    rows[1].seq = b;
    refused(ctx, a, rows, 3, KVASS_INVALID, "ROW_ORDER");
    rows[0].want_logits = rows[1].want_logits = true;
    rows[2].seq = b;
    rows[2].want_logits = true;
    refused(ctx, a, rows, 3, KVASS_INVALID, "N_LOGITS");
    kvass_seq *twice[2] = {a, a};
    int32_t tokens[2] = {1, 2};
    assert_int_equal(kvass_decode_batch(twice, tokens, 2, NULL), KVASS_INVALID);
    kvass_context_close(&ctx);
    kvass_context_close(&other);
}

static void full_context_goes_on_after_truncate(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    kvass_context *ctx = open_context(&o);
    kvass_seq *seq = open_seq(ctx);
    prefill_some(seq, N_CTX - 1);
    check(kvass_decode(seq, 3, &err), &err);
    assert_int_equal(kvass_decode(seq, 3, &err), KVASS_CONTEXT_FULL);
    assert_non_null(strstr(err.message, "100"));
    assert_int_equal(kvass_seq_n_tokens(seq), N_CTX);
    assert_int_equal(kvass_seq_truncate(seq, N_CTX + 1, &err), KVASS_INVALID);
    assert_int_equal(kvass_seq_truncate(seq, -1, &err), KVASS_INVALID);
    check(kvass_seq_truncate(seq, N_CTX - 1, &err), &err);
    check(kvass_decode(seq, 3, &err), &err);
    kvass_seq_reset(seq);
    assert_int_equal(kvass_seq_n_tokens(seq), 0);
    assert_null(kvass_seq_logits(seq));
    prefill_some(seq, 5);
    kvass_context_close(&ctx);
}

/* a budget of fewer pages than two sequences need: the second is refused, the first unharmed */
static void too_few_pages_is_an_error(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    size_t scratch, cache;
    check(kvass_context_bytes(model, &o, &scratch, &cache, &err), &err);
    o.n_seqs = 2;
    o.kv_budget = cache;
    kvass_context *ctx = open_context(&o);
    kvass_seq *a = open_seq(ctx), *b = open_seq(ctx);
    prefill_some(a, N_CTX - 20);
    kvass_row rows[40];
    for (int32_t i = 0; i < 40; i++) {
        rows[i] = (kvass_row){b, 1, KVASS_PREFILL, false};
    }
    refused(ctx, a, rows, 40, KVASS_BUDGET, "KV_PAGES");
    assert_int_equal(kvass_seq_n_tokens(b), 0);
    kvass_seq_close(&a);
    check(kvass_forward(ctx, rows, 40, &err), &err);
    kvass_context_close(&ctx);
    o.kv_budget = 100;
    assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_BUDGET);
    assert_null(ctx);
    assert_string_equal(err.rule, "KV_BUDGET");
}

static int32_t polls_left;

static bool stop_when_used_up(void *user)
{
    (void)user;
    return polls_left-- == 0;
}

/* stopped at the n-th layer of all chunks, the sequence stands at its last whole chunk and goes on
 * as if nothing had happened */
static void cancel_at_every_layer(void **state)
{
    (void)state;
    enum { N = 30, CHUNK = 8, N_CHUNKS = 4 };
    kvass_error err;
    kvass_context_options o = small_options();
    o.n_batch = CHUNK;
    o.deterministic = true;
    kvass_context *ctx = open_context(&o);
    kvass_seq *fresh = open_seq(ctx);
    prefill_some(fresh, N);
    float want[512];
    memcpy(want, kvass_seq_logits(fresh), (size_t)info.n_vocab * sizeof(float));
    int32_t tokens[N];
    memcpy(tokens, kvass_seq_tokens(fresh), sizeof tokens);
    kvass_seq_close(&fresh);
    kvass_seq *seq = open_seq(ctx);
    for (int32_t at = 0; at < N_CHUNKS * info.n_layers; at++) {
        polls_left = at;
        kvass_context_set_cancel(ctx, stop_when_used_up, NULL);
        assert_int_equal(kvass_prefill(seq, tokens, N, &err), KVASS_CANCELLED);
        int32_t n_done = at / info.n_layers * CHUNK;
        assert_int_equal(kvass_seq_n_tokens(seq), n_done);
        assert_null(kvass_seq_logits(seq));
        kvass_context_set_cancel(ctx, NULL, NULL);
        check(kvass_prefill(seq, tokens + n_done, N - n_done, &err), &err);
        assert_memory_equal(kvass_seq_logits(seq), want, (size_t)info.n_vocab * sizeof(float));
        kvass_seq_reset(seq);
        kvass_cache_usage usage;
        kvass_context_get_usage(ctx, &usage);
        assert_int_equal(usage.n_pages_used, 0);
    }
    kvass_context_close(&ctx);
}

/* a seq's logits outlive the calls of other sequences; rows' logits come in row order */
static void logits_stay_with_their_sequence(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    o.n_seqs = 2;
    kvass_context *ctx = open_context(&o);
    kvass_seq *a = open_seq(ctx), *b = open_seq(ctx);
    assert_null(kvass_seq_logits(a));
    prefill_some(a, 9);
    float first[512];
    memcpy(first, kvass_seq_logits(a), (size_t)info.n_vocab * sizeof(float));
    assert_ptr_equal(kvass_context_logits(ctx, 0), kvass_seq_logits(a));
    prefill_some(b, 4);
    assert_memory_equal(kvass_seq_logits(a), first, (size_t)info.n_vocab * sizeof(float));
    kvass_row rows[2] = {{b, 1, KVASS_DECODE, true}, {a, 2, KVASS_DECODE, true}};
    check(kvass_forward(ctx, rows, 2, &err), &err);
    for (int32_t i = 0; i < 2; i++) {
        assert_memory_equal(kvass_context_logits(ctx, i), kvass_seq_logits(rows[i].seq),
                            (size_t)info.n_vocab * sizeof(float));
    }
    assert_null(kvass_context_logits(ctx, 2));
    assert_null(kvass_context_logits(ctx, -1));
    rows[0].want_logits = false;
    check(kvass_forward(ctx, rows, 1, &err), &err);
    assert_null(kvass_seq_logits(b));
    assert_non_null(kvass_seq_logits(a));
    kvass_context_close(&ctx);
}

static void usage_tells_the_truth(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    o.n_seqs = 2;
    kvass_cache_usage u;
    kvass_context *ctx = open_context(&o);
    size_t row = (size_t)info.n_layers * 2 * (size_t)(info.n_kv_heads * info.head_dim) * 4;
    kvass_context_get_usage(ctx, &u);
    assert_int_equal(u.bytes_per_token, row);
    assert_int_equal(u.bytes_reserved, row * 2 * 128); /* 100 positions are 4 pages of 32 */
    assert_int_equal(u.bytes_used, 0);
    assert_int_equal(u.bytes_touched, 0);
    kvass_seq *a = open_seq(ctx), *b;
    prefill_some(a, 40);
    check(kvass_seq_fork(&b, a, &err), &err);
    kvass_context_get_usage(ctx, &u);
    assert_int_equal(u.bytes_used, row * 64);
    assert_int_equal(u.bytes_shared, row * 64);
    check(kvass_decode(b, 1, &err), &err);
    kvass_context_get_usage(ctx, &u);
    assert_int_equal(u.bytes_used, row * 96); /* the open page was copied */
    assert_int_equal(u.bytes_shared, row * 32);
    kvass_seq_close(&a);
    kvass_seq_close(&b);
    kvass_context_get_usage(ctx, &u);
    assert_int_equal(u.bytes_used, 0);
    assert_int_equal(u.bytes_touched, row * 96);
    kvass_context_close(&ctx);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context *ctx;
    struct {
        kvass_context_options o;
        const char *name;
    } cases[8];
    for (int i = 0; i < 8; i++) {
        cases[i].o = small_options();
    }
    cases[0].o.n_ctx = -1, cases[0].name = "n_ctx";
    cases[1].o.n_batch = 0, cases[1].name = "n_batch";
    cases[2].o.n_seqs = 0, cases[2].name = "n_seqs";
    cases[3].o.n_threads = -2, cases[3].name = "n_threads";
    cases[4].o.n_logits = -2, cases[4].name = "n_logits";
    cases[5].o.store = (kvass_store)99, cases[5].name = "store";
    cases[6].o.retain = (kvass_retain)99, cases[6].name = "retain";
    cases[7].o.struct_size = 0, cases[7].name = "struct_size";
    for (int i = 0; i < 8; i++) {
        ctx = (kvass_context *)&err;
        assert_int_equal(kvass_context_open(&ctx, model, &cases[i].o, &err), KVASS_INVALID);
        assert_null(ctx);
        assert_non_null(strstr(err.message, cases[i].name));
    }
    kvass_context_options o = small_options();
    o.n_ctx = 1 << 24;
    o.n_seqs = 4096;
    assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_INVALID);
    assert_int_equal(kvass_context_open(&ctx, NULL, NULL, &err), KVASS_INVALID);
    assert_int_equal(kvass_seq_open(NULL, NULL, &err), KVASS_INVALID);
    kvass_context_close(NULL);
    kvass_seq_close(NULL);
}

/* contexts side by side: cached and uncached, many of them, one model */
static void contexts_do_not_meet(void **state)
{
    (void)state;
    kvass_context_options o = small_options();
    o.deterministic = true;
    kvass_context *cached = open_context(&o);
    o.retain = KVASS_RETAIN_NONE;
    kvass_context *uncached = open_context(&o);
    kvass_seq *a = open_seq(cached), *b = open_seq(uncached);
    kvass_error err;
    prefill_some(a, 20);
    prefill_some(b, 20);
    for (int32_t i = 0; i < 10; i++) {
        check(kvass_decode(a, i, &err), &err);
        check(kvass_decode(b, i, &err), &err);
        assert_memory_equal(kvass_seq_logits(a), kvass_seq_logits(b),
                            (size_t)info.n_vocab * sizeof(float));
    }
    kvass_context_info what;
    kvass_context_get_info(uncached, &what);
    assert_string_equal(what.retain, "none");
    kvass_context_close(&cached);
    kvass_context_close(&uncached);
}

int main(int argc, char **argv)
{
    kvass_error err;
    if (argc != 2 || kvass_model_open(&model, argv[1], NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "usage: test_forward CHECKPOINT: %s\n", argc == 2 ? err.message : "");
        return 2;
    }
    kvass_model_get_info(model, &info);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_product_per_matrix),
        cmocka_unit_test(bad_rows_change_nothing),
        cmocka_unit_test(full_context_goes_on_after_truncate),
        cmocka_unit_test(too_few_pages_is_an_error),
        cmocka_unit_test(cancel_at_every_layer),
        cmocka_unit_test(logits_stay_with_their_sequence),
        cmocka_unit_test(usage_tells_the_truth),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(contexts_do_not_meet),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kvass_model_close(&model);
    return failed;
}
