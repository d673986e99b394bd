/* generate_prompt.c - what `kvass generate` continues: read, encoded, and refused when it cannot
 * fit, before any weight is read.
 */
#include "tools/generate.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- text ------------------------------------------------------------------------------------ */

static int out_of_memory(void)
{
    cli_say("out of memory for the prompts");
    return CLI_NO_ROOM;
}

/* a prompt on each line of the file; empty lines are none */
static int read_prompts(generate_run *run)
{
    cli_bytes file = {0};
    int code = cli_read_file(&file, run->args->prompts);
    size_t n_lines = 1;
    for (size_t i = 0; i < file.n; i++) {
        n_lines += file.data[i] == '\n';
    }
    run->prompts = code == CLI_OK ? calloc(n_lines, sizeof *run->prompts) : NULL;
    if (code == CLI_OK && !run->prompts) {
        code = out_of_memory();
    }
    for (size_t at = 0; code == CLI_OK && at < file.n;) {
        const char *end = memchr(file.data + at, '\n', file.n - at);
        size_t n = end ? (size_t)(end - file.data) - at : file.n - at;
        size_t n_text = n > 0 && file.data[at + n - 1] == '\r' ? n - 1 : n;
        if (n_text > 0 &&
            !cli_bytes_add(&run->prompts[run->n_prompts++].text, file.data + at, n_text)) {
            code = out_of_memory();
        }
        at += n + 1;
    }
    cli_bytes_free(&file);
    if (code == CLI_OK && run->n_prompts == 0) {
        cli_say("%s: no prompt in it", run->args->prompts);
        code = CLI_USAGE;
    }
    return code;
}

int generate_read(generate_run *run)
{
    bool given;
    if (run->args->prompts) {
        return read_prompts(run);
    }
    run->prompts = calloc(1, sizeof *run->prompts);
    if (!run->prompts) {
        return out_of_memory();
    }
    run->n_prompts = 1;
    int code = cli_read_prompt(&run->args->opts.prompt, &run->prompts[0].text, &given);
    if (code == CLI_OK && !given && !isatty(STDIN_FILENO)) {
        cli_say("no prompt: give one as an argument, with -f or on standard input; "
                "-p '' is the empty prompt");
        code = CLI_USAGE;
    }
    return code;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static int encode(generate_run *run, const char *text, size_t n, bool add_special, cli_ids *ids)
{
    const generate_args *args = run->args;
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = add_special;
    opt.parse_special = args->special;
    opt.strict_utf8 = args->strict;
    size_t n_errors = cli_utf8_errors(text, n);
    if (n_errors > 0 && !args->strict && !args->opts.quiet) {
        cli_say("prompt: %zu bytes are not UTF-8", n_errors);
    }
    return cli_encode(run->tok, text, n, &opt, ids);
}

/* An empty prompt has to begin with something: the last pinned token, or the begin-of-text one. */
static int fill_empty(generate_run *run, cli_ids *ids)
{
    kvass_tokenizer_info tok_info;
    kvass_tokenizer_get_info(run->tok, &tok_info);
    int32_t bos = run->info.bos >= 0 ? run->info.bos : tok_info.bos;
    if (run->pinned.n > 0) {
        bos = run->pinned.data[--run->pinned.n];
    }
    if (bos < 0) {
        cli_say("empty prompt, and the model has no begin-of-text token: nothing to "
                "condition on");
        return CLI_USAGE;
    }
    ids->data[ids->n++] = bos; /* cli_encode leaves room */
    return CLI_OK;
}

static int check_vocabulary(const generate_run *run, const cli_ids *ids)
{
    kvass_tokenizer_info tok_info;
    kvass_tokenizer_get_info(run->tok, &tok_info);
    if (tok_info.n_vocab > run->info.n_vocab && cli_check_ids(ids, run->info.n_vocab) != CLI_OK) {
        cli_say("the tokenizer has %d tokens, the model %d", (int)tok_info.n_vocab,
                (int)run->info.n_vocab);
        return CLI_BAD_MODEL;
    }
    return CLI_OK;
}

static int encode_prompts(generate_run *run)
{
    const char *pinned = run->args->system;
    int code = CLI_OK;
    if (pinned) {
        code = encode(run, pinned, strlen(pinned), true, &run->pinned);
    }
    for (size_t i = 0; i < run->n_prompts && code == CLI_OK; i++) {
        generate_prompt *prompt = &run->prompts[i];
        code = encode(run, prompt->text.data, prompt->text.n, !pinned, &prompt->ids);
        if (code == CLI_OK && prompt->ids.n == 0) {
            code = fill_empty(run, &prompt->ids);
        }
        if (code == CLI_OK) {
            code = check_vocabulary(run, &prompt->ids);
        }
    }
    return code == CLI_OK && run->pinned.n > 0 ? check_vocabulary(run, &run->pinned) : code;
}

/* choices under which networks are known to lose the text */
static void warn_of_quality(const generate_run *run)
{
    const kvass_context_options *opt = &run->args->opts.context;
    kvass_error err;
    kvass_layer_info layer = {.owner = 0};
    bool paired = opt->share == KVASS_SHARE_PAIRS && run->info.n_layers > 1 &&
                  kvass_model_get_layer(run->model, 1, &layer, &err) == KVASS_OK &&
                  layer.owner == 1;
    if (paired) {
        cli_say("warning: pairs of layers share keys and values, and the network was not trained "
                "so: other text will come out");
    }
    if (opt->n_ctx <= run->info.n_ctx) {
        if (opt->positions == KVASS_POSITIONS_CACHE) {
            cli_say("warning: positions in the cache cost quality within the %d tokens of the "
                    "trained context; original ones do not",
                    (int)run->info.n_ctx);
        }
        return;
    }
    cli_say("warning: a context of %d tokens, the model was trained with %d", (int)opt->n_ctx,
            (int)run->info.n_ctx);
    if (opt->retain == KVASS_RETAIN_WINDOW && opt->n_sinks == 0) {
        cli_say("warning: a window without sinks beyond the trained context loses the text in many "
                "networks: --sinks 4 --positions cache");
    }
}

/* Choose the context length and refuse a prompt that is longer. */
static int fit_prompts(generate_run *run)
{
    const generate_args *args = run->args;
    kvass_context_options *opt = &run->args->opts.context;
    int64_t n_prompt = 0, n_max = args->n_max;
    for (size_t i = 0; i < run->n_prompts; i++) {
        int64_t n = (int64_t)(run->prompts[i].ids.n + run->pinned.n);
        n_prompt = n > n_prompt ? n : n_prompt;
    }
    if (opt->n_ctx == 0) {
        opt->n_ctx = run->info.n_ctx;
        /* what a saved prompt needs is not known yet */
        if (n_max >= 0 && n_prompt + n_max < opt->n_ctx && !args->prompt_cache) {
            opt->n_ctx = (int32_t)(n_prompt + n_max);
        }
    }
    if (n_prompt > opt->n_ctx) {
        cli_say("the prompt has %lld tokens and exceeds the available context size of %d tokens "
                "(PROMPT_TOO_LONG)",
                (long long)n_prompt, (int)opt->n_ctx);
        return CLI_NO_ROOM;
    }
    if (!args->opts.quiet) {
        warn_of_quality(run);
    }
    return CLI_OK;
}

static void set_context(generate_run *run)
{
    enum { MOST_REUSED = 8 };
    kvass_context_options *opt = &run->args->opts.context;
    size_t n_before = run->n_prompts - 1;
    opt->n_seqs = run->args->n_samples;
    opt->n_reuse = n_before < MOST_REUSED ? (int32_t)n_before : MOST_REUSED;
    opt->prefix = run->pinned.data;
    opt->n_prefix = (int32_t)run->pinned.n;
}

int generate_prepare(generate_run *run)
{
    int code = encode_prompts(run);
    if (code == CLI_OK) {
        code = fit_prompts(run);
    }
    if (code == CLI_OK) {
        set_context(run);
    }
    return code;
}
