/* regex.c - regex.h on PCRE2.
 * Limits grow with the subject, so that a megabyte of spaces is fine and an exponential pattern is
 * not. The just-in-time compiler is used where it may be; when its stack runs out the search is
 * done again by the interpreter, which keeps its state on the heap.
 */
#include "tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/pattern.h"
#include "tokenizer/utf8.h"

struct kvass_regex {
    pcre2_code *code;
    char *pattern; /* pattern[n_pattern], as it was given */
    size_t n_pattern;
    bool literal;
};

void kvass_matcher_close(tok_matcher *m)
{
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    *m = (tok_matcher){0};
}

/* ---- compiling ------------------------------------------------------------------------------- */

/* ^ and $ match at every line, . stops at \n: Ruby's ways */
#define COMPILE_OPTIONS (PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C)

static kvass_status compile(kvass_regex *regex, const char *pattern, size_t n_bytes, bool literal,
                            const char *path, kvass_error *err)
{
    pcre2_compile_context *ctx = pcre2_compile_context_create(NULL);
    if (!ctx) {
        return kvass_fail_nomem(err, n_bytes, "a regular expression");
    }
    (void)pcre2_set_newline(ctx, PCRE2_NEWLINE_LF);
    int code = 0;
    PCRE2_SIZE at = 0;
    uint32_t options = literal ? PCRE2_UTF | PCRE2_LITERAL : COMPILE_OPTIONS;
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, n_bytes, options, &code, &at, ctx);
    pcre2_compile_context_free(ctx);
    if (regex->code) {
        (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* without it: interpreted */
        return KVASS_OK;
    }
    if (code == PCRE2_ERROR_HEAP_FAILED) {
        return kvass_fail_nomem(err, n_bytes, "a regular expression");
    }
    PCRE2_UCHAR text[120];
    (void)pcre2_get_error_message(code, text, sizeof text);
    return kvass_fail(err, KVASS_FORMAT, "REGEX_SYNTAX", "%s: regular expression, byte %zu: %s",
                      path, (size_t)at, (const char *)text);
}

kvass_status kvass_regex_open(kvass_regex **out, const char *pattern, size_t n_bytes, bool literal,
                              const char *path, kvass_error *err)
{
    const char *given = pattern;
    size_t n_given = n_bytes;
    *out = NULL;
    if (n_bytes == 0 || n_bytes > PATTERN_MAX_BYTES) {
        return kvass_fail(err, KVASS_FORMAT, "REGEX_SIZE",
                          "%s: regular expression of %zu bytes, expected 1 .. %d", path, n_bytes,
                          PATTERN_MAX_BYTES);
    }
    char *respelled = NULL;
    if (!literal) {
        const char *fault;
        size_t n_fault = 0;
        respelled = kvass_pattern_respell(pattern, n_bytes, &n_bytes, &fault, &n_fault);
        if (!respelled && fault) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "REGEX_DIALECT",
                              "%s: regular expression: \"%.*s\" (byte %zu) is not supported", path,
                              (int)n_fault, fault, (size_t)(fault - pattern));
        }
        if (!respelled) {
            return kvass_fail_nomem(err, n_bytes, "a regular expression");
        }
        pattern = respelled;
    }
    kvass_regex *regex = calloc(1, sizeof *regex);
    kvass_status status = regex ? compile(regex, pattern, n_bytes, literal, path, err)
                                : kvass_fail_nomem(err, sizeof *regex, "a regular expression");
    free(respelled);
    if (status == KVASS_OK) {
        regex->literal = literal;
        regex->n_pattern = n_given;
        regex->pattern = malloc(n_given);
        if (regex->pattern) {
            memcpy(regex->pattern, given, n_given);
        } else {
            status = kvass_fail_nomem(err, n_given, "a regular expression");
        }
    }
    if (status != KVASS_OK) {
        kvass_regex_close(&regex);
    }
    *out = regex;
    return status;
}

void kvass_regex_close(kvass_regex **regex)
{
    if (regex && *regex) {
        pcre2_code_free((*regex)->code);
        free((*regex)->pattern);
        free(*regex);
        *regex = NULL;
    }
}

const char *kvass_regex_pattern(const kvass_regex *regex, size_t *n_bytes, bool *literal)
{
    *n_bytes = regex->n_pattern;
    *literal = regex->literal;
    return regex->pattern;
}

/* ---- searching ------------------------------------------------------------------------------- */

static kvass_status prepare(tok_matcher *m, size_t n, kvass_error *err)
{
    if (!m->data) {
        m->data = pcre2_match_data_create(1, NULL);
        m->limits = pcre2_match_context_create(NULL);
        if (!m->data || !m->limits) {
            return kvass_fail_nomem(err, n, "a search");
        }
    }
    uint64_t steps = 100000 + 16 * (uint64_t)n;
    uint64_t heap_kib = 65536 + (uint64_t)n / 4; /* a step the interpreter remembers: 256 bytes */
    (void)pcre2_set_match_limit(m->limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    (void)pcre2_set_depth_limit(m->limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    (void)pcre2_set_heap_limit(m->limits, (uint32_t)heap_kib);
    return KVASS_OK;
}

/* Search from w->from: 1 found, 0 nothing, or PCRE2's error. */
static int search(const kvass_regex *regex, tok_matcher *m, tok_walk *w)
{
    uint32_t options = PCRE2_NO_UTF_CHECK; /* the caller has checked it, once */
    PCRE2_SPTR s = (PCRE2_SPTR)w->s;
    int rc = pcre2_match(regex->code, s, w->n, w->from, options, m->data, m->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        options |= PCRE2_NO_JIT;
        rc = pcre2_match(regex->code, s, w->n, w->from, options, m->data, m->limits);
    }
    if (rc >= 0) { /* 0: more groups than room for them, which nobody asks for */
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(m->data);
        w->start = found[0];
        w->end = found[1];
        return 1;
    }
    return rc == PCRE2_ERROR_NOMATCH ? 0 : rc;
}

static kvass_status fail_search(int rc, const tok_walk *w, kvass_error *err)
{
    if (rc == PCRE2_ERROR_NOMEMORY) {
        return kvass_fail_nomem(err, w->n, "a search");
    }
    PCRE2_UCHAR text[120];
    (void)pcre2_get_error_message(rc, text, sizeof text);
    return kvass_fail(err, KVASS_UNSUPPORTED, "REGEX_LIMIT",
                      "splitting the text at byte %zu of %zu: %s", w->from, w->n,
                      (const char *)text);
}

kvass_status kvass_regex_next(const kvass_regex *regex, tok_matcher *m, tok_walk *w, bool *found,
                              kvass_error *err)
{
    size_t last = w->end;
    *found = false;
    if (w->from == 0) {
        kvass_status status = prepare(m, w->n, err);
        if (status != KVASS_OK) {
            return status;
        }
    }
    while (w->from <= w->n) {
        int rc = search(regex, m, w);
        if (rc < 0) {
            return fail_search(rc, w, err);
        }
        if (rc == 0) {
            w->from = w->n + 1;
            break;
        }
        if (w->end > w->start || !w->any || w->end != last) {
            w->any = true;
            w->from = w->end;
            *found = true;
            break;
        }
        /* empty where the last match ended: go on one character later */
        size_t size = kvass_utf8_char(w->s + w->from, w->n - w->from, NULL);
        w->from += size > 0 ? size : 1;
    }
    return KVASS_OK;
}
