/* pretokenize.c - pretokenize.h: each piece goes down the steps as soon as it is known, so nothing
 * is kept but the part that a match may still join. The depth of calls is the number of steps.
 */
#include "tokenizer/pretokenize.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer/newchars.h"
#include "tokenizer/utf8.h"

kvass_status kvass_pretok_add(tok_pretok *pre, tok_pre_step step, kvass_error *err)
{
    if (pre->n_steps == TOK_MAX_STEPS) {
        kvass_regex_close(&step.regex);
        return kvass_fail(err, KVASS_UNSUPPORTED, "PRE_TOKENIZER", "more than %d pre-tokenizers",
                          TOK_MAX_STEPS);
    }
    pre->steps[pre->n_steps++] = step;
    return KVASS_OK;
}

void kvass_pretok_close(tok_pretok *pre)
{
    for (int32_t i = 0; i < pre->n_steps; i++) {
        kvass_regex_close(&pre->steps[i].regex);
    }
    pre->n_steps = 0;
}

/* ---- running --------------------------------------------------------------------------------- */

typedef struct run {
    const tok_pretok *pre;
    tok_matcher *matcher;
    tok_word_fn *word;
    void *user;
    kvass_error *err;
} run;

/* A part of the text: as it is, and as expressions see it (newchars.h); the same length. */
typedef struct part {
    const char *text, *seen;
    size_t n;
    bool at_start; /* of what is encoded */
} part;

static part slice(part p, size_t start, size_t end)
{
    return (part){p.text + start, p.seen + start, end - start, p.at_start && start == 0};
}

static kvass_status run_step(run *r, int32_t i, part p);

static kvass_status with_space(run *r, int32_t i, part p)
{
    if (p.text[0] == ' ') {
        return run_step(r, i + 1, p);
    }
    char *longer = malloc(2 * (p.n + 1));
    if (!longer) {
        return kvass_fail_nomem(r->err, p.n, "a copy of the text");
    }
    char *seen = longer + p.n + 1;
    longer[0] = seen[0] = ' ';
    memcpy(longer + 1, p.text, p.n);
    memcpy(seen + 1, p.seen, p.n);
    kvass_status status = run_step(r, i + 1, (part){longer, seen, p.n + 1, p.at_start});
    free(longer);
    return status;
}

/* s[n] with marks for spaces, to out; the bytes written. */
static size_t put_marks(const tok_pre_step *step, const char *s, size_t n, char *out)
{
    size_t n_out = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == ' ') {
            memcpy(out + n_out, step->mark, step->n_mark);
            n_out += step->n_mark;
        } else {
            out[n_out++] = s[i];
        }
    }
    return n_out;
}

static kvass_status with_marks(run *r, int32_t i, part p)
{
    const tok_pre_step *step = &r->pre->steps[i];
    bool has_mark =
        p.text[0] == ' ' || (p.n >= step->n_mark && memcmp(p.text, step->mark, step->n_mark) == 0);
    bool first = !has_mark && (step->first == TOK_MARK_ALWAYS ||
                               (step->first == TOK_MARK_AT_START && p.at_start));
    size_t n = p.n + (first ? step->n_mark : 0);
    for (size_t k = 0; k < p.n; k++) {
        n += p.text[k] == ' ' ? step->n_mark - 1 : 0;
    }
    char *longer = malloc(2 * n);
    if (!longer) {
        return kvass_fail_nomem(r->err, n, "a copy of the text");
    }
    size_t n_first = first ? step->n_mark : 0;
    memcpy(longer, step->mark, n_first);
    memcpy(longer + n, step->mark, n_first);
    (void)put_marks(step, p.text, p.n, longer + n_first);
    (void)put_marks(step, p.seen, p.n, longer + n + n_first);
    kvass_status status = run_step(r, i + 1, (part){longer, longer + n, n, p.at_start});
    free(longer);
    return status;
}

/* The piece that grows at the moment. */
typedef struct growing {
    size_t start, end;
    bool any, is_match;
} growing;

static bool joins(tok_behavior behavior, bool before, bool is_match)
{
    switch (behavior) {
    case TOK_CONTIGUOUS:
        return before == is_match;
    case TOK_WITH_PREVIOUS:
        return is_match && !before;
    case TOK_WITH_NEXT:
        return before && !is_match;
    case TOK_ISOLATED:
    case TOK_REMOVED:
        break;
    }
    return false;
}

static kvass_status flush(run *r, int32_t i, part p, growing *g)
{
    bool dropped = g->is_match && r->pre->steps[i].behavior == TOK_REMOVED;
    if (!g->any || g->end == g->start || dropped) {
        return KVASS_OK;
    }
    return run_step(r, i + 1, slice(p, g->start, g->end));
}

/* The next part [start, end) of p, a match or what lies between two. */
static kvass_status next_part(run *r, int32_t i, part p, growing *g, size_t start, size_t end,
                              bool is_match)
{
    const tok_pre_step *step = &r->pre->steps[i];
    is_match = is_match != step->invert;
    if (g->any && joins(step->behavior, g->is_match, is_match)) {
        g->end = end;
        g->is_match = is_match;
        return KVASS_OK;
    }
    kvass_status status = flush(r, i, p, g);
    *g = (growing){start, end, true, is_match};
    return status;
}

/* The next match of step i into walk->start, walk->end. */
static kvass_status next_match(run *r, int32_t i, part p, tok_walk *walk, bool *found)
{
    const tok_pre_step *step = &r->pre->steps[i];
    if (step->regex) {
        return kvass_regex_next(step->regex, r->matcher, walk, found, r->err);
    }
    *found = false;
    for (size_t size; walk->from < p.n && !*found; walk->from += size) {
        uint32_t cp = 0;
        size = kvass_utf8_char(p.text + walk->from, p.n - walk->from, &cp);
        if (step->is(cp)) {
            walk->start = walk->from;
            walk->end = walk->from + size;
            *found = true;
        }
    }
    return KVASS_OK;
}

/* Cut valid UTF-8 by step i. */
static kvass_status split(run *r, int32_t i, part p)
{
    tok_walk walk = {.s = p.seen, .n = p.n};
    growing g = {0};
    size_t done = 0;
    bool found = true;
    kvass_status status = KVASS_OK;
    while (status == KVASS_OK && found) {
        status = next_match(r, i, p, &walk, &found);
        if (status != KVASS_OK || !found) {
            break;
        }
        if (walk.start > done) {
            status = next_part(r, i, p, &g, done, walk.start, false);
        }
        if (status == KVASS_OK) {
            status = next_part(r, i, p, &g, walk.start, walk.end, true);
        }
        done = walk.end;
    }
    if (status == KVASS_OK && done < p.n) {
        status = next_part(r, i, p, &g, done, p.n, false);
    }
    return status == KVASS_OK ? flush(r, i, p, &g) : status;
}

/* Cut p where it stops being UTF-8 and where it starts again; expressions see the valid parts. */
static kvass_status split_valid(run *r, int32_t i, part p)
{
    kvass_status status = KVASS_OK;
    for (size_t at = 0, end; status == KVASS_OK && at < p.n; at = end) {
        end = at + kvass_utf8_valid(p.text + at, p.n - at);
        if (end > at) {
            status = split(r, i, slice(p, at, end));
            continue;
        }
        while (end < p.n && kvass_utf8_char(p.text + end, p.n - end, NULL) == 0) {
            end++;
        }
        status = run_step(r, i + 1, slice(p, at, end));
    }
    return status;
}

static kvass_status run_step(run *r, int32_t i, part p)
{
    if (i == r->pre->n_steps) {
        return r->word(r->user, p.text, p.n);
    }
    switch (r->pre->steps[i].kind) {
    case TOK_PRE_SPACE:
        return with_space(r, i, p);
    case TOK_PRE_MARK:
        return with_marks(r, i, p);
    case TOK_PRE_SPLIT:
        break;
    }
    return split_valid(r, i, p);
}

kvass_status kvass_pretok_run(const tok_pretok *pre, tok_matcher *matcher, const char *text,
                              size_t n, bool at_start, tok_word_fn *word, void *user,
                              kvass_error *err)
{
    if (n == 0) {
        return KVASS_OK;
    }
    char *seen;
    kvass_status status = kvass_newchars_replace(text, n, &seen, err);
    if (status != KVASS_OK) {
        return status;
    }
    run r = {pre, matcher, word, user, err};
    status = run_step(&r, 0, (part){text, seen ? seen : text, n, at_start});
    free(seen);
    return status;
}
