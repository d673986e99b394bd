/* added.c - added.h: a tree whose nodes list their children; the roots know theirs by byte. */
#include "tokenizer/added.h"

#include <stdlib.h>

#include <utf8proc.h>

#include "tokenizer/utf8.h"

struct tok_node {
    int32_t token;   /* that ends here, or -1 */
    int32_t child;   /* first of its children, or 0 */
    int32_t sibling; /* next child of the same parent, or 0 */
    unsigned char byte;
};

/* The tree begins with two roots and, for each, a node for every first byte: a search looks at most
 * places of a text no further than that. */
#define N_ROOT_NODES 514

static int32_t first_node(int root, unsigned char byte)
{
    return 2 + root * 256 + byte;
}

/* Room for one more token and n_nodes more nodes; the first time also the roots. */
static bool reserve(tok_added *added, size_t n_nodes)
{
    if (added->n_tokens == added->cap_tokens) {
        int32_t cap = added->cap_tokens * 2 + 16;
        tok_added_token *tokens = realloc(added->tokens, (size_t)cap * sizeof *tokens);
        if (!tokens) {
            return false;
        }
        added->tokens = tokens;
        added->cap_tokens = cap;
    }
    size_t need = (size_t)added->n_nodes + n_nodes + (added->n_nodes == 0 ? N_ROOT_NODES : 0);
    if (need > (size_t)added->cap_nodes) {
        size_t cap = need + need / 2;
        tok_node *nodes = cap <= INT32_MAX ? realloc(added->nodes, cap * sizeof *nodes) : NULL;
        if (!nodes) {
            return false;
        }
        added->nodes = nodes;
        added->cap_nodes = (int32_t)cap;
    }
    while (added->n_nodes < N_ROOT_NODES) {
        unsigned char byte = (unsigned char)((added->n_nodes - 2) & 0xff);
        added->nodes[added->n_nodes++] = (tok_node){-1, 0, 0, byte};
    }
    return true;
}

void kvass_added_close(tok_added *added)
{
    free(added->tokens);
    free(added->nodes);
    *added = (tok_added){0};
}

/* The child of `node` for `byte`, or 0. */
static int32_t child_of(const tok_added *added, int32_t node, unsigned char byte)
{
    int32_t i = added->nodes[node].child;
    while (i != 0 && added->nodes[i].byte != byte) {
        i = added->nodes[i].sibling;
    }
    return i;
}

kvass_status kvass_added_put(tok_added *added, const tok_added_token *token, const char *name,
                             size_t n_bytes, bool *fresh, kvass_error *err)
{
    if (!reserve(added, n_bytes)) {
        return kvass_fail_nomem(err, n_bytes * sizeof *added->nodes, "added tokens");
    }
    int32_t node = first_node(token->normalized, (unsigned char)name[0]);
    for (size_t i = 1; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)name[i];
        int32_t child = child_of(added, node, byte);
        if (child == 0) {
            child = added->n_nodes++;
            added->nodes[child] = (tok_node){-1, 0, added->nodes[node].child, byte};
            added->nodes[node].child = child;
        }
        node = child;
    }
    *fresh = added->nodes[node].token < 0;
    if (*fresh) {
        added->nodes[node].token = added->n_tokens;
        added->tokens[added->n_tokens++] = *token;
    }
    return KVASS_OK;
}

/* The longest name that begins text[n], its length in *n_name; NULL if none does. */
static const tok_added_token *longest(const tok_added *added, int root, const char *text, size_t n,
                                      size_t *n_name)
{
    int32_t node = first_node(root, (unsigned char)text[0]), best = -1;
    for (size_t i = 1; node != 0; i++) {
        if (added->nodes[node].token >= 0) {
            best = added->nodes[node].token;
            *n_name = i;
        }
        node = i < n ? child_of(added, node, (unsigned char)text[i]) : 0;
    }
    return best < 0 ? NULL : &added->tokens[best];
}

const tok_added_token *kvass_added_get(const tok_added *added, const char *name, size_t n_bytes)
{
    for (int root = 0; root < 2 && added->n_tokens > 0 && n_bytes > 0; root++) {
        size_t n_name = 0;
        const tok_added_token *token = longest(added, root, name, n_bytes, &n_name);
        if (token && n_name == n_bytes) {
            return token;
        }
    }
    return NULL;
}

/* letters, marks, digits and connecting signs */
static bool is_word(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return cp == 0x200c || cp == 0x200d;
    }
}

static bool stands_alone(const char *text, size_t n, size_t start, size_t end)
{
    uint32_t cp;
    bool before = kvass_utf8_char_before(text, start, &cp) > 0 && is_word(cp);
    bool after = kvass_utf8_char(text + end, n - end, &cp) > 0 && is_word(cp);
    return !before && !after;
}

/* Let the token take the white space beside it, but nothing before `floor`. */
static void strip(const tok_added_token *token, const char *text, size_t n, size_t floor,
                  size_t *start, size_t *end)
{
    uint32_t cp;
    size_t size;
    while (token->lstrip && *start > floor &&
           (size = kvass_utf8_char_before(text, *start, &cp)) > 0 && kvass_utf8_is_space(cp) &&
           *start - size >= floor) {
        *start -= size;
    }
    while (token->rstrip && (size = kvass_utf8_char(text + *end, n - *end, &cp)) > 0 &&
           kvass_utf8_is_space(cp)) {
        *end += size;
    }
}

const tok_added_token *kvass_added_find(const tok_added *added, bool normalized, bool parse_special,
                                        const char *text, size_t n, size_t from, size_t *start,
                                        size_t *end)
{
    const tok_node *first = added->n_tokens > 0 ? &added->nodes[first_node(normalized, 0)] : NULL;
    for (size_t i = from, n_name = 1; i < n && first; i += n_name) {
        const tok_node *node = &first[(unsigned char)text[i]];
        n_name = 1;
        if (node->child == 0 && node->token < 0) {
            continue;
        }
        const tok_added_token *token = longest(added, normalized, text + i, n - i, &n_name);
        if (!token || (token->special && !parse_special) ||
            (token->single_word && !stands_alone(text, n, i, i + n_name))) {
            continue; /* a name passed over is passed over whole */
        }
        *start = i;
        *end = i + n_name;
        strip(token, text, n, from, start, end);
        return token;
    }
    return NULL;
}
