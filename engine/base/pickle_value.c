/* pickle_value.c - what can be asked of the values of a pickle. */
#include <string.h>

#include "engine/base/pickle_cell.h"

kvass_pickle_node kvass_pickle_root(const kvass_pickle *p)
{
    return p->root;
}

kvass_pickle_kind kvass_pickle_get_kind(const kvass_pickle *p, kvass_pickle_node node)
{
    return (kvass_pickle_kind)p->nodes[node].kind;
}

const char *kvass_pickle_kind_name(const kvass_pickle *p, kvass_pickle_node node)
{
    static const char *const names[] = {
        "absent",  "None",   "a truth value", "a whole number", "a number", "a string",
        "a tuple", "a list", "a dictionary",  "a function",     "a call",   "a tensor's data"};
    return names[kvass_pickle_get_kind(p, node)];
}

bool kvass_pickle_int(const kvass_pickle *p, kvass_pickle_node node, int64_t *out)
{
    if (p->nodes[node].kind != KVASS_PICKLE_INT) {
        return false;
    }
    *out = p->nodes[node].value.i;
    return true;
}

bool kvass_pickle_real(const kvass_pickle *p, kvass_pickle_node node, double *out)
{
    int64_t i;
    if (kvass_pickle_int(p, node, &i)) {
        *out = (double)i;
        return true;
    }
    if (p->nodes[node].kind != KVASS_PICKLE_REAL) {
        return false;
    }
    *out = p->nodes[node].value.d;
    return true;
}

bool kvass_pickle_bool(const kvass_pickle *p, kvass_pickle_node node, bool *out)
{
    if (p->nodes[node].kind != KVASS_PICKLE_BOOL) {
        return false;
    }
    *out = p->nodes[node].value.i != 0;
    return true;
}

const char *kvass_pickle_text(const kvass_pickle *p, kvass_pickle_node node, size_t *n_bytes)
{
    uint32_t kind = p->nodes[node].kind;
    node = kind == KVASS_PICKLE_CALL ? p->nodes[node].a : node;
    if (kind != KVASS_PICKLE_STRING && kind != KVASS_PICKLE_FUNCTION && kind != KVASS_PICKLE_CALL) {
        return NULL;
    }
    *n_bytes = p->nodes[node].b;
    return p->text + p->nodes[node].a;
}

bool kvass_pickle_is(const kvass_pickle *p, kvass_pickle_node node, const char *text)
{
    size_t n = 0;
    const char *own = kvass_pickle_text(p, node, &n);
    if (!own || strlen(text) != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) { /* "module\nname" is "module name" */
        if (own[i] != text[i] && !(own[i] == '\n' && text[i] == ' ')) {
            return false;
        }
    }
    return true;
}

kvass_pickle_item kvass_pickle_first(const kvass_pickle *p, kvass_pickle_node node)
{
    switch (p->nodes[node].kind) {
    case KVASS_PICKLE_CALL:
    case KVASS_PICKLE_PERSISTENT:
        return p->nodes[p->nodes[node].b].a;
    case KVASS_PICKLE_TUPLE:
    case KVASS_PICKLE_LIST:
    case KVASS_PICKLE_DICT:
        return p->nodes[node].a;
    default:
        return 0;
    }
}

kvass_pickle_item kvass_pickle_next(const kvass_pickle *p, kvass_pickle_item item)
{
    return p->nodes[item].next;
}

kvass_pickle_node kvass_pickle_key(const kvass_pickle *p, kvass_pickle_item item)
{
    return p->nodes[item].b;
}

kvass_pickle_node kvass_pickle_value(const kvass_pickle *p, kvass_pickle_item item)
{
    return p->nodes[item].a;
}

size_t kvass_pickle_size(const kvass_pickle *p, kvass_pickle_node node)
{
    size_t n = 0;
    for (kvass_pickle_item i = kvass_pickle_first(p, node); i; i = kvass_pickle_next(p, i)) {
        n++;
    }
    return n;
}

kvass_pickle_node kvass_pickle_at(const kvass_pickle *p, kvass_pickle_node node, size_t i)
{
    kvass_pickle_item item = kvass_pickle_first(p, node);
    while (item && i-- > 0) {
        item = kvass_pickle_next(p, item);
    }
    return item ? kvass_pickle_value(p, item) : 0;
}

kvass_pickle_node kvass_pickle_get(const kvass_pickle *p, kvass_pickle_node node, const char *key)
{
    kvass_pickle_node found = 0;
    if (kvass_pickle_get_kind(p, node) != KVASS_PICKLE_DICT) {
        return 0;
    }
    for (kvass_pickle_item i = kvass_pickle_first(p, node); i; i = kvass_pickle_next(p, i)) {
        size_t n;
        const char *text = kvass_pickle_text(p, kvass_pickle_key(p, i), &n);
        if (text && n == strlen(key) && memcmp(text, key, n) == 0) {
            found = kvass_pickle_value(p, i);
        }
    }
    return found;
}
