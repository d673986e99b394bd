/* parity_paths.c - the ways of running a text; see parity.h. */
#include "tests/parity/parity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void parity_check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s): %s", kvass_status_text(status), err->rule, err->message);
    }
}

int64_t parity_cold_pages_read;

const char *parity_temp_path(void)
{
    static char path[256];
    static int n;
    const char *folder = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/kvass-test-%ld-%d", folder ? folder : "/tmp",
                   (long)getpid(), n++);
    return path;
}

size_t parity_least_budget(const kvass_model *model, kvass_context_options options)
{
    kvass_error err;
    kvass_context *ctx;
    size_t least = 0;
    options.kv_budget = 1;
    assert_int_equal(kvass_context_open(&ctx, model, &options, &err), KVASS_BUDGET);
    const char *number = strstr(err.message, "too small: ");
    assert_true(number && sscanf(number, "too small: %zu bytes hold", &least) == 1);
    return least;
}

kvass_context_options parity_options(const parity_text *text, const parity_setup *setup)
{
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = text->n_tokens; /* n_seqs times its pages: barely enough */
    o.n_threads = setup->n_threads;
    o.store = setup->store;
    o.deterministic = setup->deterministic;
    o.page_seed = setup->shuffled ? 12345 : 0;
    o.share = setup->share;
    o.positions = setup->positions;
    o.retain = setup->none ? KVASS_RETAIN_NONE : KVASS_RETAIN_FULL;
    o.select = setup->n_topk > 0 ? KVASS_SELECT_TOPK : KVASS_SELECT_ALL;
    o.n_topk = setup->n_topk;
    o.n_dense_layers = setup->n_dense_layers;
    o.n_recent = setup->n_topk > 0 || setup->offload ? setup->n_recent : 0;
    if (setup->window > 0) {
        o.retain = KVASS_RETAIN_WINDOW;
        o.window = setup->window;
        o.n_sinks = setup->n_sinks;
    }
    return o;
}

static kvass_context *open_context(const parity_text *text, const parity_setup *setup,
                                   int32_t n_seqs, int32_t n_batch)
{
    kvass_error err;
    kvass_context *ctx;
    kvass_context_options o = parity_options(text, setup);
    o.n_seqs = n_seqs;
    o.n_batch = setup->most_batch > 0 && setup->most_batch < n_batch ? setup->most_batch : n_batch;
    o.n_logits = text->n_tokens + n_seqs;
    if (setup->offload) {
        o.offload_path = parity_temp_path();
        o.kv_budget = parity_least_budget(text->model, o);
    }
    parity_check(kvass_context_open(&ctx, text->model, &o, &err), &err);
    return ctx;
}

/* all pages are home, but those of the meta tokens that every sequence begins with */
static void close_context(const parity_text *text, kvass_context *ctx)
{
    kvass_cache_usage usage;
    kvass_model_info info;
    kvass_layer_info layer;
    int32_t n_owners = 0;
    kvass_model_get_info(text->model, &info);
    for (int32_t l = 0; l < info.n_layers; l++) {
        parity_check(kvass_model_get_layer(text->model, l, &layer, NULL), NULL);
        n_owners += layer.owner == l;
    }
    kvass_context_info context;
    kvass_context_get_info(ctx, &context);
    kvass_context_get_usage(ctx, &usage);
    assert_int_equal(usage.cold_bytes, 0);
    parity_cold_pages_read += usage.cold_pages_read;
    bool keeps = strcmp(context.retain, "none") != 0;
    assert_int_equal(usage.n_pages_used, keeps && info.n_meta > 0 ? n_owners : 0);
    kvass_context_close(&ctx);
}

/* whether some layer forgets, by the setup or as trained */
static bool forgets(const parity_text *text, const parity_setup *setup)
{
    kvass_layer_info layer;
    bool window = setup->window > 0;
    for (int32_t l = 0; kvass_model_get_layer(text->model, l, &layer, NULL) == KVASS_OK; l++) {
        window |= layer.window > 0;
    }
    return window;
}

static kvass_seq *open_seq(kvass_context *ctx)
{
    kvass_error err;
    kvass_seq *seq;
    parity_check(kvass_seq_open(&seq, ctx, &err), &err);
    return seq;
}

/* ids[n] appended to seq in one call, every row's logits to logits[n, n_vocab] */
static void feed(const parity_text *text, kvass_context *ctx, kvass_seq *seq, const int32_t *ids,
                 int32_t n, kvass_phase phase, float *logits)
{
    kvass_error err;
    kvass_row *rows = calloc((size_t)n, sizeof *rows);
    assert_non_null(rows);
    for (int32_t i = 0; i < n; i++) {
        rows[i] = (kvass_row){seq, ids[i], phase, true};
    }
    parity_check(kvass_forward(ctx, rows, n, &err), &err);
    for (int32_t i = 0; logits && i < n; i++) {
        const float *row = kvass_context_logits(ctx, i);
        assert_non_null(row);
        memcpy(logits + (size_t)i * (size_t)text->n_vocab, row,
               (size_t)text->n_vocab * sizeof *row);
    }
    assert_null(kvass_context_logits(ctx, n));
    free(rows);
}

/* ids[from..to) token by token */
static void decode(const parity_text *text, kvass_seq *seq, int32_t from, int32_t to, float *logits)
{
    kvass_error err;
    for (int32_t i = from; i < to; i++) {
        parity_check(kvass_decode(seq, text->ids[i], &err), &err);
        memcpy(logits + (size_t)i * (size_t)text->n_vocab, kvass_seq_logits(seq),
               (size_t)text->n_vocab * sizeof *logits);
    }
}

static void run_prefill(const parity_text *text, const parity_setup *setup, int32_t n_batch,
                        float *logits)
{
    kvass_context *ctx = open_context(text, setup, 1, n_batch);
    kvass_seq *seq = open_seq(ctx);
    feed(text, ctx, seq, text->ids, text->n_tokens, KVASS_PREFILL, logits);
    kvass_seq_close(&seq);
    close_context(text, ctx);
}

static void run_decode(const parity_text *text, const parity_setup *setup, int32_t first,
                       float *logits)
{
    kvass_context *ctx = open_context(text, setup, 1, 512);
    kvass_seq *seq = open_seq(ctx);
    if (first > 0) {
        feed(text, ctx, seq, text->ids, first, KVASS_PREFILL, logits);
    }
    decode(text, seq, first, text->n_tokens, logits);
    kvass_seq_close(&seq);
    close_context(text, ctx);
}

/* decode rows, several to a call */
static void run_decode_chunks(const parity_text *text, const parity_setup *setup, int32_t chunk,
                              float *logits)
{
    kvass_context *ctx = open_context(text, setup, 1, 512);
    kvass_seq *seq = open_seq(ctx);
    for (int32_t i = 0; i < text->n_tokens; i += chunk) {
        int32_t n = text->n_tokens - i < chunk ? text->n_tokens - i : chunk;
        feed(text, ctx, seq, text->ids + i, n, KVASS_DECODE,
             logits + (size_t)i * (size_t)text->n_vocab);
    }
    kvass_seq_close(&seq);
    close_context(text, ctx);
}

/* the text up to `at`, a fork; the parent goes astray first, then both go on */
static void run_fork(const parity_text *text, const parity_setup *setup, int32_t at, float *logits)
{
    kvass_error err;
    kvass_context *ctx = open_context(text, setup, 2, 512);
    kvass_seq *parent = open_seq(ctx), *child;
    feed(text, ctx, parent, text->ids, at, KVASS_PREFILL, logits);
    parity_check(kvass_seq_fork(&child, parent, &err), &err);
    assert_memory_equal(kvass_seq_logits(child), kvass_seq_logits(parent),
                        (size_t)text->n_vocab * sizeof(float));
    for (int32_t i = 0; i < 40 && at + i < text->n_tokens; i++) {
        parity_check(kvass_decode(parent, i % text->n_vocab, &err), &err);
    }
    decode(text, child, at, text->n_tokens, logits);
    kvass_seq_close(&parent);
    kvass_seq_close(&child);
    close_context(text, ctx);
}

/* the fork writes first, so the parent must get the copy */
static void run_fork_parent(const parity_text *text, const parity_setup *setup, int32_t at,
                            float *logits)
{
    kvass_error err;
    kvass_context *ctx = open_context(text, setup, 2, 512);
    kvass_seq *parent = open_seq(ctx), *child;
    feed(text, ctx, parent, text->ids, at, KVASS_PREFILL, logits);
    parity_check(kvass_seq_fork(&child, parent, &err), &err);
    parity_check(kvass_decode(child, 1, &err), &err);
    kvass_seq_close(&child);
    decode(text, parent, at, text->n_tokens, logits);
    kvass_seq_close(&parent);
    close_context(text, ctx);
}

/* beyond `at` with other tokens, cut back, then the text */
static void run_truncate(const parity_text *text, const parity_setup *setup, int32_t at,
                         float *logits)
{
    kvass_error err;
    kvass_context *ctx = open_context(text, setup, 1, 64);
    kvass_seq *seq = open_seq(ctx);
    feed(text, ctx, seq, text->ids, at, KVASS_PREFILL, logits);
    /* a window can be rolled back by a few tokens only */
    for (int32_t i = 0; i < (forgets(text, setup) ? 2 : 50) && at + i < text->n_tokens; i++) {
        parity_check(kvass_decode(seq, i % text->n_vocab, &err), &err);
    }
    assert_true(kvass_seq_can_truncate(seq) <= at);
    parity_check(kvass_seq_truncate(seq, at, &err), &err);
    assert_null(kvass_seq_logits(seq));
    decode(text, seq, at, text->n_tokens, logits);
    kvass_seq_close(&seq);
    close_context(text, ctx);
}

/* decoded in one batch with two sequences that are `lag` tokens behind and come and go */
static void run_batch(const parity_text *text, const parity_setup *setup, int32_t lag,
                      float *logits)
{
    kvass_error err;
    kvass_context *ctx = open_context(text, setup, 3, 512);
    kvass_seq *seqs[3] = {open_seq(ctx), NULL, NULL};
    for (int32_t i = 0; i < text->n_tokens; i++) {
        int32_t n = 0, tokens[3];
        kvass_seq *batch[3];
        if (i == lag || i == 2 * lag) {
            seqs[i / lag] = open_seq(ctx);
        }
        if (i == 3 * lag) {
            kvass_seq_close(&seqs[1]);
        }
        for (int32_t s = 2; s >= 0; s--) {
            if (seqs[s]) {
                tokens[n] = s == 0 ? text->ids[i] : (i * 7 + s) % text->n_vocab;
                batch[n++] = seqs[s];
            }
        }
        parity_check(kvass_decode_batch(batch, tokens, n, &err), &err);
        memcpy(logits + (size_t)i * (size_t)text->n_vocab, kvass_seq_logits(seqs[0]),
               (size_t)text->n_vocab * sizeof *logits);
    }
    for (int32_t s = 0; s < 3; s++) {
        kvass_seq_close(&seqs[s]);
    }
    close_context(text, ctx);
}

/* two prefills and three decodes of five sequences in one forward; the text is one of the prefills
 * up to `at`, then one of the decodes */
static void run_mixed(const parity_text *text, const parity_setup *setup, int32_t at, float *logits)
{
    enum { N_SEQS = 5, N_OTHER = 9 };
    kvass_error err;
    kvass_context *ctx = open_context(text, setup, N_SEQS, 512);
    kvass_seq *seqs[N_SEQS];
    kvass_row *rows = calloc((size_t)at + N_SEQS + N_OTHER, sizeof *rows);
    assert_non_null(rows);
    for (int32_t s = 0; s < N_SEQS; s++) {
        seqs[s] = open_seq(ctx);
    }
    for (int32_t s = 1; s < 4; s++) { /* the decoding ones have a past of different lengths */
        parity_check(kvass_prefill(seqs[s], text->ids, 3 * s, &err), &err);
    }
    int32_t n = 0;
    for (int32_t s = 1; s < 3; s++) {
        rows[n++] = (kvass_row){seqs[s], s, KVASS_DECODE, true};
    }
    int32_t first = n;
    for (int32_t i = 0; i < at; i++) {
        rows[n++] = (kvass_row){seqs[0], text->ids[i], KVASS_PREFILL, true};
    }
    rows[n++] = (kvass_row){seqs[3], 3, KVASS_DECODE, true};
    for (int32_t i = 0; i < N_OTHER; i++) {
        rows[n++] = (kvass_row){seqs[4], i, KVASS_PREFILL, i + 1 == N_OTHER};
    }
    parity_check(kvass_forward(ctx, rows, n, &err), &err);
    for (int32_t i = 0; i < at; i++) {
        memcpy(logits + (size_t)i * (size_t)text->n_vocab, kvass_context_logits(ctx, first + i),
               (size_t)text->n_vocab * sizeof *logits);
    }
    free(rows);
    decode(text, seqs[0], at, text->n_tokens, logits);
    for (int32_t s = 0; s < N_SEQS; s++) {
        kvass_seq_close(&seqs[s]);
    }
    close_context(text, ctx);
}

/* nothing kept: the first `at` tokens at once, then one by one */
static void run_none(const parity_text *text, const parity_setup *setup, int32_t at, float *logits)
{
    kvass_error err;
    kvass_context *ctx;
    if (setup->window > 0) { /* a window is not for what keeps nothing */
        run_prefill(text, setup, 512, logits);
        return;
    }
    kvass_context_options o = parity_options(text, setup);
    o.n_logits = text->n_tokens;
    o.retain = KVASS_RETAIN_NONE;
    parity_check(kvass_context_open(&ctx, text->model, &o, &err), &err);
    kvass_seq *seq = open_seq(ctx);
    feed(text, ctx, seq, text->ids, at, KVASS_PREFILL, logits);
    decode(text, seq, at, text->n_tokens, logits);
    kvass_cache_usage usage;
    kvass_context_get_usage(ctx, &usage);
    int64_t n = text->n_tokens;
    assert_int_equal(usage.recomputed_tokens, (n - at) * (n + at - 1) / 2);
    assert_int_equal(usage.bytes_used, 0);
    assert_true(usage.bytes_transient > 0);
    kvass_seq_close(&seq);
    close_context(text, ctx);
}

const parity_path parity_paths[] = {
    {"prefill whole", run_prefill, 512},
    {"prefill by 1", run_prefill, 1},
    {"prefill by 2", run_prefill, 2},
    {"prefill by 3", run_prefill, 3},
    {"prefill by 7", run_prefill, 7},
    {"prefill by 64", run_prefill, 64},
    {"prefill by 100", run_prefill, 100},
    {"decode", run_decode, 0},
    {"decode after 33", run_decode, 33},
    {"decode by 5", run_decode_chunks, 5},
    {"fork at 31", run_fork, 31},
    {"fork at 64", run_fork, 64},
    {"fork at 77, parent", run_fork_parent, 77},
    {"truncate to 32", run_truncate, 32},
    {"truncate to 45", run_truncate, 45},
    {"batch", run_batch, 20},
    {"mixed, 50", run_mixed, 50},
    {"none after 170", run_none, 170},
    {NULL, NULL, 0},
};
