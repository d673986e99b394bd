/* bench_print.c - what `kvass bench` measured, as a table to read or data to keep.
 * The table puts cached and uncached decoding side by side; the other formats have one row per mode
 * and depth.
 */
#include "tools/bench.h"

#include <math.h>
#include <string.h>

#include "commit.h"

#define SCHEMA_VERSION 1
#define MIB            (1024.0 * 1024.0)
#define NOISY          0.05 /* sd relative to the mean */

static const char in_the_time[] = "network and greedy pick; no tokenizing";

/* of so many sequences together */
static const bench_row *find_batch(const bench_result *r, bench_mode mode, int32_t depth,
                                   int32_t n_seqs)
{
    for (int i = 0; i < r->n_rows; i++) {
        const bench_row *row = &r->rows[i];
        if (row->mode == mode && row->n_ctx_before == depth && row->n_seqs == n_seqs) {
            return row;
        }
    }
    return NULL;
}

static const bench_row *find_row(const bench_result *r, bench_mode mode, int32_t depth)
{
    return find_batch(r, mode, depth, 1);
}

static double prefill_ms(const bench_row *row)
{
    return row ? row->ms_per_token * row->n_ctx_before : NAN;
}

static double step_ms(const bench_row *row)
{
    return row ? row->ms_per_token : NAN;
}

/* a cell: x with `digits` significant digits and a unit, or a dash */
static void print_cell(double x, int digits, const char *unit)
{
    char text[CLI_CELL], cell[CLI_CELL + 8];
    cli_cell(text, x, digits);
    (void)snprintf(cell, sizeof cell, "%s%s", text, isfinite(x) ? unit : "");
    (void)printf(" %12s |", cell);
}

static void print_table(const bench_result *r)
{
    (void)printf("model %s (%s, %s), cpu %s, %s, %d threads, kv %s, load %.2f, kvass %s %s\n",
                 r->info.path, r->info.format, r->dtype, r->cpu, r->isa, (int)r->n_threads,
                 kvass_store_name(r->args->opts.context.store), r->load_average, kvass_version(),
                 KVASS_COMMIT);
    (void)printf("in the time: %s; medians of %d repetitions\n\n", in_the_time, r->args->reps);
    (void)printf("| context |   prefill ms | prefill tok/s | cached ms/tok | cached tok/s "
                 "| uncached ms/tok | uncached tok/s | uncached / cached | uncached / prefill "
                 "|  kv KiB |\n");
    (void)printf("|--------:|-------------:|--------------:|--------------:|-------------:"
                 "|----------------:|---------------:|------------------:|-------------------:"
                 "|--------:|\n");
    for (int d = 0; d < r->args->n_depths; d++) {
        int32_t depth = r->args->depths[d];
        const bench_row *prefill = find_row(r, BENCH_PREFILL, depth);
        const bench_row *cached = find_row(r, BENCH_CACHED, depth);
        const bench_row *uncached = find_row(r, BENCH_UNCACHED, depth);
        (void)printf("| %7d |", (int)depth);
        print_cell(prefill_ms(prefill), 4, "");
        print_cell(prefill ? prefill->median : NAN, 4, "");
        print_cell(step_ms(cached), 4, "");
        print_cell(cached ? cached->median : NAN, 4, "");
        print_cell(step_ms(uncached), 4, "");
        print_cell(uncached ? uncached->median : NAN, 4, "");
        print_cell(step_ms(uncached) / step_ms(cached), 3, "x");
        print_cell(step_ms(uncached) / prefill_ms(prefill), 3, "x");
        print_cell(cached ? (double)cached->kv_bytes / 1024 : NAN, 3, "");
        (void)printf("\n");
    }
}

/* cached decoding of several sequences in one forward */
static void print_batches(const bench_result *r)
{
    const bench_args *args = r->args;
    if (!args->modes[BENCH_CACHED] || (args->n_counts == 1 && args->counts[0] == 1)) {
        return;
    }
    (void)printf("\n| context | sequences | all tok/s | each tok/s | all / one |  kv KiB |\n"
                 "|--------:|----------:|----------:|-----------:|----------:|--------:|\n");
    for (int d = 0; d < args->n_depths; d++) {
        const bench_row *one = find_row(r, BENCH_CACHED, args->depths[d]);
        for (int i = 0; i < args->n_counts; i++) {
            const bench_row *row = find_batch(r, BENCH_CACHED, args->depths[d], args->counts[i]);
            (void)printf("| %7d | %9d |", (int)args->depths[d], (int)args->counts[i]);
            print_cell(row->median, 4, "");
            print_cell(row->median / row->n_seqs, 4, "");
            print_cell(one ? row->median / one->median : NAN, 3, "x");
            print_cell((double)row->kv_bytes / 1024, 3, "");
            (void)printf("\n");
        }
    }
}

static void warn_of_noise(const bench_result *r)
{
    if (r->args->opts.quiet) {
        return;
    }
    for (int i = 0; i < r->n_rows; i++) {
        const bench_row *row = &r->rows[i];
        if (row->sd > NOISY * row->mean) {
            cli_say("warning: noisy: %s at %d: standard deviation %.0f %% of the mean "
                    "(load average %.2f at the start)",
                    bench_mode_name(row->mode), (int)row->n_ctx_before, row->sd / row->mean * 100,
                    r->load_average);
        }
    }
}

/* A CSV field: quoted, quotes doubled. */
static void print_quoted(const char *text)
{
    (void)fputc('"', stdout);
    for (const char *c = text; *c != '\0'; c++) {
        (void)(*c == '"' ? fputs("\"\"", stdout) : fputc(*c, stdout));
    }
    (void)fputc('"', stdout);
}

static void print_csv(const bench_result *r)
{
    (void)printf("model,format,dtype,cpu,isa,threads,kv_type,mode,n_ctx_before,n_gen,n_seqs,reps,"
                 "tok_s_mean,tok_s_sd,tok_s_median,tok_s_p5,tok_s_p95,ms_per_token,ttft_ms,"
                 "kv_bytes,peak_rss_bytes,load_average,version,commit\n");
    for (int i = 0; i < r->n_rows; i++) {
        const bench_row *row = &r->rows[i];
        print_quoted(r->info.path);
        (void)printf(",%s,%s,", r->info.format, r->dtype);
        print_quoted(r->cpu);
        (void)printf(",%s,%d,%s,%s,%d,%d,%d,%d,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,", r->isa,
                     (int)r->n_threads, kvass_store_name(r->args->opts.context.store),
                     bench_mode_name(row->mode), (int)row->n_ctx_before, (int)row->n_gen,
                     (int)row->n_seqs, row->n_reps, row->mean, row->sd, row->median, row->p5,
                     row->p95, row->ms_per_token);
        if (row->mode == BENCH_PREFILL) {
            (void)printf("%.6g", prefill_ms(row));
        }
        (void)printf(",%zu,%zu,%.2f,%s,%s\n", row->kv_bytes, cli_peak_bytes(), r->load_average,
                     kvass_version(), KVASS_COMMIT);
    }
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* The window, 0 = none, of each layer that has keys and values of its own. */
static json_t *owner_windows(const bench_result *r)
{
    const kvass_context_options *opt = &r->args->opts.context;
    json_t *windows = json_array();
    kvass_layer_info layer;
    for (int32_t l = 0; kvass_model_get_layer(r->model, l, &layer, NULL) == KVASS_OK; l++) {
        bool paired = opt->share == KVASS_SHARE_PAIRS && l % 2 == 1;
        bool narrower = layer.window == 0 || opt->window < layer.window;
        if (layer.owner == l && !paired) {
            bool cut = opt->retain == KVASS_RETAIN_WINDOW && narrower;
            (void)json_array_append_new(windows, json_integer(cut ? opt->window : layer.window));
        }
    }
    return windows;
}

/* what the cache's size follows from */
static json_t *shape_document(const bench_result *r)
{
    const kvass_context_options *opt = &r->args->opts.context;
    int32_t n_sinks = opt->retain == KVASS_RETAIN_WINDOW ? opt->n_sinks : 0;
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:I, s:o}", "n_layers", (int)r->info.n_layers,
                     "n_kv_heads", (int)r->info.n_kv_heads, "head_dim", (int)r->info.head_dim,
                     "n_meta", (int)r->info.n_meta, "n_pinned", (int)(r->info.n_meta + n_sinks),
                     "weight_bytes", (json_int_t)r->info.weight_bytes, "owner_windows",
                     owner_windows(r));
}

static json_t *run_document(const bench_result *r)
{
    json_t *run = json_pack(
        "{s:i, s:s, s:o, s:o, s:s, s:s, s:s, s:o, s:s, s:i, s:s, s:b, s:o, s:s, s:s, s:I}",
        "schema_version", SCHEMA_VERSION, "kind", "bench", "model",
        cli_json_text(r->info.path, strlen(r->info.path)), "model_fingerprint",
        cli_json_fingerprint(r->info.fingerprint), "family", r->info.family, "format",
        r->info.format, "dtype", r->dtype, "cpu", cli_json_text(r->cpu, strlen(r->cpu)), "isa",
        r->isa, "threads", (int)r->n_threads, "kv_type",
        kvass_store_name(r->args->opts.context.store), "deterministic",
        (int)r->args->opts.context.deterministic, "load_average", cli_json_real(r->load_average, 2),
        "time_includes", in_the_time, "commit", KVASS_COMMIT, "peak_rss_bytes",
        (json_int_t)cli_peak_bytes());
    json_t *shape = shape_document(r);
    if (json_object_update(run, shape) != 0) {
        json_decref(run);
        run = NULL;
    }
    json_decref(shape);
    return run;
}

static json_t *row_document(const bench_row *row)
{
    json_t *samples = json_array();
    for (int i = 0; samples && i < row->n_reps; i++) {
        (void)json_array_append_new(samples, cli_json_real(row->tok_s[i], 3));
    }
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o}",
                     "mode", bench_mode_name(row->mode), "n_ctx_before", (int)row->n_ctx_before,
                     "n_gen", (int)row->n_gen, "n_seqs", (int)row->n_seqs, "reps", row->n_reps,
                     "tok_s_mean", cli_json_real(row->mean, 3), "tok_s_sd",
                     cli_json_real(row->sd, 3), "tok_s_median", cli_json_real(row->median, 3),
                     "tok_s_p5", cli_json_real(row->p5, 3), "tok_s_p95", cli_json_real(row->p95, 3),
                     "ms_per_token", cli_json_real(row->ms_per_token, 6), "ttft_ms",
                     row->mode == BENCH_PREFILL ? cli_json_real(prefill_ms(row), 4) : json_null(),
                     "kv_bytes", (json_int_t)row->kv_bytes, "samples_tok_s", samples);
}

static json_t *side_by_side(const bench_result *r)
{
    json_t *list = json_array();
    for (int d = 0; list && d < r->args->n_depths; d++) {
        int32_t depth = r->args->depths[d];
        double prefill = prefill_ms(find_row(r, BENCH_PREFILL, depth));
        double cached = step_ms(find_row(r, BENCH_CACHED, depth));
        double uncached = step_ms(find_row(r, BENCH_UNCACHED, depth));
        (void)json_array_append_new(
            list, json_pack("{s:i, s:o, s:o, s:o, s:o, s:o}", "n_ctx_before", (int)depth,
                            "prefill_ms", cli_json_real(prefill, 4), "cached_ms",
                            cli_json_real(cached, 6), "uncached_ms", cli_json_real(uncached, 6),
                            "uncached_per_cached", cli_json_real(uncached / cached, 3),
                            "uncached_per_prefill", cli_json_real(uncached / prefill, 3)));
    }
    return list;
}

static int print_json(const bench_result *r)
{
    json_t *root = run_document(r);
    json_t *rows = json_array();
    for (int i = 0; rows && i < r->n_rows; i++) {
        (void)json_array_append_new(rows, row_document(&r->rows[i]));
    }
    (void)json_object_set_new(root, "rows", rows);
    (void)json_object_set_new(root, "side_by_side", side_by_side(r));
    return cli_print_json(root);
}

static int print_jsonl(const bench_result *r)
{
    int code = CLI_OK;
    for (int i = 0; i < r->n_rows && code == CLI_OK; i++) {
        json_t *line = run_document(r), *row = row_document(&r->rows[i]);
        (void)json_object_update(line, row);
        json_decref(row);
        code = cli_print_json(line);
    }
    return code;
}

int bench_print(const bench_result *result)
{
    int code = CLI_OK;
    switch (result->args->format) {
    case BENCH_MD:
        print_table(result);
        print_batches(result);
        break;
    case BENCH_CSV:
        print_csv(result);
        break;
    case BENCH_JSON:
        code = print_json(result);
        break;
    case BENCH_JSONL:
        code = print_jsonl(result);
        break;
    }
    warn_of_noise(result);
    return code != CLI_OK ? code : cli_finish_output();
}
