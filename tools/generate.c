/* generate.c - `kvass generate`: a prompt in, text out as it comes.
 * Order: read the prompt, look at the checkpoint's header, encode, refuse what cannot fit, and only
 * then read weights and take memory. generate_run.c runs the network, help.c holds the words.
 */
#include "tools/generate.h"
#include "tools/help.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { KEY_STOP = CLI_KEY_OWN, KEY_ECHO, KEY_JSON, KEY_STATS, KEY_RAW, KEY_SPECIAL, KEY_STRICT };

static const struct argp_child children[] = {
    {&cli_prompt_argp, 0, NULL, 0},
    {&cli_model_argp, 0, NULL, 0},
    {&cli_context_argp, 0, NULL, 0},
    {&cli_sampling_argp, 0, NULL, 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    generate_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case 'n':
        args->n_max = cli_int(state, "-n", arg, 0, INT32_MAX);
        return 0;
    case KEY_STOP:
        if (arg[0] == '\0' || args->stop.n == CLI_MAX_STOPS) {
            argp_error(state, "--stop: expected up to %d texts, none empty", CLI_MAX_STOPS);
        }
        args->stop.strings[args->stop.n++] = arg;
        return 0;
    case KEY_ECHO:
        args->echo = true;
        return 0;
    case KEY_JSON:
        args->json = true;
        return 0;
    case KEY_STATS:
        args->stats = true;
        return 0;
    case KEY_RAW:
        args->raw = true;
        return 0;
    case KEY_SPECIAL:
        args->special = true;
        return 0;
    case KEY_STRICT:
        args->strict = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"tokens", 'n', "N", 0, "at most N new tokens", 0},
    {"stop", KEY_STOP, "TEXT", 0, "end before this text; may be repeated", 0},
    {"special", KEY_SPECIAL, NULL, 0, "names of special tokens in the prompt mean the tokens", 0},
    {"strict-utf8", KEY_STRICT, NULL, 0, "refuse a prompt that is not UTF-8", 0},
    {"echo", KEY_ECHO, NULL, 0, "print the prompt first", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON document instead of text", 0},
    {"stats", KEY_STATS, NULL, 0, "summary line even when stderr is not a terminal", 0},
    {"raw", KEY_RAW, NULL, 0, "pass control characters to a terminal", 0},
    {0},
};

/* ---- before the network --------------------------------------------------------------------- */

static int encode_prompt(generate_run *run)
{
    const generate_args *args = run->args;
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = true;
    opt.parse_special = args->special;
    opt.strict_utf8 = args->strict;
    size_t n_errors = cli_utf8_errors(run->prompt.data, run->prompt.n);
    if (n_errors > 0 && !args->strict && !args->opts.quiet) {
        cli_say("prompt: %zu bytes are not UTF-8", n_errors);
    }
    int code = cli_encode(run->tok, run->prompt.data, run->prompt.n, &opt, &run->ids);
    if (code != CLI_OK) {
        return code;
    }
    kvass_tokenizer_info tok_info;
    kvass_tokenizer_get_info(run->tok, &tok_info);
    if (run->ids.n == 0) {
        int32_t bos = run->info.bos >= 0 ? run->info.bos : tok_info.bos;
        if (bos < 0) {
            cli_say("empty prompt, and the model has no begin-of-text token: nothing to "
                    "condition on");
            return CLI_USAGE;
        }
        run->ids.data[run->ids.n++] = bos; /* cli_encode leaves room */
    }
    if (tok_info.n_vocab > run->info.n_vocab) {
        code = cli_check_ids(&run->ids, run->info.n_vocab);
        if (code != CLI_OK) {
            cli_say("the tokenizer has %d tokens, the model %d", (int)tok_info.n_vocab,
                    (int)run->info.n_vocab);
            return CLI_BAD_MODEL;
        }
    }
    return CLI_OK;
}

/* Choose the context length and refuse a prompt that is longer. */
static int fit_prompt(generate_run *run)
{
    kvass_context_options *opt = &run->args->opts.context;
    int64_t n_prompt = (int64_t)run->ids.n, n_max = run->args->n_max;
    if (opt->n_ctx == 0) {
        opt->n_ctx = run->info.n_ctx;
        if (n_max >= 0 && n_prompt + n_max < opt->n_ctx) {
            opt->n_ctx = (int32_t)(n_prompt + n_max);
        }
    }
    if (n_prompt > opt->n_ctx) {
        cli_say("the prompt has %lld tokens and exceeds the available context size of %d tokens "
                "(PROMPT_TOO_LONG)",
                (long long)n_prompt, (int)opt->n_ctx);
        return CLI_NO_ROOM;
    }
    if (opt->n_ctx > run->info.n_ctx && !run->args->opts.quiet) {
        cli_say("warning: a context of %d tokens, the model was trained with %d", (int)opt->n_ctx,
                (int)run->info.n_ctx);
    }
    return CLI_OK;
}

/* A parameter out of range is refused before anything else happens to the prompt. */
static int open_sampler(generate_run *run)
{
    kvass_error err;
    cli_options *opts = &run->args->opts;
    uint32_t seed = (uint32_t)(cli_now() * 1e6);
    if (!opts->seed_given) {
        (void)!getrandom(&seed, sizeof seed, GRND_NONBLOCK);
        opts->sampler.seed = seed; /* 32 bits: short enough to type again */
    }
    kvass_status status =
        kvass_sampler_open(&run->sampler, run->info.n_vocab, &opts->sampler, &err);
    return status == KVASS_OK ? CLI_OK : cli_fail(&err);
}

/* The header first, so that nothing large is read for a run that cannot be. */
static int prepare(generate_run *run)
{
    cli_options *opts = &run->args->opts;
    int code = cli_open_model(opts, true, &run->model);
    if (code != CLI_OK) {
        return code;
    }
    kvass_model_get_info(run->model, &run->info);
    code = open_sampler(run);
    if (code == CLI_OK) {
        code = cli_open_tokenizer(opts, run->model, &run->tok);
    }
    if (code == CLI_OK) {
        code = encode_prompt(run);
    }
    if (code == CLI_OK) {
        code = fit_prompt(run);
    }
    const kvass_context_options *contexts[] = {&opts->context};
    if (code == CLI_OK) {
        code = cli_check_memory(opts, run->model, contexts, 1);
    }
    if (code != CLI_OK) {
        return code;
    }
    kvass_model_close(&run->model);
    code = cli_open_model(opts, false, &run->model);
    if (code == CLI_OK) {
        kvass_model_get_info(run->model, &run->info);
    }
    return code;
}

static int open_all(generate_run *run)
{
    kvass_error err;
    int code = prepare(run);
    if (code != CLI_OK) {
        return code;
    }
    kvass_status status = kvass_context_open(&run->ctx, run->model, &run->args->opts.context, &err);
    if (status == KVASS_OK) {
        status = kvass_seq_open(&run->seq, run->ctx, &err);
    }
    if (status == KVASS_OK) {
        status = kvass_stream_open(&run->stream, run->tok, false, &err);
    }
    return status == KVASS_OK ? CLI_OK : cli_fail(&err);
}

static void close_all(generate_run *run)
{
    kvass_stream_close(&run->stream);
    kvass_seq_close(&run->seq);
    kvass_context_close(&run->ctx);
    kvass_sampler_close(&run->sampler);
    kvass_tokenizer_close(&run->tok);
    kvass_model_close(&run->model);
    cli_bytes_free(&run->prompt);
    cli_bytes_free(&run->text);
    cli_bytes_free(&run->args->stop.held);
    free(run->ids.data);
    free(run->out.data);
}

static int run_generate(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    generate_args args = {.n_max = -1};
    if (!cli_options_init(&args.opts, &cli_generate)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    generate_run run = {.args = &args};
    bool given;
    int code = cli_read_prompt(&args.opts.prompt, &run.prompt, &given);
    if (code == CLI_OK && !given && !isatty(STDIN_FILENO)) {
        cli_say("no prompt: give one as an argument, with -f or on standard input; "
                "-p '' is the empty prompt");
        code = CLI_USAGE;
    }
    double start = cli_now();
    if (code == CLI_OK) {
        code = open_all(&run);
    }
    run.times.load = cli_now() - start;
    if (code == CLI_OK) {
        code = generate_all(&run);
    }
    close_all(&run);
    return code;
}

const cli_command cli_generate = {.name = "generate",
                                  .summary = "complete a prompt",
                                  .help = help_generate,
                                  .details = details_generate,
                                  .run = run_generate};
