/* added.h - added tokens: names that are cut out of a text before anything else looks at it.
 * At each place the longest name wins. Some are looked for in the text as it is, some in the
 * normalized text.
 */
#ifndef KVASS_TOKENIZER_ADDED_H
#define KVASS_TOKENIZER_ADDED_H

#include "engine/base/error.h"

#define ADDED_MAX_BYTES 4096

typedef struct tok_added_token {
    int32_t id;
    bool lstrip, rstrip; /* takes the white space before it, after it */
    bool single_word;    /* only where no letter or digit touches it */
    bool normalized;     /* is looked for in the normalized text */
    bool special;
} tok_added_token;

typedef struct tok_node tok_node;

typedef struct tok_added {
    tok_added_token *tokens; /* [n_tokens] */
    tok_node *nodes;         /* a tree by bytes; 0 and 1 are the roots: as it is, normalized */
    int32_t n_tokens, n_nodes, cap_tokens, cap_nodes;
} tok_added;

void kvass_added_close(tok_added *added); /* all zero is an empty one */

/* Add a token with a name that is not empty. *fresh = false: the name is there already. NOMEM. */
kvass_status kvass_added_put(tok_added *added, const tok_added_token *token, const char *name,
                             size_t n_bytes, bool *fresh, kvass_error *err);

/* The token with just this name, or NULL. */
const tok_added_token *kvass_added_get(const tok_added *added, const char *name, size_t n_bytes);

/* The first place at or after `from` in text[n] where a name matches, with lstrip, rstrip and
 * single_word applied; what lies before `from` is taken. NULL: none. Special tokens are passed over
 * unless parse_special. */
const tok_added_token *kvass_added_find(const tok_added *added, bool normalized, bool parse_special,
                                        const char *text, size_t n, size_t from, size_t *start,
                                        size_t *end);

#endif
