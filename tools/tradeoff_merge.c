/* tradeoff_merge.c - what one run of `kvass tradeoff` is as a JSON object, and several of the same
 * cache as one.
 */
#include "tools/tradeoff.h"

#include <stdlib.h>
#include <string.h>

/* ---- one run -------------------------------------------------------------------------------- */

/* Set a member of root and take value; false when either is missing. */
static bool put(json_t *root, const char *name, json_t *value)
{
    return json_object_set_new(root, name, value) == 0;
}

/* layers that keep keys and values of their own */
static int32_t count_owners(const kvass_model *model, const kvass_context_options *opt)
{
    kvass_model_info info;
    kvass_layer_info layer;
    int32_t n = 0;
    kvass_model_get_info(model, &info);
    for (int32_t l = 0; l < info.n_layers; l++) {
        bool paired = opt->share == KVASS_SHARE_PAIRS && l % 2 == 1;
        n += !paired && kvass_model_get_layer(model, l, &layer, NULL) == KVASS_OK &&
             layer.owner == l;
    }
    return n;
}

static bool put_times(json_t *line, const eval_scores *scores, int64_t n_recomputed)
{
    double n_decoded = (double)scores->n_decoded;
    double prefill_ms = scores->prefill_seconds * 1e3 / (double)scores->n_prefilled;
    double decode_ms = scores->decode_seconds * 1e3 / n_decoded;
    return put(line, "prefill_ms_per_token", cli_json_real(prefill_ms, 6)) &&
           put(line, "prefill_tok_s", cli_json_real(1e3 / prefill_ms, 3)) &&
           put(line, "prefill_ms_trials", json_pack("[o]", cli_json_real(prefill_ms, 6))) &&
           put(line, "decode_ms_per_token", cli_json_real(decode_ms, 6)) &&
           put(line, "decode_tok_s", cli_json_real(1e3 / decode_ms, 3)) &&
           put(line, "decode_ms_trials", json_pack("[o]", cli_json_real(decode_ms, 6))) &&
           put(line, "recomputed_tokens", json_integer(n_recomputed)) &&
           put(line, "recomputed_per_token", cli_json_real((double)n_recomputed / n_decoded, 3));
}

/* the scores of another trial: the same cache on the same text gives the same */
static bool copy_quality(json_t *line, const json_t *from)
{
    static const char *const names[] = {"tokens_scored", "bytes_scored", "bits_per_byte",
                                        "ppl",           "ppl_ratio",    "kld_mean",
                                        "kld_p99",       "kld_max",      "same_top"};
    bool ok = true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ok = json_object_set(line, names[i], json_object_get(from, names[i])) == 0 && ok;
    }
    return ok;
}

json_t *tradeoff_run_json(const kvass_model *model, const kvass_context_options *opt,
                          const eval_scores *scores, int64_t n_recomputed, const json_t *quality)
{
    const kvass_cache_usage *usage = &scores->usage;
    cli_options opts = {.context = *opt};
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    const eval_results results = {
        .opts = &opts, .info = &info, .path = EVAL_BOTH, .scores = scores};
    json_t *line = eval_scores_json(&results);
    size_t cache_bytes = usage->bytes_used + usage->index_bytes + usage->tail_bytes;
    size_t peak = usage->bytes_touched + usage->tail_bytes;
    int32_t n_topk = opt->select == KVASS_SELECT_TOPK ? opt->n_topk : 0;
    bool ok = line && put(line, "exactness", json_string(tradeoff_exactness(model, opt))) &&
              put(line, "topk_pages", json_integer(n_topk)) &&
              put(line, "n_owners", json_integer(count_owners(model, opt))) &&
              put(line, "tokens_prefilled", json_integer(scores->n_prefilled)) &&
              put(line, "tokens_decoded", json_integer(scores->n_decoded)) &&
              put(line, "cache_bytes", json_integer((json_int_t)cache_bytes)) &&
              put(line, "cache_bytes_peak", json_integer((json_int_t)peak)) &&
              put(line, "bytes_transient", json_integer((json_int_t)usage->bytes_transient)) &&
              put(line, "needle_kept", json_null()) && put_times(line, scores, n_recomputed) &&
              (!quality || copy_quality(line, quality));
    if (!ok) {
        json_decref(line);
        return NULL;
    }
    return line;
}

/* ---- several -------------------------------------------------------------------------------- */

/* the members that are the same in all trials of a run */
static bool same_run(const json_t *a, const json_t *b)
{
    static const char *const names[] = {"model_fingerprint",
                                        "text_fingerprint",
                                        "cpu",
                                        "isa",
                                        "threads",
                                        "batch",
                                        "deterministic",
                                        "n_ctx",
                                        "flags",
                                        "status"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *x = json_object_get(a, names[i]), *y = json_object_get(b, names[i]);
        if (x != y && !json_equal(x, y)) {
            return false;
        }
    }
    return true;
}

/* the median of a member over lines[n], which are numbers or arrays of them; NaN when there is
 * none */
static double median_of(json_t *const *lines, size_t n, const char *name)
{
    double *all = NULL, median;
    size_t n_all = 0;
    for (size_t i = 0; i < n; i++) {
        json_t *value = json_object_get(lines[i], name);
        size_t n_values = json_is_array(value) ? json_array_size(value) : 1;
        double *grown = realloc(all, (n_all + n_values + 1) * sizeof *all);
        if (!grown) {
            n_all = 0;
            break;
        }
        all = grown;
        for (size_t j = 0; j < n_values; j++) {
            json_t *number = json_is_array(value) ? json_array_get(value, j) : value;
            if (json_is_number(number)) {
                all[n_all++] = json_number_value(number);
            }
        }
    }
    cli_sort(all, (int64_t)n_all);
    median = cli_median(all, (int64_t)n_all);
    free(all);
    return median;
}

static json_t *joined(json_t *const *lines, size_t n, const char *name)
{
    json_t *all = json_array();
    for (size_t i = 0; all && i < n; i++) {
        (void)json_array_extend(all, json_object_get(lines[i], name));
    }
    return all;
}

/* one line for lines[n] of the same run */
static json_t *merge_run(json_t *const *lines, size_t n)
{
    json_int_t n_trials = 0;
    json_t *line = json_copy(lines[0]);
    for (size_t i = 0; i < n; i++) {
        n_trials += json_integer_value(json_object_get(lines[i], "trials"));
    }
    bool ok =
        line && put(line, "trial", json_null()) && put(line, "trials", json_integer(n_trials));
    if (!ok || !json_object_get(line, "exactness")) {
        return line;
    }
    double prefill_ms = median_of(lines, n, "prefill_ms_trials");
    double decode_ms = median_of(lines, n, "decode_ms_trials");
    ok = put(line, "prefill_ms_per_token", cli_json_real(prefill_ms, 6)) &&
         put(line, "prefill_tok_s", cli_json_real(1e3 / prefill_ms, 3)) &&
         put(line, "decode_ms_per_token", cli_json_real(decode_ms, 6)) &&
         put(line, "decode_tok_s", cli_json_real(1e3 / decode_ms, 3)) &&
         put(line, "decode_p50_ms", cli_json_real(median_of(lines, n, "decode_p50_ms"), 4)) &&
         put(line, "decode_p99_ms", cli_json_real(median_of(lines, n, "decode_p99_ms"), 4)) &&
         put(line, "prefill_ms_trials", joined(lines, n, "prefill_ms_trials")) &&
         put(line, "decode_ms_trials", joined(lines, n, "decode_ms_trials"));
    if (!ok) {
        json_decref(line);
        return NULL;
    }
    return line;
}

json_t *tradeoff_merge(const json_t *lines)
{
    size_t n = json_array_size(lines);
    json_t *merged = json_array();
    json_t **group = calloc(n + 1, sizeof *group);
    bool *taken = calloc(n + 1, sizeof *taken);
    bool ok = merged && group && taken;
    for (size_t i = 0; i < n && ok; i++) {
        size_t n_group = 0;
        for (size_t j = i; j < n && !taken[i]; j++) {
            json_t *line = json_array_get(lines, j);
            if (!taken[j] && same_run(json_array_get(lines, i), line)) {
                group[n_group++] = line;
                taken[j] = j > i;
            }
        }
        if (n_group > 0) {
            ok = json_array_append_new(merged, merge_run(group, n_group)) == 0;
        }
    }
    free(group);
    free(taken);
    if (!ok) {
        json_decref(merged);
        return NULL;
    }
    return merged;
}
