/* test_defects.c - mistakes that others made in code for the same purpose, one test for each.
 * Five public programs about KV caches were read before this engine was written; each of them gets
 * something wrong that looks right in its own output. A test is named after the mistake it would
 * find here. Run on a checkpoint with grouped queries; the arguments are that one and one of the
 * kvass family.
 */
#include <math.h>

#include "engine/context.h"
#include "tests/parity/oracle.h"
#include "tests/unit/model_files.h"

enum { SEED = 31, N_TOKENS = 90, SMALL_VOCAB = 53 /* of the two checkpoints */ };

static kvass_model *model, *kvass_family;
static kvass_model_info info;
static int32_t text[N_TOKENS];

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s): %s", kvass_status_text(status), err->rule, err->message);
    }
}

static kvass_context_options options(void)
{
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = N_TOKENS;
    o.n_logits = N_TOKENS;
    o.n_threads = 1;
    o.store = KVASS_STORE_F32;
    o.deterministic = true;
    return o;
}

static kvass_seq *open_on(const kvass_model *m, const kvass_context_options *o, kvass_context **ctx)
{
    kvass_error err;
    kvass_seq *seq;
    check(kvass_context_open(ctx, m, o, &err), &err);
    check(kvass_seq_open(&seq, *ctx, &err), &err);
    return seq;
}

/* every row's logits[n, n_vocab] of ids[n] appended to seq */
static void feed(kvass_seq *seq, const int32_t *ids, int32_t n, kvass_phase phase, float *logits)
{
    kvass_error err;
    kvass_row rows[N_TOKENS] = {{0}};
    for (int32_t i = 0; i < n; i++) {
        rows[i] = (kvass_row){seq, ids[i], phase, true};
    }
    check(kvass_forward(seq->ctx, rows, n, &err), &err);
    for (int32_t i = 0; i < n; i++) {
        size_t n_vocab = (size_t)seq->ctx->model->config.n_vocab;
        memcpy(logits + (size_t)i * n_vocab, kvass_context_logits(seq->ctx, i),
               n_vocab * sizeof *logits);
    }
}

/* the same in a context of its own */
static float *run(const kvass_model *m, const kvass_context_options *o, const int32_t *ids,
                  int32_t n)
{
    kvass_context *ctx;
    kvass_seq *seq = open_on(m, o, &ctx);
    float *logits = calloc((size_t)n * (size_t)m->config.n_vocab, sizeof *logits);
    assert_non_null(logits);
    feed(seq, ids, n, KVASS_PREFILL, logits);
    kvass_context_close(&ctx);
    return logits;
}

/* whether row i of two results is the same, bit for bit */
static bool same_row(const kvass_model *m, const float *a, const float *b, int32_t i)
{
    size_t n = (size_t)m->config.n_vocab;
    return memcmp(a + (size_t)i * n, b + (size_t)i * n, n * sizeof *a) == 0;
}

/* ---- layer pairs, windows, meta tokens --------------------------------------------------------
 */

/* "the pair is layer // 2", where the published network has other groups and layers in none: here
 * whose rows a layer reads comes from the checkpoint */
static void pairs_are_assumed_instead_of_read(void **state)
{
    (void)state;
    static const int32_t owners[] = {0, 0, 2, 2, 4};
    kvass_layer_info layer;
    for (int32_t l = 0; l < 5; l++) {
        check(kvass_model_get_layer(kvass_family, l, &layer, NULL), NULL);
        assert_int_equal(layer.owner, owners[l]);
    }
}

/* a value shared by a pair of layers is computed once and then returned in every later forward */
static void second_forward_is_stale(void **state)
{
    (void)state;
    kvass_context_options o = options();
    o.share = KVASS_SHARE_PAIRS;
    size_t n = (size_t)info.n_vocab * 20;
    float *first = run(model, &o, text, 20), *second = run(model, &o, text + 20, 20);
    float *again = calloc(n, sizeof *again);
    kvass_context *ctx;
    kvass_seq *seq = open_on(model, &o, &ctx);
    feed(seq, text, 20, KVASS_PREFILL, again);
    assert_memory_equal(again, first, n * sizeof *again);
    kvass_seq_reset(seq);
    feed(seq, text + 20, 20, KVASS_PREFILL, again);
    assert_memory_equal(again, second, n * sizeof *again);
    assert_memory_not_equal(first, second, n * sizeof *again);
    kvass_context_close(&ctx);
    free(first);
    free(second);
    free(again);
}

/* a window of W keeps W + 1 keys in one place and W in another. A query sees W keys, its own
 * included, in each of two layers: the furthest token that can matter is 2 (W - 1) back */
static void window_is_off_by_one(void **state)
{
    (void)state;
    enum { WINDOW = 9, LAST = 60 };
    assert_int_equal(info.n_layers, 2);
    kvass_context_options o = options();
    o.retain = KVASS_RETAIN_WINDOW;
    o.window = WINDOW;
    float *before = run(model, &o, text, LAST + 1);
    for (int32_t back = 2 * (WINDOW - 1) - 1; back <= 2 * WINDOW; back++) {
        int32_t changed[N_TOKENS];
        memcpy(changed, text, sizeof changed);
        changed[LAST - back] = (text[LAST - back] + 1) % info.n_vocab;
        float *after = run(model, &o, changed, LAST + 1);
        assert_int_equal(same_row(model, before, after, LAST), back > 2 * (WINDOW - 1));
        free(after);
    }
    free(before);
}

/* the learned vectors before a text are one vector of zeros */
static void meta_tokens_are_zeros(void **state)
{
    (void)state;
    const kvass_weight *meta = &kvass_family->meta_embed;
    kvass_model_info family;
    kvass_model_get_info(kvass_family, &family);
    assert_true(family.n_meta > 1);
    const float *rows = meta->data; /* the checkpoint is in f32 */
    for (int32_t t = 0; t < family.n_meta; t++) {
        float largest = 0;
        for (int32_t i = 0; i < family.dim; i++) {
            largest = fmaxf(largest, fabsf(rows[(size_t)t * (size_t)family.dim + (size_t)i]));
        }
        assert_true(largest > 0);
        assert_true(t == 0 || memcmp(rows, rows + (size_t)t * (size_t)family.dim,
                                     (size_t)family.dim * sizeof *rows) != 0);
    }
}

/* ---- attention --------------------------------------------------------------------------------
 */

/* grouped queries without a softmax: scores weigh the values as they are */
static void grouped_queries_lack_a_softmax(void **state)
{
    (void)state;
    assert_true(info.n_kv_heads < info.n_heads);
    size_t n = (size_t)N_TOKENS * (size_t)info.n_vocab;
    double *truth = calloc(n, sizeof *truth), largest = 0;
    kvass_context_options o = options();
    float *logits = run(model, &o, text, N_TOKENS);
    assert_true(oracle_run(model, &(oracle_rules){0}, text, N_TOKENS, truth, NULL));
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(truth[i]));
    }
    for (size_t i = 0; i < n; i++) {
        assert_true(fabs(logits[i] - truth[i]) <= 1e-4 * largest);
    }
    free(truth);
    free(logits);
}

/* a prefill behind cached rows without a causal mask: a token sees those that follow it */
static void cached_prefill_lacks_the_causal_mask(void **state)
{
    (void)state;
    enum { CACHED = 40, CHANGED = 70 };
    const kvass_model *models[] = {model, kvass_family};
    for (int m = 0; m < 2; m++) {
        for (int deterministic = 0; deterministic < 2; deterministic++) {
            kvass_context_options o = options();
            o.deterministic = deterministic;
            size_t n = (size_t)N_TOKENS * (size_t)models[m]->config.n_vocab;
            float *a = calloc(n, sizeof *a), *b = calloc(n, sizeof *b);
            int32_t other[N_TOKENS];
            for (int32_t i = 0; i < N_TOKENS; i++) {
                other[i] = (text[i] + (i >= CHANGED)) % SMALL_VOCAB;
            }
            for (int which = 0; which < 2; which++) {
                kvass_context *ctx;
                kvass_seq *seq = open_on(models[m], &o, &ctx);
                const int32_t *ids = which == 0 ? text : other;
                feed(seq, ids, CACHED, KVASS_PREFILL, which == 0 ? a : b);
                feed(seq, ids + CACHED, N_TOKENS - CACHED, KVASS_PREFILL, which == 0 ? a : b);
                kvass_context_close(&ctx);
            }
            for (int32_t i = 0; i < N_TOKENS - CACHED; i++) {
                assert_int_equal(same_row(models[m], a, b, i), i < CHANGED - CACHED);
            }
            free(a);
            free(b);
        }
    }
}

/* ---- a cache of one timeline ------------------------------------------------------------------
 */

static kvass_cache *open_cache(int32_t n_ctx)
{
    kvass_error err;
    kvass_cache *cache;
    kvass_cache_dims dims = kvass_cache_dims_default();
    dims.n_layers = 1;
    dims.n_kv_heads = 1;
    dims.head_dim = 4;
    dims.n_ctx = n_ctx;
    dims.store = KVASS_STORE_F32;
    check(kvass_cache_open(&cache, &dims, &err), &err);
    return cache;
}

/* what is read before the cache has moved on lacks the newest token */
static void token_does_not_see_itself(void **state)
{
    (void)state;
    kvass_error err;
    float row[4] = {1, 2, 3, 4}, k[8], v[8];
    kvass_cache *cache = open_cache(8);
    for (int32_t t = 1; t <= 2; t++) {
        row[0] = (float)t;
        check(kvass_cache_append(cache, 0, row, row, 1, &err), &err);
        assert_int_equal(kvass_cache_n_rows(cache, 0), t);
        check(kvass_cache_read(cache, 0, k, v, &err), &err);
        assert_memory_equal(k + (t - 1) * 4, row, sizeof row);
        assert_memory_equal(v + (t - 1) * 4, row, sizeof row);
        check(kvass_cache_advance(cache, &err), &err);
    }
    kvass_cache_close(&cache);
    /* and in the engine: a lone token attends to itself, and to nothing else */
    double *truth = calloc((size_t)info.n_vocab, sizeof *truth);
    kvass_context_options o = options();
    float *logits = run(model, &o, text, 1);
    assert_true(oracle_run(model, &(oracle_rules){0}, text, 1, truth, NULL));
    for (int32_t i = 0; i < info.n_vocab; i++) {
        assert_true(fabs(logits[i] - truth[i]) <= 1e-4);
    }
    free(truth);
    free(logits);
}

/* the paths for a prompt and for its first token never write the cache */
static void prefill_leaves_the_cache_empty(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = options();
    float *whole = run(model, &o, text, 41);
    for (int32_t n_first = 1; n_first <= 40; n_first += 39) {
        kvass_context *ctx;
        kvass_cache_usage usage;
        kvass_seq *seq = open_on(model, &o, &ctx);
        check(kvass_prefill(seq, text, n_first, &err), &err);
        kvass_context_get_usage(ctx, &usage);
        assert_true(usage.bytes_used >= (size_t)n_first * usage.bytes_per_token);
        for (int32_t t = n_first; t < 41; t++) {
            check(kvass_decode(seq, text[t], &err), &err);
        }
        assert_memory_equal(kvass_seq_logits(seq), whole + 40 * info.n_vocab,
                            (size_t)info.n_vocab * sizeof *whole);
        kvass_context_close(&ctx);
    }
    free(whole);
}

/* switching the cache on a second time shadows the first, and off does not bring back what was: a
 * model here is never changed, and contexts with and without a cache take turns */
static void second_switch_shadows_the_first(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options o = options();
    kvass_context *ctx[4];
    kvass_seq *seq[4];
    for (int i = 0; i < 4; i++) {
        o.retain = i % 2 == 0 ? KVASS_RETAIN_FULL : KVASS_RETAIN_NONE;
        seq[i] = open_on(model, &o, &ctx[i]);
    }
    for (int32_t t = 0; t < 12; t++) {
        for (int i = 0; i < 4; i++) {
            check(kvass_decode(seq[i], text[t], &err), &err);
            assert_memory_equal(kvass_seq_logits(seq[i]), kvass_seq_logits(seq[0]),
                                (size_t)info.n_vocab * sizeof(float));
        }
        if (t == 6) { /* closing one leaves the others alone */
            kvass_context_close(&ctx[3]);
            o.retain = KVASS_RETAIN_NONE;
            seq[3] = open_on(model, &o, &ctx[3]);
            check(kvass_prefill(seq[3], text, t + 1, &err), &err);
        }
    }
    for (int i = 0; i < 4; i++) {
        kvass_context_close(&ctx[i]);
    }
}

/* it says 4 bytes an element and takes 8 */
static void memory_is_not_what_is_claimed(void **state)
{
    (void)state;
    kvass_error err;
    size_t elements = 2 * (size_t)info.n_layers * (size_t)(info.n_kv_heads * info.head_dim);
    for (int half = 0; half < 2; half++) {
        kvass_context_options o = options();
        kvass_context *ctx;
        kvass_cache_usage usage;
        o.store = half ? KVASS_STORE_F16 : KVASS_STORE_F32;
        o.n_ctx = 64;
        kvass_seq *seq = open_on(model, &o, &ctx);
        check(kvass_prefill(seq, text, 64, &err), &err);
        kvass_context_get_usage(ctx, &usage);
        assert_int_equal(usage.bytes_per_token, elements * (half ? 2 : 4));
        assert_int_equal(usage.bytes_used, 64 * usage.bytes_per_token);
        assert_int_equal(usage.bytes_touched, usage.bytes_used);
        kvass_context_close(&ctx);
    }
}

/* no bounds check, or a silent one: what does not fit is refused, and nothing has changed */
static void overflow_is_not_an_error(void **state)
{
    (void)state;
    kvass_error err;
    float rows[12 * 4] = {0};
    kvass_cache *cache = open_cache(8);
    assert_int_equal(kvass_cache_append(cache, 0, rows, rows, 9, &err), KVASS_CONTEXT_FULL);
    assert_int_equal(kvass_cache_n_rows(cache, 0), 0);
    check(kvass_cache_append(cache, 0, rows, rows, 8, &err), &err);
    check(kvass_cache_advance(cache, &err), &err);
    assert_int_equal(kvass_cache_append(cache, 0, rows, rows, 1, &err), KVASS_CONTEXT_FULL);
    assert_int_equal(kvass_cache_n_rows(cache, 0), 8);
    kvass_cache_close(&cache);
    kvass_context_options o = options();
    kvass_context *ctx;
    o.n_ctx = 8;
    kvass_seq *seq = open_on(model, &o, &ctx);
    check(kvass_prefill(seq, text, 8, &err), &err);
    assert_int_equal(kvass_decode(seq, text[8], &err), KVASS_CONTEXT_FULL);
    assert_int_equal(kvass_seq_n_tokens(seq), 8);
    kvass_context_close(&ctx);
}

/* ---- batches ----------------------------------------------------------------------------------
 */

/* of several rows given at once only the first is written */
static void only_the_first_row_is_written(void **state)
{
    (void)state;
    kvass_error err;
    float rows[40 * 4], k[40 * 4], v[40 * 4];
    for (int i = 0; i < 40 * 4; i++) {
        rows[i] = (float)i;
    }
    kvass_cache *cache = open_cache(40);
    check(kvass_cache_append(cache, 0, rows, rows, 3, &err), &err);
    check(kvass_cache_append(cache, 0, rows + 12, rows + 12, 37, &err), &err);
    check(kvass_cache_advance(cache, &err), &err);
    check(kvass_cache_read(cache, 0, k, v, &err), &err);
    assert_memory_equal(k, rows, sizeof rows);
    assert_memory_equal(v, rows, sizeof rows);
    kvass_cache_close(&cache);
}

/* one length for all sequences of a batch: shorter ones see rows that were never written */
static void ragged_lengths_are_made_equal(void **state)
{
    (void)state;
    enum { N_SEQS = 3, N_STEPS = 10 };
    static const int32_t lengths[N_SEQS] = {1, 33, 50};
    kvass_error err;
    kvass_context_options o = options();
    kvass_context *ctx;
    kvass_seq *seqs[N_SEQS];
    float *alone[N_SEQS];
    o.n_seqs = N_SEQS;
    seqs[0] = open_on(model, &o, &ctx);
    for (int s = 0; s < N_SEQS; s++) {
        if (s > 0) {
            check(kvass_seq_open(&seqs[s], ctx, &err), &err);
        }
        check(kvass_prefill(seqs[s], text + s, lengths[s], &err), &err);
        alone[s] = run(model, &o, text + s, lengths[s] + N_STEPS);
    }
    for (int32_t t = 0; t < N_STEPS; t++) {
        int32_t tokens[N_SEQS];
        for (int s = 0; s < N_SEQS; s++) {
            tokens[s] = text[s + lengths[s] + t];
        }
        check(kvass_decode_batch(seqs, tokens, N_SEQS, &err), &err);
        for (int s = 0; s < N_SEQS; s++) {
            assert_int_equal(kvass_seq_n_tokens(seqs[s]), lengths[s] + t + 1);
            assert_memory_equal(kvass_seq_logits(seqs[s]),
                                alone[s] + (lengths[s] + t) * info.n_vocab,
                                (size_t)info.n_vocab * sizeof(float));
        }
    }
    kvass_context_close(&ctx);
    for (int s = 0; s < N_SEQS; s++) {
        free(alone[s]);
    }
}

/* ---- what small caches cost -------------------------------------------------------------------
 */

/* tokens that were dropped are counted as recomputed, and never are */
static void dropped_is_called_recomputed(void **state)
{
    (void)state;
    kvass_error err;
    kvass_context_options full = options(), window = options(), none = options();
    window.retain = KVASS_RETAIN_WINDOW;
    window.window = 8;
    none.retain = KVASS_RETAIN_NONE;
    const kvass_context_options *all[] = {&full, &window, &none};
    float *exact = run(model, &full, text, N_TOKENS);
    for (int i = 0; i < 3; i++) {
        kvass_context *ctx;
        kvass_cache_usage usage;
        kvass_seq *seq = open_on(model, all[i], &ctx);
        for (int32_t t = 0; t < N_TOKENS; t++) {
            check(kvass_decode(seq, text[t], &err), &err);
        }
        kvass_context_get_usage(ctx, &usage);
        bool same = memcmp(kvass_seq_logits(seq), exact + (N_TOKENS - 1) * info.n_vocab,
                           (size_t)info.n_vocab * sizeof(float)) == 0;
        assert_int_equal(same, i != 1); /* a window is approximate and says so */
        assert_int_equal(usage.recomputed_tokens, i == 2 ? N_TOKENS * (N_TOKENS - 1) / 2 : 0);
        assert_int_equal(usage.evicted_tokens > 0, i == 1);
        kvass_context_close(&ctx);
    }
    free(exact);
}

/* the whole window is computed again at each step, in every arm of a comparison of caches */
static void cached_steps_compute_everything_again(void **state)
{
    (void)state;
    kvass_error err;
    for (int window = 0; window < 2; window++) {
        kvass_context_options o = options();
        kvass_context *ctx;
        o.retain = window ? KVASS_RETAIN_WINDOW : KVASS_RETAIN_FULL;
        o.window = window ? 16 : 0;
        kvass_seq *seq = open_on(model, &o, &ctx);
        check(kvass_prefill(seq, text, 50, &err), &err);
        check(kvass_decode(seq, text[50], &err), &err);
        assert_int_equal(ctx->n_rows, 1); /* rows that went through the layers */
        kvass_context_close(&ctx);
    }
}

/* the mask of the small cache does nothing: windows of any size give the same */
static void window_mask_does_nothing(void **state)
{
    (void)state;
    kvass_context_options o = options();
    float *full = run(model, &o, text, 40);
    o.retain = KVASS_RETAIN_WINDOW;
    o.window = 12;
    float *narrow = run(model, &o, text, 40);
    for (int32_t i = 0; i < 40; i++) {
        assert_int_equal(same_row(model, full, narrow, i), i < 12);
    }
    free(full);
    free(narrow);
}

/* ---- sharing ----------------------------------------------------------------------------------
 */

/* a layer that sees everything reads the rows of one that has let them go */
static void sharer_looks_further_than_its_owner(void **state)
{
    (void)state;
    folder f;
    kvass_error err;
    kvass_context *ctx;
    unit_folder(f.path);
    write_llama(&f, "F32", false, false, "");
    write_text(&f, "config.json",
               "{\"model_type\":\"kvass\",\"vocab_size\":5,\"hidden_size\":8,"
               "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
               "\"head_dim\":4,\"intermediate_size\":6,\"max_position_embeddings\":16,"
               "\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\",\"rope_theta\":10000.0,"
               "\"tie_word_embeddings\":true,\"sliding_window\":4,"
               "\"layer_types\":[\"sliding_attention\",\"full_attention\"],\"kv_owner\":[0,1]}");
    kvass_model *tiny = expect_opens(f.path, NULL);
    kvass_context_options o = kvass_context_options_default();
    o.share = KVASS_SHARE_PAIRS;
    assert_int_equal(kvass_context_open(&ctx, tiny, &o, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "SHARED_WINDOW");
    assert_null(ctx);
    kvass_model_close(&tiny);
    folder_empty(&f);
    (void)rmdir(f.path);
}

static kvass_model *open_model(const char *path)
{
    kvass_error err;
    kvass_model *opened = NULL;
    if (kvass_model_open(&opened, path, NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "%s: %s\n", err.rule, err.message);
    }
    return opened;
}

int main(int argc, char **argv)
{
    if (argc != 3 || !(model = open_model(argv[1])) || !(kvass_family = open_model(argv[2]))) {
        (void)fprintf(stderr, "usage: test_defects LLAMA KVASS\n");
        return 2;
    }
    kvass_model_get_info(model, &info);
    uint64_t random = SEED;
    for (int i = 0; i < N_TOKENS; i++) {
        text[i] = (int32_t)(unit_random(&random) % SMALL_VOCAB);
    }
    print_message("%d random tokens, seed %d\n", N_TOKENS, SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_assumed_instead_of_read),
        cmocka_unit_test(second_forward_is_stale),
        cmocka_unit_test(window_is_off_by_one),
        cmocka_unit_test(meta_tokens_are_zeros),
        cmocka_unit_test(grouped_queries_lack_a_softmax),
        cmocka_unit_test(cached_prefill_lacks_the_causal_mask),
        cmocka_unit_test(token_does_not_see_itself),
        cmocka_unit_test(prefill_leaves_the_cache_empty),
        cmocka_unit_test(second_switch_shadows_the_first),
        cmocka_unit_test(memory_is_not_what_is_claimed),
        cmocka_unit_test(overflow_is_not_an_error),
        cmocka_unit_test(only_the_first_row_is_written),
        cmocka_unit_test(ragged_lengths_are_made_equal),
        cmocka_unit_test(dropped_is_called_recomputed),
        cmocka_unit_test(cached_steps_compute_everything_again),
        cmocka_unit_test(window_mask_does_nothing),
        cmocka_unit_test(sharer_looks_further_than_its_owner),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kvass_model_close(&model);
    kvass_model_close(&kvass_family);
    return failed;
}
