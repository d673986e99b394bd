/* generate_print.c - what `kvass generate` reports: a line for people, a document for programs. */
#include "tools/generate.h"

#include <string.h>

#define MIB (1024.0 * 1024.0)

static double rate(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/* tokens read, pinned ones aside, without those restored or reused */
static double n_run(const generate_run *run)
{
    int32_t n_known = (run->n_restored > 0 ? run->n_restored : 0) + run->n_reused;
    return (double)run->prompt->ids.n - n_known;
}

static size_t n_generated(const generate_run *run)
{
    size_t n = 0;
    for (int i = 0; i < run->args->n_samples; i++) {
        n += run->samples[i].out.n;
    }
    return n;
}

/* Decoding steps: the first token of each sample comes out of the prefill. */
static double n_decoded(const generate_run *run)
{
    double n = 0;
    for (int i = 0; i < run->args->n_samples; i++) {
        const kvass_seq *seq = run->samples[i].seq;
        n += kvass_seq_n_tokens(seq) - (int32_t)(run->prompt->ids.n + run->pinned.n);
    }
    return n;
}

/* seeds and finish reasons: of one sample, or of the first and the last */
static void print_ends(const generate_run *run)
{
    const generate_sample *s = run->samples;
    int last = run->args->n_samples - 1;
    (void)fprintf(stderr, "seed %llu", (unsigned long long)s[0].seed);
    if (last > 0) {
        (void)fprintf(stderr, "-%llu", (unsigned long long)s[last].seed);
    }
    (void)fprintf(stderr, " | stop: %s", s[0].finish_reason);
    for (int i = 1; i <= last; i++) {
        (void)fprintf(stderr, ",%s", s[i].finish_reason);
    }
    (void)fputc('\n', stderr);
}

/* all there is to tell about the cache, for those who asked */
static void print_cache(const generate_run *run)
{
    kvass_context_info info;
    kvass_cache_usage u;
    kvass_context_get_info(run->ctx, &info);
    kvass_context_get_usage(run->ctx, &u);
    (void)fprintf(stderr,
                  "cache %s %s: reserved %.3g MiB, used %.3g, shared %.3g, resident %.3g, touched "
                  "%.3g in %d pages | %zu bytes/tok | evicted %lld tok, recomputed %lld, reused "
                  "%lld\n",
                  info.retain, info.store, (double)u.bytes_reserved / MIB,
                  (double)u.bytes_used / MIB, (double)u.bytes_shared / MIB,
                  (double)u.bytes_resident / MIB, (double)u.bytes_touched / MIB,
                  (int)u.n_pages_touched, u.bytes_per_token, (long long)u.evicted_tokens,
                  (long long)u.recomputed_tokens, (long long)u.reused_tokens);
}

void generate_print_summary(const generate_run *run)
{
    kvass_cache_usage usage;
    kvass_context_get_usage(run->ctx, &usage);
    const generate_times *t = &run->times;
    (void)fprintf(stderr,
                  "prompt %zu tok %.3g ms (%.0f tok/s) | %zu tok %.4g ms (%.0f tok/s) | first "
                  "token %.3g ms | load %.3g ms | kv %.3g/%.3g MiB | ",
                  run->prompt->ids.n, t->prompt * 1e3, rate(n_run(run), t->prompt),
                  n_generated(run), t->decode * 1e3, rate(n_decoded(run), t->decode),
                  t->first_token * 1e3, t->load * 1e3, (double)usage.bytes_used / MIB,
                  (double)usage.bytes_reserved / MIB);
    if (run->args->n_samples > 1 || run->pinned.n > 0) {
        (void)fprintf(stderr, "shared %.3g MiB | ", (double)usage.bytes_shared / MIB);
    }
    if (run->args->prompt_cache) {
        (void)fprintf(stderr, "restored %d tok | ", run->n_restored > 0 ? (int)run->n_restored : 0);
    }
    if (run->n_prompts > 1) {
        (void)fprintf(stderr, "reused %d tok | ", (int)run->n_reused);
    }
    (void)fprintf(stderr, "peak %.0f MiB | ", (double)cli_peak_bytes() / MIB);
    print_ends(run);
    if (run->args->stats) {
        print_cache(run);
    }
}

static json_t *sample_document(const generate_run *run, const generate_sample *s)
{
    json_t *document =
        json_pack("{s:o, s:o, s:s, s:I}", "text", cli_json_text(s->text.data, s->text.n), "tokens",
                  cli_json_ids(s->out.data, s->out.n), "finish_reason", s->finish_reason, "seed",
                  (json_int_t)s->seed);
    if (run->args->token_stats) {
        json_t *tokens = generate_tokens_document(run, s);
        (void)json_object_update(document, tokens);
        json_decref(tokens);
    }
    return document;
}

/* one sample: its fields at the top; several: in "samples" */
static json_t *samples_document(const generate_run *run)
{
    if (run->args->n_samples == 1) {
        return sample_document(run, &run->samples[0]);
    }
    json_t *list = json_array();
    for (int i = 0; list && i < run->args->n_samples; i++) {
        (void)json_array_append_new(list, sample_document(run, &run->samples[i]));
    }
    return json_pack("{s:o}", "samples", list);
}

int generate_print_document(const generate_run *run)
{
    const generate_times *t = &run->times;
    kvass_context_info info;
    kvass_context_get_info(run->ctx, &info);
    json_t *root = samples_document(run), *cache = cli_json_cache(run->ctx);
    json_t *timing = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o}", "load_ms", cli_json_real(t->load * 1e3, 3), "prompt_ms",
        cli_json_real(t->prompt * 1e3, 3), "prompt_tok_s",
        cli_json_real(rate(n_run(run), t->prompt), 1), "first_token_ms",
        cli_json_real(t->first_token * 1e3, 3), "decode_ms", cli_json_real(t->decode * 1e3, 3),
        "decode_tok_s", cli_json_real(rate(n_decoded(run), t->decode), 1));
    if (run->args->prompt_cache) {
        (void)json_object_set_new(cache, "restored_tokens",
                                  json_integer(run->n_restored > 0 ? run->n_restored : 0));
    }
    if (run->args->prompts) { /* of this prompt, not of all so far */
        (void)json_object_set_new(cache, "reused_tokens", json_integer(run->n_reused));
    }
    if (run->args->system) {
        (void)json_object_set_new(root, "system_tokens",
                                  cli_json_ids(run->pinned.data, run->pinned.n));
    }
    (void)json_object_set_new(root, "prompt_tokens",
                              cli_json_ids(run->prompt->ids.data, run->prompt->ids.n));
    if (run->args->token_stats) {
        (void)json_object_set_new(root, "model",
                                  cli_json_text(run->info.path, strlen(run->info.path)));
        (void)json_object_set_new(root, "threads", json_integer(info.n_threads));
    }
    (void)json_object_set_new(root, "timing", timing);
    (void)json_object_set_new(root, "cache", cache);
    return cli_print_json(root);
}
