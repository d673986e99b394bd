/* pickle.h - reading Python pickles without running them.
 * A pickle is a program for a small stack machine. This reader knows the few instructions that make
 * plain values, lists, tuples and dictionaries, and those that would call a function it only
 * writes down: a call is a value that names its function and holds its arguments. Everything else,
 * and every function that the caller has not named, is refused by name and place.
 */
#ifndef KVASS_BASE_PICKLE_H
#define KVASS_BASE_PICKLE_H

#include "engine/base/error.h"

typedef struct kvass_pickle kvass_pickle;
typedef uint32_t kvass_pickle_node; /* a value; 0: none. Values may be shared, and lists may even
                                     * hold themselves: walk to a fixed depth */

typedef enum kvass_pickle_kind {
    KVASS_PICKLE_ABSENT,
    KVASS_PICKLE_NONE,
    KVASS_PICKLE_BOOL,
    KVASS_PICKLE_INT,
    KVASS_PICKLE_REAL,
    KVASS_PICKLE_STRING,
    KVASS_PICKLE_TUPLE,
    KVASS_PICKLE_LIST,
    KVASS_PICKLE_DICT,
    KVASS_PICKLE_FUNCTION,  /* its text is "module name" */
    KVASS_PICKLE_CALL,      /* function and arguments, a tuple */
    KVASS_PICKLE_PERSISTENT /* something kept outside: one argument, what names it */
} kvass_pickle_kind;

/* Read text[n_bytes], which has to stay: strings are views into it. functions is a NULL-terminated
 * list of "module name"; one called "collections OrderedDict" makes a dictionary. `path` is for
 * messages. FORMAT (PICKLE), UNSUPPORTED (PICKLE_OPCODE, PICKLE_FUNCTION), NOMEM. */
kvass_status kvass_pickle_read(kvass_pickle **out, const char *text, size_t n_bytes,
                               const char *const *functions, const char *path, kvass_error *err);
void kvass_pickle_close(kvass_pickle **pickle);

kvass_pickle_node kvass_pickle_root(const kvass_pickle *p);
kvass_pickle_kind kvass_pickle_get_kind(const kvass_pickle *p, kvass_pickle_node node);
const char *kvass_pickle_kind_name(const kvass_pickle *p, kvass_pickle_node node); /* "a list" */

/* true and *out when it is just that; a bool is no int */
bool kvass_pickle_int(const kvass_pickle *p, kvass_pickle_node node, int64_t *out);
bool kvass_pickle_real(const kvass_pickle *p, kvass_pickle_node node, double *out); /* or an int */
bool kvass_pickle_bool(const kvass_pickle *p, kvass_pickle_node node, bool *out);
/* The bytes of a string, or of a function's or call's name; NULL when it is none. */
const char *kvass_pickle_text(const kvass_pickle *p, kvass_pickle_node node, size_t *n_bytes);
bool kvass_pickle_is(const kvass_pickle *p, kvass_pickle_node node, const char *text);

/* Items of a tuple, list, call (its arguments), persistent or dictionary, in order: for (item =
 * first(p, node); item; item = next(p, item)) value(p, item), of dictionaries also key(p, item). */
typedef uint32_t kvass_pickle_item;
kvass_pickle_item kvass_pickle_first(const kvass_pickle *p, kvass_pickle_node node);
kvass_pickle_item kvass_pickle_next(const kvass_pickle *p, kvass_pickle_item item);
kvass_pickle_node kvass_pickle_key(const kvass_pickle *p, kvass_pickle_item item);
kvass_pickle_node kvass_pickle_value(const kvass_pickle *p, kvass_pickle_item item);

size_t kvass_pickle_size(const kvass_pickle *p, kvass_pickle_node node);
kvass_pickle_node kvass_pickle_at(const kvass_pickle *p, kvass_pickle_node node, size_t i);
/* The value of a string key of a dictionary, the last if there are several; 0: none. */
kvass_pickle_node kvass_pickle_get(const kvass_pickle *p, kvass_pickle_node node, const char *key);

#endif
