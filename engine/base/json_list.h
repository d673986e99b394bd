/* json_list.h - JSON documents with long lists in them, which need not be held in memory.
 * A parsed list of 150,000 entries takes five times its text and as long again to be given back.
 * Here such lists stay text; walking one parses a few entries at a time. The reader of
 * tokenizer.json is the caller.
 */
#ifndef KVASS_BASE_JSON_LIST_H
#define KVASS_BASE_JSON_LIST_H

#include "engine/base/json.h"

/* The value of root["model"][name], when it is of the kind asked for. */
typedef struct kvass_json_list {
    const char *name;
    char open;  /* '{' or '[' */
    char *text; /* text[n_bytes], with its brackets; NULL: it is in the document, if it exists */
    size_t n_bytes; /* 0 if text is NULL */
    bool walked;    /* to its end: it is well-formed. Keys that two of its pieces share are not
                     * found */
} kvass_json_list;

/* kvass_json_open, but those of lists[n] (name and open are set, the rest is 0) that are long stay
 * in *text (else NULL), which is the caller's to free; in the document they are empty. Where there
 * are such, FORMAT may come from here or from the walks, and kvass_json_open tells the place of the
 * fault. */
kvass_status kvass_json_open_lists(kvass_json **root, char **text, kvass_json_list *lists, size_t n,
                                   const char *path, size_t max_bytes, kvass_error *err);

typedef struct kvass_json_walk {
    kvass_json_list *list;
    size_t at;         /* of the next piece in list->text; 0: none was taken yet */
    kvass_json *piece; /* the present one */
    const kvass_json *whole;
} kvass_json_walk;

/* Walk a list, once; `whole` is what stands in the document, in its place when it was left there
 * (list may be NULL). */
kvass_json_walk kvass_json_walk_begin(kvass_json_list *list, const kvass_json *whole);

/* The next piece, an array or an object of some of the entries; NULL behind the last. It lives
 * until the next call. FORMAT, NOMEM. */
kvass_status kvass_json_walk_next(kvass_json_walk *walk, const kvass_json **piece,
                                  kvass_error *err);
void kvass_json_walk_end(kvass_json_walk *walk);

#endif
