/* session.c - a sequence saved to a file, and what makes a saved one fit a context.
 * Restoring is session_load.c's work.
 */
#include "engine/session.h"

#include <string.h>

const char kvass_session_magic[8] = {'K', 'V', 'A', 'S', 'S', 'E', 'Q', 0x1a};

kvass_session_terms kvass_session_terms_of(const kvass_context *ctx)
{
    kvass_context_info info;
    kvass_context_get_info(ctx, &info);
    const kvass_config *c = &ctx->model->config;
    bool chooses = ctx->select != &kv_select_all;
    return (kvass_session_terms){
        .names = {{"retain", info.retain},
                  {"store", info.store},
                  {"select", info.select},
                  {"positions", ctx->positions == KVASS_POSITIONS_CACHE ? "cache" : "original"},
                  {"kernels", info.isa}},
        .numbers = {{"rows of a page", KV_PAGE_ROWS},
                    {"layers", c->n_layers},
                    {"layers with keys of their own", ctx->pool.dims.n_owners},
                    {"KV heads", c->n_kv_heads},
                    {"head dimension", c->head_dim},
                    {"vocabulary", c->n_vocab},
                    {"meta tokens", ctx->n_meta},
                    {"prefix tokens", ctx->n_prefix},
                    {"pages a token reads", chooses ? ctx->n_topk : 0},
                    {"newest positions it always reads", chooses ? ctx->n_recent : 0},
                    {"deterministic", ctx->deterministic}},
    };
}

int32_t kvass_session_shared_pages(const kvass_context *ctx)
{
    return (ctx->n_meta + ctx->n_prefix) / KV_PAGE_ROWS;
}

uint64_t kvass_session_pages_bytes(const kvass_context *ctx, int32_t n_tokens)
{
    return ctx->keeps_rows
               ? kv_saved_bytes(&ctx->pool, kvass_session_shared_pages(ctx), ctx->n_meta + n_tokens)
               : 0;
}

uint64_t kvass_session_bytes(const kvass_context *ctx, int32_t n_tokens, bool has_logits)
{
    uint64_t n =
        sizeof kvass_session_magic + 2 * 4 + 2 * 8; /* version, order, bytes, fingerprint */
    n += KVASS_SESSION_NAMES * KVASS_SESSION_NAME +
         (KVASS_SESSION_NUMBERS + 2) * 4;               /* ..., tokens, logits */
    n += (uint64_t)ctx->model->config.n_layers * 4 * 4; /* owner, window, pinned, chooses */
    n += (uint64_t)n_tokens * 4 + (has_logits ? (uint64_t)ctx->model->config.n_vocab * 4 : 0);
    return n + 8 + kvass_session_pages_bytes(ctx, n_tokens) + 8;
}

/* ---- saving ---------------------------------------------------------------------------------- */

/* Failures stay in `out`, so what follows one does nothing. */
static void put_u32(kvass_out_file *out, uint32_t value, kvass_error *err)
{
    unsigned char bytes[4];
    for (int i = 0; i < 4; i++) {
        bytes[i] = (unsigned char)(value >> 8 * i);
    }
    (void)kvass_out_file_put(out, bytes, sizeof bytes, err);
}

static void put_u64(kvass_out_file *out, uint64_t value, kvass_error *err)
{
    put_u32(out, (uint32_t)value, err);
    put_u32(out, (uint32_t)(value >> 32), err);
}

static void put_i32(kvass_out_file *out, int32_t value, kvass_error *err)
{
    put_u32(out, (uint32_t)value, err);
}

static void put_header(kvass_out_file *out, const kvass_seq *seq, kvass_error *err)
{
    const kvass_context *ctx = seq->ctx;
    kvass_session_terms terms = kvass_session_terms_of(ctx);
    uint32_t order = KVASS_SESSION_ORDER;
    (void)kvass_out_file_put(out, kvass_session_magic, sizeof kvass_session_magic, err);
    put_u32(out, KVASS_SESSION_VERSION, err);
    (void)kvass_out_file_put(out, &order, sizeof order, err);
    put_u64(out, kvass_session_bytes(ctx, seq->n_tokens, seq->has_logits), err);
    put_u64(out, ctx->model->fingerprint, err);
    for (int i = 0; i < KVASS_SESSION_NAMES; i++) {
        char name[KVASS_SESSION_NAME] = {0};
        memcpy(name, terms.names[i].name, strnlen(terms.names[i].name, sizeof name));
        (void)kvass_out_file_put(out, name, sizeof name, err);
    }
    for (int i = 0; i < KVASS_SESSION_NUMBERS; i++) {
        put_i32(out, terms.numbers[i].value, err);
    }
    put_i32(out, seq->n_tokens, err);
    put_i32(out, seq->has_logits, err);
    for (int32_t l = 0; l < ctx->model->config.n_layers; l++) {
        put_i32(out, ctx->blocks[l].owner, err);
        put_i32(out, ctx->blocks[l].policy.window, err);
        put_i32(out, ctx->blocks[l].policy.n_pinned, err);
        put_i32(out, ctx->blocks[l].select != &kv_select_all, err);
    }
}

kvass_status kvass_seq_save(const kvass_seq *seq, const char *path, kvass_error *err)
{
    if (!seq || !seq->open || !path) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "an open sequence and a path are needed");
    }
    kvass_context *ctx = seq->ctx;
    kvass_out_file out;
    kvass_status status = kvass_out_file_open(&out, path, err);
    if (status) {
        return status;
    }
    put_header(&out, seq, err);
    for (int32_t i = 0; i < seq->n_tokens; i++) {
        put_i32(&out, seq->tokens[i], err);
    }
    if (seq->has_logits) {
        size_t n_bytes = (size_t)ctx->model->config.n_vocab * sizeof *seq->logits;
        (void)kvass_out_file_put(&out, seq->logits, n_bytes, err);
    }
    (void)kvass_out_file_put_hash(&out, err);
    kvass_out_file_begin_hash(&out);
    if (ctx->keeps_rows) {
        status = kv_seq_save(&ctx->pool, &seq->kv, kvass_session_shared_pages(ctx), &out, err);
        out.status = out.status ? out.status : status; /* pages may have failed to be read */
    }
    (void)kvass_out_file_put_hash(&out, err);
    return kvass_out_file_finish(&out, err);
}
