/* eval_text.c - a text into the windows that `kvass eval` scores.
 * A window begins with the begin-of-text token when there is one, and starts from an empty cache.
 * Text that is longer than the context goes on in the next window: windows do not overlap.
 */
#include "tools/eval.h"

#include <stdlib.h>
#include <string.h>

#define STORY_LEAST 400 /* bytes: shorter pieces are left out */
#define STORY_MOST  800 /* bytes of each story that are scored */

static bool add_id(eval_text *text, int32_t id)
{
    if (text->n_ids == text->cap_ids) {
        size_t cap = text->cap_ids * 2 + 1024;
        int32_t *grown = realloc(text->ids, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        text->ids = grown;
        text->cap_ids = cap;
    }
    text->ids[text->n_ids++] = id;
    return true;
}

static bool add_window(eval_text *text, int32_t n, int64_t n_bytes)
{
    if (text->n_windows == text->cap_windows) {
        size_t cap = text->cap_windows * 2 + 64;
        eval_window *grown = realloc(text->windows, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        text->windows = grown;
        text->cap_windows = cap;
    }
    text->windows[text->n_windows++] = (eval_window){.n = n, .n_bytes = n_bytes};
    return true;
}

static int64_t piece_bytes(const kvass_tokenizer *tok, int32_t id)
{
    size_t n = 0;
    (void)kvass_tokenizer_piece(tok, id, &n);
    return (int64_t)n;
}

/* Encode one piece of text and lay it out in windows. The bytes of a piece are shared out by its
 * tokens' own bytes; what a tokenizer adds or drops at the beginning of a text stays with the last
 * window. */
static int add_piece(eval_text *text, const kvass_tokenizer *tok, int32_t bos, int32_t n_ctx,
                     const char *bytes, size_t n_bytes)
{
    cli_ids ids;
    int code = cli_encode(tok, bytes, n_bytes, NULL, &ids);
    if (code != CLI_OK) {
        return code;
    }
    bool ok = true;
    int64_t left = (int64_t)n_bytes;
    for (size_t at = 0; ok && at < ids.n;) {
        int32_t n = 0;
        int64_t window_bytes = 0;
        if (bos >= 0) {
            ok = add_id(text, bos);
            n++;
        } else { /* the first token has nothing before it that could predict it */
            ok = add_id(text, ids.data[at]);
            left -= piece_bytes(tok, ids.data[at++]);
            n++;
        }
        /* n_ctx positions are fed; the last of them predicts one more token */
        for (; ok && n <= n_ctx && at < ids.n; n++, at++) {
            ok = add_id(text, ids.data[at]);
            window_bytes += piece_bytes(tok, ids.data[at]);
        }
        window_bytes = at == ids.n || window_bytes > left ? left : window_bytes;
        left -= window_bytes;
        ok = ok && add_window(text, n, window_bytes);
    }
    free(ids.data);
    if (!ok) {
        cli_say("out of memory for the text's tokens");
    }
    return ok ? CLI_OK : CLI_NO_ROOM;
}

/* Stories stand between single newlines (those with no newline beside them); the first piece is cut
 * off anywhere and dropped. */
static int add_stories(eval_text *text, const kvass_tokenizer *tok, int32_t bos, int32_t n_ctx,
                       const char *bytes, size_t n_bytes)
{
    size_t start = 0;
    bool first = true;
    for (size_t i = 0; i <= n_bytes; i++) {
        bool cut = i == n_bytes || (bytes[i] == '\n' && (i == 0 || bytes[i - 1] != '\n') &&
                                    (i + 1 == n_bytes || bytes[i + 1] != '\n'));
        if (!cut) {
            continue;
        }
        size_t n = i - start;
        if (!first && n >= STORY_LEAST) {
            int code =
                add_piece(text, tok, bos, n_ctx, bytes + start, n < STORY_MOST ? n : STORY_MOST);
            if (code != CLI_OK) {
                return code;
            }
        }
        first = false;
        start = i + 1;
    }
    return CLI_OK;
}

int eval_text_open(eval_text *text, const cli_prompt *source, const eval_split *split,
                   const kvass_tokenizer *tok, int32_t bos, int32_t n_ctx)
{
    bool given;
    int code = cli_read_prompt(source, &text->bytes, &given);
    if (code != CLI_OK) {
        return code;
    }
    if (!given) {
        cli_say("no text: name a file with -f, or give it on standard input");
        return CLI_USAGE;
    }
    const char *bytes = text->bytes.data ? text->bytes.data : "";
    size_t n = text->bytes.n;
    if (split->tail_bytes > 0 && split->tail_bytes < n) {
        bytes += n - split->tail_bytes;
        n = split->tail_bytes;
    }
    code = split->stories ? add_stories(text, tok, bos, n_ctx, bytes, n)
                          : add_piece(text, tok, bos, n_ctx, bytes, n);
    if (code != CLI_OK) {
        return code;
    }
    const int32_t *ids = text->ids;
    int64_t n_scored = 0;
    for (size_t i = 0; i < text->n_windows; i++) {
        text->windows[i].ids = ids;
        ids += text->windows[i].n;
        n_scored += text->windows[i].n - 1;
    }
    if (n_scored == 0) {
        cli_say("the text is too short: nothing to score");
        return CLI_USAGE;
    }
    return CLI_OK;
}

void eval_text_close(eval_text *text)
{
    cli_bytes_free(&text->bytes);
    free(text->ids);
    free(text->windows);
    *text = (eval_text){0};
}
