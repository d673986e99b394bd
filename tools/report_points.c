/* report_points.c - results of bench, tradeoff and eval as points to draw: times in milliseconds a
 * token, with the least and the greatest of what was measured, bytes, and quality. What a run did
 * not measure is null.
 */
#include "tools/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* the member as it is, null when it is not there or no number */
static json_t *number_or_null(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_number(value) ? json_incref(value) : json_null();
}

static json_t *string_or(const json_t *object, const char *name, const char *other)
{
    const char *text = json_string_value(json_object_get(object, name));
    return json_string(text ? text : other);
}

static int append(json_t *list, json_t *point)
{
    if (!point || json_array_append_new(list, point) != 0) {
        cli_say("out of memory for the report");
        return CLI_NO_ROOM;
    }
    return CLI_OK;
}

/* ---- bench ---------------------------------------------------------------------------------- */

static int add_row(report_data *data, const report_place *place, const json_t *run,
                   const json_t *row)
{
    bool ok = true;
    const char *mode = report_string(place, row, "mode", &ok);
    double depth = report_number(place, row, "n_ctx_before", 0, &ok);
    double n_gen = report_number(place, row, "n_gen", 0, &ok);
    double ms = report_number(place, row, "ms_per_token", 0, &ok);
    double slow = report_number(place, row, "tok_s_p5", 0, &ok);
    double fast = report_number(place, row, "tok_s_p95", 0, &ok);
    double bytes = report_number(place, row, "kv_bytes", 0, &ok);
    const char *type = report_string(place, run, "kv_type", &ok);
    const char *model = report_string(place, run, "model", &ok);
    bool known = strcmp(mode, "prefill") == 0 || strcmp(mode, "cached") == 0 ||
                 strcmp(mode, "uncached") == 0;
    if (ok && !known) {
        report_bad(place, "'mode': expected prefill, cached or uncached, found '%.40s'", mode);
        ok = false;
    }
    if (!ok) {
        return CLI_BAD_MODEL;
    }
    json_t *n_seqs = json_object_get(row, "n_seqs");
    json_t *point = json_pack(
        "{s:o, s:s, s:s, s:o, s:s, s:f, s:f, s:f, s:o, s:o, s:f, s:O?}", "file",
        report_file_name(place), "model", model, "kv_type", type, "threads",
        number_or_null(run, "threads"), "mode", mode, "n_ctx", depth, "n_gen", n_gen, "ms", ms,
        "ms_low", fast > 0 ? json_real(1e3 / fast) : json_null(), "ms_high",
        slow > 0 ? json_real(1e3 / slow) : json_null(), "kv_bytes", bytes, "n_seqs", n_seqs);
    return append(data->speed, point);
}

/* what the cache's formula is made of, where the run says so */
static int add_model(report_data *data, const report_place *place, const json_t *run)
{
    const json_t *windows = json_object_get(run, "owner_windows");
    bool ok = true;
    if (!windows) {
        return CLI_OK;
    }
    report_place part = {place->file, place->line, "owner_windows"};
    for (size_t i = 0; i < json_array_size(windows); i++) {
        const json_t *window = json_array_get(windows, i);
        if (ok && !(json_is_integer(window) && json_integer_value(window) >= 0)) {
            report_bad(&part, "expected a window of 0 or more for each layer");
            ok = false;
        }
    }
    report_array(place, run, "owner_windows", &ok);
    json_t *model =
        json_pack("{s:o, s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:O}", "file",
                  report_file_name(place), "model", report_string(place, run, "model", &ok),
                  "kv_type", report_string(place, run, "kv_type", &ok), "n_layers",
                  report_number(place, run, "n_layers", 1, &ok), "n_kv_heads",
                  report_number(place, run, "n_kv_heads", 1, &ok), "head_dim",
                  report_number(place, run, "head_dim", 1, &ok), "n_meta",
                  report_number(place, run, "n_meta", 0, &ok), "n_pinned",
                  report_number(place, run, "n_pinned", 0, &ok), "weight_bytes",
                  report_number(place, run, "weight_bytes", 0, &ok), "owner_windows", windows);
    if (!ok) {
        json_decref(model);
        return CLI_BAD_MODEL;
    }
    for (size_t i = 0; i < json_array_size(data->models); i++) {
        if (json_equal(json_array_get(data->models, i), model)) { /* another line of the run */
            json_decref(model);
            return CLI_OK;
        }
    }
    return append(data->models, model);
}

int report_add_bench(report_data *data, const report_place *place, const json_t *document)
{
    int code = add_model(data, place, document);
    if (json_object_get(document, "mode")) {
        return code != CLI_OK ? code : add_row(data, place, document, document);
    }
    bool ok = true;
    const json_t *rows = report_array(place, document, "rows", &ok);
    for (size_t i = 0; ok && code == CLI_OK && i < json_array_size(rows); i++) {
        char part[32];
        (void)snprintf(part, sizeof part, "rows[%zu]", i);
        report_place row = {place->file, place->line, part};
        code = add_row(data, &row, document, json_array_get(rows, i));
    }
    return ok ? code : CLI_BAD_MODEL;
}

/* ---- tradeoff and eval ---------------------------------------------------------------------- */

/* eval has no names for caches: one of their own flags */
static json_t *cache_name(const json_t *run)
{
    static const char *const members[] = {"policy", "select", "positions", "share", "k_type"};
    static const char *const plain[] = {"full", "all", "original", "model", ""};
    char name[160] = "";
    for (int i = 0; i < 5; i++) {
        const char *text = json_string_value(json_object_get(run, members[i]));
        if (text && strcmp(text, plain[i]) != 0) {
            size_t n = strlen(name);
            (void)snprintf(name + n, sizeof name - n, "%s%.16s", n > 0 ? " " : "", text);
        }
        json_int_t window = json_integer_value(json_object_get(run, "window"));
        if (i == 0 && window > 0) {
            size_t n = strlen(name);
            (void)snprintf(name + n, sizeof name - n, " %lld + %lld sinks", (long long)window,
                           (long long)json_integer_value(json_object_get(run, "sinks")));
        }
    }
    return json_string(name);
}

/* bytes the cache takes: its pages, their index, the exact tail */
static double cache_bytes(const report_place *place, const json_t *run, bool *ok)
{
    if (json_object_get(run, "cache_bytes")) {
        return report_number(place, run, "cache_bytes", 0, ok);
    }
    return report_number(place, run, "bytes_used", 0, ok) +
           json_number_value(json_object_get(run, "index_bytes")) +
           json_number_value(json_object_get(run, "tail_bytes"));
}

/* Decoding's times, one for each trial: what tradeoff calls them, or the median step of eval. */
static json_t *decode_times(const json_t *run)
{
    const json_t *trials = json_object_get(run, "decode_ms_trials");
    bool there = json_is_number(json_object_get(run, "decode_ms_per_token"));
    json_t *one = number_or_null(run, there ? "decode_ms_per_token" : "decode_p50_ms");
    json_t *times = json_array();
    for (size_t i = 0; times && i < json_array_size(trials); i++) {
        if (json_is_number(json_array_get(trials, i))) {
            (void)json_array_append(times, json_array_get(trials, i));
        }
    }
    if (times && json_array_size(times) == 0 && json_is_number(one)) {
        (void)json_array_append(times, one);
    }
    json_decref(one);
    return times;
}

int report_add_run(report_data *data, const report_place *place, const json_t *document)
{
    static const char *const numbers[] = {"bits_per_byte", "kld_mean",          "same_top",
                                          "ppl_ratio",     "decode_p50_ms",     "decode_p99_ms",
                                          "needle_kept",   "recomputed_tokens", "n_layers",
                                          "n_owners",      "n_kv_heads",        "head_dim",
                                          "n_meta",        "weight_bytes"};
    bool ok = true;
    double n_ctx = report_number(place, document, "n_ctx", 1, &ok);
    const char *status = json_string_value(json_object_get(document, "status"));
    if (ok && status && strcmp(status, "ok") != 0) {
        return CLI_OK; /* a cache that this model or text cannot have */
    }
    double bytes = cache_bytes(place, document, &ok);
    json_t *name = json_object_get(document, "cache");
    if (ok && name && !json_is_string(name)) {
        report_bad(place, "'cache': expected a string");
        ok = false;
    }
    for (size_t i = 0; ok && i < sizeof numbers / sizeof numbers[0]; i++) {
        const json_t *value = json_object_get(document, numbers[i]);
        if (value && !json_is_null(value)) {
            (void)report_number(place, document, numbers[i], -1, &ok);
        }
    }
    if (!ok) {
        return CLI_BAD_MODEL;
    }
    json_t *run = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f, s:f, s:o, s:o}", "file", report_file_name(place),
        "model", string_or(document, "model", ""), "fingerprint",
        string_or(document, "model_fingerprint", ""), "text",
        string_or(document, "text_fingerprint", ""), "cache",
        name ? json_incref(name) : cache_name(document), "flags", string_or(document, "flags", ""),
        "exactness", string_or(document, "exactness", ""), "n_ctx", n_ctx, "bytes", bytes, "times",
        decode_times(document), "threads", number_or_null(document, "threads"));
    for (size_t i = 0; run && i < sizeof numbers / sizeof numbers[0]; i++) {
        (void)json_object_set_new(run, numbers[i], number_or_null(document, numbers[i]));
    }
    return append(data->runs, run);
}

static bool same_run(const json_t *a, const json_t *b)
{
    static const char *const names[] = {"model", "fingerprint", "text",    "cache",
                                        "flags", "n_ctx",       "threads", "bytes"};
    bool same = true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        same = same && json_equal(json_object_get(a, names[i]), json_object_get(b, names[i]));
    }
    return same;
}

/* All times of run and of the later runs that are the same, which are marked as done. */
static json_t *gather_times(const json_t *runs, size_t first, bool *done)
{
    const json_t *run = json_array_get(runs, first);
    json_t *times = json_array();
    for (size_t i = first; times && i < json_array_size(runs); i++) {
        const json_t *other = json_array_get(runs, i);
        if (!done[i] && same_run(run, other)) {
            (void)json_array_extend(times, json_object_get(other, "times"));
            done[i] = true;
        }
    }
    return times;
}

/* the median, the least and the greatest of times into the run */
static bool put_times(json_t *run, const json_t *times)
{
    size_t n = json_array_size(times);
    double *ms = calloc(n + 1, sizeof *ms);
    bool ok = ms && json_object_set_new(run, "trials", json_integer((json_int_t)n)) == 0 &&
              json_object_del(run, "times") == 0;
    for (size_t i = 0; ok && i < n; i++) {
        ms[i] = json_number_value(json_array_get(times, i));
    }
    if (ok && n > 0) {
        cli_sort(ms, (int64_t)n);
        double median = n % 2 == 1 ? ms[n / 2] : (ms[n / 2 - 1] + ms[n / 2]) / 2;
        ok = json_object_set_new(run, "ms", json_real(median)) == 0 &&
             json_object_set_new(run, "ms_low", json_real(ms[0])) == 0 &&
             json_object_set_new(run, "ms_high", json_real(ms[n - 1])) == 0;
    }
    free(ms);
    return ok;
}

int report_merge_runs(report_data *data)
{
    size_t n = json_array_size(data->runs);
    json_t *merged = json_array();
    bool *done = calloc(n + 1, sizeof *done);
    bool ok = merged && done;
    for (size_t i = 0; i < n && ok; i++) {
        if (!done[i]) {
            json_t *run = json_array_get(data->runs, i);
            json_t *times = gather_times(data->runs, i, done);
            ok = times && put_times(run, times) && json_array_append(merged, run) == 0;
            json_decref(times);
        }
    }
    free(done);
    if (!ok) {
        cli_say("out of memory for the report");
        json_decref(merged);
        return CLI_NO_ROOM;
    }
    json_decref(data->runs);
    data->runs = merged;
    return CLI_OK;
}
