/* logits.c - `kvass logits`: what the network says about given ids, by the path one chooses.
 * Rows leave as they are computed, so that --all over a long text needs no more memory than one
 * chunk.
 */
#include "tools/cli.h"
#include "tools/help.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_TOKENS = CLI_KEY_OWN, KEY_PATH, KEY_ALL, KEY_JSON };

#define CHUNK_FLOATS (4 << 20) /* logits held at once */

typedef enum logits_path { PATH_PREFILL, PATH_DECODE, PATH_NONE } logits_path;

typedef struct logits_args {
    cli_options opts; /* first: see cli_share_state */
    const char *tokens;
    const char *out_path;
    logits_path path;
    bool all, json;
} logits_args;

static const struct argp_child children[] = {{&cli_prompt_argp, 0, NULL, 0},
                                             {&cli_model_argp, 0, NULL, 0},
                                             {&cli_context_argp, 0, NULL, 0},
                                             {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    static const char *const paths[] = {"prefill", "decode", "none"};
    logits_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case 'o':
        args->out_path = arg;
        return 0;
    case KEY_TOKENS:
        args->tokens = arg;
        return 0;
    case KEY_PATH:
        args->path = (logits_path)cli_choice(state, "--path", arg, paths, 3);
        return 0;
    case KEY_ALL:
        args->all = true;
        return 0;
    case KEY_JSON:
        args->json = true;
        return 0;
    case ARGP_KEY_END:
        if (args->tokens && (args->opts.prompt.text || args->opts.prompt.file)) {
            argp_error(state, "--tokens and a prompt: give one of them");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"tokens", KEY_TOKENS, "IDS", 0, "token ids, parted by commas or white space", 0},
    {"path", KEY_PATH, "PATH", 0, "prefill, decode or none", 0},
    {"all", KEY_ALL, NULL, 0, "the logits of every position, not only the last", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON document", 0},
    {"output", 'o', "FILE", 0, "write 32-bit floats to this file", 0},
    {0},
};
/* ---- rows out ------------------------------------------------------------------------------- */

typedef struct sink {
    const logits_args *args;
    FILE *file; /* -o, or NULL */
    int32_t n_vocab;
    int64_t n_rows;
} sink;

static void put_row(sink *out, const float *row)
{
    if (out->file) {
        (void)fwrite(row, sizeof *row, (size_t)out->n_vocab, out->file);
    }
    if (out->args->json) { /* written here: a jansson tree would hold every number of every row */
        bool rows = out->args->all;
        (void)fputs(out->n_rows > 0 ? "," : "", stdout);
        (void)fputs(rows ? "[" : "", stdout);
        for (int32_t i = 0; i < out->n_vocab; i++) {
            const char *comma = i > 0 ? "," : "";
            (void)(isfinite(row[i]) ? printf("%s%.9g", comma, (double)row[i])
                                    : printf("%snull", comma));
        }
        (void)fputs(rows ? "]" : "", stdout);
    } else if (!out->file) {
        (void)fputs(out->n_rows > 0 ? "\n" : "", stdout);
        for (int32_t i = 0; i < out->n_vocab; i++) {
            (void)printf("%.9g\n", (double)row[i]);
        }
    }
    out->n_rows++;
}

static void put_head(const sink *out, const cli_ids *ids)
{
    if (out->args->json) {
        (void)fputs("{\"tokens\":[", stdout);
        for (size_t i = 0; i < ids->n; i++) {
            (void)printf(i > 0 ? ",%d" : "%d", (int)ids->data[i]);
        }
        (void)fputs("],\"logits\":[", stdout);
    }
}

static int put_tail(const sink *out)
{
    if (out->args->json) {
        (void)fputs("]}\n", stdout);
    }
    return cli_finish_output();
}

/* ---- paths ---------------------------------------------------------------------------------- */

/* Every position by the full-sequence path, a chunk of rows at a time. */
static kvass_status prefill_all(kvass_context *ctx, kvass_seq *seq, const cli_ids *ids,
                                int32_t n_chunk, sink *out, kvass_error *err)
{
    kvass_row *rows = calloc((size_t)n_chunk, sizeof *rows);
    if (!rows) {
        err->code = KVASS_NOMEM;
        err->rule = "NOMEM";
        (void)snprintf(err->message, sizeof err->message, "out of memory for %d rows",
                       (int)n_chunk);
        return KVASS_NOMEM;
    }
    kvass_status status = KVASS_OK;
    for (size_t at = 0; at < ids->n && status == KVASS_OK; at += (size_t)n_chunk) {
        int32_t n = ids->n - at < (size_t)n_chunk ? (int32_t)(ids->n - at) : n_chunk;
        for (int32_t i = 0; i < n; i++) {
            rows[i] = (kvass_row){seq, ids->data[at + (size_t)i], KVASS_PREFILL, true};
        }
        status = kvass_forward(ctx, rows, n, err);
        for (int32_t i = 0; i < n && status == KVASS_OK; i++) {
            put_row(out, kvass_context_logits(ctx, i));
        }
    }
    free(rows);
    return status;
}

static kvass_status one_by_one(kvass_seq *seq, const cli_ids *ids, bool all, sink *out,
                               kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (size_t i = 0; i < ids->n && status == KVASS_OK; i++) {
        status = kvass_decode(seq, ids->data[i], err);
        if (status == KVASS_OK && (all || i + 1 == ids->n)) {
            put_row(out, kvass_seq_logits(seq));
        }
    }
    return status;
}

static kvass_status run_path(const logits_args *args, kvass_context *ctx, kvass_seq *seq,
                             const cli_ids *ids, sink *out, kvass_error *err)
{
    if (args->path == PATH_DECODE || (args->path == PATH_NONE && args->all)) {
        return one_by_one(seq, ids, args->all, out, err);
    }
    if (args->all) {
        return prefill_all(ctx, seq, ids, args->opts.context.n_logits, out, err);
    }
    kvass_status status = kvass_prefill(seq, ids->data, (int32_t)ids->n, err);
    if (status == KVASS_OK) {
        put_row(out, kvass_seq_logits(seq));
    }
    return status;
}

/* ---- set-up --------------------------------------------------------------------------------- */

/* Choose what the context must hold, and refuse what it cannot. */
static int fit(logits_args *args, const kvass_model_info *info, const cli_ids *ids)
{
    kvass_context_options *opt = &args->opts.context;
    int32_t limit = opt->n_ctx > 0 ? opt->n_ctx : info->n_ctx;
    int code = cli_check_ids(ids, info->n_vocab);
    if (code == CLI_OK && ids->n == 0) {
        cli_say("no token ids");
        code = CLI_USAGE;
    }
    if (code == CLI_OK && ids->n > (size_t)limit) {
        cli_say("%zu tokens exceed the available context size of %d tokens (PROMPT_TOO_LONG)",
                ids->n, (int)limit);
        code = CLI_NO_ROOM;
    }
    if (code != CLI_OK) {
        return code;
    }
    opt->n_ctx = opt->n_ctx > 0 ? opt->n_ctx : (int32_t)ids->n;
    if (args->path == PATH_NONE) {
        opt->retain = KVASS_RETAIN_NONE;
    }
    if (args->all && args->path == PATH_PREFILL) {
        int32_t most = CHUNK_FLOATS / info->n_vocab;
        opt->n_logits = most < 1 ? 1 : most < opt->n_batch ? most : opt->n_batch;
    }
    return CLI_OK;
}

static int run_network(const logits_args *args, const kvass_model *model, const cli_ids *ids,
                       sink *out)
{
    kvass_error err;
    kvass_context *ctx = NULL;
    kvass_seq *seq = NULL;
    kvass_status status = kvass_context_open(&ctx, model, &args->opts.context, &err);
    if (status == KVASS_OK) {
        status = kvass_seq_open(&seq, ctx, &err);
    }
    if (status == KVASS_OK) {
        cli_catch_interrupt();
        kvass_context_set_cancel(ctx, cli_cancel, NULL);
        put_head(out, ids);
        status = run_path(args, ctx, seq, ids, out, &err);
    }
    int code = status == KVASS_OK ? put_tail(out) : cli_fail(&err);
    kvass_context_close(&ctx);
    return code;
}

static int run_with_file(const logits_args *args, const kvass_model *model, const cli_ids *ids,
                         int32_t n_vocab)
{
    sink out = {.args = args, .n_vocab = n_vocab};
    if (args->out_path) {
        out.file = fopen(args->out_path, "we");
        if (!out.file) {
            cli_say("%s: %s", args->out_path, strerror(errno));
            return CLI_RUNTIME;
        }
    }
    int code = run_network(args, model, ids, &out);
    if (out.file) {
        bool failed = ferror(out.file) != 0;
        failed = fclose(out.file) != 0 || failed;
        if (failed && code == CLI_OK) {
            cli_say("%s: %s", args->out_path, strerror(errno));
            code = CLI_RUNTIME;
        }
    }
    return code;
}

static int run_logits(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    logits_args args = {0};
    if (!cli_options_init(&args.opts, &cli_logits)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    kvass_model *model = NULL;
    kvass_model_info info = {0};
    cli_ids ids = {0};
    int code = cli_open_model(&args.opts, true, &model);
    if (code == CLI_OK) {
        kvass_model_get_info(model, &info);
        code = cli_prompt_ids(&args.opts, args.tokens, model, &ids);
    }
    if (code == CLI_OK) {
        code = fit(&args, &info, &ids);
    }
    const kvass_context_options *contexts[] = {&args.opts.context};
    if (code == CLI_OK) {
        code = cli_check_memory(&args.opts, model, contexts, 1);
    }
    if (code == CLI_OK) {
        kvass_model_close(&model);
        code = cli_open_model(&args.opts, false, &model);
    }
    if (code == CLI_OK) {
        code = run_with_file(&args, model, &ids, info.n_vocab);
    }
    free(ids.data);
    kvass_model_close(&model);
    return code;
}

const cli_command cli_logits = {.name = "logits",
                                .summary = "print the raw logits for given token ids",
                                .help = help_logits,
                                .run = run_logits};
