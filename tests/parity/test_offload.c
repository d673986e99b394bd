/* test_offload.c - pages that leave memory for a file: with as little in memory as can be, every
 * path gives bit for bit what it gives with everything resident; long texts run in a small budget;
 * the index finds the pages that it should; a file that fails is an error, never wrong logits. The
 * argument is a checkpoint with rotary positions, so that its context can be any length.
 */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/context.h"
#include "tests/parity/parity.h"

enum { SEED = 17, N_TOKENS = 260, N_LONG = 8192 };

static kvass_model *model;
static kvass_model_info info;
static parity_text text;
static float *reference, *got;
static int32_t long_text[N_LONG];

/* ---- every path ------------------------------------------------------------------------------ */

static void run(const parity_path *path, const parity_setup *setup, float *logits)
{
    memset(logits, 0xff, text.n_floats * sizeof *logits);
    path->run(&text, setup, path->arg, logits);
}

static void cold_is_as_good_as_resident(void **state)
{
    (void)state;
    static const parity_setup setups[] = {
        {.store = KVASS_STORE_F16},
        {.store = KVASS_STORE_F32, .deterministic = true, .shuffled = true, .n_recent = 40},
        {.store = KVASS_STORE_F16, .n_topk = 3, .shuffled = true},
        {.store = KVASS_STORE_Q8, .n_topk = 3, .n_dense_layers = 1},
        {.store = KVASS_STORE_Q4},
    };
    for (size_t i = 0; i < sizeof setups / sizeof setups[0]; i++) {
        int64_t before = parity_cold_pages_read;
        for (const parity_path *path = parity_paths + i % 2; path->name; path += 2) {
            parity_setup setup = setups[i];
            if (strncmp(path->name, "none", 4) == 0) {
                break; /* the last one; it keeps nothing */
            }
            setup.most_batch = 32;
            setup.n_threads = 2;
            run(path, &setup, reference);
            setup.offload = true;
            setup.n_threads = 1 + (int32_t)i % 3;
            run(path, &setup, got);
            if (memcmp(got, reference, text.n_floats * sizeof *got) != 0) {
                fail_msg("%s: not bit-equal when pages are in a file", path->name);
            }
        }
        print_message("setup %zu: %lld pages read from files\n", i,
                      (long long)(parity_cold_pages_read - before));
        assert_true(parity_cold_pages_read > before);
    }
}

/* ---- one sequence ---------------------------------------------------------------------------- */

static kvass_context *open_context(kvass_context_options o, bool offload, kvass_seq **seq)
{
    kvass_error err;
    kvass_context *ctx;
    o.n_threads = 2;
    o.deterministic = false;
    if (offload) {
        o.offload_path = parity_temp_path();
        o.kv_budget = o.kv_budget > 0 ? o.kv_budget : parity_least_budget(model, o);
    }
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    parity_check(kvass_seq_open(seq, ctx, &err), &err);
    return ctx;
}

static kvass_context_options small_options(int32_t n_ctx)
{
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = n_ctx;
    o.n_batch = 64;
    return o;
}

/* the same tokens to both; bit for bit the same logits */
static void expect_alike(kvass_seq *a, kvass_seq *b, int32_t from, int32_t n)
{
    kvass_error err;
    for (int32_t i = 0; i < n; i++) {
        int32_t token = text.ids[(from + i) % N_TOKENS];
        parity_check(kvass_decode(a, token, &err), &err);
        parity_check(kvass_decode(b, token, &err), &err);
        assert_memory_equal(kvass_seq_logits(a), kvass_seq_logits(b),
                            (size_t)info.n_vocab * sizeof(float));
    }
}

/* a long text in a budget that holds a small part of it */
static void long_text_in_a_small_budget(void **state)
{
    (void)state;
    kvass_error err;
    kvass_seq *warm, *cold;
    kvass_cache_usage usage;
    kvass_context_options o = small_options(N_LONG + 40);
    o.n_batch = 256;
    o.select = KVASS_SELECT_TOPK;
    o.n_topk = 8;
    kvass_context *resident = open_context(o, false, &warm);
    kvass_context *filed = open_context(o, true, &cold);
    parity_check(kvass_prefill(warm, long_text, N_LONG, &err), &err);
    parity_check(kvass_prefill(cold, long_text, N_LONG, &err), &err);
    expect_alike(warm, cold, 0, 40);
    kvass_context_get_usage(filed, &usage);
    size_t budget = usage.bytes_reserved;
    print_message("%zu bytes in memory, %zu in the file, index %zu\n", budget, usage.cold_bytes,
                  usage.index_bytes);
    assert_true(usage.bytes_resident + usage.index_bytes <= budget);
    kvass_cache_usage all;
    kvass_context_get_usage(resident, &all);
    assert_true(usage.cold_bytes > all.bytes_used * 9 / 10);
    assert_int_equal(usage.cold_bytes + usage.bytes_resident, all.bytes_used);
    assert_int_equal(usage.bytes_used, all.bytes_used);
    kvass_context_close(&resident);
    kvass_context_close(&filed);
}

/* shared, cut in the middle of a page that is in the file, closed: the file's places come back */
static void forks_and_cuts_of_cold_pages(void **state)
{
    (void)state;
    kvass_error err;
    kvass_cache_usage usage;
    kvass_seq *warm[3], *cold[3];
    kvass_context_options o = small_options(400);
    o.n_seqs = 3;
    kvass_context *resident = open_context(o, false, &warm[0]);
    kvass_context *filed = open_context(o, true, &cold[0]);
    parity_check(kvass_prefill(warm[0], text.ids, N_TOKENS, &err), &err);
    parity_check(kvass_prefill(cold[0], text.ids, N_TOKENS, &err), &err);
    parity_check(kvass_seq_offload(cold[0], &err), &err);
    for (int s = 1; s < 3; s++) {
        parity_check(kvass_seq_fork(&warm[s], warm[0], &err), &err);
        parity_check(kvass_seq_fork(&cold[s], cold[0], &err), &err);
        parity_check(kvass_seq_truncate(warm[s], 100 + s, &err), &err);
        parity_check(kvass_seq_truncate(cold[s], 100 + s, &err), &err);
    }
    kvass_context_get_usage(filed, &usage);
    assert_int_equal(usage.bytes_shared, usage.bytes_used / 9 * 4); /* rows 0 to 127 */
    assert_int_equal(usage.cold_bytes, usage.bytes_resident * 8);
    for (int s = 2; s >= 0; s--) {
        expect_alike(warm[s], cold[s], s, 70);
    }
    kvass_seq_close(&cold[0]);
    kvass_seq_close(&warm[0]);
    expect_alike(warm[1], cold[1], 5, 50);
    parity_check(kvass_seq_truncate(warm[1], 64, &err), &err);
    parity_check(kvass_seq_truncate(cold[1], 64, &err), &err);
    expect_alike(warm[1], cold[1], 9, 20);
    kvass_seq_close(&cold[1]);
    kvass_seq_close(&cold[2]);
    kvass_context_get_usage(filed, &usage);
    assert_int_equal(usage.n_pages_used, 0);
    assert_int_equal(usage.cold_bytes, 0);
    assert_int_equal(usage.bytes_used, 0);
    kvass_context_close(&resident);
    kvass_context_close(&filed);
}

/* what is saved out of the file is what is saved out of memory, and comes back into either */
static void saved_and_restored(void **state)
{
    (void)state;
    kvass_error err;
    kvass_seq *warm, *cold;
    int32_t n_restored;
    char a[256], b[256];
    (void)snprintf(a, sizeof a, "%s", parity_temp_path());
    (void)snprintf(b, sizeof b, "%s", parity_temp_path());
    kvass_context_options o = small_options(400);
    kvass_context *resident = open_context(o, false, &warm);
    kvass_context *filed = open_context(o, true, &cold);
    parity_check(kvass_prefill(warm, text.ids, N_TOKENS, &err), &err);
    parity_check(kvass_prefill(cold, text.ids, N_TOKENS, &err), &err);
    parity_check(kvass_seq_save(cold, a, &err), &err);
    parity_check(kvass_seq_save(warm, b, &err), &err);
    kvass_seq_reset(warm);
    kvass_seq_reset(cold);
    parity_check(kvass_seq_load(warm, a, &n_restored, &err), &err);
    assert_int_equal(n_restored, N_TOKENS);
    parity_check(kvass_seq_load(cold, b, &n_restored, &err), &err);
    expect_alike(warm, cold, 0, 100);
    kvass_context_close(&resident);
    kvass_context_close(&filed);
    (void)unlink(a);
    (void)unlink(b);
}

/* ---- search ---------------------------------------------------------------------------------- */

/* q . k of the likeliest key of a page for any of the queries, and its bound, in double */
static double bound_of(const kvass_seq *seq, int32_t layer, int32_t kv_head, const float *q,
                       int32_t page, double *best_product)
{
    const kvass_context *ctx = seq->ctx;
    int32_t owner = ctx->blocks[layer].owner, d = info.head_dim;
    float keys[32 * 64];
    double bound = -INFINITY;
    int32_t number = *kv_seq_entry(&ctx->pool, &seq->kv, owner, page);
    kv_span span = {kv_frame(&ctx->pool.owners[owner], number) * 32, 32, page * 32};
    ctx->pool.store->key.load(&ctx->kernels, kv_pool_key_range(&ctx->pool, owner, kv_head), span, d,
                              keys);
    *best_product = -INFINITY;
    for (int32_t g = 0; g < ctx->n_group; g++) {
        double sum = 0;
        for (int32_t c = 0; c < d; c++) {
            double low = INFINITY, high = -INFINITY;
            for (int32_t r = 0; r < 32; r++) {
                low = fmin(low, keys[r * d + c]);
                high = fmax(high, keys[r * d + c]);
            }
            sum += fmax(low * q[g * d + c], high * q[g * d + c]);
        }
        bound = fmax(bound, sum);
        for (int32_t r = 0; r < 32; r++) {
            double product = 0;
            for (int32_t c = 0; c < d; c++) {
                product += (double)keys[r * d + c] * q[g * d + c];
            }
            *best_product = fmax(*best_product, product);
        }
    }
    return bound;
}

/* pages come in order of their bounds, which no product exceeds */
static void check_search(const kvass_seq *seq, const float *q)
{
    enum { N_PAGES = N_TOKENS / 32 };
    kvass_error err;
    int32_t pages[N_PAGES + 2], n;
    for (int32_t layer = 0; layer < info.n_layers; layer++) {
        for (int32_t kv_head = 0; kv_head < info.n_kv_heads; kv_head++) {
            double last = INFINITY, product;
            bool seen[N_PAGES] = {false};
            parity_check(kvass_seq_search(seq, layer, kv_head, q, N_PAGES + 2, pages, &n, &err),
                         &err);
            assert_int_equal(n, N_PAGES);
            for (int32_t i = 0; i < n; i++) {
                double bound = bound_of(seq, layer, kv_head, q, pages[i], &product);
                assert_true(bound <= last + 1e-5 && product <= bound + 1e-5);
                assert_false(seen[pages[i]]);
                seen[pages[i]] = true;
                last = bound;
            }
            int32_t few[3];
            parity_check(kvass_seq_search(seq, layer, kv_head, q, 3, few, &n, &err), &err);
            assert_int_equal(n, 3);
            assert_memory_equal(few, pages, sizeof few);
        }
    }
}

static void search_ranks_by_bounds(void **state)
{
    (void)state;
    kvass_error err;
    kvass_seq *seq;
    kvass_cache_usage usage;
    float q[8 * 64];
    int32_t pages[4], n = -1;
    for (size_t i = 0; i < sizeof q / sizeof q[0]; i++) {
        q[i] = sinf((float)(i * i % 97));
    }
    for (int topk = 0; topk < 2; topk++) {
        kvass_context_options o = small_options(400);
        o.select = topk ? KVASS_SELECT_TOPK : KVASS_SELECT_ALL;
        kvass_context *ctx = open_context(o, false, &seq);
        parity_check(kvass_prefill(seq, text.ids, N_TOKENS, &err), &err);
        check_search(seq, q);
        kvass_context_get_usage(ctx, &usage);
        assert_int_equal(usage.index_bytes > 0, topk);
        parity_check(kvass_seq_build_index(seq, &err), &err);
        kvass_context_get_usage(ctx, &usage);
        assert_true(usage.index_bytes > 0);
        check_search(seq, q);
        /* a layer's search over all its heads agrees with its own, where there is one group */
        int32_t all[4];
        parity_check(kvass_seq_search(seq, 0, -1, q, 4, all, &n, &err), &err);
        assert_int_equal(n, 4);
        assert_int_equal(kvass_seq_search(seq, info.n_layers, 0, q, 1, pages, &n, &err),
                         KVASS_INVALID);
        assert_int_equal(kvass_seq_search(seq, 0, info.n_kv_heads, q, 1, pages, &n, &err),
                         KVASS_INVALID);
        assert_int_equal(kvass_seq_search(seq, 0, 0, q, -1, pages, &n, &err), KVASS_INVALID);
        assert_string_equal(err.rule, "SEARCH");
        assert_int_equal(n, 4);
        parity_check(kvass_seq_truncate(seq, 31, &err), &err);
        parity_check(kvass_seq_search(seq, 0, 0, q, 4, pages, &n, &err), &err);
        assert_int_equal(n, 0);
        assert_int_equal(kvass_seq_offload(seq, &err), KVASS_INVALID);
        assert_string_equal(err.rule, "OFFLOAD");
        kvass_context_close(&ctx);
    }
}

/* the same pages are found whether they are in memory or not, indexed or not */
static void search_in_the_file(void **state)
{
    (void)state;
    kvass_error err;
    kvass_seq *warm, *cold;
    float q[8 * 64];
    int32_t found[2][6], n;
    for (size_t i = 0; i < sizeof q / sizeof q[0]; i++) {
        q[i] = cosf((float)i);
    }
    kvass_context_options o = small_options(400);
    kvass_context *resident = open_context(o, false, &warm);
    kvass_context *filed = open_context(o, true, &cold);
    parity_check(kvass_prefill(warm, text.ids, N_TOKENS, &err), &err);
    parity_check(kvass_prefill(cold, text.ids, N_TOKENS, &err), &err);
    for (int round = 0; round < 2; round++) {
        parity_check(kvass_seq_search(warm, 1, 0, q, 6, found[0], &n, &err), &err);
        parity_check(kvass_seq_search(cold, 1, 0, q, 6, found[1], &n, &err), &err);
        assert_memory_equal(found[0], found[1], sizeof found[0]);
        assert_int_equal(kvass_seq_build_index(cold, &err), KVASS_BUDGET); /* it is the least */
        parity_check(kvass_seq_build_index(warm, &err), &err);
    }
    kvass_context_close(&resident);
    kvass_context_close(&filed);
}

/* ---- faults ---------------------------------------------------------------------------------- */

static void bad_files_are_refused(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context *ctx;
    char path[300];
    kvass_context_options o = small_options(200);
    (void)snprintf(path, sizeof path, "%s/nowhere", parity_temp_path());
    o.offload_path = path;
    assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_IO);
    assert_string_equal(err.rule, "OFFLOAD_OPEN");
    assert_non_null(strstr(err.message, path));
    assert_null(ctx);
    /* what is there is left alone */
    (void)snprintf(path, sizeof path, "%s", parity_temp_path());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("mine", file);
    (void)fclose(file);
    assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_IO);
    assert_string_equal(err.rule, "OFFLOAD_OPEN");
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    assert_int_equal(there.st_size, 4);
    (void)unlink(path);
    o.retain = KVASS_RETAIN_NONE;
    assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "OFFLOAD");
    assert_int_not_equal(stat(path, &there), 0);
}

/* the descriptor of the nameless file that once had this name; -1 without /proc */
static int find_file(const char *path)
{
    int found = -1;
    DIR *folder = opendir("/proc/self/fd");
    for (struct dirent *e = folder ? readdir(folder) : NULL; e; e = readdir(folder)) {
        char link[64], target[512];
        (void)snprintf(link, sizeof link, "/proc/self/fd/%.20s", e->d_name);
        ssize_t n = readlink(link, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strncmp(target, path, strlen(path)) == 0) {
            found = atoi(e->d_name);
        }
    }
    if (folder) {
        (void)closedir(folder);
    }
    return found;
}

/* a full disk is an error: the sequence stands, and goes on when there is room again */
static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    kvass_error err;
    kvass_seq *warm, *cold;
    struct rlimit limit, before;
    char path[256];
    kvass_context_options o = small_options(400);
    kvass_context *resident = open_context(o, false, &warm), *filed;
    (void)snprintf(path, sizeof path, "%s", parity_temp_path());
    o.offload_path = path;
    o.kv_budget = parity_least_budget(model, o);
    o.n_threads = 2;
    parity_check(kvass_context_open(&filed, model, &o, &err), &err);
    parity_check(kvass_seq_open(&cold, filed, &err), &err);
    struct stat there;
    assert_int_not_equal(stat(path, &there), 0);
    int fd = find_file(path);
    if (fd >= 0) {
        assert_int_equal(fstat(fd, &there), 0);
        assert_int_equal(there.st_mode & 0777, 0600);
    }

    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    kvass_status status = kvass_prefill(cold, text.ids, N_TOKENS, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, KVASS_IO);
    assert_string_equal(err.rule, "OFFLOAD_WRITE");
    assert_non_null(strstr(err.message, path));
    int32_t n = kvass_seq_n_tokens(cold);
    assert_true(n > 0 && n < N_TOKENS && n % 64 == 0); /* its last completed chunk */
    parity_check(kvass_prefill(cold, text.ids + n, N_TOKENS - n, &err), &err);
    parity_check(kvass_prefill(warm, text.ids, n, &err), &err);
    parity_check(kvass_prefill(warm, text.ids + n, N_TOKENS - n, &err), &err);
    expect_alike(warm, cold, 0, 10);

    kvass_context_close(&resident);
    kvass_context_close(&filed);
}

static void a_shortened_file_is_an_error(void **state)
{
    (void)state;
    enum { N_FAR = 1000 }; /* more pages than readers hold */
    kvass_error err;
    kvass_seq *cold;
    char path[256];
    kvass_context *ctx;
    kvass_context_options o = small_options(N_FAR + 100);
    (void)snprintf(path, sizeof path, "%s", parity_temp_path());
    o.offload_path = path;
    o.kv_budget = parity_least_budget(model, o);
    parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
    parity_check(kvass_seq_open(&cold, ctx, &err), &err);
    int fd = find_file(path);
    parity_check(kvass_prefill(cold, long_text, N_FAR, &err), &err);
    if (fd >= 0) { /* without /proc there is no way to reach it */
        assert_int_equal(ftruncate(fd, 10), 0);
        for (int again = 0; again < 2; again++) {
            assert_int_equal(kvass_decode(cold, 1, &err), KVASS_IO);
            assert_string_equal(err.rule, "OFFLOAD_READ");
            assert_non_null(strstr(err.message, "shorter"));
            assert_int_equal(kvass_seq_n_tokens(cold), N_FAR);
        }
        assert_int_equal(kvass_seq_save(cold, path, &err), KVASS_IO);
        assert_int_not_equal(access(path, F_OK), 0);
        kvass_seq_reset(cold);
        parity_check(kvass_prefill(cold, text.ids, 70, &err), &err);
    }
    kvass_context_close(&ctx);
}

/* the least that an error names is enough, and one byte less is not; it is kept */
static void budget_is_a_promise(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context *ctx;
    kvass_cache_usage usage;
    for (int topk = 0; topk < 2; topk++) {
        kvass_context_options o = small_options(2000);
        o.n_seqs = 2;
        o.select = topk ? KVASS_SELECT_TOPK : KVASS_SELECT_ALL;
        o.offload_path = parity_temp_path();
        size_t least = parity_least_budget(model, o), scratch, cache;
        o.kv_budget = least - 1;
        assert_int_equal(kvass_context_open(&ctx, model, &o, &err), KVASS_BUDGET);
        for (size_t more = 0; more < 100000; more += 33333) {
            o.kv_budget = least + more;
            parity_check(kvass_context_bytes(model, &o, &scratch, &cache, &err), &err);
            assert_true(cache <= least + more);
            parity_check(kvass_context_open(&ctx, model, &o, &err), &err);
            kvass_context_get_usage(ctx, &usage);
            assert_int_equal(usage.bytes_reserved, cache);
            kvass_context_close(&ctx);
        }
    }
}

int main(int argc, char **argv)
{
    kvass_error err;
    if (argc != 2 || kvass_model_open(&model, argv[1], NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "usage: test_offload CHECKPOINT: %s\n", argc == 2 ? err.message : "");
        return 2;
    }
    kvass_model_get_info(model, &info);
    text.model = model;
    text.n_vocab = info.n_vocab;
    text.n_tokens = N_TOKENS;
    text.n_floats = (size_t)text.n_tokens * (size_t)text.n_vocab;
    text.ids = long_text;
    reference = calloc(text.n_floats, sizeof *reference);
    got = calloc(text.n_floats, sizeof *got);
    if (!reference || !got) {
        return 2;
    }
    uint32_t state = SEED;
    for (int32_t i = 0; i < N_LONG; i++) {
        state = state * 1664525u + 1013904223u;
        long_text[i] = (int32_t)((state >> 8) % (uint32_t)text.n_vocab);
    }
    print_message("%s: random tokens, seed %d\n", info.path, SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_is_as_good_as_resident),
        cmocka_unit_test(long_text_in_a_small_budget),
        cmocka_unit_test(forks_and_cuts_of_cold_pages),
        cmocka_unit_test(saved_and_restored),
        cmocka_unit_test(search_ranks_by_bounds),
        cmocka_unit_test(search_in_the_file),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(a_shortened_file_is_an_error),
        cmocka_unit_test(budget_is_a_promise),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(reference);
    free(got);
    kvass_model_close(&model);
    return failed;
}
