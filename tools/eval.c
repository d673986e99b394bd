/* eval.c - `kvass eval`: the quality of a checkpoint on a text, and what the chosen cache costs of
 * it. Reads the command line, looks at the header, encodes, refuses what does not fit, and only
 * then loads weights.
 */
#include "tools/eval.h"
#include "tools/help.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_SPLIT = CLI_KEY_OWN,
    KEY_TAIL,
    KEY_TOKENS,
    KEY_SCORE_FROM,
    KEY_PATH,
    KEY_STREAM,
    KEY_NEEDLE,
    KEY_RECALL,
    KEY_REFERENCE,
    KEY_NO_BOS,
    KEY_JSON
};

#define STORIES_TAIL 94000 /* the held-out end of a file of stories */

typedef struct eval_args {
    cli_options opts; /* first: see cli_share_state */
    cli_prompt source;
    eval_split split;
    const char *recall;    /* --recall: its file */
    const char *reference; /* --reference: another model */
    eval_path path;
    bool tail_given, path_given, needle, no_bos, json;
} eval_args;

static const struct argp_child children[] = {
    {&cli_model_argp, 0, NULL, 0}, {&cli_context_argp, 0, NULL, 0}, {0}};

/* what the options together mean, when all are read */
static void finish_options(eval_args *args, struct argp_state *state)
{
    if (args->split.stories && !args->tail_given) {
        args->split.tail_bytes = STORIES_TAIL;
    }
    if (!args->path_given) {
        bool cached = args->split.stream || eval_is_approximate(&args->opts.context);
        args->path = cached ? EVAL_BOTH : EVAL_PREFILL;
    }
    if (args->split.stream && (args->split.stories || args->needle)) {
        argp_error(state, "--stream goes with neither --split stories nor --needle");
    }
    if (args->split.stream && args->reference) {
        argp_error(state, "--stream compares with no full cache: not with --reference");
    }
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    static const char *const splits[] = {"none", "stories"};
    eval_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case 'f':
        args->source.file = arg;
        return 0;
    case KEY_SPLIT:
        args->split.stories = cli_choice(state, "--split", arg, splits, 2) == 1;
        return 0;
    case KEY_TAIL:
        args->split.tail_bytes = (size_t)cli_int(state, "--tail-bytes", arg, 0, INT64_MAX);
        args->tail_given = true;
        return 0;
    case KEY_TOKENS:
        args->split.n_tokens = cli_int(state, "--tokens", arg, 2, INT32_MAX);
        return 0;
    case KEY_SCORE_FROM:
        args->split.score_from = (int32_t)cli_int(state, "--score-from", arg, 1, INT32_MAX);
        return 0;
    case KEY_PATH:
        args->path = (eval_path)cli_choice(state, "--path", arg, eval_path_names, 3);
        args->path_given = true;
        return 0;
    case KEY_STREAM:
        args->split.stream = true;
        return 0;
    case KEY_NEEDLE:
        args->needle = true;
        return 0;
    case KEY_RECALL:
        args->recall = arg;
        return 0;
    case KEY_REFERENCE:
        args->reference = arg;
        return 0;
    case KEY_NO_BOS:
        args->no_bos = true;
        return 0;
    case KEY_JSON:
        args->json = true;
        return 0;
    case ARGP_KEY_END:
        finish_options(args, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "the text; - is standard input", 0},
    {"split", KEY_SPLIT, "HOW", 0, "none, or stories", 0},
    {"tail-bytes", KEY_TAIL, "N", 0, "only the last N bytes; 0 is all", 0},
    {"tokens", KEY_TOKENS, "N", 0, "only the first N tokens", 0},
    {"score-from", KEY_SCORE_FROM, "N", 0, "score a window from its token N on", 0},
    {"path", KEY_PATH, "PATH", 0, "prefill, decode or both", 0},
    {"stream", KEY_STREAM, NULL, 0, "the text as one stream, however long", 0},
    {"needle", KEY_NEEDLE, NULL, 0, "whether it still looks up what stands far back", 0},
    {"recall", KEY_RECALL, "FILE", 0, "questions about what stands far back", 0},
    {"reference", KEY_REFERENCE, "MODEL", 0, "compare with this model's full f32 cache", 0},
    {"no-bos", KEY_NO_BOS, NULL, 0, "no begin-of-text token before a window", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON document", 0},
    {0},
};

/* The windows' size and how many logits are held at once, from the model's header. */
static void choose_sizes(eval_args *args, const kvass_model_info *info)
{
    kvass_context_options *opt = &args->opts.context;
    if (opt->n_ctx == 0) {
        opt->n_ctx = info->n_ctx;
    }
    opt->n_batch = opt->n_batch < opt->n_ctx ? opt->n_batch : opt->n_ctx;
    opt->n_logits = eval_chunk(info->n_vocab, opt->n_batch);
}

/* Everything that a run needs. */
typedef struct eval_job {
    kvass_model *model;
    kvass_model *reference; /* NULL: the same */
    kvass_tokenizer *tok;
    int32_t bos;
    eval_text text;
    bool has_text;
} eval_job;

/* Read and encode the text, unless there is none and --recall needs none. */
static int open_text(eval_args *args, const kvass_model_info *info, eval_job *job)
{
    kvass_context_options *opt = &args->opts.context;
    job->has_text = args->source.file || cli_stdin_is_piped() || !args->recall;
    if (!job->has_text) {
        return CLI_OK;
    }
    int code =
        eval_text_open(&job->text, &args->source, &args->split, job->tok, job->bos, opt->n_ctx);
    cli_ids ids = {job->text.ids, job->text.n_ids};
    if (code == CLI_OK && cli_check_ids(&ids, info->n_vocab) != CLI_OK) {
        code = CLI_BAD_MODEL;
    }
    if (code == CLI_OK && args->split.stream && opt->n_ctx < job->text.windows[0].n - 1) {
        opt->n_ctx = job->text.windows[0].n - 1;
    }
    return code;
}

/* whether weights, and the contexts that are open at a time, fit */
static int check_memory(const eval_args *args, const eval_job *job)
{
    kvass_context_options full = eval_reference_options(&args->opts.context);
    const kvass_context_options *contexts[] = {&args->opts.context, &full, &full};
    return cli_check_memory(&args->opts, job->model, contexts, args->split.stream ? 1 : 3);
}

static int prepare(eval_args *args, eval_job *job)
{
    kvass_model_info info;
    int code = cli_open_model(&args->opts, true, &job->model);
    if (code != CLI_OK) {
        return code;
    }
    kvass_model_get_info(job->model, &info);
    choose_sizes(args, &info);
    code = cli_open_tokenizer(&args->opts, job->model, &job->tok);
    if (code == CLI_OK) {
        kvass_tokenizer_info tok_info;
        kvass_tokenizer_get_info(job->tok, &tok_info);
        job->bos = args->no_bos ? -1 : info.bos >= 0 ? info.bos : tok_info.bos;
        code = open_text(args, &info, job);
    }
    if (code == CLI_OK) {
        code = check_memory(args, job);
    }
    if (code == CLI_OK) {
        kvass_model_close(&job->model);
        code = cli_open_model(&args->opts, false, &job->model);
    }
    return code;
}

/* The model to compare with, when it is another. The ids of one must be those of the other, of
 * which the number is known here. */
static int open_reference(const eval_args *args, eval_job *job)
{
    kvass_model_info info, other;
    cli_options opts = args->opts;
    opts.model = args->reference;
    if (!args->reference || !job->has_text) {
        return CLI_OK;
    }
    int code = cli_open_model(&opts, true, &job->reference);
    if (code != CLI_OK) {
        return code;
    }
    kvass_model_get_info(job->model, &info);
    kvass_model_get_info(job->reference, &other);
    if (info.n_vocab != other.n_vocab) {
        cli_say("%s: a vocabulary of %d, where %s has %d: nothing to compare (REFERENCE_VOCAB)",
                args->reference, (int)other.n_vocab, info.path, (int)info.n_vocab);
        return CLI_BAD_MODEL;
    }
    kvass_context_options full = eval_reference_options(&opts.context);
    const kvass_context_options *contexts[] = {&full, &full};
    code = cli_check_memory(&opts, job->reference, contexts, 2);
    if (code == CLI_OK) {
        kvass_model_close(&job->reference);
        code = cli_open_model(&opts, false, &job->reference);
    }
    return code;
}

static int check_finite(const eval_scores *scores)
{
    if (isfinite(scores->nats)) {
        return CLI_OK;
    }
    cli_say("the network produced NaN or infinite logits (NAN_LOGITS)");
    return CLI_RUNTIME;
}

static int measure(const eval_args *args, const eval_job *job)
{
    eval_scores scores;
    eval_stream_scores stream;
    eval_needle_scores needle;
    eval_recall_scores recall;
    kvass_model_info info, other;
    kvass_model_get_info(job->model, &info);
    const cli_options *opts = &args->opts;
    eval_results results = {.opts = opts, .info = &info, .path = args->path};
    if (job->reference) {
        kvass_model_get_info(job->reference, &other);
        results.reference = &other;
    }
    int code = CLI_OK;
    if (job->has_text && args->split.stream) {
        code = eval_stream(opts, job->model, &job->text, args->path, &scores, &stream);
        results.stream = &stream;
    } else if (job->has_text) {
        const kvass_model *reference = job->reference ? job->reference : job->model;
        code = eval_score(opts, job->model, reference, &job->text, args->path, &scores);
    }
    if (code == CLI_OK && job->has_text) {
        results.scores = &scores;
        code = check_finite(&scores);
    }
    if (code == CLI_OK && args->needle) {
        results.needle = &needle;
        code = eval_needle(opts, job->model, job->tok, job->bos, &job->text, &needle);
    }
    if (code == CLI_OK && args->recall) {
        results.recall = &recall;
        code = eval_recall(opts, job->model, job->tok, job->bos, args->recall, &recall);
    }
    if (code != CLI_OK) {
        return code;
    }
    if (args->json) {
        return eval_print_json(&results);
    }
    eval_print_text(&results);
    return cli_finish_output();
}

static int run_eval(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    eval_args args = {.split.score_from = 1};
    if (!cli_options_init(&args.opts, &cli_eval)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    eval_job job = {0};
    int code = prepare(&args, &job);
    if (code == CLI_OK) {
        code = open_reference(&args, &job);
    }
    if (code == CLI_OK) {
        cli_catch_interrupt();
        code = measure(&args, &job);
    }
    eval_text_close(&job.text);
    kvass_tokenizer_close(&job.tok);
    kvass_model_close(&job.reference);
    kvass_model_close(&job.model);
    return code;
}

const cli_command cli_eval = {.name = "eval",
                              .summary =
                                  "measure quality on a text, and what the cache costs of it",
                              .help = help_eval,
                              .details = details_eval,
                              .run = run_eval};
