/* test_story.c - what choosing pages costs on a real network and a real text, against numbers
 * computed by an independent program: one story of 512 tokens, the last 255 of them predicted from
 * all before, each token by the decode path. Skipped without the shared data.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/parity/parity.h"

enum { N_TOKENS = 512, FIRST_SCORED = 257, TEXT_BYTES = 1 << 16 };

static kvass_model *model;
static int32_t ids[N_TOKENS];
static int32_t n_vocab;
static float *full; /* logits[N_TOKENS, n_vocab] of the full f32 cache */

static void shared_path(char path[1024], const char *file)
{
    const char *root = getenv("KVASS_SOURCE_ROOT"), *shared = getenv("KVASS_SHARED");
    int n = shared ? snprintf(path, 1024, "%s/%s", shared, file)
                   : snprintf(path, 1024, "%s/../shared/%s", root ? root : ".", file);
    assert_in_range(n, 1, 1023);
}

static void decode_all(const kvass_context_options *o, float *logits)
{
    kvass_error err;
    kvass_context *ctx;
    kvass_seq *seq;
    parity_check(kvass_context_open(&ctx, model, o, &err), &err);
    parity_check(kvass_seq_open(&seq, ctx, &err), &err);
    for (int32_t t = 0; t < N_TOKENS; t++) {
        parity_check(kvass_decode(seq, ids[t], &err), &err);
        memcpy(logits + (size_t)t * (size_t)n_vocab, kvass_seq_logits(seq),
               (size_t)n_vocab * sizeof *logits);
    }
    kvass_context_close(&ctx);
}

static double log_sum_exp(const float *x)
{
    double max = x[0], sum = 0;
    for (int32_t i = 1; i < n_vocab; i++) {
        max = fmax(max, x[i]);
    }
    for (int32_t i = 0; i < n_vocab; i++) {
        sum += exp(x[i] - max);
    }
    return max + log(sum);
}

/* from the full cache: mean KL over the scored tokens, and their perplexity */
static double mean_kl(const float *logits, double *perplexity)
{
    double kl = 0, nats = 0;
    for (int32_t t = FIRST_SCORED; t < N_TOKENS; t++) {
        const float *p = full + (size_t)(t - 1) * (size_t)n_vocab;
        const float *q = logits + (size_t)(t - 1) * (size_t)n_vocab;
        double zp = log_sum_exp(p), zq = log_sum_exp(q);
        for (int32_t i = 0; i < n_vocab; i++) {
            kl += exp(p[i] - zp) * ((p[i] - zp) - (q[i] - zq));
        }
        nats -= q[ids[t]] - zq;
    }
    *perplexity = exp(nats / (N_TOKENS - FIRST_SCORED));
    return kl / (N_TOKENS - FIRST_SCORED);
}

static void pages_cost_what_they_should(void **state)
{
    (void)state;
    static const struct {
        int32_t n_topk, n_dense;
        double perplexity, kl;
    } known[] = {
        {2, 0, 2.9588, 0.108787}, {4, 0, 2.7689, 0.013561}, {8, 0, 2.7849, 0.000561},
        {2, 2, 2.8053, 0.057686}, {4, 2, 2.7894, 0.013277}, {8, 2, 2.7855, 0.000572},
    };
    float *logits = calloc((size_t)N_TOKENS * (size_t)n_vocab, sizeof *logits);
    kvass_context_options o = kvass_context_options_default();
    o.store = KVASS_STORE_F32;
    o.n_threads = 1;
    assert_non_null(logits);
    decode_all(&o, full);
    double whole;
    (void)mean_kl(full, &whole);
    print_message("full: perplexity %.4f\n", whole);
    assert_true(fabs(whole / 2.7819 - 1) < 1e-4);
    o.select = KVASS_SELECT_TOPK;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double perplexity;
        o.n_topk = known[i].n_topk;
        o.n_dense_layers = known[i].n_dense;
        decode_all(&o, logits);
        double kl = mean_kl(logits, &perplexity);
        print_message("topk %d, dense %d: perplexity %.4f, mean KL %.6f\n", o.n_topk,
                      o.n_dense_layers, perplexity, kl);
        assert_true(fabs(kl / known[i].kl - 1) < 0.05);
        assert_true(fabs(perplexity / known[i].perplexity - 1) < 0.002);
    }
    free(logits);
}

/* the first 512 ids of the story, begin-of-text included */
static void read_story(const kvass_tokenizer *tok, const char *path)
{
    kvass_error err;
    size_t n_ids;
    char *text = calloc(1, TEXT_BYTES);
    int32_t *all = calloc(TEXT_BYTES, sizeof *all);
    FILE *file = fopen(path, "rb");
    assert_true(text && all && file);
    size_t n = fread(text, 1, TEXT_BYTES, file);
    (void)fclose(file);
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = true;
    parity_check(kvass_tokenizer_encode(tok, text, n, &opt, all, TEXT_BYTES, &n_ids, &err), &err);
    assert_true(n_ids >= N_TOKENS);
    memcpy(ids, all, sizeof ids);
    free(text);
    free(all);
}

int main(void)
{
    char weights[1024], vocabulary[1024], story[1024];
    kvass_error err;
    kvass_model_info info;
    kvass_tokenizer *tok;
    shared_path(weights, "models/stories260K/stories260K.bin");
    shared_path(vocabulary, "models/stories260K/tok512.bin");
    shared_path(story, "corpora/story512.txt");
    if (access(weights, R_OK) != 0 || access(story, R_OK) != 0) {
        print_message("skipped: no shared data\n");
        return 77;
    }
    if (kvass_model_open(&model, weights, NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 2;
    }
    kvass_model_get_info(model, &info);
    n_vocab = info.n_vocab;
    if (kvass_tokenizer_open(&tok, vocabulary, n_vocab, &err) != KVASS_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 2;
    }
    read_story(tok, story);
    kvass_tokenizer_close(&tok);
    full = calloc((size_t)N_TOKENS * (size_t)n_vocab, sizeof *full);
    assert_non_null(full);
    const struct CMUnitTest tests[] = {cmocka_unit_test(pages_cost_what_they_should)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(full);
    kvass_model_close(&model);
    return failed;
}
