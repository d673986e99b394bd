/* report_plain.c - the report's numbers for those who draw themselves: one CSV table of all points,
 * or a gnuplot program with its data inside. Attention's maps are left to their own JSON.
 */
#include "tools/report.h"

#include <string.h>

/* a CSV field: quoted, quotes doubled */
static void put_text(FILE *file, const json_t *value)
{
    const char *text = json_string_value(value);
    (void)fputc('"', file);
    for (const char *c = text ? text : ""; *c != '\0'; c++) {
        (void)(*c == '"' ? fputs("\"\"", file) : fputc(*c == '\n' || *c == '\r' ? ' ' : *c, file));
    }
    (void)fputs("\",", file);
}

/* a number, `missing` where there is none */
static void put_number(FILE *file, const json_t *value, const char *missing, char after)
{
    if (json_is_number(value)) {
        (void)fprintf(file, "%.9g%c", json_number_value(value), after);
    } else {
        (void)fprintf(file, "%s%c", missing, after);
    }
}

/* each token of each text: n_ctx is how many were before it */
static void put_tokens(const report_data *data, FILE *file)
{
    size_t i, t;
    json_t *text, *label;
    json_array_foreach(data->texts, i, text)
    {
        int64_t n_prompt = json_integer_value(json_object_get(text, "n_prompt"));
        json_array_foreach(json_object_get(text, "labels"), t, label)
        {
            (void)fputs("tokens,", file);
            put_text(file, json_object_get(text, "model"));
            (void)fprintf(file, "seed %lld,\"\",,%lld,",
                          (long long)json_integer_value(json_object_get(text, "seed")),
                          (long long)(n_prompt + (int64_t)t));
            put_number(file, json_array_get(json_object_get(text, "ms"), t), "", ',');
            (void)fputs(",,,,,,,,", file);
            put_text(file, label);
            put_number(file, json_array_get(json_object_get(text, "logprob"), t), "", '\n');
        }
    }
}

void report_write_csv(const report_data *data, FILE *file)
{
    static const char *const numbers[] = {"ms",       "ms_low",        "ms_high",
                                          "bytes",    "bits_per_byte", "kld_mean",
                                          "same_top", "decode_p50_ms", "decode_p99_ms"};
    enum { N_NUMBERS = sizeof numbers / sizeof numbers[0] };
    size_t i;
    json_t *point;
    (void)fputs("picture,model,series,flags,threads,n_ctx,ms_per_token,ms_low,ms_high,cache_bytes,"
                "bits_per_byte,kld_mean,same_top,decode_p50_ms,decode_p99_ms,token,logprob\n",
                file);
    json_array_foreach(data->speed, i, point)
    {
        (void)fputs("speed,", file);
        put_text(file, json_object_get(point, "model"));
        put_text(file, json_object_get(point, "mode"));
        (void)fputs("\"\",", file);
        put_number(file, json_object_get(point, "threads"), "", ',');
        put_number(file, json_object_get(point, "n_ctx"), "", ',');
        for (int n = 0; n < 3; n++) {
            put_number(file, json_object_get(point, numbers[n]), "", ',');
        }
        put_number(file, json_object_get(point, "kv_bytes"), "", ',');
        (void)fputs(",,,,,,\n", file);
    }
    json_array_foreach(data->runs, i, point)
    {
        (void)fputs("tradeoff,", file);
        put_text(file, json_object_get(point, "model"));
        put_text(file, json_object_get(point, "cache"));
        put_text(file, json_object_get(point, "flags"));
        put_number(file, json_object_get(point, "threads"), "", ',');
        put_number(file, json_object_get(point, "n_ctx"), "", ',');
        for (int n = 0; n < N_NUMBERS; n++) {
            put_number(file, json_object_get(point, numbers[n]), "", ',');
        }
        (void)fputs(",\n", file);
    }
    put_tokens(data, file);
}

/* ---- gnuplot -------------------------------------------------------------------------------- */

/* a string between single quotes, in which gnuplot replaces nothing */
static void put_title(FILE *file, const json_t *point, const char *name)
{
    const char *text = json_string_value(json_object_get(point, name));
    (void)fputc('\'', file);
    for (const char *c = text ? text : ""; *c != '\0'; c++) {
        bool plain = (unsigned char)*c >= ' ' && *c != '\'' && *c != 0x7f;
        (void)fputc(plain ? *c : ' ', file);
    }
    (void)fputc('\'', file);
}

/* Whether an earlier point has the same member. */
static bool seen(const json_t *list, size_t n, const char *name)
{
    const json_t *value = json_object_get(json_array_get(list, n), name);
    for (size_t i = 0; i < n; i++) {
        if (json_equal(json_object_get(json_array_get(list, i), name), value)) {
            return true;
        }
    }
    return false;
}

/* Points of one series after another, two empty lines between. */
static void put_blocks(FILE *file, const json_t *list, const char *series,
                       const char *const *columns, int n_columns)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (seen(list, i, series)) {
            continue;
        }
        const json_t *value = json_object_get(json_array_get(list, i), series);
        for (size_t j = i; j < json_array_size(list); j++) {
            const json_t *point = json_array_get(list, j);
            for (int c = 0; c < n_columns && json_equal(json_object_get(point, series), value);
                 c++) {
                put_number(file, json_object_get(point, columns[c]), "NaN",
                           c + 1 < n_columns ? ' ' : '\n');
            }
        }
        (void)fputs("\n\n", file);
    }
}

static void put_plot(FILE *file, const json_t *list, const char *series, const char *block,
                     const char *how)
{
    int n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!seen(list, i, series)) {
            (void)fprintf(file, "%s%s index %d using %s title ", n > 0 ? ", \\\n     " : "plot ",
                          block, n, how);
            put_title(file, json_array_get(list, i), series);
            n++;
        }
    }
    (void)fputs("\n", file);
}

/* each text as a line: tokens before, ms, log probability */
static void put_texts(const report_data *data, FILE *file)
{
    size_t i;
    json_t *text;
    if (json_array_size(data->texts) == 0) {
        return;
    }
    (void)fputs("# tokens before, ms, log probability\n$tokens << EOD\n", file);
    json_array_foreach(data->texts, i, text)
    {
        const json_t *ms = json_object_get(text, "ms"), *logs = json_object_get(text, "logprob");
        int64_t n_prompt = json_integer_value(json_object_get(text, "n_prompt"));
        for (size_t t = 0; t < json_array_size(ms); t++) {
            (void)fprintf(file, "%lld ", (long long)(n_prompt + (int64_t)t));
            put_number(file, json_array_get(ms, t), "NaN", ' ');
            put_number(file, json_array_get(logs, t), "NaN", '\n');
        }
        (void)fputs("\n\n", file);
    }
    (void)fputs("EOD\nset xlabel 'tokens before'\nset ylabel 'ms'\n", file);
    json_array_foreach(data->texts, i, text)
    {
        (void)fprintf(file, "%s$tokens index %zu every ::1 using 1:2 with lines title 'seed %lld'",
                      i > 0 ? ", \\\n     " : "plot ", i,
                      (long long)json_integer_value(json_object_get(text, "seed")));
    }
    (void)fputs("\n", file);
}

void report_write_gnuplot(const report_data *data, FILE *file)
{
    static const char *const speed[] = {"n_ctx", "ms", "ms_low", "ms_high", "kv_bytes"};
    static const char *const runs[] = {"bytes",         "ms",       "n_ctx",
                                       "bits_per_byte", "kld_mean", "same_top"};
    int n_plots = (json_array_size(data->speed) > 0) + (json_array_size(data->runs) > 0) +
                  (json_array_size(data->texts) > 0);
    (void)fputs("# gnuplot -p FILE\nset key noenhanced\n", file);
    if (n_plots > 1) {
        (void)fprintf(file, "set multiplot layout 1,%d\n", n_plots);
    }
    if (json_array_size(data->speed) > 0) {
        (void)fputs("# n_ctx, ms a token, least, greatest, bytes of the cache\n$speed << EOD\n",
                    file);
        put_blocks(file, data->speed, "mode", speed, 5);
        (void)fputs("EOD\nset logscale xy\nset xlabel 'tokens in the context'\n"
                    "set ylabel 'ms per token'\n",
                    file);
        put_plot(file, data->speed, "mode", "$speed", "1:2:3:4 with yerrorbars");
        (void)fputs("unset logscale\n", file);
    }
    if (json_array_size(data->runs) > 0) {
        (void)fputs("# bytes of the cache, ms a token, n_ctx, bits per byte, KL, same top\n"
                    "$runs << EOD\n",
                    file);
        put_blocks(file, data->runs, "cache", runs, 6);
        (void)fputs("EOD\nset xlabel 'bytes of the cache'\nset ylabel 'bits per byte'\n", file);
        put_plot(file, data->runs, "cache", "$runs", "1:4 with points");
    }
    put_texts(data, file);
    if (n_plots > 1) {
        (void)fputs("unset multiplot\n", file);
    }
}
