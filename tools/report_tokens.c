/* report_tokens.c - texts of `kvass generate --token-stats`: what each token took, and how likely
 * it was. Each sample is a text of its own.
 */
#include "tools/report.h"

#include <string.h>

enum { MOST_TOKENS = 1 << 16 }; /* of a text */

/* numbers, one for each of n tokens, none above `most` */
static const json_t *numbers_of(const report_place *place, const json_t *text, const char *name,
                                double least, double most, size_t n, bool *ok)
{
    const json_t *values = json_object_get(text, name);
    if (*ok && !values) {
        report_bad(place, "no '%s': kvass generate writes it with --token-stats", name);
        *ok = false;
        return NULL;
    }
    values = report_array(place, text, name, ok);
    if (*ok && json_array_size(values) != n) {
        report_bad(place, "'%s': expected %zu numbers, found %zu", name, n,
                   json_array_size(values));
        *ok = false;
    }
    for (size_t i = 0; *ok && i < n; i++) {
        const json_t *value = json_array_get(values, i);
        double x = json_number_value(value);
        if (!json_is_null(value) && !(json_is_number(value) && x >= least && x <= most)) {
            report_bad(place, "'%s': number %zu is not from %g to %g", name, i, least, most);
            *ok = false;
        }
    }
    return values;
}

/* what each token is called: its text, or its number */
static json_t *labels_of(const json_t *ids, const json_t *pieces)
{
    json_t *labels = json_array();
    for (size_t i = 0; labels && i < json_array_size(ids); i++) {
        (void)json_array_append_new(labels, report_label(ids, pieces, i));
    }
    return labels;
}

static int add_text(report_data *data, const report_place *place, const json_t *document,
                    const json_t *text)
{
    bool ok = true;
    const json_t *ids = report_array(place, text, "tokens", &ok);
    size_t n = json_array_size(ids);
    int64_t seed = report_whole(place, text, "seed", 0, &ok);
    if (ok && n > MOST_TOKENS) {
        report_bad(place, "%zu tokens: expected at most %d", n, MOST_TOKENS);
        ok = false;
    }
    const json_t *ms = numbers_of(place, text, "token_ms", 0, 1e9, n, &ok);
    const json_t *logprob = numbers_of(place, text, "token_logprob", -1e9, 1e-3, n, &ok);
    if (!ok) {
        return CLI_BAD_MODEL;
    }
    const char *model = json_string_value(json_object_get(document, "model"));
    const json_t *cache = json_object_get(document, "cache");
    const char *retain = json_string_value(json_object_get(cache, "retain"));
    const char *store = json_string_value(json_object_get(cache, "store"));
    json_t *one =
        json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:o, s:O, s:O}", "file", report_file_name(place),
                  "model", model ? model : "", "retain", retain ? retain : "", "store",
                  store ? store : "", "seed", (json_int_t)seed, "n_prompt",
                  (json_int_t)json_array_size(json_object_get(document, "prompt_tokens")), "labels",
                  labels_of(ids, json_object_get(text, "pieces")), "ms", ms, "logprob", logprob);
    return json_array_append_new(data->texts, one) == 0 ? CLI_OK : CLI_NO_ROOM;
}

int report_add_text(report_data *data, const report_place *place, const json_t *document)
{
    const json_t *samples = json_object_get(document, "samples");
    bool ok = true;
    int code = CLI_OK;
    if (!samples) {
        return add_text(data, place, document, document);
    }
    if (!report_array(place, document, "samples", &ok) || !ok) {
        return CLI_BAD_MODEL;
    }
    for (size_t i = 0; i < json_array_size(samples) && code == CLI_OK; i++) {
        char part[32];
        (void)snprintf(part, sizeof part, "samples[%zu]", i);
        report_place here = {place->file, place->line, part};
        code = add_text(data, &here, document, json_array_get(samples, i));
    }
    return code;
}
