/* generate.c - `kvass generate`: a prompt in, text out as it comes.
 * Order: read the prompt, look at the checkpoint's header, encode, refuse what cannot fit, and only
 * then read weights and take memory. help.c holds the words.
 */
#include "tools/generate.h"
#include "tools/help.h"

#include <stdlib.h>
#include <sys/random.h>

enum {
    KEY_STOP = CLI_KEY_OWN,
    KEY_SYSTEM,
    KEY_SAMPLES,
    KEY_PROMPTS,
    KEY_PROMPT_CACHE,
    KEY_PROMPT_CACHE_ALL,
    KEY_ECHO,
    KEY_JSON,
    KEY_STATS,
    KEY_RAW,
    KEY_SPECIAL,
    KEY_STRICT,
    KEY_TOKEN_STATS
};

static const struct argp_child children[] = {
    {&cli_prompt_argp, 0, NULL, 0},
    {&cli_model_argp, 0, NULL, 0},
    {&cli_context_argp, 0, NULL, 0},
    {&cli_sampling_argp, 0, NULL, 0},
    {0},
};

/* what cannot be asked for together */
static void check_together(const generate_args *args, struct argp_state *state)
{
    const cli_prompt *prompt = &args->opts.prompt;
    if (args->prompts && (prompt->text || prompt->file)) {
        argp_error(state, "--prompts FILE has the prompts: no other can be given");
    }
    if (args->prompts && (args->prompt_cache || args->n_samples > 1)) {
        argp_error(state, "--prompts is not for --prompt-cache and --samples");
    }
    if (args->prompt_cache_all && !args->prompt_cache) {
        argp_error(state, "--prompt-cache-all needs --prompt-cache FILE");
    }
    if (args->prompt_cache_all && args->n_samples > 1) {
        argp_error(state, "--prompt-cache-all saves one text: not with --samples");
    }
}

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
    case KEY_SYSTEM:
        args->system = arg;
        return 0;
    case KEY_SAMPLES:
        args->n_samples = (int)cli_int(state, "--samples", arg, 1, GENERATE_MAX_SAMPLES);
        return 0;
    case KEY_PROMPTS:
        args->prompts = arg;
        return 0;
    case KEY_PROMPT_CACHE:
        args->prompt_cache = arg;
        return 0;
    case KEY_PROMPT_CACHE_ALL:
        args->prompt_cache_all = true;
        return 0;
    case ARGP_KEY_END:
        check_together(args, state);
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
    case KEY_TOKEN_STATS:
        args->json = args->token_stats = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"tokens", 'n', "N", 0, "at most N new tokens", 0},
    {"stop", KEY_STOP, "TEXT", 0, "end before this text; may be repeated", 0},
    {"system", KEY_SYSTEM, "TEXT", 0, "text before the prompt, pinned in the cache", 0},
    {"samples", KEY_SAMPLES, "N", 0, "N continuations of the prompt, decoded together", 0},
    {"prompts", KEY_PROMPTS, "FILE", 0, "a prompt on each line; pages are reused", 0},
    {"prompt-cache", KEY_PROMPT_CACHE, "FILE", 0, "keep the prompt's keys and values there", 0},
    {"prompt-cache-all", KEY_PROMPT_CACHE_ALL, NULL, 0, "and those of what is generated", 0},
    {"special", KEY_SPECIAL, NULL, 0, "names of special tokens in the prompt mean the tokens", 0},
    {"strict-utf8", KEY_STRICT, NULL, 0, "refuse a prompt that is not UTF-8", 0},
    {"echo", KEY_ECHO, NULL, 0, "print the prompt first", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON document instead of text", 0},
    {"token-stats", KEY_TOKEN_STATS, NULL, 0, "the same, and what each token took", 0},
    {"stats", KEY_STATS, NULL, 0, "summary line even when stderr is not a terminal", 0},
    {"raw", KEY_RAW, NULL, 0, "pass control characters to a terminal", 0},
    {0},
};

/* ---- before the network --------------------------------------------------------------------- */

/* A parameter out of range is refused before anything else happens to the prompt. */
static int check_sampler(generate_run *run)
{
    kvass_error err;
    kvass_sampler *sampler;
    cli_options *opts = &run->args->opts;
    uint32_t seed = (uint32_t)(cli_now() * 1e6);
    if (!opts->seed_given) {
        (void)!getrandom(&seed, sizeof seed, GRND_NONBLOCK);
        opts->sampler.seed = seed; /* 32 bits: short enough to type again */
    }
    cli_take_sampling(opts, run->model);
    kvass_status status = kvass_sampler_open(&sampler, run->info.n_vocab, &opts->sampler, &err);
    kvass_sampler_close(&sampler);
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
    code = check_sampler(run);
    if (code == CLI_OK) {
        code = cli_open_tokenizer(opts, run->model, &run->tok);
    }
    if (code == CLI_OK) {
        code = generate_prepare(run);
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

/* room for the ids that the samples generate */
static int take_room(generate_run *run)
{
    size_t n_samples = (size_t)run->args->n_samples;
    size_t n_ids = (size_t)run->args->opts.context.n_ctx + 1;
    run->samples = calloc(n_samples, sizeof *run->samples);
    for (size_t i = 0; run->samples && i < n_samples; i++) {
        run->samples[i].out.data = calloc(n_ids, sizeof(int32_t));
        if (!run->samples[i].out.data) {
            break;
        }
        int code = generate_tokens_open(run, &run->samples[i]);
        if (code != CLI_OK) {
            return code;
        }
    }
    if (!run->samples || !run->samples[n_samples - 1].out.data) {
        cli_say("out of memory for %zu times %zu token ids", n_samples, n_ids);
        return CLI_NO_ROOM;
    }
    return CLI_OK;
}

static int open_all(generate_run *run)
{
    kvass_error err;
    int code = prepare(run);
    if (code == CLI_OK) {
        code = take_room(run);
    }
    if (code != CLI_OK) {
        return code;
    }
    kvass_status status = kvass_context_open(&run->ctx, run->model, &run->args->opts.context, &err);
    return status == KVASS_OK ? CLI_OK : cli_fail(&err);
}

static void close_all(generate_run *run)
{
    kvass_context_close(&run->ctx);
    kvass_tokenizer_close(&run->tok);
    kvass_model_close(&run->model);
    for (int i = 0; run->samples && i < run->args->n_samples; i++) {
        cli_bytes_free(&run->samples[i].text);
        free(run->samples[i].out.data);
        generate_tokens_close(&run->samples[i]);
    }
    free(run->samples);
    for (size_t i = 0; i < run->n_prompts; i++) {
        cli_bytes_free(&run->prompts[i].text);
        free(run->prompts[i].ids.data);
    }
    free(run->prompts);
    free(run->pinned.data);
}

static int run_generate(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    generate_args args = {.n_max = -1, .n_samples = 1};
    if (!cli_options_init(&args.opts, &cli_generate)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    generate_run run = {.args = &args};
    int code = generate_read(&run);
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
