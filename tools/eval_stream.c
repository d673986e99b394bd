/* eval_stream.c - one text, far longer than the trained context perhaps, through one cache.
 * There is no full cache to compare with at such lengths. Beside the stream's own level stands what
 * a cache of the same size could do at best without a past: at places spread over the stream, as
 * many newest tokens as it holds are read anew, and predict the same token.
 */
#include "tools/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_TOKENS = 32 }; /* decoded between two looks at the cache */

typedef struct streamer {
    const cli_options *opts;
    const eval_window *window;
    eval_side test, anew;
    int32_t n_anew; /* tokens that are read anew */
    float *kept;    /* kept[n_chunk, n_vocab] */
    eval_scores *scores;
    eval_stream_scores *stream;
} streamer;

/* what the newest tokens before ids[next] say of it without a past */
static kvass_status read_anew(streamer *s, int32_t next, double sampled_nats, kvass_error *err)
{
    const int32_t *ids = s->window->ids;
    int32_t n = next < s->n_anew ? next : s->n_anew, top;
    kvass_seq_reset(s->anew.seq);
    kvass_status status = eval_feed(&s->anew, ids + next - n, n, false, NULL, err);
    if (status == KVASS_OK) {
        const float *logits = kvass_seq_logits(s->anew.seq);
        s->stream->anew_nats +=
            eval_log_sum_exp(logits, s->anew.n_vocab, &top) - (double)logits[ids[next]];
        s->stream->sampled_nats += sampled_nats;
        s->stream->n_sampled++;
    }
    return status;
}

/* whether the i-th of n scored tokens is one of EVAL_STREAM_SAMPLES, evenly spread */
static bool is_sampled(int64_t i, int64_t n)
{
    return n <= EVAL_STREAM_SAMPLES ||
           i * EVAL_STREAM_SAMPLES / n != (i + 1) * EVAL_STREAM_SAMPLES / n;
}

static kvass_status score_rows(streamer *s, int32_t at, int32_t n, kvass_error *err)
{
    const eval_window *window = s->window;
    kvass_status status = KVASS_OK;
    int32_t n_scored = window->n - window->first;
    kvass_cache_usage usage;
    kvass_context_get_usage(s->test.ctx, &usage);
    for (int32_t i = 0; i < n && status == KVASS_OK; i++) {
        const float *logits = s->kept + (size_t)i * (size_t)s->test.n_vocab;
        int32_t next = at + i + 1, nth = next - window->first, top;
        int32_t part = (int32_t)((int64_t)nth * EVAL_STREAM_PARTS / n_scored);
        double nats =
            eval_log_sum_exp(logits, s->test.n_vocab, &top) - (double)logits[window->ids[next]];
        s->scores->nats += nats;
        s->stream->parts[part].nats += nats;
        s->stream->parts[part].n_scored++;
        if (usage.bytes_used > s->stream->parts[part].bytes_used) {
            s->stream->parts[part].bytes_used = usage.bytes_used;
        }
        s->stream->parts[part].peak_bytes = cli_peak_bytes();
        if (is_sampled(nth, n_scored)) {
            status = read_anew(s, next, nats, err);
        }
    }
    return status;
}

static kvass_status run_stream(streamer *s, eval_path path, kvass_error *err)
{
    const eval_window *window = s->window;
    int32_t at = window->first - 1, n_fed = window->n - 1, n_chunk = s->test.n_chunk;
    bool decode = path != EVAL_PREFILL;
    n_chunk = decode && n_chunk > LOOK_TOKENS ? LOOK_TOKENS : n_chunk;
    kvass_status status = eval_feed(&s->test, window->ids, at, path == EVAL_DECODE, NULL, err);
    for (; at < n_fed && status == KVASS_OK; at += n_chunk) {
        int32_t n = n_fed - at < n_chunk ? n_fed - at : n_chunk;
        status = eval_feed(&s->test, window->ids + at, n, decode, s->kept, err);
        if (status == KVASS_OK) {
            status = score_rows(s, at, n, err);
        }
        eval_progress(s->opts, "read", at + n, n_fed);
    }
    eval_progress(s->opts, NULL, 0, 0);
    return status;
}

static void summarise(streamer *s)
{
    eval_scores *scores = s->scores;
    eval_side *test = &s->test;
    scores->n_scored = s->window->n - s->window->first;
    scores->n_fed = s->window->n - 1;
    scores->n_bytes = s->window->n_bytes;
    int64_t n_steps = test->n_decoded < test->cap_steps ? test->n_decoded : test->cap_steps;
    cli_sort(test->step_ms, n_steps);
    scores->p50_ms = cli_quantile(test->step_ms, n_steps, 0.5);
    scores->p99_ms = cli_quantile(test->step_ms, n_steps, 0.99);
    scores->prefill_seconds = test->prefill_seconds;
    scores->decode_seconds = test->decode_seconds;
    scores->n_prefilled = test->n_prefilled;
    scores->n_decoded = test->n_decoded;
    kvass_context_get_usage(test->ctx, &scores->usage);
    kvass_context_get_info(test->ctx, &scores->context);
}

static kvass_status open_sides(streamer *s, const kvass_model *model, kvass_error *err)
{
    const kvass_context_options *opt = &s->opts->context;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    kvass_context_options anew = eval_reference_options(opt);
    bool window = opt->retain == KVASS_RETAIN_WINDOW;
    s->n_anew =
        window && opt->window < info.n_ctx - opt->n_sinks ? opt->window + opt->n_sinks : info.n_ctx;
    anew.n_ctx = s->n_anew;
    anew.n_batch = anew.n_batch < s->n_anew ? anew.n_batch : s->n_anew;
    kvass_status status = eval_side_open(&s->test, model, opt, err);
    return status == KVASS_OK ? eval_side_open(&s->anew, model, &anew, err) : status;
}

int eval_stream(const cli_options *opts, const kvass_model *model, const eval_text *text,
                eval_path path, eval_scores *scores, eval_stream_scores *stream)
{
    kvass_error err;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    *scores = (eval_scores){
        .reference_nats = NAN, .kld_mean = NAN, .kld_p99 = NAN, .kld_max = NAN, .kld_floor = NAN};
    *stream = (eval_stream_scores){0};
    streamer s = {.opts = opts, .window = &text->windows[0], .scores = scores, .stream = stream};
    s.kept = calloc((size_t)opts->context.n_logits * (size_t)info.n_vocab, sizeof *s.kept);
    s.test.cap_steps = s.window->n;
    s.test.step_ms = calloc((size_t)s.test.cap_steps, sizeof *s.test.step_ms);
    kvass_status status = KVASS_OK;
    int code = CLI_OK;
    if (!s.kept || !s.test.step_ms) {
        cli_say("out of memory for the scores of %d tokens", (int)s.window->n);
        code = CLI_NO_ROOM;
    } else {
        status = open_sides(&s, model, &err);
        status = status == KVASS_OK ? run_stream(&s, path, &err) : status;
        code = status == KVASS_OK ? CLI_OK : cli_fail(&err);
    }
    if (code == CLI_OK) {
        summarise(&s);
    }
    eval_side_close(&s.test);
    eval_side_close(&s.anew);
    free(s.kept);
    return code;
}
