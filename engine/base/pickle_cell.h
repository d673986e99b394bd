/* pickle_cell.h - how pickle.c keeps values, for pickle_value.c. */
#ifndef KVASS_BASE_PICKLE_CELL_H
#define KVASS_BASE_PICKLE_CELL_H

#include "engine/base/pickle.h"

typedef struct cell {
    uint32_t kind; /* kvass_pickle_kind, or ITEM */
    uint32_t a, b; /* a string: place and length; a container: its first and last item; a call: its
                    * function and arguments; an item: value and key */
    uint32_t next; /* of an item */
    union {
        int64_t i;
        double d;
    } value;
} cell;

enum { ITEM = 100, MARK = 101 }; /* kinds that no value has */

struct kvass_pickle {
    const char *text;
    cell *nodes; /* [n_nodes]; 0 is none */
    uint32_t n_nodes, cap_nodes;
    kvass_pickle_node root;
};

#endif
