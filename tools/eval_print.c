/* eval_print.c - what `kvass eval` found out, as text and as one JSON document.
 */
#include "tools/eval.h"

#include <math.h>
#include <string.h>

typedef struct figures {
    double bits_per_byte, ppl, ppl_ratio, same_top, prefill_tok_s, decode_tok_s;
} figures;

/* what was not measured is NaN, which JSON shows as null */
static figures figures_of(const eval_scores *scores)
{
    double n = (double)scores->n_scored;
    bool compared = !isnan(scores->kld_mean);
    return (figures){
        .bits_per_byte = scores->nats / log(2) / (double)scores->n_bytes,
        .ppl = exp(scores->nats / n),
        .ppl_ratio = exp((scores->nats - scores->reference_nats) / n),
        .same_top = compared ? (double)scores->n_same_top / n : NAN,
        .prefill_tok_s = (double)scores->n_prefilled / scores->prefill_seconds,
        .decode_tok_s = (double)scores->n_decoded / scores->decode_seconds,
    };
}

/* ---- text ----------------------------------------------------------------------------------- */

static void print_speed(const eval_scores *scores, const figures *f)
{
    (void)printf("speed       ");
    if (scores->n_prefilled > 0) {
        (void)printf("prefill %.0f tokens/s, ", f->prefill_tok_s);
    }
    if (scores->n_decoded > 0) {
        (void)printf("decode %.0f tokens/s (p50 %.3g ms, p99 %.3g ms), ", f->decode_tok_s,
                     scores->p50_ms, scores->p99_ms);
    }
    (void)printf("%d threads\n", (int)scores->context.n_threads);
}

static void print_scores(const eval_results *r)
{
    const eval_scores *scores = r->scores;
    figures f = figures_of(scores);
    (void)printf("text        %lld tokens scored, %lld bytes\n", (long long)scores->n_scored,
                 (long long)scores->n_bytes);
    (void)printf("cache       %s, %s, %zu bytes per token, at most %zu bytes used\n",
                 scores->context.retain, scores->context.store, scores->usage.bytes_per_token,
                 scores->usage.bytes_used);
    if (!r->stream) {
        const char *whose = r->reference ? r->reference->path : "the";
        const char *other = r->reference ? "'s" : "";
        (void)printf("perplexity  %.4f per token, %.6f times that of %s%s full f32 cache\n", f.ppl,
                     f.ppl_ratio, whose, other);
        (void)printf("bits        %.4f per byte\n", f.bits_per_byte);
        (void)printf("kl          mean %.3g, p99 %.3g, max %.3g from %s%s full f32 cache "
                     "(floor %.3g)\n",
                     scores->kld_mean, scores->kld_p99, scores->kld_max, whose, other,
                     scores->kld_floor);
        (void)printf("same top    %.4f %%\n", f.same_top * 100);
    } else {
        (void)printf("perplexity  %.4f per token\n", f.ppl);
        (void)printf("bits        %.4f per byte\n", f.bits_per_byte);
    }
    print_speed(scores, &f);
}

static void print_stream(const eval_stream_scores *stream)
{
    double sampled = (double)stream->n_sampled;
    int64_t n_read = 0;
    for (int i = 0; i < EVAL_STREAM_PARTS; i++) {
        if (stream->parts[i].n_scored == 0) {
            continue;
        }
        n_read += stream->parts[i].n_scored;
        (void)printf("%-12sto token %lld: perplexity %.4f, cache %zu bytes, process %.1f MiB\n",
                     i == 0 ? "stream" : "", (long long)n_read,
                     exp(stream->parts[i].nats / (double)stream->parts[i].n_scored),
                     stream->parts[i].bytes_used,
                     (double)stream->parts[i].peak_bytes / (1024.0 * 1024.0));
    }
    (void)printf(
        "read anew   perplexity %.4f at %lld places, the stream's there %.4f: %.4f times\n",
        exp(stream->anew_nats / sampled), (long long)stream->n_sampled,
        exp(stream->sampled_nats / sampled),
        exp((stream->sampled_nats - stream->anew_nats) / sampled));
}

static void print_needle(const eval_needle_scores *needle)
{
    (void)printf("needle      the full f32 cache gains %.3f nats (standard error %.3f): ",
                 needle->full_mean, needle->full_error);
    if (!needle->testable) {
        (void)printf("not testable, the network does not look back\n");
        return;
    }
    (void)printf("%.1f %% kept\n", needle->kept * 100);
    for (int d = 0; d < EVAL_N_DEPTHS; d++) {
        (void)printf("            depth %3d %%: gain %.3f of %.3f nats\n", (int)eval_depths[d],
                     needle->gain[d], needle->full_gain[d]);
    }
}

static void print_recall(const eval_recall_scores *recall)
{
    if (recall->n_full_exact == 0) {
        (void)printf("recall      0 of %d by the full f32 cache: not testable\n", (int)recall->n);
        return;
    }
    (void)printf("recall      %d of %d right, %d by the full f32 cache\n", (int)recall->n_exact,
                 (int)recall->n, (int)recall->n_full_exact);
    for (int i = 0; i < recall->n_distances; i++) {
        (void)printf("            distance %4lld: %d of %d, %d\n",
                     (long long)recall->at[i].distance, (int)recall->at[i].n_exact,
                     (int)recall->at[i].n, (int)recall->at[i].n_full_exact);
    }
}

void eval_print_text(const eval_results *results)
{
    if (results->scores) {
        print_scores(results);
    }
    if (results->stream) {
        print_stream(results->stream);
    }
    if (results->needle) {
        print_needle(results->needle);
    }
    if (results->recall) {
        print_recall(results->recall);
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* Add object's members to root and drop it; false when either is missing. */
static bool join(json_t *root, json_t *object)
{
    bool ok = root && object && json_object_update(root, object) == 0;
    json_decref(object);
    return ok;
}

static json_t *cache_json(const eval_results *r)
{
    static const char *const positions[] = {"original", "cache"};
    static const char *const shares[] = {"model", "pairs"};
    const kvass_context_options *opt = &r->opts->context;
    const kvass_cache_usage *usage = &r->scores->usage;
    const char *store = r->scores->context.store;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:s, s:i, s:o, s:I, s:I, s:I, s:I, s:I, s:I, "
        "s:I}",
        "policy", r->scores->context.retain, "k_type", store, "v_type", store, "path",
        eval_path_names[r->path], "select", r->scores->context.select, "window", (int)opt->window,
        "sinks", (int)opt->n_sinks, "positions", positions[opt->positions], "share",
        shares[opt->share], "n_ctx", (int)r->scores->context.n_ctx, "budget",
        opt->kv_budget > 0 ? json_integer((json_int_t)opt->kv_budget) : json_null(),
        "bytes_reserved", (json_int_t)usage->bytes_reserved, "bytes_used",
        (json_int_t)usage->bytes_used, "bytes_touched", (json_int_t)usage->bytes_touched,
        "bytes_per_token", (json_int_t)usage->bytes_per_token, "index_bytes",
        (json_int_t)usage->index_bytes, "tail_bytes", (json_int_t)usage->tail_bytes, "cold_bytes",
        (json_int_t)usage->cold_bytes);
}

static json_t *quality_json(const eval_scores *scores, const figures *f)
{
    return json_pack(
        "{s:I, s:I, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "tokens_seen",
        (json_int_t)scores->n_fed, "tokens_scored", (json_int_t)scores->n_scored, "bits_per_byte",
        cli_json_real(f->bits_per_byte, 6), "bytes_scored", (json_int_t)scores->n_bytes, "ppl",
        cli_json_real(f->ppl, 6), "ppl_ratio", cli_json_real(f->ppl_ratio, 9), "kld_mean",
        cli_json_real(scores->kld_mean, 15), "kld_p99", cli_json_real(scores->kld_p99, 15),
        "kld_max", cli_json_real(scores->kld_max, 15), "kld_floor",
        cli_json_real(scores->kld_floor, 15), "same_top", cli_json_real(f->same_top, 6));
}

static json_t *run_json(const eval_results *r, const figures *f)
{
    const eval_scores *scores = r->scores;
    const kvass_cache_usage *usage = &scores->usage;
    size_t page_bytes = usage->n_pages > 0 ? usage->bytes_reserved / (size_t)usage->n_pages : 0;
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:i, s:n}", "prefill_tok_s",
        cli_json_real(f->prefill_tok_s, 1), "decode_tok_s", cli_json_real(f->decode_tok_s, 1),
        "decode_p50_ms", cli_json_real(scores->p50_ms, 4), "decode_p99_ms",
        cli_json_real(scores->p99_ms, 4), "recomputed_tokens", (json_int_t)usage->recomputed_tokens,
        "evicted_tokens", (json_int_t)usage->evicted_tokens, "pages_touched",
        (json_int_t)(page_bytes > 0 ? usage->bytes_touched / page_bytes : 0), "pages_read",
        (json_int_t)usage->pages_read, "threads", (int)scores->context.n_threads, "seed");
}

static json_t *stream_json(const eval_stream_scores *stream)
{
    double sampled = (double)stream->n_sampled;
    json_t *parts = json_array();
    for (int i = 0; parts && i < EVAL_STREAM_PARTS; i++) {
        double n = (double)stream->parts[i].n_scored;
        json_t *part =
            json_pack("{s:I, s:o, s:I, s:I}", "tokens", (json_int_t)stream->parts[i].n_scored,
                      "ppl", cli_json_real(exp(stream->parts[i].nats / n), 6), "bytes_used",
                      (json_int_t)stream->parts[i].bytes_used, "peak_bytes",
                      (json_int_t)stream->parts[i].peak_bytes);
        if (json_array_append_new(parts, part) != 0) {
            json_decref(parts);
            return NULL;
        }
    }
    return json_pack("{s:o, s:I, s:o, s:o, s:o}", "parts", parts, "sampled",
                     (json_int_t)stream->n_sampled, "sampled_ppl",
                     cli_json_real(exp(stream->sampled_nats / sampled), 6), "anew_ppl",
                     cli_json_real(exp(stream->anew_nats / sampled), 6), "anew_ratio",
                     cli_json_real(exp((stream->sampled_nats - stream->anew_nats) / sampled), 6));
}

static json_t *needle_json(const eval_needle_scores *needle)
{
    json_t *depths = json_array();
    for (int d = 0; depths && d < EVAL_N_DEPTHS; d++) {
        json_t *depth = json_pack("{s:i, s:o, s:o}", "depth", (int)eval_depths[d], "gain",
                                  cli_json_real(needle->gain[d], 6), "full_gain",
                                  cli_json_real(needle->full_gain[d], 6));
        if (json_array_append_new(depths, depth) != 0) {
            json_decref(depths);
            return NULL;
        }
    }
    return json_pack("{s:b, s:o, s:o, s:o, s:o}", "testable", needle->testable, "gain",
                     cli_json_real(needle->mean, 6), "full_gain",
                     cli_json_real(needle->full_mean, 6), "full_error",
                     cli_json_real(needle->full_error, 6), "depths", depths);
}

static json_t *recall_json(const eval_recall_scores *recall)
{
    json_t *at = json_array();
    for (int i = 0; at && i < recall->n_distances; i++) {
        json_t *distance =
            json_pack("{s:I, s:i, s:i, s:i}", "distance", (json_int_t)recall->at[i].distance, "n",
                      (int)recall->at[i].n, "exact", (int)recall->at[i].n_exact, "full_exact",
                      (int)recall->at[i].n_full_exact);
        if (json_array_append_new(at, distance) != 0) {
            json_decref(at);
            return NULL;
        }
    }
    return json_pack("{s:b, s:i, s:i, s:i, s:o}", "testable", recall->n_full_exact > 0, "n",
                     (int)recall->n, "exact", (int)recall->n_exact, "full_exact",
                     (int)recall->n_full_exact, "distances", at);
}

json_t *eval_scores_json(const eval_results *r)
{
    figures f = figures_of(r->scores);
    json_t *root = json_object();
    bool ok = join(root, cache_json(r));
    ok = join(root, quality_json(r->scores, &f)) && ok;
    ok = join(root, run_json(r, &f)) && ok;
    if (!ok) {
        json_decref(root);
        root = NULL;
    }
    return root;
}

int eval_print_json(const eval_results *r)
{
    double kept = r->needle ? r->needle->kept : NAN;
    json_t *root = json_object();
    bool ok = root != NULL;
    if (r->scores) {
        ok = join(root, eval_scores_json(r)) && ok;
    }
    ok = join(root, json_pack("{s:o, s:o}", "model_fingerprint",
                              cli_json_fingerprint(r->info->fingerprint), "needle_kept",
                              cli_json_real(kept, 6))) &&
         ok;
    if (r->reference) {
        const char *path = r->reference->path;
        ok = join(root, json_pack("{s:o, s:o}", "reference", cli_json_text(path, strlen(path)),
                                  "reference_fingerprint",
                                  cli_json_fingerprint(r->reference->fingerprint))) &&
             ok;
    }
    if (r->stream) {
        ok = join(root, json_pack("{s:o}", "stream", stream_json(r->stream))) && ok;
    }
    if (r->needle) {
        ok = join(root, json_pack("{s:o}", "needle", needle_json(r->needle))) && ok;
    }
    if (r->recall) {
        ok = join(root, json_pack("{s:o}", "recall", recall_json(r->recall))) && ok;
    }
    if (!ok) {
        json_decref(root);
        root = NULL;
    }
    return cli_print_json(root);
}
