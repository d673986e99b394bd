/* inspect_tokenizer.c - the kind and the size of a large tokenizer.json or vocab.json, at a glance.
 * Building it takes a while; here the text is only walked through, entries are counted where they
 * belong, and nothing is checked. What does not look as expected is left unknown.
 */
#include "tools/inspect.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DEPTH = 64 };

/* Where the walk is. */
typedef struct glance {
    const char *text, *end;
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
static void note(const glance *g, inspect_tokenizer *tok)
{
    int64_t n = g->any[g->depth] ? g->n_entries[g->depth] + 1 : 0;
    bool in_model = g->depth == 3 && is_key(g, 1, "model");
    if (in_model && is_key(g, 2, "vocab")) {
        tok->n_vocab = n;
    } else if (in_model && is_key(g, 2, "merges") && tok->kind[0] == '\0') {
        memcpy(tok->kind, "BPE", 4);
    } else if (g->depth == 2 && is_key(g, 1, "added_tokens")) {
        tok->n_added = n;
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

/* `any` of a level is only set by what begins with a bracket or a quote: numbers stand behind keys,
 * which do. */
static bool walk(const char *text, size_t n, inspect_tokenizer *tok)
{
    glance g = {.text = text, .end = text + n};
    const char *p = text;
    while (p && p < g.end) {
        p = take(&g, p, tok);
    }
    return p && g.depth == 0 && tok->n_vocab > 0;
}

bool inspect_glance(const char *path, inspect_tokenizer *tok)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0;
    char *text = ok ? malloc((size_t)st.st_size) : NULL;
    size_t n = 0;
    while (text && n < (size_t)st.st_size) {
        ssize_t got = read(fd, text + n, (size_t)st.st_size - n);
        if (got <= 0) {
            break;
        }
        n += (size_t)got;
    }
    *tok = (inspect_tokenizer){0};
    ok = text && n == (size_t)st.st_size && walk(text, n, tok);
    if (ok && tok->kind[0] == '\0') {
        memcpy(tok->kind, "BPE", 4); /* vocab.json */
    }
    free(text);
    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}
