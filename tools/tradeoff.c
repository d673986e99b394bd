/* tradeoff.c - `kvass tradeoff`: every cache on one checkpoint and text, in bytes, time and
 * quality. Reads the command line and the header, finds out which runs are missing in the file,
 * makes them one after the other and prints the table of all that the file then has.
 */
#include "tools/tradeoff.h"
#include "tools/help.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commit.h"

enum { KEY_POLICIES = CLI_KEY_OWN, KEY_TRIALS, KEY_FROM, KEY_FORMAT };

#define LONGEST    (1 << 24)
#define MAX_TRIALS 1000

static const char default_lengths[] = "512,1024,2048";
static const char default_caches[] =
    "full,f16,q8,q4,window:sqrt,window:8,sinks:sqrt,sinks:8,stream:sqrt,topk,pairs,none";

/* ---- options -------------------------------------------------------------------------------- */

static void add_length(const struct argp_state *state, tradeoff_args *args, const char *item)
{
    if (args->n_lengths == TRADEOFF_MAX_LENGTHS) {
        argp_error(state, "--ctx: more than %d lengths", TRADEOFF_MAX_LENGTHS);
    }
    args->lengths[args->n_lengths++] = (int32_t)cli_int(state, "--ctx", item, 2, LONGEST);
}

static void add_cache(const struct argp_state *state, tradeoff_args *args, const char *item)
{
    if (args->n_caches == TRADEOFF_MAX_CACHES) {
        argp_error(state, "--policies: more than %d caches", TRADEOFF_MAX_CACHES);
    }
    if (!tradeoff_cache_parse(item, &args->caches[args->n_caches])) {
        argp_error(state,
                   "--policies: expected full, f16, q8, q4, window:N, sinks:N, stream:N (N or "
                   "sqrt), topk:N, pairs or none, found '%s'",
                   item);
    }
    args->n_caches++;
}

static void parse_list(const struct argp_state *state, tradeoff_args *args, const char *list,
                       void (*add)(const struct argp_state *, tradeoff_args *, const char *))
{
    char *copy = strdup(list), *rest = NULL;
    if (!copy) {
        argp_failure(state, CLI_NO_ROOM, 0, "out of memory for a list");
        return;
    }
    for (char *item = strtok_r(copy, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
        add(state, args, item);
    }
    free(copy);
}

static const struct argp_child children[] = {
    {&cli_model_argp, 0, NULL, 0}, {&cli_speed_argp, 0, NULL, 0}, {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    static const char *const formats[] = {"md", "csv", "jsonl"};
    tradeoff_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case 'f':
        args->source.file = arg;
        return 0;
    case 'c':
        parse_list(state, args, arg, add_length);
        return 0;
    case 'o':
        args->out = arg;
        return 0;
    case KEY_POLICIES:
        parse_list(state, args, arg, add_cache);
        return 0;
    case KEY_TRIALS:
        args->trials = (int)cli_int(state, "--trials", arg, 1, MAX_TRIALS);
        return 0;
    case KEY_FROM:
        if (args->n_from == TRADEOFF_MAX_FILES) {
            argp_error(state, "--from: more than %d files", TRADEOFF_MAX_FILES);
        }
        args->from[args->n_from++] = arg;
        return 0;
    case KEY_FORMAT:
        args->format = (tradeoff_format)cli_choice(state, "--format", arg, formats, 3);
        return 0;
    case ARGP_KEY_END:
        if (args->n_from > 0 && (args->source.file || args->out || args->opts.model)) {
            argp_error(state, "--from prints what was measured: no -f, -m or -o goes with it");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"file", 'f', "FILE", 0, "the text; - is standard input", 0},
    {"ctx", 'c', "LIST", 0, "lengths", 0},
    {"policies", KEY_POLICIES, "LIST", 0, "caches", 0},
    {"trials", KEY_TRIALS, "N", 0, "runs of each", 0},
    {"output", 'o', "FILE", 0, "append each run, go on from those that are there", 0},
    {"from", KEY_FROM, "FILE", 0, "print the runs of FILE, measure nothing", 0},
    {"format", KEY_FORMAT, "FORMAT", 0, "md, csv or jsonl", 0},
    {0},
};

/* ---- what is to be measured ----------------------------------------------------------------- */

typedef struct job {
    tradeoff_args *args;
    kvass_model *model;
    kvass_model_info info;
    bool has_weights;
    kvass_tokenizer *tok;
    eval_text text;
    json_t *setup;
    tradeoff_file file;
    tradeoff_oracle oracle;
} job;

/* FNV-1a, to know a text again */
static uint64_t hash_of(const cli_bytes *bytes)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < bytes->n; i++) {
        hash = (hash ^ (unsigned char)bytes->data[i]) * 1099511628211u;
    }
    return hash;
}

/* what every line begins with: where all of its runs are made */
static json_t *describe(const job *j)
{
    const kvass_context_options *opt = &j->args->opts.context;
    const kvass_model_info *info = &j->info;
    char cpu[128];
    double load = cli_load_average();
    cli_cpu_name(cpu, sizeof cpu);
    return json_pack(
        "{s:i, s:s, s:o, s:o, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:s, s:i, "
        "s:i, s:b, s:o, s:s, s:s}",
        "schema_version", 1, "kind", "tradeoff", "model",
        cli_json_text(info->path, strlen(info->path)), "model_fingerprint",
        cli_json_fingerprint(info->fingerprint), "family", info->family, "dtype",
        cli_main_dtype(j->model), "n_params", (json_int_t)info->n_params, "weight_bytes",
        (json_int_t)info->weight_bytes, "n_layers", (int)info->n_layers, "n_kv_heads",
        (int)info->n_kv_heads, "head_dim", (int)info->head_dim, "n_meta", (int)info->n_meta,
        "trained_ctx", (int)info->n_ctx, "text_fingerprint",
        cli_json_fingerprint(hash_of(&j->text.bytes)), "cpu", cli_json_text(cpu, strlen(cpu)),
        "isa", kvass_isa_name(opt->isa), "threads", (int)opt->n_threads, "batch", (int)opt->n_batch,
        "deterministic", (int)opt->deterministic, "load_average",
        load < 0 ? json_null() : cli_json_real(load, 2), "version", kvass_version(), "commit",
        KVASS_COMMIT);
}

/* a line of this job; run: the members of a finished run, which it takes, or NULL */
static json_t *line_of(const job *j, int32_t n_ctx, const char *cache, const char *flags, int trial,
                       const char *reason, json_t *run)
{
    json_t *line = json_copy(j->setup);
    json_t *which = json_pack(
        "{s:i, s:s?, s:s?, s:o, s:i, s:s, s:s?}", "n_ctx", (int)n_ctx, "cache", cache, "flags",
        flags, "trial", run ? json_integer(trial) : json_null(), "trials", run ? 1 : 0, "status",
        run     ? "ok"
        : cache ? "refused"
                : "left out",
        "reason", reason);
    bool ok = line && which && json_object_update(line, which) == 0 &&
              (!run || json_object_update_missing(line, run) == 0);
    json_decref(which);
    json_decref(run);
    if (!ok) {
        json_decref(line);
        return NULL;
    }
    return line;
}

/* Why nothing of n_ctx tokens can be run, into reason[n], or "". */
static void find_obstacle(const job *j, int32_t n_ctx, char *reason, size_t n)
{
    size_t scratch, cache;
    kvass_error err;
    kvass_context_options opt = eval_reference_options(&j->args->opts.context);
    opt.n_ctx = n_ctx;
    reason[0] = '\0';
    if (kvass_context_bytes(j->model, &opt, &scratch, &cache, &err) != KVASS_OK) {
        (void)snprintf(reason, n, "%s (%s)", err.message, err.rule);
    } else if (j->text.windows[0].n <= n_ctx) {
        (void)snprintf(reason, n, "the text has %d tokens, %d are needed",
                       (int)j->text.windows[0].n, (int)n_ctx + 1);
    }
}

static int64_t scored_bytes(const job *j, int32_t n_ctx)
{
    int64_t n_bytes = 0;
    for (int32_t i = n_ctx / 2 + 1; i <= n_ctx; i++) {
        size_t n = 0;
        (void)kvass_tokenizer_piece(j->tok, j->text.ids[i], &n);
        n_bytes += (int64_t)n;
    }
    return n_bytes;
}

/* ---- measuring ------------------------------------------------------------------------------ */

/* the weights, when the first run is really to be made; everything else needs the header only */
static int need_weights(job *j, const kvass_context_options *opt)
{
    kvass_context_options full = eval_reference_options(opt);
    const kvass_context_options *contexts[] = {opt, &full};
    int code = cli_check_memory(&j->args->opts, j->model, contexts, 2);
    if (code == CLI_OK && !j->has_weights) {
        kvass_model_close(&j->model);
        code = cli_open_model(&j->args->opts, false, &j->model);
        j->has_weights = code == CLI_OK;
    }
    return code;
}

/* One run, unless the file has it. */
static int run_one(job *j, int32_t n_ctx, const tradeoff_cache *cache, int trial)
{
    char flags[128];
    kvass_error err = {0};
    size_t scratch, bytes;
    kvass_context_options opt = tradeoff_cache_options(cache, &j->args->opts.context, n_ctx);
    opt.n_logits = eval_chunk(j->info.n_vocab, opt.n_batch);
    tradeoff_cache_flags(&opt, flags, sizeof flags);
    kvass_status status = kvass_context_bytes(j->model, &opt, &scratch, &bytes, &err);
    if (status != KVASS_OK) {
        return tradeoff_file_find(&j->file, n_ctx, flags, -1)
                   ? CLI_OK
                   : tradeoff_file_add(
                         &j->file, line_of(j, n_ctx, cache->name, flags, trial, err.message, NULL));
    }
    if (tradeoff_file_find(&j->file, n_ctx, flags, trial)) {
        return CLI_OK;
    }
    int code = need_weights(j, &opt);
    if (code != CLI_OK) {
        return code;
    }
    const json_t *quality = tradeoff_file_find(&j->file, n_ctx, flags, -1);
    const tradeoff_text text = {j->text.ids, n_ctx, scored_bytes(j, n_ctx)};
    eval_scores scores;
    int64_t n_recomputed;
    status = tradeoff_run(j->model, &opt, &text, quality ? NULL : &j->oracle, &scores,
                          &n_recomputed, &err);
    if (status == KVASS_OK && !quality && !isfinite(scores.nats)) {
        cli_say("the network produced NaN or infinite logits (NAN_LOGITS)");
        return CLI_RUNTIME;
    }
    if (status != KVASS_OK) {
        return cli_fail(&err);
    }
    json_t *run = tradeoff_run_json(j->model, &opt, &scores, n_recomputed, quality);
    return tradeoff_file_add(&j->file,
                             run ? line_of(j, n_ctx, cache->name, flags, trial, NULL, run) : NULL);
}

static int run_length(job *j, int32_t n_ctx, int64_t *n_done, int64_t n_all)
{
    const tradeoff_args *args = j->args;
    int code = CLI_OK;
    for (int trial = 0; trial < args->trials && code == CLI_OK; trial++) {
        for (int c = 0; c < args->n_caches && code == CLI_OK; c++) {
            code = run_one(j, n_ctx, &args->caches[c], trial);
            eval_progress(&args->opts, "runs", ++*n_done, n_all);
        }
    }
    return code;
}

static int run_all(job *j)
{
    const tradeoff_args *args = j->args;
    int64_t n_done = 0, n_all = (int64_t)args->n_lengths * args->n_caches * args->trials;
    int code = CLI_OK, n_left_out = 0;
    for (int i = 0; i < args->n_lengths && code == CLI_OK; i++) {
        char reason[640];
        int32_t n_ctx = args->lengths[i];
        find_obstacle(j, n_ctx, reason, sizeof reason);
        if (reason[0] == '\0') {
            code = run_length(j, n_ctx, &n_done, n_all);
            continue;
        }
        n_left_out++;
        n_done += (int64_t)args->n_caches * args->trials;
        if (n_left_out == args->n_lengths) {
            cli_say("%d tokens: %s; --ctx chooses lengths", (int)n_ctx, reason);
            code = CLI_NO_ROOM;
        } else if (!tradeoff_file_find(&j->file, n_ctx, NULL, -1)) {
            code = tradeoff_file_add(&j->file, line_of(j, n_ctx, NULL, NULL, 0, reason, NULL));
        }
    }
    eval_progress(&args->opts, NULL, 0, 0);
    return code;
}

/* ---- the command ---------------------------------------------------------------------------- */

static int prepare(job *j)
{
    tradeoff_args *args = j->args;
    kvass_context_options *opt = &args->opts.context;
    int code = cli_open_model(&args->opts, true, &j->model);
    if (code == CLI_OK) {
        kvass_model_get_info(j->model, &j->info);
        code = cli_open_tokenizer(&args->opts, j->model, &j->tok);
    }
    if (code != CLI_OK) {
        return code;
    }
    opt->n_threads = opt->n_threads > 0 ? opt->n_threads : kvass_default_threads();
    eval_split split = {.stream = true, .score_from = 1};
    for (int i = 0; i < args->n_lengths; i++) {
        int64_t n = (int64_t)args->lengths[i] + 1;
        split.n_tokens = n > split.n_tokens ? n : split.n_tokens;
    }
    kvass_tokenizer_info tok_info;
    kvass_tokenizer_get_info(j->tok, &tok_info);
    int32_t bos = j->info.bos >= 0 ? j->info.bos : tok_info.bos;
    code = eval_text_open(&j->text, &args->source, &split, j->tok, bos, j->info.n_ctx);
    cli_ids ids = {j->text.ids, j->text.n_ids};
    if (code == CLI_OK && cli_check_ids(&ids, j->info.n_vocab) != CLI_OK) {
        code = CLI_BAD_MODEL;
    }
    if (code == CLI_OK) {
        j->setup = describe(j);
        code =
            j->setup ? tradeoff_file_open(&j->file, args->out, j->setup, &args->opts) : CLI_NO_ROOM;
    }
    return code;
}

static int print_from(const tradeoff_args *args)
{
    json_t *lines = json_array();
    int code = lines ? CLI_OK : CLI_NO_ROOM;
    for (int i = 0; i < args->n_from && code == CLI_OK; i++) {
        code = tradeoff_file_read(args->from[i], lines);
    }
    code = code == CLI_OK ? tradeoff_print(args, lines) : code;
    json_decref(lines);
    return code;
}

static int measure(tradeoff_args *args)
{
    job j = {.args = args, .file.fd = -1};
    if (args->n_lengths == 0) {
        parse_list(NULL, args, default_lengths, add_length);
    }
    if (args->n_caches == 0) {
        parse_list(NULL, args, default_caches, add_cache);
    }
    int code = prepare(&j);
    if (code == CLI_OK) {
        cli_catch_interrupt();
        code = run_all(&j);
    }
    if (code == CLI_OK) {
        code = tradeoff_print(args, j.file.lines);
    }
    tradeoff_oracle_close(&j.oracle);
    tradeoff_file_close(&j.file);
    json_decref(j.setup);
    eval_text_close(&j.text);
    kvass_tokenizer_close(&j.tok);
    kvass_model_close(&j.model);
    return code;
}

static int run_tradeoff(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    tradeoff_args args = {.trials = 5};
    if (!cli_options_init(&args.opts, &cli_tradeoff)) {
        return CLI_USAGE;
    }
    args.opts.context.store = KVASS_STORE_F32; /* what the others are compared with */
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    return args.n_from > 0 ? print_from(&args) : measure(&args);
}

const cli_command cli_tradeoff = {.name = "tradeoff",
                                  .summary = "compare caches in bytes, time and quality",
                                  .help = help_tradeoff,
                                  .details = details_tradeoff,
                                  .run = run_tradeoff};
