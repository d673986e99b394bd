/* seq.c - sequences as the caller sees them: token ids, rows in the cache, the last logits. */
#include <assert.h>
#include <string.h>

#include "engine/context.h"
#include "engine/reuse.h"
#include "engine/watch.h"

/* an empty sequence gets what every one begins with */
static void begin(kvass_seq *seq)
{
    kvass_context *ctx = seq->ctx;
    seq->n_tokens = ctx->n_prefix;
    seq->has_logits = false;
    if (ctx->n_prefix > 0) {
        memcpy(seq->tokens, ctx->prefix_tokens, (size_t)ctx->n_prefix * sizeof *seq->tokens);
    }
    if (ctx->keeps_rows) {
        kv_seq_fork(&ctx->pool, &seq->kv, &ctx->prefix);
    }
}

static void return_rows(kvass_seq *seq)
{
    if (seq->ctx->keeps_rows) {
        kv_seq_truncate(&seq->ctx->pool, &seq->kv, 0);
    }
}

static kvass_status take_slot(kvass_context *ctx, kvass_seq **out, kvass_error *err)
{
    for (int32_t i = 0; i < ctx->n_seqs; i++) {
        kvass_seq *seq = &ctx->seqs[i];
        if (!seq->open) {
            seq->open = true;
            begin(seq);
            *out = seq;
            return KVASS_OK;
        }
    }
    return kvass_fail(err, KVASS_INVALID, "N_SEQS", "all %d sequences of the context are open",
                      ctx->n_seqs);
}

kvass_status kvass_seq_open(kvass_seq **out, kvass_context *ctx, kvass_error *err)
{
    if (!out) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "out must be given");
    }
    *out = NULL;
    if (!ctx) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "a context is needed");
    }
    return take_slot(ctx, out, err);
}

void kvass_seq_close(kvass_seq **seq)
{
    if (!seq || !*seq) {
        return;
    }
    if ((*seq)->ctx->watch && (*seq)->ctx->watch->seq == *seq) {
        kvass_watch_close((*seq)->ctx);
    }
    kvass_reuse_retire((*seq)->ctx, *seq);
    return_rows(*seq);
    (*seq)->open = false;
    *seq = NULL;
}

kvass_status kvass_seq_fork(kvass_seq **out, const kvass_seq *seq, kvass_error *err)
{
    if (!out) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "out must be given");
    }
    *out = NULL;
    if (!seq || !seq->open) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "an open sequence is needed");
    }
    kvass_context *ctx = seq->ctx;
    kvass_seq *fork = NULL;
    kvass_status status = take_slot(ctx, &fork, err);
    if (status) {
        return status;
    }
    fork->n_tokens = seq->n_tokens;
    memcpy(fork->tokens, seq->tokens, (size_t)seq->n_tokens * sizeof *seq->tokens);
    fork->has_logits = seq->has_logits;
    if (seq->has_logits) {
        memcpy(fork->logits, seq->logits, (size_t)ctx->model->config.n_vocab * sizeof *seq->logits);
    }
    return_rows(fork);
    if (ctx->keeps_rows) {
        kv_seq_fork(&ctx->pool, &fork->kv, &seq->kv);
    }
    *out = fork;
    return KVASS_OK;
}

int32_t kvass_seq_can_truncate(const kvass_seq *seq)
{
    const kvass_context *ctx = seq->ctx;
    if (!ctx->keeps_rows) {
        return ctx->n_prefix;
    }
    int32_t n = kv_seq_can_truncate(&ctx->pool, &seq->kv) - ctx->n_meta;
    return n > ctx->n_prefix ? n : ctx->n_prefix;
}

kvass_status kvass_seq_truncate(kvass_seq *seq, int32_t n_tokens, kvass_error *err)
{
    if (!seq) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "a sequence is needed");
    }
    if (n_tokens < kvass_seq_can_truncate(seq) || n_tokens > seq->n_tokens) {
        return kvass_fail(err, KVASS_INVALID, "TRUNCATE",
                          "cannot cut to %d tokens: %d to %d can be kept", n_tokens,
                          kvass_seq_can_truncate(seq), seq->n_tokens);
    }
    kvass_context *ctx = seq->ctx;
    int32_t n_rows = ctx->n_meta + n_tokens;
    seq->has_logits = false;
    if (ctx->keeps_rows && !kv_tail_reaches(&ctx->pool, &seq->kv, n_rows)) {
        return_rows(seq);
        begin(seq);
        return kvass_context_refill(seq, n_tokens, err);
    }
    if (ctx->keeps_rows) {
        kv_seq_truncate(&ctx->pool, &seq->kv, n_rows);
    }
    seq->n_tokens = n_tokens;
    return KVASS_OK;
}

void kvass_seq_reset(kvass_seq *seq)
{
    return_rows(seq);
    begin(seq);
}

int32_t kvass_seq_n_tokens(const kvass_seq *seq)
{
    return seq->n_tokens;
}

const int32_t *kvass_seq_tokens(const kvass_seq *seq)
{
    return seq->tokens;
}

const float *kvass_seq_logits(const kvass_seq *seq)
{
    return seq->has_logits ? seq->logits : NULL;
}
