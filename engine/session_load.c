/* session_load.c - a sequence restored from a file.
 * A file is believed only as far as it agrees with the context that reads it: no size is taken from
 * it, and all of it is checked before the sequence changes.
 */
#include "engine/budget.h"
#include "engine/reuse.h"
#include "engine/session.h"

#include <string.h>

/* ---- what the file says ------------------------------------------------------------------------
 */

typedef struct session_file {
    kvass_in_file in;
    const kvass_context *ctx;
    int32_t n_tokens;
    bool has_logits;
    uint64_t tokens_at; /* offset of the tokens */
} session_file;

static kvass_status take_u32(session_file *s, uint32_t *value, kvass_error *err)
{
    unsigned char b[4];
    kvass_status status = kvass_in_file_take(&s->in, b, sizeof b, err);
    if (!status) {
        *value = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    }
    return status;
}

static kvass_status take_i32(session_file *s, int32_t *value, kvass_error *err)
{
    uint32_t bits;
    kvass_status status = take_u32(s, &bits, err);
    if (!status) {
        memcpy(value, &bits, sizeof bits);
    }
    return status;
}

static kvass_status take_u64(session_file *s, uint64_t *value, kvass_error *err)
{
    uint32_t lo = 0, hi = 0;
    kvass_status status = take_u32(s, &lo, err);
    if (!status) {
        status = take_u32(s, &hi, err);
    }
    *value = (uint64_t)hi << 32 | lo;
    return status;
}

/* what kind of file it is, whole or not, and of which model */
static kvass_status check_kind(session_file *s, uint64_t *declared, kvass_error *err)
{
    const char *path = s->in.file.path;
    char head[sizeof kvass_session_magic];
    uint32_t version, order, native = KVASS_SESSION_ORDER;
    uint64_t fingerprint;
    kvass_status status;
    size_t n_head = s->in.file.size < sizeof head ? (size_t)s->in.file.size : sizeof head;
    if ((status = kvass_in_file_take(&s->in, head, n_head, err))) {
        return status;
    }
    if (n_head < sizeof head ||
        memcmp(head, kvass_session_magic, sizeof kvass_session_magic) != 0) {
        return kvass_fail(err, KVASS_FORMAT, "SAVED_MAGIC",
                          "%s: expected a saved sequence, found %s", path,
                          kvass_file_looks_like((const unsigned char *)head, n_head));
    }
    if ((status = take_u32(s, &version, err)) ||
        (status = kvass_in_file_take(&s->in, &order, sizeof order, err)) ||
        (status = take_u64(s, declared, err)) || (status = take_u64(s, &fingerprint, err))) {
        return status;
    }
    if (version != KVASS_SESSION_VERSION) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "SAVED_VERSION",
                          "%s: version %u of the format, expected %d", path, version,
                          KVASS_SESSION_VERSION);
    }
    if (order != native) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "SAVED_BYTE_ORDER",
                          "%s: written on a machine of another byte order", path);
    }
    if (fingerprint != s->ctx->model->fingerprint) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "SAVED_MODEL",
                          "%s: saved with another model (fingerprint %016llx, this one's is "
                          "%016llx)",
                          path, (unsigned long long)fingerprint,
                          (unsigned long long)s->ctx->model->fingerprint);
    }
    return KVASS_OK;
}

/* the cache's choices */
static kvass_status check_terms(session_file *s, kvass_error *err)
{
    kvass_session_terms terms = kvass_session_terms_of(s->ctx);
    kvass_status status;
    for (int i = 0; i < KVASS_SESSION_NAMES; i++) {
        char found[KVASS_SESSION_NAME + 1] = {0}, expected[KVASS_SESSION_NAME + 1] = {0};
        memcpy(expected, terms.names[i].name, strnlen(terms.names[i].name, KVASS_SESSION_NAME));
        if ((status = kvass_in_file_take(&s->in, found, KVASS_SESSION_NAME, err))) {
            return status;
        }
        bool matters = i + 1 < KVASS_SESSION_NAMES || s->ctx->deterministic;
        if (matters && strcmp(found, expected) != 0) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "SAVED_CACHE",
                              "%s: saved with %s %s, this context has %s", s->in.file.path,
                              terms.names[i].what, found, expected);
        }
    }
    for (int i = 0; i < KVASS_SESSION_NUMBERS; i++) {
        int32_t found;
        if ((status = take_i32(s, &found, err))) {
            return status;
        }
        bool matters = i + 1 < KVASS_SESSION_NUMBERS || s->ctx->deterministic;
        if (matters && found != terms.numbers[i].value) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "SAVED_CACHE",
                              "%s: saved with %s: %d, this context has %d", s->in.file.path,
                              terms.numbers[i].what, found, terms.numbers[i].value);
        }
    }
    return KVASS_OK;
}

static kvass_status check_layers(session_file *s, kvass_error *err)
{
    kvass_status status;
    for (int32_t l = 0; l < s->ctx->model->config.n_layers; l++) {
        const kvass_block *block = &s->ctx->blocks[l];
        int32_t owner, window, n_pinned, chooses, own = block->select != &kv_select_all;
        if ((status = take_i32(s, &owner, err)) || (status = take_i32(s, &window, err)) ||
            (status = take_i32(s, &n_pinned, err)) || (status = take_i32(s, &chooses, err))) {
            return status;
        }
        if (owner != block->owner || window != block->policy.window ||
            n_pinned != block->policy.n_pinned || chooses != own) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "SAVED_CACHE",
                              "%s: layer %d: saved with owner %d, window %d, %d pinned, choice of "
                              "pages %d; this context has %d, %d, %d, %d",
                              s->in.file.path, l, owner, window, n_pinned, chooses, block->owner,
                              block->policy.window, block->policy.n_pinned, own);
        }
    }
    return KVASS_OK;
}

/* how much there is, and that the file has exactly that */
static kvass_status check_size(session_file *s, uint64_t declared, kvass_error *err)
{
    const char *path = s->in.file.path;
    int32_t has_logits;
    kvass_status status;
    if ((status = take_i32(s, &s->n_tokens, err)) || (status = take_i32(s, &has_logits, err))) {
        return status;
    }
    if (s->n_tokens < s->ctx->n_prefix || (has_logits != 0 && has_logits != 1)) {
        return kvass_fail(err, KVASS_FORMAT, "SAVED_COUNT",
                          "%s: %d tokens and %d rows of logits, expected at least %d and 0 or 1",
                          path, s->n_tokens, has_logits, s->ctx->n_prefix);
    }
    if (s->n_tokens > s->ctx->n_ctx) {
        return kvass_fail(err, KVASS_CONTEXT_FULL, "CONTEXT_FULL",
                          "%s: %d tokens, the context holds %d", path, s->n_tokens, s->ctx->n_ctx);
    }
    s->has_logits = has_logits == 1;
    uint64_t expected = kvass_session_bytes(s->ctx, s->n_tokens, s->has_logits);
    if (s->in.file.size != expected || declared != expected) {
        return kvass_fail(err, KVASS_FORMAT,
                          s->in.file.size < expected ? "FILE_TRUNCATED" : "SAVED_SIZE",
                          "%s: expected a file of %llu bytes, found one of %llu that says it has "
                          "%llu",
                          path, (unsigned long long)expected, (unsigned long long)s->in.file.size,
                          (unsigned long long)declared);
    }
    return KVASS_OK;
}

/* Tokens, logits and their checksum; kept in `seq` unless that is NULL. */
static kvass_status take_tokens(session_file *s, kvass_seq *seq, kvass_error *err)
{
    const kvass_context *ctx = s->ctx;
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < s->n_tokens && !status; i++) {
        int32_t token;
        status = take_i32(s, &token, err);
        if (status) {
            return status;
        }
        if (token < 0 || token >= ctx->model->config.n_vocab) {
            return kvass_fail(err, KVASS_FORMAT, "TOKEN_RANGE",
                              "%s: token %d is %d, expected 0 to %d", s->in.file.path, i, token,
                              ctx->model->config.n_vocab - 1);
        }
        if (i < ctx->n_prefix && token != ctx->prefix_tokens[i]) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "SAVED_PREFIX",
                              "%s: saved with another prefix: its token %d is %d, expected %d",
                              s->in.file.path, i, token, ctx->prefix_tokens[i]);
        }
        if (seq) {
            seq->tokens[i] = token;
        }
    }
    size_t n_bytes = s->has_logits ? (size_t)ctx->model->config.n_vocab * sizeof(float) : 0;
    status = kvass_in_file_take(&s->in, seq ? seq->logits : NULL, n_bytes, err);
    return status ? status : kvass_in_file_check_hash(&s->in, "tokens", err);
}

/* Everything but room in the pool, without a change to anything. */
static kvass_status check_file(session_file *s, kvass_error *err)
{
    uint64_t declared = 0;
    kvass_status status;
    if ((status = check_kind(s, &declared, err)) || (status = check_terms(s, err)) ||
        (status = check_size(s, declared, err)) || (status = check_layers(s, err))) {
        return status;
    }
    s->tokens_at = s->in.at;
    if ((status = take_tokens(s, NULL, err))) {
        return status;
    }
    kvass_in_file_begin_hash(&s->in);
    uint64_t n_bytes =
        kvass_session_pages_bytes(s->ctx, s->n_tokens); /* of a file that is there: fits */
    status = kvass_in_file_take(&s->in, NULL, (size_t)n_bytes, err);
    return status ? status : kvass_in_file_check_hash(&s->in, "pages", err);
}

/* ---- what the sequence gets --------------------------------------------------------------------
 */

static kvass_status take_all(session_file *s, kvass_seq *seq, kvass_error *err)
{
    kvass_context *ctx = seq->ctx;
    kvass_in_file_seek(&s->in, 0);
    kvass_in_file_begin_hash(&s->in);
    kvass_status status = kvass_in_file_take(&s->in, NULL, (size_t)s->tokens_at, err);
    if (!status) {
        status = take_tokens(s, seq, err);
    }
    if (status) {
        return status;
    }
    kvass_in_file_begin_hash(&s->in);
    if (ctx->keeps_rows) {
        status = kv_seq_load(&ctx->pool, &seq->kv, kvass_session_shared_pages(ctx),
                             ctx->n_meta + s->n_tokens, &s->in, err);
    }
    return status ? status : kvass_in_file_check_hash(&s->in, "pages", err);
}

static kvass_status restore(session_file *s, kvass_seq *seq, kvass_error *err)
{
    kvass_context *ctx = seq->ctx;
    kvass_status status = check_file(s, err);
    if (status) {
        return status;
    }
    int32_t n_shared = kvass_session_shared_pages(ctx), n_rows = ctx->n_meta + s->n_tokens;
    bool fits = !ctx->keeps_rows || kv_seq_can_load(&ctx->pool, &seq->kv, n_shared, n_rows);
    while (!fits && kvass_reuse_release(ctx)) {
        fits = kv_seq_can_load(&ctx->pool, &seq->kv, n_shared, n_rows);
    }
    if (!fits) {
        return kvass_budget_fail_pages(ctx, s->n_tokens, err);
    }
    kvass_seq_reset(seq);
    status = take_all(s, seq, err);
    if (status) { /* the file has changed, or its disk failed, since it was checked */
        kvass_seq_reset(seq);
        return status;
    }
    seq->n_tokens = s->n_tokens;
    seq->has_logits = s->has_logits;
    return KVASS_OK;
}

kvass_status kvass_seq_load(kvass_seq *seq, const char *path, int32_t *n_restored, kvass_error *err)
{
    if (!seq || !seq->open || !path) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "an open sequence and a path are needed");
    }
    session_file s = {.ctx = seq->ctx};
    kvass_status status = kvass_in_file_open(&s.in, path, err);
    if (status) {
        return status;
    }
    status = restore(&s, seq, err);
    if (!status && n_restored) {
        *n_restored = s.n_tokens;
    }
    kvass_in_file_close(&s.in);
    return status;
}
