/* stage.c - stage.h. A Sequence holds other items, one level deep; a single item is a sequence of
 * one.
 */
#include "tokenizer/stage.h"

#include <string.h>

#include "tokenizer/utf8.h"

/* ---- keys ------------------------------------------------------------------------------------ */

bool kvass_key_absent(const kvass_json *object, const char *key)
{
    kvass_json_kind kind = kvass_json_get_kind(kvass_json_get(object, key));
    return kind == KVASS_JSON_ABSENT || kind == KVASS_JSON_NULL;
}

kvass_status kvass_key_fail_type(const kvass_json *value, const char *key, const char *expected,
                                 const char *path, kvass_error *err)
{
    return kvass_fail(err, KVASS_FORMAT, "KEY_TYPE", "%s: \"%s\": expected %s, found %s", path, key,
                      expected, kvass_json_kind_name(value));
}

kvass_status kvass_key_bool(const kvass_json *object, const char *key, bool *value,
                            const char *path, kvass_error *err)
{
    const kvass_json *json = kvass_json_get(object, key);
    if (kvass_key_absent(object, key) || kvass_json_as_bool(json, value)) {
        return KVASS_OK;
    }
    return kvass_key_fail_type(json, key, "true or false", path, err);
}

kvass_status kvass_key_string(const kvass_json *object, const char *key, const char **value,
                              size_t *n_bytes, const char *path, kvass_error *err)
{
    const kvass_json *json = kvass_json_get(object, key);
    const char *s = kvass_json_as_string(json, n_bytes);
    if (!s) {
        return kvass_key_fail_type(json, key, "a string", path, err);
    }
    *value = s;
    return KVASS_OK;
}

/* ---- sequences ------------------------------------------------------------------------------- */

kvass_status kvass_stage_refuse(const tok_stage *st, const char *type, kvass_error *err)
{
    return kvass_fail(err, KVASS_UNSUPPORTED, st->rule, "%s: %s \"%.100s\" is not supported",
                      st->path, st->what, type);
}

kvass_status kvass_stage_each(const tok_stage *st, const kvass_json *json, tok_item_fn *item,
                              kvass_error *err)
{
    kvass_json_kind kind = kvass_json_get_kind(json);
    if (kind == KVASS_JSON_ABSENT || kind == KVASS_JSON_NULL) {
        return KVASS_OK;
    }
    if (kind != KVASS_JSON_OBJECT) {
        return kvass_key_fail_type(json, st->what, "an object", st->path, err);
    }
    const char *type = "";
    size_t n;
    kvass_status status = kvass_key_string(json, "type", &type, &n, st->path, err);
    if (status != KVASS_OK || strcmp(type, "Sequence") != 0) {
        return status == KVASS_OK ? item(st, json, type, err) : status;
    }
    const kvass_json *list = kvass_json_get(json, st->list);
    if (kvass_json_get_kind(list) != KVASS_JSON_ARRAY) {
        return kvass_key_fail_type(list, st->list, "an array", st->path, err);
    }
    for (size_t i = 0; status == KVASS_OK && i < kvass_json_size(list); i++) {
        const kvass_json *one = kvass_json_at(list, i);
        status = kvass_key_string(one, "type", &type, &n, st->path, err);
        if (status == KVASS_OK && strcmp(type, "Sequence") == 0) {
            status = kvass_stage_refuse(st, "Sequence in a Sequence", err);
        } else if (status == KVASS_OK) {
            status = item(st, one, type, err);
        }
    }
    return status;
}

kvass_status kvass_stage_pattern(const tok_stage *st, const kvass_json *item, const char **text,
                                 size_t *n_bytes, bool *literal, kvass_error *err)
{
    const kvass_json *pattern = kvass_json_get(item, "pattern");
    *literal = true;
    *text = kvass_json_as_string(pattern, n_bytes);
    if (*text) {
        return KVASS_OK;
    }
    *literal = kvass_json_get_kind(kvass_json_get(pattern, "Regex")) == KVASS_JSON_ABSENT;
    return kvass_key_string(pattern, *literal ? "String" : "Regex", text, n_bytes, st->path, err);
}

kvass_status kvass_stage_add(const tok_stage *st, const kvass_json *item, const char *type,
                             const tok_kind *kinds, size_t n, kvass_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(type, kinds[i].type) == 0) {
            return kinds[i].add(st, item, err);
        }
    }
    return kvass_stage_refuse(st, type, err);
}

kvass_status kvass_stage_character(const tok_stage *st, const kvass_json *item, const char *key,
                                   const char **text, size_t *n, kvass_error *err)
{
    kvass_status status = kvass_key_string(item, key, text, n, st->path, err);
    if (status == KVASS_OK && (*n == 0 || kvass_utf8_char(*text, *n, NULL) != *n)) {
        status =
            kvass_fail(err, KVASS_FORMAT, "KEY_TYPE",
                       "%s: \"%s\": expected one character, found \"%.40s\"", st->path, key, *text);
    }
    return status;
}

kvass_status kvass_stage_mark(const tok_stage *st, const kvass_json *item, tok_pre_step *step,
                              kvass_error *err)
{
    static const char *const schemes[] = {"never", "first", "always"}; /* tok_mark_first */
    const char *text = NULL, *scheme = "always";
    size_t n = 0;
    bool prefix = true;
    kvass_status status = kvass_stage_character(st, item, "replacement", &text, &n, err);
    if (status == KVASS_OK) {
        memcpy(step->mark, text, n);
        step->n_mark = n;
        status = kvass_key_bool(item, "add_prefix_space", &prefix, st->path, err);
    }
    if (status == KVASS_OK && !prefix) {
        scheme = "never"; /* the older key */
    }
    if (status == KVASS_OK && !kvass_key_absent(item, "prepend_scheme")) {
        status = kvass_key_string(item, "prepend_scheme", &scheme, &n, st->path, err);
    }
    for (int i = 0; status == KVASS_OK && i < 3; i++) {
        if (strcmp(scheme, schemes[i]) == 0 && (prefix || i == TOK_MARK_NEVER)) {
            step->first = (tok_mark_first)i;
            return KVASS_OK;
        }
    }
    return status == KVASS_OK
               ? kvass_fail(err, KVASS_UNSUPPORTED, st->rule,
                            "%s: %s \"Metaspace\": prepend_scheme \"%.40s\"%s is not supported",
                            st->path, st->what, scheme,
                            prefix ? "" : " with add_prefix_space false")
               : status;
}
