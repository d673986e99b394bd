/* json_list.c - json_list.h. Nothing is parsed here: brackets, commas and strings are told apart to
 * cut the text, and every part of it goes through the parser. Entries of a list that are
 * well-formed between brackets of their own are so in the whole; a document that is well-formed
 * with an empty list is so with any. Where a list is cut a NUL takes the comma's place: a text that
 * has one by itself is no JSON and stays as it is.
 */
#include "engine/base/json_list.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"

#ifndef LONG_BYTES             /* a test takes less */
#define LONG_BYTES  (64 << 10) /* a shorter list stays in the document */
#define PIECE_BYTES (4 << 10)  /* of text, and one entry more */
#endif

/* The place behind the string that begins with the quote at text[at]; n when it does not end. */
static size_t skip_string(const char *text, size_t at, size_t n)
{
    for (at++; at < n && text[at] != '"'; at++) {
        at += text[at] == '\\';
    }
    return at < n ? at + 1 : n;
}

/* The place of the bracket that closes what begins at text[at], or n. With `cut` it is cut into
 * pieces. */
static size_t find_end(char *text, size_t at, size_t n, bool cut)
{
    size_t comma = cut ? at + PIECE_BYTES : n; /* the next one from here on is a place to cut */
    for (int depth = 0; at < n; at++) {
        char c = text[at];
        if (c == '"') {
            at = skip_string(text, at, n) - 1;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth-- == 0) {
                return at;
            }
        } else if (c == ',' && depth == 0 && at >= comma) {
            text[at] = '\0';
            comma = at + PIECE_BYTES;
        }
    }
    return n;
}

static size_t skip_space(const char *text, size_t at, size_t n)
{
    while (at < n && text[at] != '\0' && strchr(" \t\r\n", text[at])) {
        at++;
    }
    return at;
}

/* ---- cutting --------------------------------------------------------------------------------- */

/* If text[at] is a quote that begins a key, the place of its value, else 0. *end is behind it. */
static size_t find_value(const char *text, size_t at, size_t n, size_t *end)
{
    *end = skip_string(text, at, n);
    size_t colon = skip_space(text, *end, n);
    return colon < n && text[colon] == ':' ? skip_space(text, colon + 1, n) : 0;
}

static bool is_key(const char *text, size_t at, size_t end, const char *key)
{
    size_t n_key = strlen(key);
    return end - at == n_key + 2 && memcmp(text + at + 1, key, n_key) == 0;
}

/* The place of root["model"], or n. */
static size_t find_model(char *text, size_t n)
{
    size_t at = skip_space(text, 0, n), end;
    if (at == n || text[at] != '{') {
        return n;
    }
    for (at++; at < n && text[at] != '}'; at = end) {
        end = at + 1;
        if (text[at] == '"') {
            size_t value = find_value(text, at, n, &end);
            if (value > 0 && is_key(text, at, end, "model")) {
                return value;
            }
        } else if (text[at] == '{' || text[at] == '[') {
            end = find_end(text, at + 1, n, false) + 1;
        }
    }
    return n;
}

/* Take the value at text[at] for the list, if it is long; returns the place behind it. */
static size_t take_list(kvass_json_list *list, char *text, size_t at, size_t n)
{
    size_t end = find_end(text, at + 1, n, true);
    bool whole = end < n && text[end] == (list->open == '{' ? '}' : ']');
    if (whole && end - at >= LONG_BYTES) {
        list->text = text + at;
        list->n_bytes = end + 1 - at;
        return end + 1;
    }
    for (char *cut = text + at; (cut = memchr(cut, '\0', n - (size_t)(cut - text))) != NULL;) {
        *cut = ',';
    }
    return end + 1;
}

/* Find the lists in text[n]: those stay NULL that are not there, or short. */
static void find_lists(kvass_json_list *lists, size_t n_lists, char *text, size_t n)
{
    size_t at = memchr(text, '\0', n) ? n : find_model(text, n), end;
    if (at == n || text[at] != '{') {
        return;
    }
    for (at++; at < n && text[at] != '}'; at = end) {
        end = at + 1;
        if (text[at] == '"') {
            size_t value = find_value(text, at, n, &end);
            for (size_t i = 0; i < n_lists && value > 0 && value < n; i++) {
                if (!lists[i].text && is_key(text, at, end, lists[i].name) &&
                    text[value] == lists[i].open) {
                    end = take_list(&lists[i], text, value, n);
                    break;
                }
            }
        } else if (text[at] == '{' || text[at] == '[') {
            end = find_end(text, at + 1, n, false) + 1;
        }
    }
}

/* The document text[n] without what is inside of the lists, in fresh memory. */
static char *leave_out(const char *text, size_t n, const kvass_json_list *lists, size_t n_lists,
                       size_t *n_out)
{
    size_t n_left = n;
    for (size_t i = 0; i < n_lists; i++) {
        n_left -= lists[i].text ? lists[i].n_bytes - 2 : 0;
    }
    char *out = malloc(n_left + 1);
    *n_out = 0;
    for (size_t at = 0; out && at < n;) {
        size_t next = n, skip = 0;
        for (size_t i = 0; i < n_lists; i++) {
            size_t inside = lists[i].text ? (size_t)(lists[i].text + 1 - text) : n;
            if (inside >= at && inside < next) {
                next = inside;
                skip = lists[i].n_bytes - 2;
            }
        }
        memcpy(out + *n_out, text + at, next - at);
        *n_out += next - at;
        at = next + skip;
    }
    return out;
}

/* Parse text[n] with the lists left out. */
static kvass_status parse_rest(kvass_json **root, const char *text, size_t n,
                               const kvass_json_list *lists, size_t n_lists, const char *path,
                               kvass_error *err)
{
    size_t n_rest;
    char *rest = leave_out(text, n, lists, n_lists, &n_rest);
    if (!rest) {
        return kvass_fail_nomem(err, n, "JSON text");
    }
    kvass_status status = kvass_json_parse(root, rest, n_rest, path, err);
    free(rest);
    return status;
}

kvass_status kvass_json_open_lists(kvass_json **root, char **text, kvass_json_list *lists, size_t n,
                                   const char *path, size_t max_bytes, kvass_error *err)
{
    size_t n_bytes;
    bool cut = false;
    *root = NULL;
    *text = NULL;
    kvass_status status = kvass_file_slurp(path, max_bytes, text, &n_bytes, err);
    if (status != KVASS_OK) {
        return status;
    }
    find_lists(lists, n, *text, n_bytes);
    for (size_t i = 0; i < n; i++) {
        cut = cut || lists[i].text;
    }
    status = cut ? parse_rest(root, *text, n_bytes, lists, n, path, err)
                 : kvass_json_parse_file(root, *text, n_bytes, path, err);
    if (status != KVASS_OK || !cut) {
        free(*text);
        *text = NULL;
    }
    return status;
}

/* ---- walking --------------------------------------------------------------------------------- */

kvass_json_walk kvass_json_walk_begin(kvass_json_list *list, const kvass_json *whole)
{
    bool cut = list && list->text;
    return (kvass_json_walk){.list = cut ? list : NULL, .whole = cut ? NULL : whole};
}

/* Parse entries text[from .. end); the bracket or the cut on either side becomes a bracket. */
static kvass_status parse_piece(kvass_json_walk *walk, size_t from, size_t end, kvass_error *err)
{
    kvass_json_list *list = walk->list;
    list->text[from - 1] = list->open;
    list->text[end] = list->open == '{' ? '}' : ']';
    kvass_status status =
        kvass_json_parse(&walk->piece, list->text + from - 1, end + 2 - from, list->name, err);
    bool alone = from == 1 && end + 1 == list->n_bytes;
    if (status == KVASS_OK && kvass_json_size(walk->piece) == 0 && !alone) {
        status = kvass_fail(err, KVASS_FORMAT, "JSON_SYNTAX", "%s: a comma too many", list->name);
    }
    return status;
}

kvass_status kvass_json_walk_next(kvass_json_walk *walk, const kvass_json **piece, kvass_error *err)
{
    kvass_json_list *list = walk->list;
    *piece = walk->whole;
    walk->whole = NULL;
    if (!list) {
        return KVASS_OK;
    }
    kvass_json_close(&walk->piece);
    if (walk->at == list->n_bytes) {
        list->walked = true;
        return KVASS_OK;
    }
    size_t from = walk->at > 0 ? walk->at : 1;
    const char *cut = memchr(list->text + from, '\0', list->n_bytes - from);
    size_t end = cut ? (size_t)(cut - list->text) : list->n_bytes - 1;
    kvass_status status = parse_piece(walk, from, end, err);
    walk->at = end + 1;
    *piece = walk->piece;
    return status;
}

void kvass_json_walk_end(kvass_json_walk *walk)
{
    kvass_json_close(&walk->piece);
}
