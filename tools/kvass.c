/* kvass.c - the command: finds the subcommand and runs it.
 * What is not the name of a subcommand is a prompt: `kvass "Once upon a time"` generates.
 */
#include "tools/cli.h"
#include "tools/help.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commit.h"

static const cli_command *const commands[] = {
    &cli_generate, &cli_eval,    &cli_bench,    &cli_tradeoff,   &cli_attention, &cli_report,
    &cli_logits,   &cli_inspect, &cli_tokenize, &cli_detokenize, &cli_convert,
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static const cli_command *find_command(const char *name)
{
    for (int i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

/* A closed standard stream would give its number to the next file opened: put something there that
 * fails when used. */
static void fill_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
        }
    }
}

static int print_version(void)
{
    (void)printf("kvass %s\n", kvass_version());
    (void)printf("build    %s, %s\n", KVASS_COMMIT, KVASS_BUILD);
    (void)printf("cpu      %s, %d threads\n", kvass_isa_name(~(uint32_t)0),
                 (int)kvass_default_threads());
    (void)printf("formats  safetensors (F32, F16, BF16, one file or sharded), GGUF (v2, v3), "
                 "PyTorch (since 1.6), llama2.c .bin (v0, v1, v2)\n");
    (void)printf("families gemma, gemma2, gemma3_text, gpt2, gpt_neo, gpt_neox, granite, kvass, "
                 "llama, mistral, nanogpt, olmo2, opt, phi, phi3, qwen2, qwen3, smollm3, stablelm, "
                 "starcoder2\n");
    return cli_finish_output();
}

static int unknown_command(const char *word, const char *nearest)
{
    cli_say("unknown command '%s'; did you mean '%s'? (to complete that very word: kvass generate "
            "-p '%s')",
            word, nearest, word);
    return CLI_USAGE;
}

/* The command whose name `word` nearly is, or NULL. */
static const char *nearest_command(const char *word)
{
    const char *names[N_COMMANDS + 1];
    for (int i = 0; i < N_COMMANDS; i++) {
        names[i] = commands[i]->name;
    }
    names[N_COMMANDS] = "help";
    int nearest = cli_nearest(word, names, N_COMMANDS + 1);
    return nearest >= 0 ? names[nearest] : NULL;
}

static int print_help(int argc, char **argv)
{
    if (argc < 1) {
        (void)fputs(help_kvass, stdout);
        return cli_finish_output();
    }
    const cli_command *command = find_command(argv[0]);
    if (!command) {
        const char *nearest = nearest_command(argv[0]);
        cli_say("no command '%s'%s%s%s", argv[0], nearest ? "; did you mean '" : "",
                nearest ? nearest : "", nearest ? "'?" : "");
        return CLI_USAGE;
    }
    (void)fputs(command->help, stdout);
    if (command->details) {
        (void)fputs("\n", stdout);
        (void)fputs(command->details, stdout);
    }
    return cli_finish_output();
}

/* argv[0] becomes "kvass NAME", which messages then start with. */
static int run_command(const cli_command *command, int argc, char **argv)
{
    static char name[64];
    (void)snprintf(name, sizeof name, "kvass %s", command->name);
    argv[0] = name;
    return command->run(argc, argv);
}

static int dispatch(int argc, char **argv)
{
    const char *first = argc > 1 ? argv[1] : NULL;
    if (!first && !cli_stdin_is_piped()) {
        (void)fputs(help_kvass, stderr);
        return CLI_USAGE;
    }
    if (!first) {
        return run_command(&cli_generate, argc, argv);
    }
    if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0) {
        return print_version();
    }
    if (strcmp(first, "help") == 0) {
        return print_help(argc - 2, argv + 2);
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0) {
        return print_help(0, NULL);
    }
    const cli_command *command = find_command(first);
    if (command) {
        return run_command(command, argc - 1, argv + 1);
    }
    const char *nearest = first[0] == '-' ? NULL : nearest_command(first);
    return nearest ? unknown_command(first, nearest) : run_command(&cli_generate, argc, argv);
}

int main(int argc, char **argv)
{
    fill_standard_streams();
    argp_err_exit_status = CLI_USAGE;
    int code = dispatch(argc, argv);
    if (fclose(stdout) != 0 && code == CLI_OK) {
        cli_say("standard output: %s", strerror(errno));
        code = CLI_RUNTIME;
    }
    return cli_leave(code);
}
