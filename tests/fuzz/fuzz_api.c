/* fuzz_api.c - the input is a program: a context's options, then calls with their arguments. Beside
 * each sequence the tokens it must hold are kept; after every call they must agree, a refused call
 * must change nothing, and when all is closed every page must be home. A deterministic context must
 * have the logits, bit for bit, that a fresh one has after one prefill, unless its decoded tokens
 * chose pages.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { MAX_SEQS = 4, MAX_CTX = 128, MAX_ROWS = 64, MAX_CALLS = 200, MAX_PREFIX = 40 };

typedef struct timeline {
    kvass_seq *seq;
    int32_t tokens[MAX_CTX];
    int32_t n;
    bool has_logits; /* of its last token */
} timeline;

typedef struct machine {
    const kvass_model *model;
    kvass_context *ctx;
    kvass_context_options opt;
    int32_t n_vocab;
    int32_t prefix[MAX_PREFIX];
    timeline lines[MAX_SEQS];
    timeline saved; /* what the file holds; no tokens: nothing */
    int polls_left; /* cancel when it comes to 0; negative: never */
} machine;

static bool cancel(void *user)
{
    machine *m = user;
    return m->polls_left >= 0 && m->polls_left-- == 0;
}

static const kvass_model *tiny_model(bool own_family)
{
    static kvass_model *models[2];
    kvass_error err;
    if (!models[own_family] && kvass_model_open(&models[own_family],
                                                fuzz_source(own_family ? "tests/fuzz/tiny/kvass"
                                                                       : "tests/fuzz/tiny/llama"),
                                                NULL, &err)) {
        fuzz_fail("%s", err.message);
    }
    return models[own_family];
}

/* a name in the temporary folder that only this process uses */
static const char *own_path(const char *what)
{
    static char path[2][256];
    const char *folder = getenv("TMPDIR");
    char *to = path[what[0] == 's'];
    (void)snprintf(to, sizeof path[0], "%s/kvass-fuzz-%ld-%s", folder ? folder : "/tmp",
                   (long)getpid(), what);
    return to;
}

/* the kinds of cache that `more`, what is left of a byte, stands for */
static void read_more(kvass_context_options *opt, int more)
{
    static const kvass_store coded[] = {KVASS_STORE_Q8, KVASS_STORE_Q4};
    if (more & 3) {
        opt->store = (more & 3) < 3 ? coded[(more & 3) - 1] : opt->store;
    }
    if (more & 4) {
        opt->select = KVASS_SELECT_TOPK;
        opt->n_topk = 1 + (more & 3);
        opt->n_recent = 16 * (more & 3);
        opt->n_dense_layers = more / 8 % 2;
    }
    opt->n_reuse = more & 16 ? 2 : 0;
    opt->offload_path = more & 32 ? own_path("cold") : NULL;
}

/* Chooses the model, too; prefix[MAX_PREFIX] is what the options point to. */
static kvass_context_options read_options(machine *m, fuzz_input *in)
{
    kvass_context_options opt = kvass_context_options_default();
    opt.n_threads = 1;
    opt.n_ctx = 1 + fuzz_byte(in) % 110;
    opt.n_batch = 1 + fuzz_byte(in) % 40;
    uint8_t n_seqs = fuzz_byte(in);
    opt.n_seqs = 1 + n_seqs % MAX_SEQS;
    opt.n_logits = MAX_SEQS;
    uint8_t flags = fuzz_byte(in), budget = fuzz_byte(in), seed = fuzz_byte(in);
    m->model = tiny_model(seed & 128);
    opt.page_seed = seed & 127;
    opt.deterministic = flags & 1;
    opt.store = flags & 2 ? KVASS_STORE_F32 : KVASS_STORE_F16;
    opt.retain = flags & 4 ? KVASS_RETAIN_NONE : KVASS_RETAIN_FULL;
    opt.isa = flags & 8 ? KVASS_ISA_SCALAR : ~0u;
    read_more(&opt, n_seqs / MAX_SEQS);
    if (flags & 16) {
        opt.retain = KVASS_RETAIN_WINDOW;
        opt.window = 1 + fuzz_byte(in) % 40;
        opt.n_sinks = fuzz_byte(in) % 8;
    }
    opt.positions = flags & 32 ? KVASS_POSITIONS_CACHE : KVASS_POSITIONS_ORIGINAL;
    opt.share = flags & 64 ? KVASS_SHARE_PAIRS : KVASS_SHARE_MODEL;
    if (flags & 128) {
        opt.n_prefix = 1 + fuzz_byte(in) % MAX_PREFIX;
        opt.prefix = m->prefix;
        for (int32_t i = 0; i < opt.n_prefix; i++) {
            m->prefix[i] = 5 * i % 16;
        }
    }
    if (budget % 2) {
        kvass_context_options page = opt;
        size_t scratch, n_bytes;
        page.n_ctx = 1;
        page.n_seqs = 1;
        page.n_prefix = 0;
        page.retain = KVASS_RETAIN_FULL;
        page.window = page.n_sinks = 0;
        page.positions = KVASS_POSITIONS_ORIGINAL;
        page.select = KVASS_SELECT_ALL;
        page.n_topk = page.n_recent = page.n_dense_layers = page.n_reuse = 0;
        page.offload_path = NULL;
        if (kvass_context_bytes(m->model, &page, &scratch, &n_bytes, NULL) != KVASS_OK) {
            fuzz_fail("the size of a page");
        }
        opt.kv_budget = (size_t)(1 + budget / 2 % 12) * n_bytes;
    }
    return opt;
}

/* ---- what must hold -------------------------------------------------------------------------- */

static void check_lines(const machine *m)
{
    for (int i = 0; i < MAX_SEQS; i++) {
        const timeline *t = &m->lines[i];
        if (!t->seq) {
            continue;
        }
        if (kvass_seq_n_tokens(t->seq) != t->n) {
            fuzz_fail("sequence %d: %d tokens, expected %d", i, kvass_seq_n_tokens(t->seq), t->n);
        }
        if (t->n > 0 &&
            memcmp(kvass_seq_tokens(t->seq), t->tokens, (size_t)t->n * sizeof(int32_t)) != 0) {
            fuzz_fail("sequence %d: other tokens", i);
        }
        if (t->has_logits && !kvass_seq_logits(t->seq)) {
            fuzz_fail("sequence %d: no logits", i);
        }
    }
    kvass_cache_usage u;
    kvass_context_get_usage(m->ctx, &u);
    if (u.bytes_used > u.bytes_reserved || u.bytes_shared > u.bytes_used ||
        u.bytes_used > u.bytes_touched) {
        fuzz_fail("usage: %zu used, %zu shared, %zu touched, %zu reserved", u.bytes_used,
                  u.bytes_shared, u.bytes_touched, u.bytes_reserved);
    }
}

/* All pages are back but those that the context holds for itself: its prefix. */
static void check_home(const machine *m, const kvass_cache_usage *at_first)
{
    kvass_cache_usage u;
    kvass_context_get_usage(m->ctx, &u);
    if (u.bytes_used != at_first->bytes_used || u.n_pages_used != at_first->n_pages_used ||
        u.bytes_shared != at_first->bytes_shared) {
        fuzz_fail("%d pages in use, %d at first", u.n_pages_used, at_first->n_pages_used);
    }
}

/* Take over what rows[n] appended to line t: all of it after OK, none after a refusal, some of it
 * after a cancel. */
static void settle(machine *m, timeline *t, const int32_t *tokens, int32_t n, kvass_status status,
                   bool wants_logits)
{
    if (status == KVASS_CANCELLED) {
        int32_t now = kvass_seq_n_tokens(t->seq);
        if (now < t->n || now > t->n + n) {
            fuzz_fail("cancelled: %d tokens, expected %d .. %d", now, t->n, t->n + n);
        }
        n = now - t->n;
        wants_logits = false;
    } else if (status != KVASS_OK) {
        return;
    }
    if (t->n + n > m->opt.n_ctx) {
        fuzz_fail("%d positions of %d", t->n + n, m->opt.n_ctx);
    }
    for (int32_t i = 0; i < n; i++) {
        t->tokens[t->n++] = tokens[i];
    }
    if (n > 0 || status == KVASS_CANCELLED) {
        t->has_logits = wants_logits;
    }
}

/* Whether a call that appends at most to `longest` positions may end so. */
static void check_status(const machine *m, kvass_status status, int32_t longest, bool cancels,
                         const kvass_error *err)
{
    fuzz_check_refusal(status, err);
    bool fits = longest <= m->opt.n_ctx;
    bool right = status == KVASS_OK             ? fits
                 : status == KVASS_CONTEXT_FULL ? !fits
                 : status == KVASS_BUDGET       ? m->opt.kv_budget > 0 || !fits
                 : status == KVASS_CANCELLED    ? cancels
                                                : false;
    if (!right) {
        fuzz_fail("status %d for %d of %d positions: %s", (int)status, longest, m->opt.n_ctx,
                  status ? err->message : "");
    }
}

/* ---- calls ----------------------------------------------------------------------------------- */

static timeline *line_of(machine *m, uint8_t byte)
{
    timeline *t = &m->lines[byte % m->opt.n_seqs];
    return t->seq ? t : NULL;
}

static timeline *free_line(machine *m)
{
    for (int i = 0; i < m->opt.n_seqs; i++) {
        if (!m->lines[i].seq) {
            return &m->lines[i];
        }
    }
    return NULL;
}

/* what a sequence holds at first */
static void restart(const machine *m, timeline *t)
{
    t->n = m->opt.n_prefix;
    t->has_logits = false;
    if (t->n > 0) {
        memcpy(t->tokens, m->prefix, (size_t)t->n * sizeof *t->tokens);
    }
}

static void open_line(machine *m, const timeline *from)
{
    kvass_error err = {0};
    kvass_seq *seq;
    timeline *t = free_line(m);
    kvass_status status =
        from ? kvass_seq_fork(&seq, from->seq, &err) : kvass_seq_open(&seq, m->ctx, &err);
    fuzz_check_refusal(status, &err);
    if ((status == KVASS_OK) != (t != NULL) || (status != KVASS_OK && seq)) {
        fuzz_fail("opening one more sequence: status %d", (int)status);
    }
    if (t) {
        *t = from ? *from : (timeline){0};
        t->seq = seq;
        if (!from) {
            restart(m, t);
        }
    }
}

static void append(machine *m, timeline *t, fuzz_input *in, bool decode, bool cancels)
{
    kvass_error err = {0};
    int32_t tokens[MAX_ROWS], n = decode ? 1 : 1 + fuzz_byte(in) % MAX_ROWS;
    for (int32_t i = 0; i < n; i++) {
        tokens[i] = (fuzz_byte(in) + i) % m->n_vocab;
    }
    m->polls_left = cancels ? fuzz_byte(in) % 8 : -1;
    kvass_status status =
        decode ? kvass_decode(t->seq, tokens[0], &err) : kvass_prefill(t->seq, tokens, n, &err);
    m->polls_left = -1;
    check_status(m, status, t->n + n, cancels, &err);
    settle(m, t, tokens, n, status, true);
}

/* one forward with rows of every open line */
static void forward(machine *m, fuzz_input *in)
{
    kvass_error err = {0};
    kvass_row rows[MAX_ROWS];
    int32_t tokens[MAX_SEQS][4], counts[MAX_SEQS] = {0}, n_rows = 0, longest = 0;
    for (int i = 0; i < m->opt.n_seqs; i++) {
        uint8_t what = fuzz_byte(in);
        timeline *t = &m->lines[i];
        counts[i] = t->seq ? what % 5 : 0;
        for (int32_t k = 0; k < counts[i]; k++) {
            tokens[i][k] = (what + 3 * k) % m->n_vocab;
            rows[n_rows++] =
                (kvass_row){t->seq, tokens[i][k], what & 64 ? KVASS_DECODE : KVASS_PREFILL,
                            what & 128 && k + 1 == counts[i]};
        }
        longest = counts[i] > 0 && t->n + counts[i] > longest ? t->n + counts[i] : longest;
    }
    if (n_rows == 0) {
        return;
    }
    kvass_status status = kvass_forward(m->ctx, rows, n_rows, &err);
    check_status(m, status, longest, false, &err);
    n_rows = 0;
    for (int i = 0; i < m->opt.n_seqs; i++) {
        n_rows += counts[i];
        if (counts[i] > 0) {
            settle(m, &m->lines[i], tokens[i], counts[i], status, rows[n_rows - 1].want_logits);
        }
    }
}

static void decode_all(machine *m, fuzz_input *in)
{
    kvass_error err = {0};
    kvass_seq *seqs[MAX_SEQS];
    int32_t tokens[MAX_SEQS], n = 0, longest = 0;
    for (int i = 0; i < m->opt.n_seqs; i++) {
        const timeline *t = &m->lines[i];
        if (t->seq) {
            seqs[n] = t->seq;
            tokens[n++] = fuzz_byte(in) % m->n_vocab;
            longest = t->n + 1 > longest ? t->n + 1 : longest;
        }
    }
    if (n == 0) {
        return;
    }
    kvass_status status = kvass_decode_batch(seqs, tokens, n, &err);
    check_status(m, status, longest, false, &err);
    n = 0;
    for (int i = 0; i < m->opt.n_seqs; i++) {
        if (m->lines[i].seq) {
            settle(m, &m->lines[i], &tokens[n++], 1, status, true);
        }
    }
}

static void truncate_line(machine *m, timeline *t, int32_t n)
{
    kvass_error err = {0};
    bool allowed = n >= kvass_seq_can_truncate(t->seq) && n <= t->n;
    kvass_status status = kvass_seq_truncate(t->seq, n, &err);
    fuzz_check_refusal(status, &err);
    if (status != (allowed ? KVASS_OK : KVASS_INVALID)) {
        fuzz_fail("truncate to %d of %d: status %d", n, t->n, (int)status);
    }
    (void)m;
    if (allowed) {
        t->n = n;
        t->has_logits = false;
    }
}

/* as a program that is run again begins: what was saved, or what a closed line left, or neither */
static void save_line(machine *m, const timeline *t)
{
    kvass_error err = {0};
    kvass_status status = kvass_seq_save(t->seq, own_path("saved"), &err);
    if (status != KVASS_OK) {
        fuzz_fail("saving %d tokens: %s", t->n, err.message);
    }
    m->saved = *t;
    m->saved.seq = t->seq;
}

static void load_line(machine *m, timeline *t)
{
    kvass_error err = {0};
    int32_t n = -1;
    if (!m->saved.seq) {
        return;
    }
    kvass_status status = kvass_seq_load(t->seq, own_path("saved"), &n, &err);
    fuzz_check_refusal(status, &err);
    if (status == KVASS_BUDGET && m->opt.kv_budget > 0) {
        return;
    }
    if (status != KVASS_OK || n != m->saved.n) {
        fuzz_fail("restored %d of %d tokens: %s", n, m->saved.n, status ? err.message : "");
    }
    kvass_seq *seq = t->seq;
    *t = m->saved;
    t->seq = seq;
}

/* what line t begins with, if a closed one began so */
static void reuse(machine *m, timeline *t, fuzz_input *in)
{
    kvass_error err = {0};
    int32_t tokens[MAX_CTX], n = 1 + fuzz_byte(in) % (MAX_CTX - 1), n_reused = -1;
    uint8_t first = fuzz_byte(in);
    bool is_new = t->n == m->opt.n_prefix;
    for (int32_t i = 0; i < n; i++) {
        tokens[i] = (first + i) % m->n_vocab;
    }
    kvass_status status = kvass_seq_reuse(t->seq, tokens, n, &n_reused, &err);
    fuzz_check_refusal(status, &err);
    if (!is_new) {
        if (status != KVASS_INVALID) {
            fuzz_fail("reuse after %d tokens: status %d", t->n, (int)status);
        }
    } else if (status == KVASS_OK) {
        if (n_reused < 0 || n_reused >= n || (m->opt.n_reuse == 0 && n_reused > 0)) {
            fuzz_fail("%d of %d tokens reused", n_reused, n);
        }
        memcpy(t->tokens + t->n, tokens, (size_t)n_reused * sizeof *tokens);
        t->n += n_reused;
        t->has_logits = n_reused > 0 ? false : t->has_logits;
    } else if (status != KVASS_CONTEXT_FULL) {
        fuzz_fail("reuse: %s", err.message);
    }
}

static void retrieve(machine *m, timeline *t, fuzz_input *in)
{
    kvass_error err = {0};
    kvass_model_info info;
    float q[64];
    int32_t pages[4], n_pages = -1;
    uint8_t how = fuzz_byte(in);
    kvass_model_get_info(m->model, &info);
    if (how & 1) {
        kvass_status status = kvass_seq_offload(t->seq, &err);
        fuzz_check_refusal(status, &err);
        if ((status == KVASS_OK) != (m->opt.offload_path != NULL)) {
            fuzz_fail("offload: status %d", (int)status);
        }
    }
    if (how & 2) {
        kvass_status status = kvass_seq_build_index(t->seq, &err);
        fuzz_check_refusal(status, &err);
    }
    if (info.n_heads * info.head_dim > 64) {
        fuzz_fail("%d query channels", info.n_heads * info.head_dim);
    }
    for (int i = 0; i < 64; i++) {
        q[i] = (float)((how + 7 * i) % 11) - 5.0f;
    }
    kvass_status status =
        kvass_seq_search(t->seq, how / 4 % 4, how / 16 % 4 - 1, q, 4, pages, &n_pages, &err);
    fuzz_check_refusal(status, &err);
    if (status == KVASS_OK) {
        for (int32_t i = 0; i < n_pages; i++) {
            if (n_pages > 4 || pages[i] < 0 || 32 * pages[i] >= m->opt.n_ctx + MAX_CTX) {
                fuzz_fail("page %d of %d", pages[i], n_pages);
            }
        }
    }
}

/* calls that must be refused */
static void misuse(machine *m, timeline *t, uint8_t how)
{
    kvass_error err = {0};
    int32_t token = how % 2 ? -1 : m->n_vocab;
    kvass_row rows[] = {{t->seq, 0, KVASS_PREFILL, false}, {t->seq, token, KVASS_PREFILL, true}};
    kvass_seq *twice[] = {t->seq, t->seq};
    const int32_t zeros[] = {0, 0};
    kvass_status status = how % 5 == 0   ? kvass_decode(t->seq, token, &err)
                          : how % 5 == 1 ? kvass_forward(m->ctx, rows, 2, &err)
                          : how % 5 == 2 ? kvass_decode_batch(twice, zeros, 2, &err)
                          : how % 5 == 3 ? kvass_seq_truncate(t->seq, -1, &err)
                                         : kvass_forward(m->ctx, rows, -1, &err);
    fuzz_check_refusal(status, &err);
    if (status == KVASS_OK) {
        fuzz_fail("misuse %d was allowed", how % 5);
    }
}

static void close_line(timeline *t)
{
    kvass_seq_close(&t->seq);
    *t = (timeline){0};
}

static void call(machine *m, fuzz_input *in)
{
    uint8_t op = fuzz_byte(in) % 16, which = fuzz_byte(in);
    timeline *t = line_of(m, which);
    if (op == 0) {
        open_line(m, NULL);
    } else if (op == 1) {
        forward(m, in);
    } else if (op == 2) {
        decode_all(m, in);
    } else if (t) {
        switch (op) {
        case 3:
            close_line(t);
            break;
        case 4:
            open_line(m, t);
            break;
        case 5:
            truncate_line(m, t, fuzz_byte(in) % (t->n + 2));
            break;
        case 6:
            kvass_seq_reset(t->seq);
            restart(m, t);
            break;
        case 7:
            misuse(m, t, fuzz_byte(in));
            break;
        case 8:
            append(m, t, in, which & 128, true);
            break;
        case 12:
            save_line(m, t);
            break;
        case 13:
            load_line(m, t);
            break;
        case 14:
            reuse(m, t, in);
            break;
        case 15:
            retrieve(m, t, in);
            break;
        default:
            append(m, t, in, op == 9, false);
            break;
        }
    }
}

/* ---- one program ----------------------------------------------------------------------------- */

/* a fresh context, the same tokens, one prefill: the same bits */
static void compare_fresh(const machine *m, const timeline *t)
{
    kvass_context_options opt = m->opt;
    kvass_error err;
    kvass_context *ctx;
    kvass_seq *seq;
    opt.n_seqs = 1;
    opt.n_batch = 512;
    opt.kv_budget = 0;
    opt.page_seed = 0;
    opt.n_reuse = 0;
    opt.offload_path = NULL;
    if (opt.retain == KVASS_RETAIN_NONE) {
        opt.retain = KVASS_RETAIN_FULL;
    }
    if (kvass_context_open(&ctx, m->model, &opt, &err) || kvass_seq_open(&seq, ctx, &err) ||
        kvass_prefill(seq, t->tokens + opt.n_prefix, t->n - opt.n_prefix, &err)) {
        fuzz_fail("%s", err.message);
    }
    const float *a = kvass_seq_logits(seq), *b = kvass_seq_logits(t->seq);
    if (memcmp(a, b, (size_t)m->n_vocab * sizeof *a) != 0) {
        fuzz_fail("other logits after %d tokens", t->n);
    }
    kvass_context_close(&ctx);
}

/* Only what contradicts itself or does not fit may be refused. */
static void check_refused_options(const machine *m, kvass_status status, const kvass_error *err)
{
    bool plain = m->opt.select == KVASS_SELECT_ALL && m->opt.n_reuse == 0 && !m->opt.offload_path &&
                 m->opt.store <= KVASS_STORE_F16 && m->opt.retain != KVASS_RETAIN_WINDOW &&
                 m->opt.n_prefix == 0 && m->opt.positions == KVASS_POSITIONS_ORIGINAL &&
                 m->opt.share == KVASS_SHARE_MODEL;
    if (plain && (status != KVASS_BUDGET || m->opt.kv_budget == 0)) {
        fuzz_fail("%s", err->message);
    }
}

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    static machine m;
    fuzz_input in = {bytes, n_bytes, 0};
    kvass_error err = {0};
    kvass_model_info info;
    m = (machine){.polls_left = -1};
    m.opt = read_options(&m, &in);
    kvass_model_get_info(m.model, &info);
    m.n_vocab = info.n_vocab;
    kvass_status status = kvass_context_open(&m.ctx, m.model, &m.opt, &err);
    fuzz_check_refusal(status, &err);
    if (status != KVASS_OK) {
        check_refused_options(&m, status, &err);
        return;
    }
    kvass_cache_usage at_first;
    kvass_context_get_usage(m.ctx, &at_first);
    if (m.opt.n_prefix == 0 && info.n_meta == 0 && at_first.n_pages_used != 0) {
        fuzz_fail("%d pages in use by nothing", at_first.n_pages_used);
    }
    kvass_context_set_cancel(m.ctx, cancel, &m);
    for (int i = 0; i < MAX_CALLS && in.at < in.n_bytes; i++) {
        call(&m, &in);
        check_lines(&m);
    }
    for (int i = 0; i < MAX_SEQS; i++) {
        if (m.opt.deterministic && m.opt.select == KVASS_SELECT_ALL && m.lines[i].has_logits) {
            compare_fresh(&m, &m.lines[i]);
        }
        close_line(&m.lines[i]);
    }
    if (m.opt.n_reuse == 0) { /* else pages of closed lines wait to be taken over */
        check_home(&m, &at_first);
    }
    kvass_context_close(&m.ctx);
    if (m.saved.seq) {
        (void)unlink(own_path("saved"));
    }
}
