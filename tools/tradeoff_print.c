/* tradeoff_print.c - merged runs of `kvass tradeoff` as tables, CSV or JSON lines. A table for each
 * model and length, in order of appearance.
 */
#include "tools/tradeoff.h"

#include <math.h>
#include <string.h>

/* KL below this is rounding between two exact paths */
#define KLD_NOTHING 1e-9

static double real_of(const json_t *line, const char *name)
{
    const json_t *value = json_object_get(line, name);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t int_of(const json_t *line, const char *name)
{
    return json_integer_value(json_object_get(line, name));
}

static const char *text_of(const json_t *line, const char *name)
{
    const char *text = json_string_value(json_object_get(line, name));
    return text ? text : "-";
}

static bool is_ok(const json_t *line)
{
    return strcmp(text_of(line, "status"), "ok") == 0;
}

/* ---- tables --------------------------------------------------------------------------------- */

/* The end of a path: what a table has room for and another machine would say, too. */
static const char *short_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *before = slash;
    while (before && before > path && before[-1] != '/') {
        before--;
    }
    return path[0] == '/' && before ? before : path;
}

/* 1234567 as 1,234,567 */
static void print_count(int64_t n)
{
    char digits[32];
    int n_digits = snprintf(digits, sizeof digits, "%lld", (long long)n);
    for (int i = 0; i < n_digits; i++) {
        bool comma = i > 0 && (n_digits - i) % 3 == 0 && digits[i - 1] != '-';
        (void)printf("%s%c", comma ? "," : "", digits[i]);
    }
}

/* a whole number, or what is nearest to one */
static void print_count_cell(const json_t *line, const char *name)
{
    double x = real_of(line, name);
    (void)printf(" ");
    if (x >= 0 && x < 1e15) {
        print_count((int64_t)(x + 0.5));
    } else {
        (void)printf("-");
    }
    (void)printf(" |");
}

/* a file may come from anyone */
static void print_text(const char *text)
{
    cli_put_text(text, strlen(text), false);
}

/* x with three significant digits, or a dash */
static void print_cell(double x)
{
    char text[CLI_CELL];
    cli_cell(text, x, 3);
    (void)printf(" %s |", text);
}

static void print_row(const json_t *line)
{
    (void)printf("| ");
    print_text(text_of(line, "cache"));
    (void)printf(" | `");
    print_text(text_of(line, "flags"));
    (void)printf("` |");
    if (!is_ok(line)) {
        (void)printf(" refused | - | - | - | - | - | - | - | - | - |\n");
        return;
    }
    double kld = real_of(line, "kld_mean");
    (void)printf(" ");
    print_text(text_of(line, "exactness"));
    (void)printf(" |");
    print_count_cell(line, "cache_bytes");
    print_count_cell(line, "cache_bytes_peak");
    print_cell(real_of(line, "prefill_ms_per_token"));
    print_cell(real_of(line, "decode_ms_per_token"));
    print_cell(real_of(line, "decode_tok_s"));
    print_count_cell(line, "recomputed_per_token");
    (void)printf(" %.3f |", real_of(line, "bits_per_byte"));
    (void)printf(" %.2g | %.1f %% |\n", kld < KLD_NOTHING ? 0 : kld,
                 real_of(line, "same_top") * 100);
}

/* what all rows of a table have in common, as far as it is known */
static void print_heading(const json_t *line)
{
    int64_t n_ctx = int_of(line, "n_ctx"), trained = int_of(line, "trained_ctx");
    print_text(short_path(text_of(line, "model")));
    (void)printf(", ");
    print_count(n_ctx);
    (void)printf(" tokens");
    if (n_ctx > trained) {
        (void)printf(" (trained on ");
        print_count(trained);
        (void)printf(")");
    }
    if (!json_object_get(line, "exactness")) {
        (void)printf(": left out: ");
        print_text(text_of(line, "reason"));
        (void)printf(".\n");
        return;
    }
    int64_t n_trials = int_of(line, "trials"), n_threads = int_of(line, "threads");
    (void)printf(", half of them decoded; medians of %lld trial%s, %lld thread%s, ",
                 (long long)n_trials, n_trials == 1 ? "" : "s", (long long)n_threads,
                 n_threads == 1 ? "" : "s");
    print_text(text_of(line, "isa"));
    (void)printf(", ");
    print_text(text_of(line, "cpu"));
    (void)printf(
        ":\n\n| cache | flags | exact? | cache bytes | at most | prefill ms/token | decode "
        "ms/token | tokens/s | run again per token | bits per byte | mean KL | same top "
        "|\n|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
}

static bool same_table(const json_t *a, const json_t *b)
{
    static const char *const names[] = {"model_fingerprint",
                                        "text_fingerprint",
                                        "cpu",
                                        "isa",
                                        "threads",
                                        "batch",
                                        "n_ctx",
                                        "model"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *x = json_object_get(a, names[i]), *y = json_object_get(b, names[i]);
        if (x != y && !json_equal(x, y)) {
            return false;
        }
    }
    return true;
}

/* The table whose first line is lines[first]: what ran, then why others did not. */
static void print_table(const json_t *lines, size_t first)
{
    size_t n = json_array_size(lines), i_ok = first;
    const json_t *head = json_array_get(lines, first);
    for (size_t i = first; i < n && !is_ok(json_array_get(lines, i_ok)); i++) {
        i_ok = same_table(head, json_array_get(lines, i)) ? i : i_ok;
    }
    print_heading(json_array_get(lines, i_ok));
    bool refused = false;
    for (size_t i = first; i < n; i++) {
        const json_t *line = json_array_get(lines, i);
        if (json_is_string(json_object_get(line, "cache")) && same_table(head, line)) {
            print_row(line);
        }
    }
    for (size_t i = first; i < n; i++) {
        const json_t *line = json_array_get(lines, i);
        if (json_is_string(json_object_get(line, "cache")) && same_table(head, line) &&
            !is_ok(line)) {
            (void)printf("%s", refused ? "" : "\n");
            print_text(text_of(line, "cache"));
            (void)printf(": ");
            print_text(text_of(line, "reason"));
            (void)printf(".\n");
            refused = true;
        }
    }
}

static void print_tables(const json_t *lines)
{
    for (size_t i = 0; i < json_array_size(lines); i++) {
        bool first = true;
        for (size_t j = 0; j < i && first; j++) {
            first = !same_table(json_array_get(lines, j), json_array_get(lines, i));
        }
        if (first) {
            (void)printf("%s", i > 0 ? "\n" : "");
            print_table(lines, i);
        }
    }
}

/* ---- CSV ------------------------------------------------------------------------------------ */

/* A field: text quoted, quotes doubled; nothing for null. */
static void print_field(const json_t *value)
{
    if (json_is_string(value)) {
        (void)fputc('"', stdout);
        for (const char *c = json_string_value(value); *c != '\0'; c++) {
            (void)(*c == '"' ? fputs("\"\"", stdout) : fputc(*c, stdout));
        }
        (void)fputc('"', stdout);
    } else if (json_is_integer(value)) {
        (void)printf("%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)printf("%.9g", json_real_value(value));
    }
}

static void print_csv(const json_t *lines)
{
    static const char *const names[] = {"model",
                                        "model_fingerprint",
                                        "n_ctx",
                                        "cache",
                                        "flags",
                                        "trials",
                                        "status",
                                        "reason",
                                        "exactness",
                                        "cache_bytes",
                                        "cache_bytes_peak",
                                        "bytes_per_token",
                                        "prefill_ms_per_token",
                                        "decode_ms_per_token",
                                        "decode_tok_s",
                                        "decode_p50_ms",
                                        "decode_p99_ms",
                                        "recomputed_per_token",
                                        "evicted_tokens",
                                        "bits_per_byte",
                                        "ppl",
                                        "kld_mean",
                                        "kld_p99",
                                        "kld_max",
                                        "same_top",
                                        "threads",
                                        "isa",
                                        "cpu"};
    enum { N_NAMES = sizeof names / sizeof *names };
    for (int i = 0; i < N_NAMES; i++) {
        (void)printf("%s%s", i > 0 ? "," : "", names[i]);
    }
    (void)printf("\n");
    for (size_t i = 0; i < json_array_size(lines); i++) {
        for (int j = 0; j < N_NAMES; j++) {
            (void)printf("%s", j > 0 ? "," : "");
            print_field(json_object_get(json_array_get(lines, i), names[j]));
        }
        (void)printf("\n");
    }
}

static int print_lines(const json_t *merged, tradeoff_format format)
{
    int code = CLI_OK;
    switch (format) {
    case TRADEOFF_MD:
        print_tables(merged);
        break;
    case TRADEOFF_CSV:
        print_csv(merged);
        break;
    case TRADEOFF_JSONL:
        for (size_t i = 0; i < json_array_size(merged) && code == CLI_OK; i++) {
            code = cli_print_json(json_incref(json_array_get(merged, i)));
        }
        break;
    }
    return code != CLI_OK ? code : cli_finish_output();
}

/* ---- which ---------------------------------------------------------------------------------- */

/* The lines that --ctx and --policies name; all, when neither was given. */
static json_t *chosen(const tradeoff_args *args, const json_t *lines)
{
    json_t *some = json_array();
    for (size_t i = 0; some && i < json_array_size(lines); i++) {
        json_t *line = json_array_get(lines, i);
        const char *cache = json_string_value(json_object_get(line, "cache"));
        json_int_t n_ctx = json_integer_value(json_object_get(line, "n_ctx"));
        bool wanted = args->n_lengths == 0;
        for (int l = 0; l < args->n_lengths; l++) {
            wanted = wanted || n_ctx == args->lengths[l];
        }
        bool named = args->n_caches == 0 || !cache;
        for (int c = 0; c < args->n_caches; c++) {
            named = named || strcmp(cache, args->caches[c].name) == 0;
        }
        if (wanted && named) {
            (void)json_array_append(some, line);
        }
    }
    return some;
}

int tradeoff_print(const tradeoff_args *args, json_t *lines)
{
    json_t *some = args->n_from > 0 ? chosen(args, lines) : json_incref(lines);
    json_t *merged = tradeoff_merge(some);
    int code;
    if (merged && json_array_size(merged) == 0) {
        cli_say("no run of that length and cache");
        code = CLI_USAGE;
    } else if (merged) {
        code = print_lines(merged, args->format);
    } else {
        cli_say("out of memory for the table");
        code = CLI_NO_ROOM;
    }
    json_decref(merged);
    json_decref(some);
    return code;
}
