/* json.c - json.h on top of jansson, the only place that knows which parser it is.
 * Called by every reader of a JSON file. A kvass_json is jansson's own value under another name:
 * the root holds the one reference, everything below it is borrowed. jansson's limits hold: 2048
 * levels, integers that fit 64 bits or an error, no NaN, no infinity, no NUL in strings, UTF-8
 * only.
 */
#include "engine/base/json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"

static const json_t *inner(const kvass_json *value)
{
    return (const json_t *)value;
}

static kvass_json *outer(json_t *value)
{
    return (kvass_json *)value;
}

static kvass_status fail_parse(kvass_error *err, const char *path, const json_error_t *e)
{
    if (e->text[0] == '\0') { /* where jansson runs out of memory it may leave without a word */
        return kvass_fail(err, KVASS_NOMEM, "NOMEM", "%s: out of memory while reading JSON", path);
    }
    switch (json_error_code(e)) {
    case json_error_out_of_memory:
        return kvass_fail(err, KVASS_NOMEM, "NOMEM", "%s: out of memory while reading JSON", path);
    case json_error_duplicate_key:
        return kvass_fail(err, KVASS_FORMAT, "JSON_DUPLICATE", "%s: line %d, byte %d: %s", path,
                          e->line, e->position, e->text);
    default:
        return kvass_fail(err, KVASS_FORMAT, "JSON_SYNTAX", "%s: line %d, byte %d: %s", path,
                          e->line, e->position, e->text);
    }
}

kvass_status kvass_json_parse(kvass_json **root, const char *text, size_t n_bytes, const char *path,
                              kvass_error *err)
{
    *root = NULL;
    json_error_t e;
    json_t *value = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &e);
    if (!value) {
        return fail_parse(err, path, &e);
    }
    *root = outer(value);
    return KVASS_OK;
}

kvass_status kvass_json_parse_file(kvass_json **root, const char *text, size_t n_bytes,
                                   const char *path, kvass_error *err)
{
    kvass_status status = kvass_json_parse(root, text, n_bytes, path, err);
    const char *looks = kvass_file_looks_like((const unsigned char *)text, n_bytes);
    if (status == KVASS_FORMAT && strcmp(looks, "JSON text") != 0 &&
        strcmp(looks, KVASS_LOOKS_UNKNOWN) != 0) {
        status = kvass_fail(err, KVASS_FORMAT, "JSON_SYNTAX", "%s: expected JSON text, found %s",
                            path, looks);
    }
    return status;
}

kvass_status kvass_json_open(kvass_json **root, const char *path, size_t max_bytes,
                             kvass_error *err)
{
    *root = NULL;
    char *text;
    size_t n_bytes;
    kvass_status status = kvass_file_slurp(path, max_bytes, &text, &n_bytes, err);
    if (status == KVASS_OK) {
        status = kvass_json_parse_file(root, text, n_bytes, path, err);
        free(text);
    }
    return status;
}

void kvass_json_close(kvass_json **root)
{
    if (root && *root) {
        json_decref((json_t *)*root);
        *root = NULL;
    }
}

kvass_json_kind kvass_json_get_kind(const kvass_json *value)
{
    if (!value) {
        return KVASS_JSON_ABSENT;
    }
    switch (json_typeof(inner(value))) {
    case JSON_OBJECT:
        return KVASS_JSON_OBJECT;
    case JSON_ARRAY:
        return KVASS_JSON_ARRAY;
    case JSON_STRING:
        return KVASS_JSON_STRING;
    case JSON_INTEGER:
        return KVASS_JSON_INT;
    case JSON_REAL:
        return KVASS_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return KVASS_JSON_BOOL;
    case JSON_NULL:
        break;
    }
    return KVASS_JSON_NULL;
}

const char *kvass_json_kind_name(const kvass_json *value)
{
    static const char *const names[] = {
        [KVASS_JSON_ABSENT] = "absent",  [KVASS_JSON_NULL] = "null",
        [KVASS_JSON_BOOL] = "a boolean", [KVASS_JSON_INT] = "an integer",
        [KVASS_JSON_REAL] = "a real",    [KVASS_JSON_STRING] = "a string",
        [KVASS_JSON_ARRAY] = "an array", [KVASS_JSON_OBJECT] = "an object",
    };
    return names[kvass_json_get_kind(value)];
}

const kvass_json *kvass_json_get(const kvass_json *object, const char *key)
{
    return outer(json_object_get(inner(object), key));
}

size_t kvass_json_size(const kvass_json *value)
{
    /* each of the two is 0 for a value of another kind */
    return json_array_size(inner(value)) + json_object_size(inner(value));
}

const kvass_json *kvass_json_at(const kvass_json *array, size_t i)
{
    return outer(json_array_get(inner(array), i));
}

bool kvass_json_as_int(const kvass_json *value, int64_t *out)
{
    if (!json_is_integer(inner(value))) {
        return false;
    }
    *out = json_integer_value(inner(value));
    return true;
}

bool kvass_json_as_real(const kvass_json *value, double *out)
{
    if (!json_is_number(inner(value))) {
        return false;
    }
    *out = json_number_value(inner(value));
    return true;
}

bool kvass_json_as_bool(const kvass_json *value, bool *out)
{
    if (!json_is_boolean(inner(value))) {
        return false;
    }
    *out = json_is_true(inner(value));
    return true;
}

const char *kvass_json_as_string(const kvass_json *value, size_t *n_bytes)
{
    if (!json_is_string(inner(value))) {
        return NULL;
    }
    if (n_bytes) {
        *n_bytes = json_string_length(inner(value));
    }
    return json_string_value(inner(value));
}

void *kvass_json_iter(const kvass_json *object)
{
    /* jansson takes objects it only reads as non-const; nothing is written */
    return json_object_iter((json_t *)object);
}

void *kvass_json_next(const kvass_json *object, void *it)
{
    return json_object_iter_next((json_t *)object, it);
}

const char *kvass_json_iter_key(void *it)
{
    return json_object_iter_key(it);
}

const kvass_json *kvass_json_iter_value(void *it)
{
    return outer(json_object_iter_value(it));
}

kvass_json *kvass_json_new_object(void)
{
    return outer(json_object());
}

/* json_object_set_new takes over `value`, and releases it when it fails */
static bool set(kvass_json *object, const char *key, json_t *value)
{
    return json_object_set_new((json_t *)object, key, value) == 0;
}

bool kvass_json_set_int(kvass_json *object, const char *key, int64_t value)
{
    return set(object, key, json_integer(value));
}

bool kvass_json_set_real(kvass_json *object, const char *key, double value)
{
    return set(object, key, json_real(value));
}

bool kvass_json_set_bool(kvass_json *object, const char *key, bool value)
{
    return set(object, key, json_boolean(value));
}

bool kvass_json_set_string(kvass_json *object, const char *key, const char *value)
{
    return set(object, key, json_string(value));
}

kvass_json *kvass_json_new_array(void)
{
    return outer(json_array());
}

bool kvass_json_push_int(kvass_json *array, int64_t value)
{
    return json_array_append_new((json_t *)array, json_integer(value)) == 0;
}

bool kvass_json_push_real(kvass_json *array, double value)
{
    return json_array_append_new((json_t *)array, json_real(value)) == 0;
}

bool kvass_json_set_value(kvass_json *object, const char *key, kvass_json *value)
{
    return set(object, key, (json_t *)value);
}

kvass_json *kvass_json_copy(const kvass_json *value)
{
    return outer(json_deep_copy(inner(value)));
}

bool kvass_json_print(const kvass_json *value, char **text, size_t *n_bytes)
{
    char *dump = json_dumps(inner(value), JSON_INDENT(2) | JSON_ENCODE_ANY);
    size_t n = dump ? strlen(dump) : 0;
    *text = dump ? realloc(dump, n + 2) : NULL;
    if (!*text) {
        free(dump);
        return false;
    }
    memcpy(*text + n, "\n", 2);
    *n_bytes = n + 1;
    return true;
}
