/* report_maps.c - attention's maps checked and packed: a row for each query from first_query on, as
 * long as its position + 1; weights as 16-bit square roots in base64, for a page of them all.
 */
#include "tools/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_POSITIONS 4096
#define MOST_WEIGHTS   (4 << 20) /* of all maps of a report */

typedef struct map_shape {
    int64_t n, first;
} map_shape;

static int64_t n_cells(map_shape shape)
{
    return (shape.n * (shape.n + 1) - shape.first * (shape.first + 1)) / 2;
}

/* text[n] in base64; free() it */
static char *base64(const unsigned char *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((n + 2) / 3 * 4 + 1), *out = text;
    for (size_t i = 0; text && i < n; i += 3) {
        size_t left = n - i;
        uint32_t word = (uint32_t)bytes[i] << 16;
        word |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        word |= left > 2 ? bytes[i + 2] : 0;
        *out++ = digits[word >> 18];
        *out++ = digits[word >> 12 & 63];
        *out++ = left > 1 ? digits[word >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[word & 63] : '=';
    }
    if (text) {
        *out = '\0';
    }
    return text;
}

/* a row of a map into two bytes for each weight; false after a word */
static bool pack_row(const report_place *place, const json_t *row, int64_t query,
                     unsigned char *out)
{
    if (!json_is_array(row) || (int64_t)json_array_size(row) != query + 1) {
        report_bad(place, "the weights of query %lld: expected %lld of them", (long long)query,
                   (long long)query + 1);
        return false;
    }
    for (int64_t j = 0; j <= query; j++) {
        const json_t *value = json_array_get(row, (size_t)j);
        double x = json_number_value(value);
        if (!json_is_number(value) || !(x >= 0 && x < 1.01)) {
            report_bad(place, "the weights of query %lld: number %lld is not from 0 to 1",
                       (long long)query, (long long)j);
            return false;
        }
        unsigned root = (unsigned)lround(sqrt(x < 1 ? x : 1) * 65535);
        out[2 * j] = (unsigned char)(root & 255);
        out[2 * j + 1] = (unsigned char)(root >> 8);
    }
    return true;
}

static char *pack_map(const report_place *place, const json_t *map, map_shape shape)
{
    bool ok = true;
    const json_t *rows = report_array(place, map, "weights", &ok);
    if (ok && (int64_t)json_array_size(rows) != shape.n - shape.first) {
        report_bad(place, "'weights': expected %lld rows, found %zu",
                   (long long)(shape.n - shape.first), json_array_size(rows));
        ok = false;
    }
    unsigned char *bytes = ok ? malloc((size_t)n_cells(shape) * 2 + 1) : NULL;
    unsigned char *out = bytes;
    for (int64_t q = shape.first; bytes && ok && q < shape.n; q++) {
        ok = pack_row(place, json_array_get(rows, (size_t)(q - shape.first)), q, out);
        out += 2 * (q + 1);
    }
    char *text = bytes && ok ? base64(bytes, (size_t)n_cells(shape) * 2) : NULL;
    free(bytes);
    return text;
}

/* Lists of rows of letters, one letter for each key. */
static bool check_keys(const report_place *place, const json_t *lists, map_shape shape)
{
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *rows = json_array_get(lists, i);
        bool ok = (int64_t)json_array_size(rows) == shape.n - shape.first;
        for (int64_t q = shape.first; ok && q < shape.n; q++) {
            const char *row = json_string_value(json_array_get(rows, (size_t)(q - shape.first)));
            ok = row && (int64_t)strlen(row) == q + 1 && strspn(row, "mswp-x") == strlen(row);
        }
        if (!ok) {
            report_bad(place, "keys[%zu]: expected a letter of mswp-x for each key of each query",
                       i);
            return false;
        }
    }
    return true;
}

/* what each position is called: its text where there is one */
static json_t *labels_of(const report_place *place, const json_t *document, int64_t n,
                         int64_t n_meta, bool *ok)
{
    const json_t *tokens = report_array(place, document, "tokens", ok);
    const json_t *pieces = json_object_get(document, "pieces");
    json_t *labels = json_array();
    if (*ok && (int64_t)json_array_size(tokens) != n - n_meta) {
        report_bad(place, "'tokens': expected %lld, found %zu", (long long)(n - n_meta),
                   json_array_size(tokens));
        *ok = false;
    }
    for (int64_t i = 0; *ok && i < n; i++) {
        (void)json_array_append_new(
            labels, i < n_meta ? json_sprintf("meta %lld", (long long)i)
                               : report_label(tokens, pieces, (size_t)(i - n_meta)));
    }
    return labels;
}

static int add_maps(const report_place *place, const json_t *maps, map_shape shape, size_t n_lists,
                    json_t *out)
{
    for (size_t i = 0; i < json_array_size(maps); i++) {
        char part[32];
        bool ok = true;
        const json_t *map = json_array_get(maps, i);
        (void)snprintf(part, sizeof part, "maps[%zu]", i);
        report_place here = {place->file, place->line, part};
        int64_t layer = report_whole(&here, map, "layer", 0, &ok);
        int64_t head = report_whole(&here, map, "head", 0, &ok);
        int64_t keys = report_whole(&here, map, "keys", 0, &ok);
        if (ok && keys >= (int64_t)n_lists) {
            report_bad(&here, "'keys': there is no list %lld", (long long)keys);
            ok = false;
        }
        char *packed = ok ? pack_map(&here, map, shape) : NULL;
        if (!packed) {
            return CLI_BAD_MODEL;
        }
        json_t *point = json_pack("{s:I, s:I, s:I, s:s}", "layer", (json_int_t)layer, "head",
                                  (json_int_t)head, "keys", (json_int_t)keys, "weights", packed);
        free(packed);
        if (json_array_append_new(out, point) != 0) {
            return CLI_NO_ROOM;
        }
    }
    return CLI_OK;
}

int report_add_attention(report_data *data, const report_place *place, const json_t *document)
{
    bool ok = true;
    map_shape shape = {.n = report_whole(place, document, "n_positions", 1, &ok),
                       .first = report_whole(place, document, "first_query", 0, &ok)};
    int64_t n_meta = report_whole(place, document, "n_meta", 0, &ok);
    const json_t *lists = report_array(place, document, "keys", &ok);
    const json_t *maps = report_array(place, document, "maps", &ok);
    const char *model = report_string(place, document, "model", &ok);
    const char *path = report_string(place, document, "path", &ok);
    if (ok && (shape.n > MOST_POSITIONS || shape.first >= shape.n || n_meta > shape.n)) {
        report_bad(place,
                   "%lld positions from %lld on, %lld of them meta tokens: expected at most "
                   "%d, and a query among them",
                   (long long)shape.n, (long long)shape.first, (long long)n_meta, MOST_POSITIONS);
        ok = false;
    }
    if (!ok || !check_keys(place, lists, shape)) {
        return CLI_BAD_MODEL;
    }
    data->n_weights += n_cells(shape) * (int64_t)json_array_size(maps);
    if (data->n_weights > MOST_WEIGHTS) {
        report_bad(place, "more than %d weights of attention in one page: fewer maps",
                   MOST_WEIGHTS);
        return CLI_NO_ROOM;
    }
    json_t *labels = labels_of(place, document, shape.n, n_meta, &ok);
    json_t *packed = json_array(), *cache = json_object_get(document, "cache");
    int code = ok ? add_maps(place, maps, shape, json_array_size(lists), packed) : CLI_BAD_MODEL;
    json_t *point = json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:O?, s:o, s:O, s:o}", "file",
                              report_file_name(place), "model", model, "path", path, "n",
                              (json_int_t)shape.n, "first", (json_int_t)shape.first, "n_meta",
                              (json_int_t)n_meta, "cache", json_is_object(cache) ? cache : NULL,
                              "labels", labels, "keys", lists, "maps", packed);
    if (code == CLI_OK) {
        return json_array_append_new(data->attention, point) == 0 ? CLI_OK : CLI_NO_ROOM;
    }
    json_decref(point);
    return code;
}
