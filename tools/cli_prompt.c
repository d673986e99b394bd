/* cli_prompt.c - where a prompt comes from: standard input, a file, an argument.
 */
#include "tools/cli.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static error_t parse_prompt(int key, char *arg, struct argp_state *state)
{
    cli_prompt *prompt = &((cli_options *)state->input)->prompt;
    switch (key) {
    case 'p':
    case ARGP_KEY_ARG:
        if (prompt->text) {
            argp_error(state, "more than one prompt: '%s'; quote a prompt with spaces", arg);
        }
        prompt->text = arg;
        return 0;
    case 'f':
        prompt->file = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option prompt_options[] = {
    {"prompt", 'p', "TEXT", 0, "the prompt", 0},
    {"file", 'f', "FILE", 0, "prompt from a file; - is standard input", 0},
    {0},
};
const struct argp cli_prompt_argp = {.options = prompt_options, .parser = parse_prompt};

bool cli_stdin_is_piped(void)
{
    struct stat st;
    return fstat(STDIN_FILENO, &st) == 0 &&
           (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISREG(st.st_mode));
}

int cli_read_prompt(const cli_prompt *prompt, cli_bytes *bytes, bool *given)
{
    bool dash = prompt->file && strcmp(prompt->file, "-") == 0;
    *given = prompt->text || prompt->file;
    if (dash || cli_stdin_is_piped()) {
        *given = true;
        int code = cli_read_file(bytes, "-");
        if (code != CLI_OK) {
            return code;
        }
    }
    if (prompt->file && !dash) {
        int code = cli_read_file(bytes, prompt->file);
        if (code != CLI_OK) {
            return code;
        }
    }
    if (prompt->text && !cli_bytes_add(bytes, prompt->text, strlen(prompt->text))) {
        cli_say("out of memory for the prompt");
        return CLI_NO_ROOM;
    }
    return CLI_OK;
}

int cli_prompt_ids(const cli_options *opts, const char *tokens, const kvass_model *model,
                   cli_ids *ids)
{
    if (tokens) {
        return cli_parse_ids(tokens, strlen(tokens), ids);
    }
    cli_bytes text = {0};
    kvass_tokenizer *tok = NULL;
    bool given;
    int code = cli_read_prompt(&opts->prompt, &text, &given);
    if (code == CLI_OK && !given) {
        cli_say("nothing to look at: give ids with --tokens, or a prompt");
        code = CLI_USAGE;
    }
    if (code == CLI_OK) {
        code = cli_open_tokenizer(opts, model, &tok);
    }
    if (code == CLI_OK) {
        kvass_encode_options opt = kvass_encode_options_default();
        opt.add_special = true;
        code = cli_encode(tok, text.data ? text.data : "", text.n, &opt, ids);
    }
    kvass_tokenizer_close(&tok);
    cli_bytes_free(&text);
    return code;
}
