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

static bool add_window(eval_text *text, int32_t n, int32_t first, int64_t n_bytes)
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
    text->windows[text->n_windows++] = (eval_window){.n = n, .first = first, .n_bytes = n_bytes};
    return true;
}

static int64_t piece_bytes(const kvass_tokenizer *tok, int32_t id)
{
    size_t n = 0;
    (void)kvass_tokenizer_piece(tok, id, &n);
    return (int64_t)n;
}

/* Where text becomes windows. */
typedef struct layout {
    eval_text *text;
    const eval_split *split;
    const kvass_tokenizer *tok;
    int32_t bos, n_ctx;
} layout;

/* Lay ids[n_ids], which stand for `left` bytes, out in windows. The bytes are shared out by the
 * tokens' own; what a tokenizer adds or drops at the beginning of a text stays with the last
 * window. A window too short to have a scored token is left out. */
static bool add_windows(const layout *l, const int32_t *ids, size_t n_ids, int64_t left)
{
    bool ok = true;
    int32_t first = l->split->score_from;
    for (size_t at = 0; ok && at < n_ids;) {
        int32_t n = 0;
        int64_t n_bytes = 0;
        size_t n_before = l->text->n_ids;
        if (l->bos >= 0) {
            ok = add_id(l->text, l->bos);
            n++;
        }
        /* n_ctx positions are fed; the last of them predicts one more token */
        for (; ok && (n <= l->n_ctx || l->split->stream) && at < n_ids; n++, at++) {
            int64_t piece = piece_bytes(l->tok, ids[at]);
            ok = add_id(l->text, ids[at]);
            n_bytes += n < first ? 0 : piece;
            left -= n < first ? piece : 0;
        }
        n_bytes = at == n_ids || n_bytes > left ? left : n_bytes;
        left -= n_bytes;
        if (n > first) {
            ok = ok && add_window(l->text, n, first, n_bytes);
        } else {
            l->text->n_ids = n_before;
        }
    }
    return ok;
}

static int add_piece(const layout *l, const char *bytes, size_t n_bytes)
{
    cli_ids ids;
    int code = cli_encode(l->tok, bytes, n_bytes, NULL, &ids);
    if (code != CLI_OK) {
        return code;
    }
    int64_t left = (int64_t)n_bytes, n_special = l->bos >= 0;
    if (l->split->n_tokens > 0 && (int64_t)ids.n + n_special > l->split->n_tokens) {
        for (ids.n = 0, left = 0; (int64_t)ids.n + n_special < l->split->n_tokens; ids.n++) {
            left += piece_bytes(l->tok, ids.data[ids.n]);
        }
    }
    bool ok = add_windows(l, ids.data, ids.n, left);
    free(ids.data);
    if (!ok) {
        cli_say("out of memory for the text's tokens");
    }
    return ok ? CLI_OK : CLI_NO_ROOM;
}

/* Stories stand between single newlines (those with no newline beside them); the first piece is cut
 * off anywhere and dropped. */
static int add_stories(const layout *l, const char *bytes, size_t n_bytes)
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
            int code = add_piece(l, bytes + start, n < STORY_MOST ? n : STORY_MOST);
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
    const layout l = {text, split, tok, bos, n_ctx};
    code = split->stories ? add_stories(&l, bytes, n) : add_piece(&l, bytes, n);
    if (code != CLI_OK) {
        return code;
    }
    const int32_t *ids = text->ids;
    for (size_t i = 0; i < text->n_windows; i++) {
        text->windows[i].ids = ids;
        ids += text->windows[i].n;
    }
    if (text->n_windows == 0) {
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
