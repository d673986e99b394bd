/* seq.c - sequences as the caller sees them: token ids, rows in the cache, the last logits. */
#include <assert.h>
#include <string.h>

#include "engine/context.h"

static kvass_status take_slot(kvass_context *ctx, kvass_seq **out, kvass_error *err)
{
    for (int32_t i = 0; i < ctx->n_seqs; i++) {
        kvass_seq *seq = &ctx->seqs[i];
        if (!seq->open) {
            seq->open = true;
            seq->n_tokens = 0;
            seq->has_logits = false;
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
    kvass_seq_reset(*seq);
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
    if (ctx->keeps_rows) {
        kv_seq_fork(&ctx->pool, &fork->kv, &seq->kv);
    }
    *out = fork;
    return KVASS_OK;
}

int32_t kvass_seq_can_truncate(const kvass_seq *seq)
{
    (void)seq;
    return 0; /* a full cache keeps every position, and without one there is nothing to rebuild */
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
    if (seq->ctx->keeps_rows) {
        kv_seq_truncate(&seq->ctx->pool, &seq->kv, n_tokens);
    }
    seq->n_tokens = n_tokens;
    seq->has_logits = false;
    return KVASS_OK;
}

void kvass_seq_reset(kvass_seq *seq)
{
    if (seq->ctx->keeps_rows) {
        kv_seq_truncate(&seq->ctx->pool, &seq->kv, 0);
    }
    seq->n_tokens = 0;
    seq->has_logits = false;
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
