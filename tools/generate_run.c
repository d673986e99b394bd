/* generate_run.c - the loop of `kvass generate`.
 * The samples of a prompt share its pages and are decoded together, one row each; those that have
 * ended leave the batch. Text goes out as soon as it is certain (complete characters that cannot
 * become a stop string), the samples one after the other: a later one is kept until its turn.
 */
#include "tools/generate.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_AFTER 0.02 /* seconds that output may wait when no terminal shows it */

/* ---- text ------------------------------------------------------------------------------------ */

static int print(generate_run *run, const char *data, size_t n)
{
    if (n == 0) {
        return CLI_OK;
    }
    cli_put_text(data, n, run->args->raw);
    run->mid_line = data[n - 1] != '\n';
    double now = run->terminal ? 0 : cli_now();
    if (run->terminal || now - run->flushed >= FLUSH_AFTER) {
        run->flushed = now;
        return cli_finish_output();
    }
    return CLI_OK;
}

static int put(generate_run *run, generate_sample *s, const char *data, size_t n)
{
    if (!run->args->json && s == &run->samples[run->current]) {
        return print(run, data, n);
    }
    if (!cli_bytes_add(&s->text, data, n)) {
        cli_say("out of memory for text");
        return CLI_NO_ROOM;
    }
    return CLI_OK;
}

/* Pass on the text of one id. *stopped tells whether a stop string is complete. */
static int put_id(generate_run *run, generate_sample *s, int32_t id, bool *stopped)
{
    kvass_error err;
    const char *bytes;
    size_t n;
    if (kvass_stream_put(s->stream, id, &bytes, &n, &err) != KVASS_OK) {
        return cli_fail(&err);
    }
    int found = cli_stop_put(&s->stop, bytes, n, &bytes, &n);
    if (found < 0) {
        cli_say("out of memory for text");
        return CLI_NO_ROOM;
    }
    *stopped = found == 1;
    return put(run, s, bytes, n);
}

/* What is still held back at the end of the text. */
static int put_rest(generate_run *run, generate_sample *s)
{
    const char *bytes;
    size_t n;
    kvass_stream_end(s->stream, &bytes, &n);
    if (strcmp(s->finish_reason, "stop") == 0) {
        return CLI_OK;
    }
    int found = cli_stop_put(&s->stop, bytes, n, &bytes, &n);
    int code = found < 0 ? CLI_NO_ROOM : put(run, s, bytes, n);
    if (code == CLI_OK && found == 0) {
        cli_stop_end(&s->stop, &bytes, &n);
        code = put(run, s, bytes, n);
    }
    return code;
}

/* before the text of a sample or of one of several prompts: an empty line, and who it is for those
 * who watch */
static int begin_text(generate_run *run)
{
    const generate_args *args = run->args;
    bool first = run->current == 0 && run->prompt == run->prompts;
    if (args->json) {
        return CLI_OK;
    }
    if (!first) {
        (void)fputs(run->mid_line ? "\n\n" : "\n", stdout);
        run->mid_line = false;
    }
    bool watched = !args->opts.quiet && (args->stats || isatty(STDERR_FILENO));
    if ((args->n_samples > 1 || run->n_prompts > 1) && watched) {
        int code = cli_finish_output();
        if (code != CLI_OK) {
            return code;
        }
        (void)fprintf(
            stderr, "-- %s %d of %d, seed %llu\n", args->n_samples > 1 ? "sample" : "prompt",
            args->n_samples > 1 ? run->current + 1 : (int)(run->prompt - run->prompts) + 1,
            args->n_samples > 1 ? args->n_samples : (int)run->n_prompts,
            (unsigned long long)run->samples[run->current].seed);
    }
    return args->echo ? print(run, run->prompt->text.data, run->prompt->text.n) : CLI_OK;
}

/* when the sample being printed has ended, those that waited for it get their turn */
static int next_texts(generate_run *run)
{
    int code = CLI_OK;
    while (code == CLI_OK && run->current + 1 < run->args->n_samples &&
           run->samples[run->current].finish_reason) {
        generate_sample *s = &run->samples[++run->current];
        code = begin_text(run);
        if (code == CLI_OK && !run->args->json) {
            code = print(run, s->text.data, s->text.n);
        }
    }
    return code;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static bool ends_text(const generate_run *run, int32_t id)
{
    kvass_tokenizer_info tok_info;
    kvass_tokenizer_get_info(run->tok, &tok_info);
    for (int32_t i = 0; i < run->info.n_eos; i++) {
        if (run->info.eos[i] == id) {
            return true;
        }
    }
    return id == tok_info.eos;
}

static int pick(generate_sample *s, int32_t *id)
{
    kvass_error err;
    if (kvass_sampler_pick(s->sampler, kvass_seq_logits(s->seq), kvass_seq_tokens(s->seq),
                           kvass_seq_n_tokens(s->seq), id, &err) != KVASS_OK) {
        cli_say("position %d: %s (%s)", (int)kvass_seq_n_tokens(s->seq), err.message, err.rule);
        return CLI_RUNTIME;
    }
    return CLI_OK;
}

/* One step of one sample up to its next token: *id, if it goes on; else finish_reason is set. */
static int step(generate_run *run, generate_sample *s, int32_t *id)
{
    int64_t n_max = run->args->n_max;
    bool stopped = false;
    if ((int64_t)s->out.n == n_max) {
        s->finish_reason = "length";
        return CLI_OK;
    }
    double start = cli_now();
    int code = pick(s, id);
    double picked = cli_now();
    if (code != CLI_OK) {
        return code;
    }
    if (ends_text(run, *id)) {
        s->finish_reason = "eos";
        return CLI_OK;
    }
    generate_tokens_add(run, s, *id, run->step_seconds + picked - start);
    s->out.data[s->out.n++] = *id;
    code = put_id(run, s, *id, &stopped);
    if (stopped) {
        s->finish_reason = "stop";
    } else if ((int64_t)s->out.n == n_max) {
        s->finish_reason = "length"; /* no need to decode what nothing follows */
    } else if (kvass_seq_n_tokens(s->seq) == run->args->opts.context.n_ctx) {
        s->finish_reason = "context";
    }
    return code;
}

static void end_all(generate_run *run, const char *reason)
{
    for (int i = 0; i < run->args->n_samples; i++) {
        if (!run->samples[i].finish_reason) {
            run->samples[i].finish_reason = reason;
        }
    }
}

static int fail_or_cancel(generate_run *run, const kvass_error *err)
{
    end_all(run, "cancelled");
    return err->code == KVASS_CANCELLED ? CLI_OK : cli_fail(err);
}

/* Sample, print, decode, until every sample has ended. */
static int decode_loop(generate_run *run, double start)
{
    kvass_error err;
    kvass_seq *batch[GENERATE_MAX_SAMPLES];
    int32_t tokens[GENERATE_MAX_SAMPLES];
    for (bool first = true;; first = false) {
        int32_t n = 0;
        for (int i = 0; i < run->args->n_samples; i++) {
            generate_sample *s = &run->samples[i];
            if (s->finish_reason) {
                continue;
            }
            int code = step(run, s, &tokens[n]);
            if (first && i == 0) {
                run->times.first_token = cli_now() - start - run->aside_seconds;
            }
            if (code == CLI_OK && s->finish_reason) {
                code = put_rest(run, s);
            } else {
                batch[n++] = s->seq;
            }
            if (code != CLI_OK) {
                return code;
            }
        }
        int code = next_texts(run);
        if (code != CLI_OK || n == 0) {
            return code;
        }
        double begun = cli_now();
        if (kvass_decode_batch(batch, tokens, n, &err) != KVASS_OK) {
            return fail_or_cancel(run, &err);
        }
        run->step_seconds = cli_now() - begun;
        if (cli_interrupted()) {
            end_all(run, "cancelled");
            return CLI_OK;
        }
    }
}

/* ---- one prompt ------------------------------------------------------------------------------ */

/* Each sample's own generator and text. A stream has to know the prompt's end: what a token's text
 * is can depend on what is before it. */
static int open_samples(generate_run *run)
{
    kvass_error err;
    for (int i = 0; i < run->args->n_samples; i++) {
        generate_sample *s = &run->samples[i];
        kvass_sampler_options opt = run->args->opts.sampler;
        opt.seed += (uint64_t)i;
        s->seed = opt.seed;
        s->stop = run->args->stop;
        s->out.n = s->text.n = 0;
        s->finish_reason = NULL;
        if (kvass_sampler_open(&s->sampler, run->info.n_vocab, &opt, &err) != KVASS_OK ||
            kvass_stream_open(&s->stream, run->tok, false, &err) != KVASS_OK) {
            return cli_fail(&err);
        }
        size_t n_all = run->pinned.n + run->prompt->ids.n;
        for (size_t t = 0; t < n_all; t++) {
            const char *bytes;
            size_t n;
            int32_t id =
                t < run->pinned.n ? run->pinned.data[t] : run->prompt->ids.data[t - run->pinned.n];
            if (kvass_stream_put(s->stream, id, &bytes, &n, &err) != KVASS_OK) {
                return cli_fail(&err);
            }
        }
    }
    return CLI_OK;
}

static void close_samples(generate_run *run)
{
    for (int i = run->args->n_samples - 1; i >= 0; i--) {
        generate_sample *s = &run->samples[i];
        kvass_seq_close(&s->seq);
        kvass_stream_close(&s->stream);
        kvass_sampler_close(&s->sampler);
        cli_bytes_free(&s->stop.held);
        s->stop.held = (cli_bytes){0};
    }
}

/* The prompt's rows into the first sample's sequence: restored, reused, run. */
static kvass_status read_prompt(generate_run *run, int *code, kvass_error *err)
{
    kvass_seq *seq = run->samples[0].seq;
    const cli_ids *ids = &run->prompt->ids;
    int32_t n_pinned = (int32_t)run->pinned.n, n_have = n_pinned, n_ids = (int32_t)ids->n;
    run->n_restored = run->n_reused = 0;
    run->aside_seconds = 0;
    if (run->args->prompt_cache) {
        *code = generate_restore(run, &n_have);
    } else if (run->n_prompts > 1) {
        kvass_status status = kvass_seq_reuse(seq, ids->data, n_ids, &run->n_reused, err);
        if (status != KVASS_OK) {
            return status;
        }
        n_have += run->n_reused;
    }
    int32_t at = n_have - n_pinned;
    return *code != CLI_OK || at == n_ids ? KVASS_OK
                                          : kvass_prefill(seq, ids->data + at, n_ids - at, err);
}

/* the other samples share the first one's past */
static kvass_status fork_samples(generate_run *run, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (int i = 1; i < run->args->n_samples && status == KVASS_OK; i++) {
        status = kvass_seq_fork(&run->samples[i].seq, run->samples[0].seq, err);
    }
    return status;
}

/* Everything up to the texts' end; *saved is set to the exit code of --prompt-cache's save, for
 * which no text is lost. */
static int run_samples(generate_run *run, int *saved)
{
    kvass_error err;
    int code = CLI_OK;
    double start = cli_now();
    kvass_status status = kvass_seq_open(&run->samples[0].seq, run->ctx, &err);
    if (status == KVASS_OK) {
        status = read_prompt(run, &code, &err);
    }
    if (code == CLI_OK && status == KVASS_OK && run->args->prompt_cache &&
        !run->args->prompt_cache_all && !run->is_saved) {
        *saved = generate_save(run);
    }
    if (code == CLI_OK && status == KVASS_OK) {
        status = fork_samples(run, &err);
    }
    run->times.prompt = run->step_seconds = cli_now() - start;
    if (code == CLI_OK && status == KVASS_OK) {
        code = decode_loop(run, start);
        run->times.decode = cli_now() - start - run->times.prompt - run->aside_seconds;
        if (code == CLI_OK && run->args->prompt_cache_all) {
            *saved = generate_save(run);
        }
    } else if (code == CLI_OK) {
        code = fail_or_cancel(run, &err);
    }
    return code;
}

static int continue_prompt(generate_run *run)
{
    int saved = CLI_OK;
    run->current = 0;
    int code = open_samples(run);
    if (code == CLI_OK) {
        code = begin_text(run);
    }
    if (code == CLI_OK) {
        code = run_samples(run, &saved);
    }
    if (code == CLI_OK && run->args->json) {
        code = generate_print_document(run);
    }
    bool watched = run->args->stats || isatty(STDERR_FILENO);
    if (code == CLI_OK && !run->args->json && run->terminal && run->mid_line) {
        (void)fputc('\n', stdout);
        run->mid_line = false;
    }
    int flushed = cli_finish_output();
    code = code == CLI_OK ? flushed : code;
    if (code == CLI_OK && !run->args->opts.quiet && watched) {
        generate_print_summary(run);
    }
    close_samples(run);
    return code == CLI_OK ? saved : code;
}

int generate_all(generate_run *run)
{
    int code = CLI_OK;
    run->terminal = isatty(STDOUT_FILENO);
    cli_catch_interrupt();
    kvass_context_set_cancel(run->ctx, cli_cancel, NULL);
    for (size_t i = 0; i < run->n_prompts && code == CLI_OK && !cli_interrupted(); i++) {
        run->prompt = &run->prompts[i];
        code = continue_prompt(run);
    }
    return code;
}
