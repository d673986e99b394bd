/* eval_recall.c - questions whose answers stand in the prompt, some way back.
 * Each line of the file is {"distance": D, "prompt": P, "answer": A}: facts, D tokens of other
 * text, and a question. The prompt is read by the full-sequence path but for its end, which holds
 * the question and takes the cached path, as generated text does; then the likeliest tokens are
 * taken. An answer is right when the text begins with A and no letter or digit follows.
 */
#include "tools/eval.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { QUESTION_TOKENS = 32, SPARE_TOKENS = 4 };

typedef struct asker {
    const cli_options *opts;
    const char *path;
    const kvass_tokenizer *tok;
    int32_t bos;
    eval_side sides[2]; /* the cache asked for, the full one */
    eval_recall_scores *scores;
} asker;

typedef struct question {
    int64_t distance;
    cli_ids ids; /* of the prompt, with room for one more in front */
    const char *answer;
    size_t n_answer;
} question;

static int32_t likeliest(const float *logits, int32_t n)
{
    int32_t top = 0;
    for (int32_t i = 1; i < n; i++) {
        top = logits[i] > logits[top] ? i : top;
    }
    return top;
}

/* The likeliest text behind the prompt, compared with the answer as it comes. */
static kvass_status answer(asker *a, eval_side *side, const question *q, bool *exact,
                           kvass_error *err)
{
    int32_t n = (int32_t)q->ids.n, n_end = n - 1 < QUESTION_TOKENS ? n - 1 : QUESTION_TOKENS;
    size_t n_said = 0;
    *exact = false;
    kvass_seq_reset(side->seq);
    kvass_status status = eval_feed(side, q->ids.data, n - n_end, false, NULL, err);
    if (status == KVASS_OK) {
        status = eval_feed(side, q->ids.data + n - n_end, n_end, true, NULL, err);
    }
    while (status == KVASS_OK) {
        int32_t id = likeliest(kvass_seq_logits(side->seq), side->n_vocab);
        size_t n_piece = 0;
        const char *piece = kvass_tokenizer_piece(a->tok, id, &n_piece);
        bool ends = !piece || n_piece == 0 || kvass_tokenizer_is_special(a->tok, id);
        if (ends || n_said + n_piece > q->n_answer) {
            size_t n_rest = q->n_answer - n_said;
            *exact = ends ? n_rest == 0
                          : memcmp(piece, q->answer + n_said, n_rest) == 0 &&
                                !isalnum((unsigned char)piece[n_rest]);
            return status;
        }
        if (memcmp(piece, q->answer + n_said, n_piece) != 0) {
            return status;
        }
        n_said += n_piece;
        status = eval_feed(side, &id, 1, true, NULL, err);
    }
    return status;
}

static int ask(asker *a, const question *q)
{
    kvass_error err;
    eval_recall_scores *scores = a->scores;
    int32_t at = 0;
    while (at < scores->n_distances && scores->at[at].distance != q->distance) {
        at++;
    }
    if (at == EVAL_MOST_DISTANCES) {
        cli_say("%s: more than %d different distances", a->path, EVAL_MOST_DISTANCES);
        return CLI_USAGE;
    }
    if (at == scores->n_distances) {
        scores->at[scores->n_distances++].distance = q->distance;
    }
    bool exact[2] = {false, false};
    for (int side = 0; side < 2; side++) {
        if (answer(a, &a->sides[side], q, &exact[side], &err) != KVASS_OK) {
            return cli_fail(&err);
        }
    }
    scores->n++;
    scores->n_exact += exact[0];
    scores->n_full_exact += exact[1];
    scores->at[at].n++;
    scores->at[at].n_exact += exact[0];
    scores->at[at].n_full_exact += exact[1];
    return CLI_OK;
}

/* one line of the file */
static int ask_line(asker *a, const char *line, size_t n_bytes, int n_line)
{
    json_error_t problem;
    const char *prompt, *expected;
    size_t n_prompt;
    json_int_t distance;
    question q = {0};
    json_t *root = json_loadb(line, n_bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!root ||
        json_unpack_ex(root, &problem, 0, "{s:I, s:s%, s:s%}", "distance", &distance, "prompt",
                       &prompt, &n_prompt, "answer", &expected, &q.n_answer) != 0) {
        cli_say("%s: line %d: expected {\"distance\", \"prompt\", \"answer\"}: %s", a->path, n_line,
                problem.text);
        json_decref(root);
        return CLI_USAGE;
    }
    q.distance = distance;
    q.answer = expected;
    int code = cli_encode(a->tok, prompt, n_prompt, NULL, &q.ids);
    if (code == CLI_OK && a->bos >= 0) {
        memmove(q.ids.data + 1, q.ids.data, q.ids.n * sizeof *q.ids.data);
        q.ids.data[0] = a->bos; /* cli_encode leaves room */
        q.ids.n++;
    }
    if (code == CLI_OK && (q.ids.n == 0 || q.n_answer == 0)) {
        cli_say("%s: line %d: the prompt or the answer is empty", a->path, n_line);
        code = CLI_USAGE;
    }
    size_t n_room = (size_t)a->opts->context.n_ctx;
    if (code == CLI_OK && q.ids.n + q.n_answer + SPARE_TOKENS > n_room) {
        cli_say("%s: line %d: %zu tokens and an answer do not fit a context of %zu (-c)", a->path,
                n_line, q.ids.n, n_room);
        code = CLI_NO_ROOM;
    }
    code = code == CLI_OK ? ask(a, &q) : code;
    free(q.ids.data);
    json_decref(root);
    return code;
}

static int ask_all(asker *a, const char *data, size_t n_bytes)
{
    int code = CLI_OK, n_line = 0;
    for (size_t at = 0; at < n_bytes && code == CLI_OK;) {
        const char *end = memchr(data + at, '\n', n_bytes - at);
        size_t n = end ? (size_t)(end - (data + at)) : n_bytes - at;
        n_line++;
        if (n > 0) {
            code = ask_line(a, data + at, n, n_line);
        }
        at += n + 1;
        eval_progress(a->opts, "bytes of questions", (int64_t)at, (int64_t)n_bytes);
    }
    eval_progress(a->opts, NULL, 0, 0);
    if (code == CLI_OK && a->scores->n == 0) {
        cli_say("%s: no question in it", a->path);
        code = CLI_USAGE;
    }
    return code;
}

int eval_recall(const cli_options *opts, const kvass_model *model, const kvass_tokenizer *tok,
                int32_t bos, const char *path, eval_recall_scores *scores)
{
    kvass_error err;
    cli_bytes bytes = {0};
    *scores = (eval_recall_scores){0};
    asker a = {.opts = opts, .path = path, .tok = tok, .bos = bos, .scores = scores};
    int code = cli_read_file(&bytes, path);
    if (code == CLI_OK) {
        kvass_context_options full = eval_reference_options(&opts->context);
        kvass_status status = eval_side_open(&a.sides[0], model, &opts->context, &err);
        if (status == KVASS_OK) {
            status = eval_side_open(&a.sides[1], model, &full, &err);
        }
        code = status == KVASS_OK ? ask_all(&a, bytes.data, bytes.n) : cli_fail(&err);
    }
    cli_bytes_free(&bytes);
    eval_side_close(&a.sides[0]);
    eval_side_close(&a.sides[1]);
    return code;
}
