/* report_read.c - files of JSON documents, each recognized by its members. A document may take many
 * lines, or a line hold one; a place is the line where a document begins, or where it breaks.
 */
#include "tools/report.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define MOST_BYTES ((size_t)32 << 20) /* of a file: a parsed document takes many times as much */

bool report_data_open(report_data *data)
{
    *data = (report_data){.sources = json_array(),
                          .speed = json_array(),
                          .models = json_array(),
                          .runs = json_array(),
                          .attention = json_array(),
                          .texts = json_array()};
    return data->sources && data->speed && data->models && data->runs && data->attention &&
           data->texts;
}

void report_data_close(report_data *data)
{
    json_decref(data->sources);
    json_decref(data->speed);
    json_decref(data->models);
    json_decref(data->runs);
    json_decref(data->attention);
    json_decref(data->texts);
    *data = (report_data){0};
}

/* ---- members -------------------------------------------------------------------------------- */

void report_bad(const report_place *place, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    cli_say("%s: line %lld: %s%s%s (REPORT_INPUT)", place->file, (long long)place->line,
            place->part, place->part[0] != '\0' ? ": " : "", text);
}

json_t *report_file_name(const report_place *place)
{
    return cli_json_text(place->file, strlen(place->file));
}

json_t *report_label(const json_t *ids, const json_t *pieces, size_t i)
{
    json_t *piece = json_array_get(pieces, i);
    long long id = (long long)json_integer_value(json_array_get(ids, i));
    return json_is_string(piece) ? json_incref(piece) : json_sprintf("id %lld", id);
}

static const char *kind_of(const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null"};
    return value ? names[json_typeof(value)] : "nothing";
}

double report_number(const report_place *place, const json_t *object, const char *name,
                     double least, bool *ok)
{
    const json_t *value = json_object_get(object, name);
    double x = json_number_value(value);
    if (*ok && !json_is_number(value)) {
        report_bad(place, "'%s': expected a number, found %s", name, kind_of(value));
        *ok = false;
    } else if (*ok && !(isfinite(x) && x >= least)) {
        report_bad(place, "'%s': expected at least %g, found %g", name, least, x);
        *ok = false;
    }
    return x;
}

int64_t report_whole(const report_place *place, const json_t *object, const char *name,
                     int64_t least, bool *ok)
{
    double x = report_number(place, object, name, (double)least, ok);
    if (*ok && (x >= 1e9 || x != floor(x))) {
        report_bad(place, "'%s': expected a whole number, found %g", name, x);
        *ok = false;
    }
    return *ok ? (int64_t)x : 0;
}

const char *report_string(const report_place *place, const json_t *object, const char *name,
                          bool *ok)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (*ok && !text) {
        report_bad(place, "'%s': expected a string, found %s", name,
                   kind_of(json_object_get(object, name)));
        *ok = false;
    }
    return text ? text : "";
}

const json_t *report_array(const report_place *place, const json_t *object, const char *name,
                           bool *ok)
{
    const json_t *array = json_object_get(object, name);
    if (*ok && !json_is_array(array)) {
        report_bad(place, "'%s': expected an array, found %s", name, kind_of(array));
        *ok = false;
    }
    return array;
}

/* ---- documents ------------------------------------------------------------------------------ */

static const struct {
    const char *kind, *member, *other; /* both are there */
    int (*add)(report_data *, const report_place *, const json_t *);
} kinds[] = {
    {"attention", "maps", "n_positions", report_add_attention},
    {"bench", "rows", "kv_type", report_add_bench},
    {"bench", "mode", "n_ctx_before", report_add_bench},
    {"tradeoff", "status", "n_ctx", report_add_run},
    {"eval", "kld_mean", "n_ctx", report_add_run},
    {"generate", "tokens", "finish_reason", report_add_text},
    {"generate", "samples", "timing", report_add_text},
};

static int add_document(report_data *data, const report_place *place, const json_t *document,
                        const char **kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (json_object_get(document, kinds[i].member) &&
            json_object_get(document, kinds[i].other)) {
            *kind = kinds[i].kind;
            return kinds[i].add(data, place, document);
        }
    }
    report_bad(place,
               "expected a result of kvass bench, tradeoff, eval, attention or generate as JSON, "
               "found %s of other members",
               kind_of(document));
    return CLI_BAD_MODEL;
}

static int64_t count_lines(const char *text, size_t n)
{
    int64_t n_lines = 0;
    for (size_t i = 0; i < n; i++) {
        n_lines += text[i] == '\n';
    }
    return n_lines;
}

int report_read_text(report_data *data, const char *name, const char *text, size_t n)
{
    report_place place = {name, 1, ""};
    const char *kind = "";
    int64_t n_documents = 0;
    size_t at = 0;
    for (;; n_documents++) {
        while (at < n && strchr(" \t\r\n", text[at]) && text[at] != '\0') {
            place.line += text[at++] == '\n';
        }
        if (at == n) {
            break;
        }
        json_error_t error;
        json_t *document =
            json_loadb(text + at, n - at, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &error);
        if (!document) {
            place.line += error.line > 1 ? error.line - 1 : 0;
            report_bad(&place, "%s", error.text);
            return CLI_BAD_MODEL;
        }
        int code = add_document(data, &place, document, &kind);
        json_decref(document);
        if (code != CLI_OK) {
            return code;
        }
        size_t taken = (size_t)error.position;
        place.line += count_lines(text + at, taken);
        at += taken;
    }
    if (n_documents == 0) {
        report_bad(&place, "expected a JSON document, found the end of the file");
        return CLI_BAD_MODEL;
    }
    json_t *source = json_pack("{s:o, s:s, s:I}", "file", cli_json_text(name, strlen(name)), "kind",
                               kind, "documents", (json_int_t)n_documents);
    return json_array_append_new(data->sources, source) == 0 ? CLI_OK : CLI_NO_ROOM;
}

int report_read_file(report_data *data, const char *path)
{
    cli_bytes bytes = {0};
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    int code = cli_read_file(&bytes, path);
    if (code == CLI_OK && bytes.n > MOST_BYTES) {
        cli_say("%s: %zu bytes, more than %zu: fewer layers and heads, or a file less", name,
                bytes.n, MOST_BYTES);
        code = CLI_NO_ROOM;
    }
    if (code == CLI_OK) {
        code = report_read_text(data, name, bytes.data ? bytes.data : "", bytes.n);
    }
    cli_bytes_free(&bytes);
    return code;
}
