/* eval_needle.c - whether a cache still lets the network look up what it has read long ago.
 * A sentence with a made-up name is put into the text at some depth; at the end its beginning
 * stands again, and what counts is how much likelier the name has become by having been read:
 *   gain = -log p(name) without the sentence  -  -log p(name) with it
 * A cache is measured by the share of the full f32 cache's gain that is left. Where that one gains
 * nothing the network does not look back, and no cache can be tested by it.
 */
#include "tools/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const int32_t eval_depths[EVAL_N_DEPTHS] = {0, 25, 50, 75, 100};

enum { LEAST_GAIN_PERCENT = 10 }; /* of a nat: less is nothing */

static const struct {
    const char *stem, *name;
} needles[EVAL_N_NEEDLES] = {
    {" The little cat was called", " Bokani"}, {" The old horse was called", " Tumel"},
    {" The red bird was called", " Zanofi"},   {" The big dog was called", " Karubo"},
    {" The small fish was called", " Milupa"}, {" The funny frog was called", " Doseta"},
    {" The white mouse was called", " Ravin"}, {" The green duck was called", " Pelomi"},
};

/* The sentence: ids[n], of which the first n_stem say it again, and the next n_name are scored. */
typedef struct needle_ids {
    cli_ids ids;
    size_t n_stem, n_name;
} needle_ids;

typedef struct searcher {
    const cli_options *opts;
    const eval_text *text;
    int32_t bos;
    eval_side sides[2]; /* the cache asked for, the full one */
    int32_t n_vocab;
    int32_t *ids; /* ids[n_ctx]: what is read before the question */
    needle_ids needles[EVAL_N_NEEDLES];
    int64_t n_done;
} searcher;

static int encode(const kvass_tokenizer *tok, const char *stem, const char *name, const char *end,
                  cli_ids *ids)
{
    char sentence[128];
    (void)snprintf(sentence, sizeof sentence, "%s%s%s", stem, name, end);
    return cli_encode(tok, sentence, strlen(sentence), NULL, ids);
}

static int encode_needle(const kvass_tokenizer *tok, int i, needle_ids *out)
{
    cli_ids stem = {0}, named = {0};
    int code = encode(tok, needles[i].stem, "", "", &stem);
    code = code == CLI_OK ? encode(tok, needles[i].stem, needles[i].name, "", &named) : code;
    code = code == CLI_OK ? encode(tok, needles[i].stem, needles[i].name, ".", &out->ids) : code;
    if (code == CLI_OK) {
        /* the last token of the stem may have become another one with the name behind it */
        while (out->n_stem < stem.n && stem.data[out->n_stem] == out->ids.data[out->n_stem]) {
            out->n_stem++;
        }
        out->n_name = named.n - out->n_stem;
    }
    free(stem.data);
    free(named.data);
    return code;
}

/* s->ids: begin-of-text, then filler with the sentence at `depth` per cent of it, or, below 0,
 * without; as long as leaves room for the question. Returns how many. */
static int32_t lay_out(searcher *s, const needle_ids *needle, int32_t depth)
{
    int32_t n_all = s->opts->context.n_ctx - (int32_t)(needle->n_stem + needle->n_name), n = 0;
    int32_t n_needle = depth < 0 ? 0 : (int32_t)needle->ids.n, from = s->bos >= 0;
    int32_t n_filler = n_all - from - n_needle;
    int32_t at = from + (int32_t)((int64_t)n_filler * (depth < 0 ? 0 : depth) / 100);
    /* the text begins with the same token; its end stays where it is, with the sentence or without
     */
    const int32_t *filler = s->text->ids + from + n_needle;
    if (s->bos >= 0) {
        s->ids[n++] = s->bos;
    }
    while (n < n_all) {
        if (n == at && n_needle > 0) {
            memcpy(s->ids + n, needle->ids.data, needle->ids.n * sizeof *s->ids);
            n += n_needle;
            n_needle = 0;
        } else {
            s->ids[n++] = *filler++;
        }
    }
    return n;
}

/* -log p of the needle's name behind its stem, after s->ids[n]; by the cached path, as generated
 * text is */
static kvass_status ask(searcher *s, eval_side *side, const needle_ids *needle, int32_t n,
                        double *nats, kvass_error *err)
{
    const int32_t *name = needle->ids.data + needle->n_stem;
    kvass_seq_reset(side->seq);
    kvass_status status = eval_feed(side, s->ids, n, false, NULL, err);
    if (status == KVASS_OK) {
        status = eval_feed(side, needle->ids.data, (int32_t)needle->n_stem, true, NULL, err);
    }
    *nats = 0;
    for (size_t i = 0; i < needle->n_name && status == KVASS_OK; i++) {
        const float *logits = kvass_seq_logits(side->seq);
        int32_t top;
        *nats += eval_log_sum_exp(logits, s->n_vocab, &top) - (double)logits[name[i]];
        if (i + 1 < needle->n_name) {
            status = eval_feed(side, name + i, 1, true, NULL, err);
        }
    }
    eval_progress(s->opts, "needles", ++s->n_done,
                  (int64_t)EVAL_N_NEEDLES * (EVAL_N_DEPTHS + 1) * 2);
    return status;
}

static kvass_status search(searcher *s, eval_needle_scores *scores, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    double squares = 0;
    int n_asked = EVAL_N_NEEDLES * EVAL_N_DEPTHS;
    for (int i = 0; i < EVAL_N_NEEDLES; i++) {
        const needle_ids *needle = &s->needles[i];
        double without[2], with[2];
        for (int side = 0; side < 2 && status == KVASS_OK; side++) {
            int32_t n = lay_out(s, needle, -1);
            status = ask(s, &s->sides[side], needle, n, &without[side], err);
        }
        for (int d = 0; d < EVAL_N_DEPTHS && status == KVASS_OK; d++) {
            int32_t n = lay_out(s, needle, eval_depths[d]);
            for (int side = 0; side < 2 && status == KVASS_OK; side++) {
                status = ask(s, &s->sides[side], needle, n, &with[side], err);
            }
            if (status == KVASS_OK) {
                double full = without[1] - with[1];
                scores->gain[d] += (without[0] - with[0]) / EVAL_N_NEEDLES;
                scores->full_gain[d] += full / EVAL_N_NEEDLES;
                scores->mean += (without[0] - with[0]) / n_asked;
                scores->full_mean += full / n_asked;
                squares += full * full / n_asked;
            }
        }
    }
    double variance = squares - scores->full_mean * scores->full_mean;
    scores->full_error = sqrt((variance > 0 ? variance : 0) / n_asked);
    scores->testable =
        scores->full_mean > 2 * scores->full_error && scores->full_mean * 100 > LEAST_GAIN_PERCENT;
    scores->kept = scores->testable ? scores->mean / scores->full_mean : NAN;
    return status;
}

/* the sentences as ids, and whether text and context hold them */
static int prepare(searcher *s, const kvass_tokenizer *tok)
{
    size_t longest = 0;
    for (int i = 0; i < EVAL_N_NEEDLES; i++) {
        int code = encode_needle(tok, i, &s->needles[i]);
        if (code != CLI_OK) {
            return code;
        }
        longest = s->needles[i].ids.n > longest ? s->needles[i].ids.n : longest;
    }
    if ((size_t)s->opts->context.n_ctx < 4 * longest) {
        cli_say("--needle: a context of %d tokens is too short, a needle has %zu",
                (int)s->opts->context.n_ctx, longest);
        return CLI_USAGE;
    }
    if (s->text->n_ids < (size_t)s->opts->context.n_ctx) {
        cli_say("--needle: the text's %zu tokens do not fill the context of %d: give a longer text "
                "or a shorter context (-c)",
                s->text->n_ids, (int)s->opts->context.n_ctx);
        return CLI_USAGE;
    }
    s->ids = calloc((size_t)s->opts->context.n_ctx, sizeof *s->ids);
    if (!s->ids) {
        cli_say("out of memory for %d tokens", (int)s->opts->context.n_ctx);
        return CLI_NO_ROOM;
    }
    return CLI_OK;
}

int eval_needle(const cli_options *opts, const kvass_model *model, const kvass_tokenizer *tok,
                int32_t bos, const eval_text *text, eval_needle_scores *scores)
{
    kvass_error err;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    *scores = (eval_needle_scores){0};
    searcher s = {.opts = opts, .text = text, .bos = bos, .n_vocab = info.n_vocab};
    int code = prepare(&s, tok);
    if (code == CLI_OK) {
        kvass_context_options full = eval_reference_options(&opts->context);
        kvass_status status = eval_side_open(&s.sides[0], model, &opts->context, &err);
        if (status == KVASS_OK) {
            status = eval_side_open(&s.sides[1], model, &full, &err);
        }
        if (status == KVASS_OK) {
            status = search(&s, scores, &err);
        }
        code = status == KVASS_OK ? CLI_OK : cli_fail(&err);
        eval_progress(opts, NULL, 0, 0);
    }
    for (int i = 0; i < EVAL_N_NEEDLES; i++) {
        free(s.needles[i].ids.data);
    }
    free(s.ids);
    eval_side_close(&s.sides[0]);
    eval_side_close(&s.sides[1]);
    return code;
}
