/* json.h - reading JSON, strictly.
 * A thin face over jansson, the only file that includes it is json.c, so the parser can be changed
 * in one place. Duplicate keys, bad UTF-8, NUL in strings, trailing text and NaN are refused.
 * A kvass_json value borrows from its document; NULL stands for "absent" and every reader accepts
 * it.
 */
#ifndef KVASS_BASE_JSON_H
#define KVASS_BASE_JSON_H

#include "engine/base/error.h"

typedef struct kvass_json kvass_json; /* a value inside a document; also the document's root */

/* Parse text[n_bytes]; `path` names the source in messages. FORMAT (rule JSON_SYNTAX or
 * JSON_DUPLICATE) with line and byte position, NOMEM. */
kvass_status kvass_json_parse(kvass_json **root, const char *text, size_t n_bytes, const char *path,
                              kvass_error *err);
/* The same for a file's whole contents: what they look like instead is told as well. */
kvass_status kvass_json_parse_file(kvass_json **root, const char *text, size_t n_bytes,
                                   const char *path, kvass_error *err);
/* Slurp a file of at most max_bytes and parse it. */
kvass_status kvass_json_open(kvass_json **root, const char *path, size_t max_bytes,
                             kvass_error *err);
void kvass_json_close(kvass_json **root);

typedef enum kvass_json_kind {
    KVASS_JSON_ABSENT, KVASS_JSON_NULL, KVASS_JSON_BOOL, KVASS_JSON_INT, KVASS_JSON_REAL,
    KVASS_JSON_STRING, KVASS_JSON_ARRAY, KVASS_JSON_OBJECT
} kvass_json_kind;

kvass_json_kind kvass_json_get_kind(const kvass_json *value);
const char *kvass_json_kind_name(const kvass_json *value); /* "absent", "a string", ... */

const kvass_json *kvass_json_get(const kvass_json *object, const char *key); /* NULL if absent */
size_t kvass_json_size(const kvass_json *value);           /* of an array or object, else 0 */
const kvass_json *kvass_json_at(const kvass_json *array, size_t i);

/* true and *out when the value has just that kind (a real is not an int; an int is a real) */
bool kvass_json_as_int(const kvass_json *value, int64_t *out);
bool kvass_json_as_real(const kvass_json *value, double *out);
bool kvass_json_as_bool(const kvass_json *value, bool *out);
/* UTF-8 bytes; *n_bytes may be NULL. NULL when it is not a string. NUL-terminated as well. */
const char *kvass_json_as_string(const kvass_json *value, size_t *n_bytes);

/* Walk an object in file order:
 * for (void *it = kvass_json_iter(o); it; it = kvass_json_next(o, it)) */
void *kvass_json_iter(const kvass_json *object);
void *kvass_json_next(const kvass_json *object, void *it);
const char *kvass_json_iter_key(void *it);
const kvass_json *kvass_json_iter_value(void *it);

/* Building small documents (a format reader that speaks config.json's language). Each returns false
 * when out of memory. */
kvass_json *kvass_json_new_object(void);
bool kvass_json_set_int(kvass_json *object, const char *key, int64_t value);
bool kvass_json_set_real(kvass_json *object, const char *key, double value);
bool kvass_json_set_bool(kvass_json *object, const char *key, bool value);
bool kvass_json_set_string(kvass_json *object, const char *key, const char *value);
kvass_json *kvass_json_new_array(void);
bool kvass_json_push_int(kvass_json *array, int64_t value);
bool kvass_json_push_real(kvass_json *array, double value);
/* A document of its own with the same contents; NULL when out of memory, or for NULL. */
kvass_json *kvass_json_copy(const kvass_json *value);
/* Its text, indented, with a newline at the end; free() *text. */
bool kvass_json_print(const kvass_json *value, char **text, size_t *n_bytes);
/* The object takes over `value`, also on failure; false, too, when value is NULL. */
bool kvass_json_set_value(kvass_json *object, const char *key, kvass_json *value);

#endif
