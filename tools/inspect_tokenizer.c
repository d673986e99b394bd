/* inspect_tokenizer.c - the kind and the size of a large tokenizer.json or vocab.json, at a glance.
 * Building it takes a while; here the text is only walked through, as far as needed, entries are
 * counted where they belong, and nothing is checked. What does not look as expected is left
 * unknown.
 */
#include "tools/inspect.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 64, BLOCK_BYTES = 1 << 18, AHEAD_BYTES = 4 << 10 };

/* Where the walk is. */
typedef struct glance {
    int fd;
    size_t n_bytes;   /* of the file */
    char *text, *end; /* what was read of it: text .. end - 1, with room for all */
    bool seen_added;
    char open[MAX_DEPTH];       /* the bracket of each level */
    const char *key[MAX_DEPTH]; /* the key of each level that is read at the moment */
    size_t n_key[MAX_DEPTH];
    int64_t n_entries[MAX_DEPTH]; /* commas of each level */
    bool any[MAX_DEPTH];          /* whether the level has an entry */
    int depth;
} glance;

static bool is_key(const glance *g, int level, const char *name)
{
    return level < MAX_DEPTH && g->key[level] && g->n_key[level] == strlen(name) &&
           memcmp(g->key[level], name, g->n_key[level]) == 0;
}

/* The end of the string that begins after its quote at p; NULL when there is none. */
static const char *string_end(const char *p, const char *end)
{
    for (const char *q = p; (q = memchr(q, '"', (size_t)(end - q))) != NULL; q++) {
        const char *b = q;
        while (b > p && b[-1] == '\\') {
            b--;
        }
        if ((q - b) % 2 == 0) {
            return q;
        }
    }
    return NULL;
}

/* A list or an object of n entries ends, the level of which is g->depth. */
static void note(glance *g, inspect_tokenizer *tok)
{
    int64_t n = g->any[g->depth] ? g->n_entries[g->depth] + 1 : 0;
    bool in_model = g->depth == 3 && is_key(g, 1, "model");
    if (in_model && is_key(g, 2, "vocab")) {
        tok->n_vocab = n;
    } else if (in_model && is_key(g, 2, "merges") && tok->kind[0] == '\0') {
        memcpy(tok->kind, "BPE", 4);
    } else if (g->depth == 2 && is_key(g, 1, "added_tokens")) {
        tok->n_added = n;
        g->seen_added = true;
    } else if (g->depth == 1 && tok->n_vocab == 0) {
        tok->n_vocab = n; /* vocab.json: the whole document */
    }
}

/* A string p[n] at the level g->depth: a key, or a value. */
static void take_string(glance *g, const char *p, size_t n, const char *after,
                        inspect_tokenizer *tok)
{
    while (after < g->end && strchr(" \t\r\n", *after) && *after) {
        after++;
    }
    if (after < g->end && *after == ':' && g->open[g->depth] == '{') {
        g->key[g->depth] = p;
        g->n_key[g->depth] = n;
    } else if (g->depth == 2 && is_key(g, 1, "model") && is_key(g, 2, "type") &&
               n < sizeof tok->kind) {
        memcpy(tok->kind, p, n);
        tok->kind[n] = '\0';
    }
}

/* Take in the character at p; NULL when the text is no such document, else where to go on. */
static const char *take(glance *g, const char *p, inspect_tokenizer *tok)
{
    int d = g->depth;
    switch (*p) {
    case '"': {
        const char *end = string_end(p + 1, g->end);
        g->any[d] = true;
        if (end) {
            take_string(g, p + 1, (size_t)(end - p - 1), end + 1, tok);
        }
        return end ? end + 1 : NULL;
    }
    case '{':
    case '[':
        g->any[d] = true;
        if (d + 1 == MAX_DEPTH) {
            return NULL;
        }
        g->depth = ++d;
        g->open[d] = *p;
        g->key[d] = NULL;
        g->n_entries[d] = 0;
        g->any[d] = false;
        return p + 1;
    case '}':
    case ']':
        if (d == 0) {
            return NULL;
        }
        note(g, tok);
        g->depth--;
        return p + 1;
    case ',':
        g->n_entries[d]++;
        return p + 1;
    case '\0':
        return NULL;
    default:
        return p + 1;
    }
}

/* Whether all that is told is known: in tokenizer.json the merges, the longest part, come last. */
static bool is_done(const glance *g, const inspect_tokenizer *tok)
{
    return tok->n_vocab > 0 && tok->kind[0] != '\0' && g->seen_added && g->depth == 2;
}

/* Read on behind g->end: false when the file has ended, or is not as long as it was. */
static bool read_more(glance *g)
{
    size_t n = (size_t)(g->end - g->text);
    size_t more = g->n_bytes - n < BLOCK_BYTES ? g->n_bytes - n : BLOCK_BYTES;
    ssize_t got = more > 0 ? read(g->fd, g->text + n, more) : 0;
    g->end += got > 0 ? got : 0;
    return got > 0;
}

/* `any` of a level is only set by what begins with a bracket or a quote: numbers stand behind keys,
 * which do. A key is known by what follows it, so the walk stays behind what was read. */
static bool walk(glance *g, inspect_tokenizer *tok)
{
    const char *p = g->text;
    bool more = true;
    while (!is_done(g, tok)) {
        if (g->end - p < AHEAD_BYTES && more) {
            more = read_more(g);
            continue;
        }
        if (p == g->end) {
            break;
        }
        const char *next = take(g, p, tok);
        if (!next && !more) {
            return false;
        }
        more = next ? more : read_more(g); /* a long string, perhaps */
        p = next ? next : p;
    }
    bool whole = g->depth == 0 && (size_t)(g->end - g->text) == g->n_bytes;
    return (whole || is_done(g, tok)) && tok->n_vocab > 0;
}

bool inspect_glance(const char *path, inspect_tokenizer *tok)
{
    struct stat st;
    glance g = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
    bool ok = g.fd >= 0 && fstat(g.fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
    g.n_bytes = ok ? (size_t)st.st_size : 0;
    g.text = ok ? malloc(g.n_bytes) : NULL;
    g.end = g.text;
    *tok = (inspect_tokenizer){0};
    ok = g.text && walk(&g, tok);
    if (ok && tok->kind[0] == '\0') {
        memcpy(tok->kind, "BPE", 4); /* vocab.json */
    }
    free(g.text);
    if (g.fd >= 0) {
        (void)close(g.fd);
    }
    return ok;
}
