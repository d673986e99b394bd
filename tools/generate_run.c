/* generate_run.c - the loop of `kvass generate`, its output and its reports.
 * Text goes out as soon as it is certain: complete characters that cannot become a stop string.
 */
#include "tools/generate.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_AFTER 0.02 /* seconds that output may wait when no terminal shows it */
#define MIB         (1024.0 * 1024.0)

typedef struct output {
    bool terminal;
    bool mid_line; /* the last byte written was no newline */
    double flushed;
} output;

static int put(generate_run *run, output *out, const char *data, size_t n)
{
    if (n == 0) {
        return CLI_OK;
    }
    if (run->args->json) {
        return cli_bytes_add(&run->text, data, n) ? CLI_OK : CLI_NO_ROOM;
    }
    cli_put_text(data, n, run->args->raw);
    out->mid_line = data[n - 1] != '\n';
    double now = out->terminal ? 0 : cli_now();
    if (out->terminal || now - out->flushed >= FLUSH_AFTER) {
        out->flushed = now;
        return cli_finish_output();
    }
    return CLI_OK;
}

/* Pass on the text of one id. *stopped tells whether a stop string is complete. */
static int put_id(generate_run *run, output *out, int32_t id, bool *stopped)
{
    kvass_error err;
    const char *bytes;
    size_t n;
    if (kvass_stream_put(run->stream, id, &bytes, &n, &err) != KVASS_OK) {
        return cli_fail(&err);
    }
    int found = cli_stop_put(&run->args->stop, bytes, n, &bytes, &n);
    if (found < 0) {
        cli_say("out of memory for text");
        return CLI_NO_ROOM;
    }
    *stopped = found == 1;
    return put(run, out, bytes, n);
}

/* What is still held back at the end of the text. */
static int put_rest(generate_run *run, output *out, bool stopped)
{
    const char *bytes;
    size_t n;
    int code = CLI_OK;
    kvass_stream_end(run->stream, &bytes, &n);
    if (!stopped) {
        int found = cli_stop_put(&run->args->stop, bytes, n, &bytes, &n);
        code = found < 0 ? CLI_NO_ROOM : put(run, out, bytes, n);
        if (code == CLI_OK && found == 0) {
            cli_stop_end(&run->args->stop, &bytes, &n);
            code = put(run, out, bytes, n);
        }
    }
    if (!run->args->json && out->terminal && out->mid_line) {
        (void)fputc('\n', stdout);
    }
    return code != CLI_OK ? code : cli_finish_output();
}

static bool ends_text(const generate_run *run, int32_t id, int32_t tok_eos)
{
    for (int32_t i = 0; i < run->info.n_eos; i++) {
        if (run->info.eos[i] == id) {
            return true;
        }
    }
    return id == tok_eos;
}

/* The stream has to know the prompt's end: what a token's text is can depend on what is before it.
 */
static int start_text(generate_run *run, output *out)
{
    kvass_error err;
    for (size_t i = 0; i < run->ids.n; i++) {
        const char *bytes;
        size_t n;
        if (kvass_stream_put(run->stream, run->ids.data[i], &bytes, &n, &err) != KVASS_OK) {
            return cli_fail(&err);
        }
    }
    return run->args->echo ? put(run, out, run->prompt.data, run->prompt.n) : CLI_OK;
}

static int fail_or_cancel(generate_run *run, const kvass_error *err)
{
    if (err->code == KVASS_CANCELLED) {
        run->finish_reason = "cancelled";
        return CLI_OK;
    }
    return cli_fail(err);
}

/* Sample, print, decode, until something ends the text; sets finish_reason. */
static int decode_loop(generate_run *run, output *out, double start)
{
    kvass_error err;
    kvass_tokenizer_info tok_info;
    kvass_tokenizer_get_info(run->tok, &tok_info);
    int32_t n_ctx = run->args->opts.context.n_ctx;
    bool stopped = false;
    for (;;) {
        int32_t id;
        if ((int64_t)run->out.n == run->args->n_max) {
            run->finish_reason = "length";
            return CLI_OK;
        }
        if (kvass_sampler_pick(run->sampler, kvass_seq_logits(run->seq), kvass_seq_tokens(run->seq),
                               kvass_seq_n_tokens(run->seq), &id, &err) != KVASS_OK) {
            cli_say("position %d: %s (%s)", (int)kvass_seq_n_tokens(run->seq), err.message,
                    err.rule);
            return CLI_RUNTIME;
        }
        if (run->out.n == 0) {
            run->times.first_token = cli_now() - start;
        }
        if (ends_text(run, id, tok_info.eos)) {
            run->finish_reason = "eos";
            return CLI_OK;
        }
        run->out.data[run->out.n++] = id;
        int code = put_id(run, out, id, &stopped);
        if (code != CLI_OK) {
            return code;
        }
        if (stopped) {
            run->finish_reason = "stop";
            return CLI_OK;
        }
        if ((int64_t)run->out.n == run->args->n_max) {
            continue; /* no need to decode what nothing follows */
        }
        if (kvass_seq_n_tokens(run->seq) == n_ctx) {
            run->finish_reason = "context";
            return CLI_OK;
        }
        if (kvass_decode(run->seq, id, &err) != KVASS_OK) {
            return fail_or_cancel(run, &err);
        }
        if (cli_interrupted()) {
            run->finish_reason = "cancelled";
            return CLI_OK;
        }
    }
}

/* ---- reports -------------------------------------------------------------------------------- */

static double rate(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

/* Decoding steps: the first token comes out of the prefill. */
static double n_decoded(const generate_run *run)
{
    return (double)(kvass_seq_n_tokens(run->seq) - (int32_t)run->ids.n);
}

static void print_summary(const generate_run *run)
{
    kvass_cache_usage usage;
    kvass_context_get_usage(run->ctx, &usage);
    const generate_times *t = &run->times;
    (void)fprintf(
        stderr,
        "prompt %zu tok %.3g ms (%.0f tok/s) | %zu tok %.4g ms (%.0f tok/s) | first token "
        "%.3g ms | load %.3g ms | kv %.3g/%.3g MiB | peak %.0f MiB | seed %llu | "
        "stop: %s\n",
        run->ids.n, t->prompt * 1e3, rate((double)run->ids.n, t->prompt), run->out.n,
        t->decode * 1e3, rate(n_decoded(run), t->decode), t->first_token * 1e3, t->load * 1e3,
        (double)usage.bytes_used / MIB, (double)usage.bytes_reserved / MIB,
        (double)cli_peak_bytes() / MIB, (unsigned long long)run->args->opts.sampler.seed,
        run->finish_reason);
}

static int print_document(const generate_run *run)
{
    const generate_times *t = &run->times;
    json_t *timing = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o}", "load_ms", cli_json_real(t->load * 1e3, 3), "prompt_ms",
        cli_json_real(t->prompt * 1e3, 3), "prompt_tok_s",
        cli_json_real(rate((double)run->ids.n, t->prompt), 1), "first_token_ms",
        cli_json_real(t->first_token * 1e3, 3), "decode_ms", cli_json_real(t->decode * 1e3, 3),
        "decode_tok_s", cli_json_real(rate(n_decoded(run), t->decode), 1));
    return cli_print_json(json_pack(
        "{s:o, s:o, s:o, s:s, s:I, s:o, s:o}", "text", cli_json_text(run->text.data, run->text.n),
        "tokens", cli_json_ids(run->out.data, run->out.n), "prompt_tokens",
        cli_json_ids(run->ids.data, run->ids.n), "finish_reason", run->finish_reason, "seed",
        (json_int_t)run->args->opts.sampler.seed, "timing", timing, "cache",
        cli_json_cache(run->ctx)));
}

int generate_all(generate_run *run)
{
    const generate_args *args = run->args;
    output out = {.terminal = isatty(STDOUT_FILENO)};
    run->finish_reason = "cancelled";
    run->out.data = calloc((size_t)args->opts.context.n_ctx + 1, sizeof *run->out.data);
    if (!run->out.data) {
        cli_say("out of memory for %d token ids", (int)args->opts.context.n_ctx);
        return CLI_NO_ROOM;
    }
    cli_catch_interrupt();
    kvass_context_set_cancel(run->ctx, cli_cancel, NULL);
    int code = start_text(run, &out);
    if (code != CLI_OK) {
        return code;
    }
    kvass_error err;
    double start = cli_now();
    kvass_status status = kvass_prefill(run->seq, run->ids.data, (int32_t)run->ids.n, &err);
    run->times.prompt = cli_now() - start;
    if (status == KVASS_OK) {
        code = decode_loop(run, &out, start);
        run->times.decode = cli_now() - start - run->times.prompt;
    } else {
        code = fail_or_cancel(run, &err);
    }
    int flushed = put_rest(run, &out, strcmp(run->finish_reason, "stop") == 0);
    if (code == CLI_OK) {
        code = flushed;
    }
    if (code == CLI_OK && args->json) {
        code = print_document(run);
    }
    if (code == CLI_OK && !args->opts.quiet && (args->stats || isatty(STDERR_FILENO))) {
        print_summary(run);
    }
    return code;
}
