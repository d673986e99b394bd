/* bench.c - `kvass bench`: cached and uncached decoding, and prefill, at several depths.
 */
#include "tools/bench.h"
#include "tools/help.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_DEPTH = CLI_KEY_OWN, KEY_MODE, KEY_SEQS, KEY_REPS, KEY_WARMUP };

#define DEEPEST (1 << 24)

static const char *const mode_names[] = {"prefill", "cached", "uncached"};
static const char *const format_names[] = {"md", "csv", "json", "jsonl"};

static void add_depth(const struct argp_state *state, bench_args *args, int64_t depth)
{
    if (args->n_depths == BENCH_MAX_DEPTHS) {
        argp_error(state, "--depth: more than %d depths", BENCH_MAX_DEPTHS);
    }
    args->depths[args->n_depths++] = (int32_t)depth;
}

/* "400" or "a-b*m" (a, a*m, a*m*m ... up to b; after 0 comes 1) or "a-b+s" */
static void parse_range(const struct argp_state *state, bench_args *args, char *item)
{
    char *dash = strchr(item, '-');
    if (!dash) {
        add_depth(state, args, cli_int(state, "--depth", item, 0, DEEPEST));
        return;
    }
    char *by = strpbrk(dash + 1, "*+");
    if (!by) {
        argp_error(state, "--depth: expected N, FROM-TO*FACTOR or FROM-TO+STEP, found '%s'", item);
        return;
    }
    bool multiply = *by == '*';
    *dash = *by = '\0';
    int64_t from = cli_int(state, "--depth", item, 0, DEEPEST);
    int64_t to = cli_int(state, "--depth", dash + 1, from, DEEPEST);
    int64_t amount = cli_int(state, "--depth", by + 1, multiply ? 2 : 1, DEEPEST);
    for (int64_t depth = from; depth <= to; depth = !multiply    ? depth + amount
                                                    : depth == 0 ? 1
                                                                 : depth * amount) {
        add_depth(state, args, depth);
    }
}

static void add_count(const struct argp_state *state, bench_args *args, const char *item)
{
    if (args->n_counts == BENCH_MAX_COUNTS) {
        argp_error(state, "--seqs: more than %d numbers", BENCH_MAX_COUNTS);
    }
    args->counts[args->n_counts++] = (int32_t)cli_int(state, "--seqs", item, 1, BENCH_MAX_SEQS);
}

static void parse_list(const struct argp_state *state, bench_args *args, char *list, int key)
{
    char *rest = NULL;
    for (char *item = strtok_r(list, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
        if (key == KEY_DEPTH) {
            parse_range(state, args, item);
        } else if (key == KEY_SEQS) {
            add_count(state, args, item);
        } else {
            args->modes[cli_choice(state, "--mode", item, mode_names, BENCH_N_MODES)] = true;
        }
    }
}

static const struct argp_child children[] = {
    {&cli_model_argp, 0, NULL, 0}, {&cli_context_argp, 0, NULL, 0}, {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    bench_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case 'n':
        args->n_gen = (int32_t)cli_int(state, "-n", arg, 1, DEEPEST);
        return 0;
    case 'o':
        args->format = (bench_format)cli_choice(state, "-o", arg, format_names, 4);
        return 0;
    case KEY_DEPTH:
    case KEY_MODE:
    case KEY_SEQS:
        parse_list(state, args, arg, key);
        return 0;
    case KEY_REPS:
        args->reps = (int)cli_int(state, "--reps", arg, 1, BENCH_MAX_REPS);
        return 0;
    case KEY_WARMUP:
        args->warmup = (int)cli_int(state, "--warmup", arg, 0, BENCH_MAX_REPS);
        return 0;
    case ARGP_KEY_END:
        if (args->opts.context.retain == KVASS_RETAIN_NONE) {
            argp_error(state, "--cache none: ask for it with --mode uncached");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"depth", KEY_DEPTH, "LIST", 0, "tokens in the context: N, FROM-TO*FACTOR, FROM-TO+STEP", 0},
    {"mode", KEY_MODE, "LIST", 0, "of prefill, cached, uncached", 0},
    {"tokens", 'n', "N", 0, "tokens decoded in each repetition", 0},
    {"seqs", KEY_SEQS, "LIST", 0, "sequences that cached decoding takes together", 0},
    {"reps", KEY_REPS, "N", 0, "repetitions that count", 0},
    {"warmup", KEY_WARMUP, "N", 0, "repetitions before them that do not", 0},
    {"output", 'o', "FORMAT", 0, "md, csv, json or jsonl", 0},
    {0},
};
/* Depths that fit when none were named, and a context that holds the deepest. */
static int choose_depths(bench_args *args, const kvass_model_info *info)
{
    int32_t *n_ctx = &args->opts.context.n_ctx;
    int32_t limit = *n_ctx > 0 ? *n_ctx : info->n_ctx;
    if (args->n_depths == 0) {
        for (int32_t depth = 64; depth <= 1024 && depth + args->n_gen <= limit; depth *= 2) {
            args->depths[args->n_depths++] = depth;
        }
    }
    if (args->n_depths == 0) {
        args->n_gen = args->n_gen < limit / 2 ? args->n_gen : limit / 2 + (limit == 1);
        args->depths[args->n_depths++] = limit - args->n_gen;
    }
    int32_t deepest = 0;
    for (int d = 0; d < args->n_depths; d++) {
        deepest = args->depths[d] > deepest ? args->depths[d] : deepest;
    }
    if (deepest + args->n_gen > limit) {
        cli_say("depth %d and %d tokens more exceed the available context size of %d tokens "
                "(-c %d makes room, where the network's positions go that far)",
                (int)deepest, (int)args->n_gen, (int)limit, (int)deepest + (int)args->n_gen);
        return CLI_NO_ROOM;
    }
    *n_ctx = deepest + args->n_gen;
    for (int i = 0; i < args->n_counts; i++) {
        int32_t *n_seqs = &args->opts.context.n_seqs;
        *n_seqs = args->counts[i] > *n_seqs ? args->counts[i] : *n_seqs;
    }
    return CLI_OK;
}

static int prepare(bench_args *args, kvass_model **model)
{
    kvass_model_info info;
    int code = cli_open_model(&args->opts, true, model);
    if (code != CLI_OK) {
        return code;
    }
    kvass_model_get_info(*model, &info);
    code = choose_depths(args, &info);
    kvass_context_options none = args->opts.context;
    bench_uncached_options(&none);
    const kvass_context_options *contexts[] = {&args->opts.context, &none};
    if (code == CLI_OK) {
        code = cli_check_memory(&args->opts, *model, contexts, args->modes[BENCH_UNCACHED] ? 2 : 1);
    }
    if (code == CLI_OK) {
        kvass_model_close(model);
        code = cli_open_model(&args->opts, false, model);
    }
    return code;
}

static int run_bench(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    bench_args args = {.n_gen = 32, .reps = 5, .warmup = 1};
    if (!cli_options_init(&args.opts, &cli_bench)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    if (!args.modes[BENCH_PREFILL] && !args.modes[BENCH_CACHED] && !args.modes[BENCH_UNCACHED]) {
        args.modes[BENCH_PREFILL] = args.modes[BENCH_CACHED] = args.modes[BENCH_UNCACHED] = true;
    }
    if (args.n_counts == 0) {
        args.counts[args.n_counts++] = 1;
    }
    bench_result result = {.args = &args};
    kvass_model *model = NULL;
    int code = prepare(&args, &model);
    if (code == CLI_OK) {
        result.model = model;
        kvass_model_get_info(model, &result.info);
        cli_cpu_name(result.cpu, sizeof result.cpu);
        result.dtype = cli_main_dtype(model);
        result.load_average = cli_load_average();
        cli_catch_interrupt();
        code = bench_measure(&args, model, &result);
    }
    if (code == CLI_OK) {
        code = bench_print(&result);
    }
    free(result.rows);
    kvass_model_close(&model);
    return code;
}

const cli_command cli_bench = {.name = "bench",
                               .summary = "measure cached and uncached decoding side by side",
                               .help = help_bench,
                               .details = details_bench,
                               .run = run_bench};
