/* test_session.c - saved sequences: what is restored goes on bit for bit as what was saved; every
 * file that is not exactly such a sequence, and every context it does not belong to, is refused
 * with a reason and nothing has changed; a save that fails leaves what was there.
 */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "engine/kvass.h"

enum { N_CTX = 260, N_MORE = 40, N_PREFIX = 40 };

static kvass_model *llama, *own; /* plain; with windows, shared layers and meta tokens */
static int32_t prefix[N_PREFIX];
static char folder[UNIT_PATH_BYTES], path[UNIT_PATH_BYTES + 16];

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s)", err->message, err->rule);
    }
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

static kvass_context_options small_options(void)
{
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = N_CTX;
    o.n_batch = 64;
    o.n_threads = 1;
    return o;
}

/* n tokens of some text after those that are there */
static void append(kvass_seq *seq, int32_t n)
{
    kvass_error err;
    int32_t tokens[N_CTX];
    for (int32_t i = 0; i < n; i++) {
        tokens[i] = (kvass_seq_n_tokens(seq) + i) * 7 % 50;
    }
    if (n > 0) {
        check(kvass_prefill(seq, tokens, n, &err), &err);
    }
}

static size_t vocab_bytes(const kvass_model *model)
{
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    return (size_t)info.n_vocab * sizeof(float);
}

static void expect_equal(const kvass_model *model, const kvass_seq *a, const kvass_seq *b)
{
    assert_int_equal(kvass_seq_n_tokens(a), kvass_seq_n_tokens(b));
    assert_memory_equal(kvass_seq_tokens(a), kvass_seq_tokens(b),
                        (size_t)kvass_seq_n_tokens(a) * sizeof(int32_t));
    const float *x = kvass_seq_logits(a), *y = kvass_seq_logits(b);
    assert_true((x == NULL) == (y == NULL));
    if (x) {
        assert_memory_equal(x, y, vocab_bytes(model));
    }
}

/* save at n tokens, go on; restore elsewhere, go on the same way */
static void round_trip(const kvass_model *model, const kvass_context_options *o, int32_t n)
{
    kvass_error err;
    kvass_cache_usage before, after;
    kvass_context *ctx = open_context(model, o);
    kvass_seq *seq = open_seq(ctx);
    append(seq, n);
    check(kvass_seq_save(seq, path, &err), &err);

    kvass_context_options other = *o;
    other.page_seed = 99;
    other.n_ctx = N_CTX + 20;
    /* where all is run again it is run in chunks, whose size shows in the bits */
    if (o->retain != KVASS_RETAIN_NONE || o->deterministic) {
        other.n_batch = 50;
    }
    kvass_context *second = open_context(model, &other);
    kvass_context_get_usage(second, &before);
    kvass_seq *back = open_seq(second);
    append(back, 70); /* is dropped */
    int32_t n_restored = -1;
    check(kvass_seq_load(back, path, &n_restored, &err), &err);
    assert_int_equal(n_restored, n + o->n_prefix);
    expect_equal(model, seq, back);
    assert_int_equal(kvass_seq_can_truncate(seq), kvass_seq_can_truncate(back));
    for (int32_t i = 0; i < N_MORE && kvass_seq_n_tokens(seq) < N_CTX; i++) {
        check(kvass_decode(seq, i % 50, &err), &err);
        check(kvass_decode(back, i % 50, &err), &err);
        expect_equal(model, seq, back);
    }
    kvass_seq_close(&back);
    kvass_context_get_usage(second, &after);
    assert_int_equal(before.n_pages_used, after.n_pages_used);
    kvass_context_close(&ctx);
    kvass_context_close(&second);
}

static void lengths(const kvass_model *model, kvass_context_options o)
{
    static const int32_t counts[] = {0, 1, 31, 32, 33, 100, 205};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        round_trip(model, &o, counts[i]);
    }
    assert_int_equal(remove(path), 0);
}

static void every_cache_goes_on_bit_for_bit(void **state)
{
    (void)state;
    const kvass_model *models[] = {llama, own};
    for (int m = 0; m < 2; m++) {
        kvass_context_options o = small_options();
        lengths(models[m], o);
        o.store = KVASS_STORE_F32;
        o.deterministic = true;
        lengths(models[m], o);
        o.prefix = prefix;
        o.n_prefix = N_PREFIX;
        lengths(models[m], o);
        o.retain = KVASS_RETAIN_WINDOW;
        o.window = 33;
        o.n_sinks = 45;
        lengths(models[m], o);
        o = small_options();
        o.retain = KVASS_RETAIN_WINDOW;
        o.window = 70;
        o.n_sinks = 4;
        o.positions = KVASS_POSITIONS_CACHE;
        lengths(models[m], o);
        o = small_options();
        o.select = KVASS_SELECT_TOPK;
        o.n_topk = 2;
        lengths(models[m], o);
        o = small_options();
        o.retain = KVASS_RETAIN_NONE;
        lengths(models[m], o);
    }
    kvass_context_options o = small_options();
    o.share = KVASS_SHARE_PAIRS;
    lengths(llama, o);
    for (int i = 0; i < 2; i++) {
        o = small_options();
        o.store = i ? KVASS_STORE_Q4 : KVASS_STORE_Q8;
        lengths(models[i], o);
        o.prefix = prefix;
        o.n_prefix = N_PREFIX;
        lengths(models[1 - i], o);
        o.retain = KVASS_RETAIN_WINDOW;
        o.window = 40;
        o.n_sinks = 4;
        lengths(models[i], o);
    }
}

static void cut_back_sequences_can_be_saved(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    o.retain = KVASS_RETAIN_WINDOW;
    o.window = 40;
    o.n_sinks = 4;
    o.n_seqs = 2;
    kvass_context *ctx = open_context(llama, &o);
    kvass_seq *seq = open_seq(ctx), *back = open_seq(ctx);
    append(seq, 150);
    check(kvass_seq_truncate(seq, kvass_seq_can_truncate(seq), &err), &err);
    check(kvass_seq_save(seq, path, &err), &err);
    check(kvass_seq_load(back, path, NULL, &err), &err);
    expect_equal(llama, seq, back);
    assert_null(kvass_seq_logits(back));
    for (int32_t i = 0; i < 3; i++) {
        check(kvass_decode(seq, i, &err), &err);
        check(kvass_decode(back, i, &err), &err);
        expect_equal(llama, seq, back);
    }
    kvass_context_close(&ctx);
    assert_int_equal(remove(path), 0);
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* what a refused load leaves: the sequence as it was, its pages, its bits */
static void expect_refused(kvass_seq *seq, const kvass_context *ctx, kvass_status code,
                           const char *rule)
{
    kvass_error err = {0};
    kvass_cache_usage before, after;
    int32_t n = kvass_seq_n_tokens(seq), n_restored = -7;
    const float *logits = kvass_seq_logits(seq);
    float first = logits ? logits[0] : 0;
    kvass_context_get_usage(ctx, &before);
    kvass_status status = kvass_seq_load(seq, path, &n_restored, &err);
    if (status != code || strcmp(err.rule, rule) != 0) {
        fail_msg("expected %s: status %d, %s: %s", rule, (int)status, err.rule, err.message);
    }
    assert_true(status == KVASS_BUDGET || strstr(err.message, path));
    assert_int_equal(n_restored, -7);
    assert_int_equal(kvass_seq_n_tokens(seq), n);
    assert_true(kvass_seq_logits(seq) == logits && (!logits || logits[0] == first));
    kvass_context_get_usage(ctx, &after);
    assert_int_equal(before.bytes_used, after.bytes_used);
}

/* the same file for a context that differs in one option */
static void refuses(const kvass_model *model, kvass_context_options o, kvass_status code,
                    const char *rule)
{
    kvass_context *ctx = open_context(model, &o);
    kvass_seq *seq = open_seq(ctx);
    append(seq, 5);
    expect_refused(seq, ctx, code, rule);
    kvass_context_close(&ctx);
}

static void save_some(kvass_context_options o, int32_t n)
{
    kvass_error err;
    kvass_context *ctx = open_context(llama, &o);
    kvass_seq *seq = open_seq(ctx);
    append(seq, n);
    check(kvass_seq_save(seq, path, &err), &err);
    kvass_context_close(&ctx);
}

static void other_contexts_are_refused(void **state)
{
    (void)state;
    kvass_context_options o = small_options(), other;
    save_some(o, 100);
    refuses(own, o, KVASS_UNSUPPORTED, "SAVED_MODEL");
    other = o;
    other.store = KVASS_STORE_F32;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other = o;
    other.retain = KVASS_RETAIN_NONE;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other.retain = KVASS_RETAIN_WINDOW;
    other.window = 300;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other = o;
    other.share = KVASS_SHARE_PAIRS;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other = o;
    other.deterministic = true; /* the rows were not made so */
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other = o;
    other.prefix = prefix;
    other.n_prefix = 3;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other = o;
    other.select = KVASS_SELECT_TOPK;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other = o;
    other.n_ctx = 99;
    refuses(llama, other, KVASS_CONTEXT_FULL, "CONTEXT_FULL");
    other.n_ctx = 100;
    kvass_context *ctx = open_context(llama, &other);
    kvass_seq *seq = open_seq(ctx);
    kvass_error err;
    check(kvass_seq_load(seq, path, NULL, &err), &err);
    kvass_context_close(&ctx);

    other = o;
    other.retain = KVASS_RETAIN_WINDOW;
    other.window = 50;
    other.n_sinks = 4;
    save_some(other, 100);
    other.window = 49;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other.window = 50;
    other.n_sinks = 5;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other.n_sinks = 4;
    other.positions = KVASS_POSITIONS_CACHE;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");

    other = o;
    other.select = KVASS_SELECT_TOPK;
    other.n_topk = 2;
    save_some(other, 100);
    other.n_dense_layers = 1;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    other.n_dense_layers = 0;
    other.n_topk = 3;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");

    other = o;
    other.prefix = prefix;
    other.n_prefix = N_PREFIX;
    save_some(other, 30);
    prefix[N_PREFIX - 1]++;
    refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_PREFIX");
    prefix[N_PREFIX - 1]--;

    other = o;
    other.deterministic = true;
    save_some(other, 30);
    if (strcmp(kvass_isa_name(~0u), "scalar") != 0) {
        other.isa = KVASS_ISA_SCALAR; /* other bits */
        refuses(llama, other, KVASS_UNSUPPORTED, "SAVED_CACHE");
    }
    assert_int_equal(remove(path), 0);
}

static void too_few_pages_are_refused(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = small_options();
    size_t scratch, whole;
    o.n_ctx = 128;
    save_some(o, 128);
    o.n_seqs = 2;
    check(kvass_context_bytes(llama, &o, &scratch, &whole, &err), &err);
    o.kv_budget = whole / 2 + whole / 4; /* 6 pages a layer for two sequences of 4 */
    kvass_context *ctx = open_context(llama, &o);
    kvass_seq *seq = open_seq(ctx), *rival = open_seq(ctx), *back;
    append(rival, 65);
    append(seq, 3);
    check(kvass_seq_fork(&back, seq, &err) == KVASS_INVALID ? KVASS_OK : KVASS_INVALID, &err);
    expect_refused(seq, ctx, KVASS_BUDGET, "KV_PAGES");
    check(kvass_seq_truncate(rival, 64, &err), &err);
    check(kvass_seq_load(seq, path, NULL, &err), &err); /* with the page that seq had */
    assert_int_equal(kvass_seq_n_tokens(seq), 128);
    kvass_context_close(&ctx);
    assert_int_equal(remove(path), 0);
}

/* no file of another length or with another byte is taken for what it was */
static void every_damage_is_noticed(void **state)
{
    (void)state;
    kvass_context_options o = small_options();
    kvass_error err = {0};
    size_t n;
    save_some(o, 33);
    char *bytes = unit_slurp(path, &n);
    kvass_context *ctx = open_context(llama, &o);
    kvass_seq *seq = open_seq(ctx);
    append(seq, 5);
    size_t step = n / 997 + 1;
    for (size_t i = 0; i < n; i += i < 600 ? 1 : step) {
        bytes[i] ^= 0x10;
        unit_write(path, bytes, n);
        bytes[i] ^= 0x10;
        kvass_status status = kvass_seq_load(seq, path, NULL, &err);
        /* what decides nothing here: whether it was deterministic, and by which kernels */
        if (status == KVASS_OK || kvass_seq_n_tokens(seq) != 5) {
            fail_msg("byte %zu of %zu changed: status %d", i, n, (int)status);
        }
        unit_write(path, bytes, i);
        if (kvass_seq_load(seq, path, NULL, &err) != KVASS_FORMAT) {
            fail_msg("cut to %zu of %zu: %s", i, n, err.message);
        }
    }
    unit_write(path, bytes, n + 1); /* unit_slurp puts a NUL behind them */
    expect_refused(seq, ctx, KVASS_FORMAT, "SAVED_SIZE");
    unit_write(path, bytes, n);
    check(kvass_seq_load(seq, path, NULL, &err), &err);
    kvass_context_close(&ctx);
    free(bytes);
    assert_int_equal(remove(path), 0);
}

/* a count or a name changed on purpose; offsets as session.c writes */
static void hostile_files_are_refused(void **state)
{
    (void)state;
    enum { VERSION_AT = 8, ORDER_AT = 12, NAMES_AT = 32, NUMBERS_AT = 72, TOKENS_AT = 116 };
    static const struct {
        size_t at;
        uint32_t value;
        kvass_status code;
        const char *rule;
    } cases[] = {
        {0, 0x46554747, KVASS_FORMAT, "SAVED_MAGIC"}, /* GGUF */
        {VERSION_AT, 2, KVASS_UNSUPPORTED, "SAVED_VERSION"},
        {ORDER_AT, 0x04030201, KVASS_UNSUPPORTED, "SAVED_BYTE_ORDER"},
        {16, 0x7fffffff, KVASS_FORMAT, "SAVED_SIZE"},
        {NAMES_AT + 8, 0x00003871, KVASS_UNSUPPORTED, "SAVED_CACHE"}, /* q8 */
        {NUMBERS_AT + 4, 1000000, KVASS_UNSUPPORTED, "SAVED_CACHE"},
        {TOKENS_AT, 0xffffffff, KVASS_FORMAT, "SAVED_COUNT"},
        {TOKENS_AT, 0x7fffffff, KVASS_CONTEXT_FULL, "CONTEXT_FULL"},
        {TOKENS_AT, 200, KVASS_FORMAT, "FILE_TRUNCATED"},
        {TOKENS_AT, 2, KVASS_FORMAT, "SAVED_SIZE"},
        {TOKENS_AT + 4, 2, KVASS_FORMAT, "SAVED_COUNT"},
        {TOKENS_AT + 4, 0, KVASS_FORMAT, "SAVED_SIZE"},
    };
    kvass_context_options o = small_options();
    kvass_model_info info;
    size_t n;
    save_some(o, 33);
    char *bytes = unit_slurp(path, &n);
    kvass_context *ctx = open_context(llama, &o);
    kvass_seq *seq = open_seq(ctx);
    append(seq, 5);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, bytes, n);
        memcpy(copy + cases[i].at, &cases[i].value, 4);
        unit_write(path, copy, n);
        free(copy);
        expect_refused(seq, ctx, cases[i].code, cases[i].rule);
    }
    /* a token that is none */
    kvass_model_get_info(llama, &info);
    size_t tokens = TOKENS_AT + 8 + (size_t)info.n_layers * 16;
    memcpy(bytes + tokens, &info.n_vocab, 4);
    unit_write(path, bytes, n);
    expect_refused(seq, ctx, KVASS_FORMAT, "TOKEN_RANGE");
    unit_write(path, "", 0);
    expect_refused(seq, ctx, KVASS_FORMAT, "SAVED_MAGIC");
    assert_int_equal(remove(path), 0);
    expect_refused(seq, ctx, KVASS_IO, "FILE_OPEN");
    kvass_context_close(&ctx);
    free(bytes);
}

/* ---- saves that fail ------------------------------------------------------------------------- */

static int n_files(void)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        n += e->d_name[0] != '.';
    }
    (void)closedir(dir);
    return n;
}

static void a_failed_save_changes_nothing(void **state)
{
    (void)state;
    kvass_error err = {0};
    size_t n, n_again;
    kvass_context_options o = small_options();
    save_some(o, 50);
    char *before = unit_slurp(path, &n);
    kvass_context *ctx = open_context(llama, &o);
    kvass_seq *seq = open_seq(ctx);
    append(seq, 200);

    struct rlimit old, tight;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    kvass_status status = KVASS_OK;
    tight = old;
    for (rlim_t limit = 0; limit < n; limit += 1 + limit) {
        tight.rlim_cur = limit;
        (void)setrlimit(RLIMIT_FSIZE, &tight);
        status = kvass_seq_save(seq, path, &err);
        (void)setrlimit(RLIMIT_FSIZE, &old);
        assert_int_equal(status, KVASS_IO);
        assert_string_equal(err.rule, "SAVE_WRITE");
        char *after = unit_slurp(path, &n_again);
        assert_int_equal(n, n_again);
        assert_memory_equal(before, after, n);
        free(after);
        assert_int_equal(n_files(), 1);
    }
    (void)signal(SIGXFSZ, handler);

    assert_int_equal(kvass_seq_save(seq, "/nonexistent/x", &err), KVASS_IO);
    assert_string_equal(err.rule, "SAVE_OPEN");
    assert_int_equal(kvass_seq_save(seq, folder, &err), KVASS_IO);
    assert_string_equal(err.rule, "SAVE_KIND");
    assert_int_equal(kvass_seq_save(seq, "/dev/null", &err), KVASS_IO);
    assert_string_equal(err.rule, "SAVE_KIND");
    struct stat st;
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    char too_long[300];
    memset(too_long, 'x', sizeof too_long);
    too_long[sizeof too_long - 1] = '\0';
    assert_int_equal(kvass_seq_save(seq, too_long, &err), KVASS_IO);
    assert_int_equal(kvass_seq_save(seq, NULL, &err), KVASS_INVALID);
    assert_int_equal(kvass_seq_load(seq, NULL, NULL, &err), KVASS_INVALID);

    /* and one that does not fail replaces the file */
    check(kvass_seq_save(seq, path, &err), &err);
    assert_int_equal(n_files(), 1);
    kvass_seq_reset(seq);
    check(kvass_seq_load(seq, path, NULL, &err), &err);
    assert_int_equal(kvass_seq_n_tokens(seq), 200);
    kvass_context_close(&ctx);
    free(before);
    assert_int_equal(remove(path), 0);
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
    for (int32_t i = 0; i < N_PREFIX; i++) {
        prefix[i] = i * 3 % 41;
    }
    if (access("/dev/shm", W_OK) == 0) { /* a disk takes its time to sync */
        (void)setenv("TMPDIR", "/dev/shm", 0);
    }
    unit_folder(folder);
    (void)snprintf(path, sizeof path, "%s/saved", folder);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cache_goes_on_bit_for_bit),
        cmocka_unit_test(cut_back_sequences_can_be_saved),
        cmocka_unit_test(other_contexts_are_refused),
        cmocka_unit_test(too_few_pages_are_refused),
        cmocka_unit_test(every_damage_is_noticed),
        cmocka_unit_test(hostile_files_are_refused),
        cmocka_unit_test(a_failed_save_changes_nothing),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)remove(path);
    (void)rmdir(folder);
    kvass_model_close(&llama);
    kvass_model_close(&own);
    return failed;
}
