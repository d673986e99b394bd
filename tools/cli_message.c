/* cli_message.c - words on stderr, exit codes, time, signals. */
#include "tools/cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void cli_say(const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++) {
        /* names out of files may hold escape sequences */
        if (((unsigned char)*c < ' ' && *c != '\n' && *c != '\t') || *c == 0x7f) {
            *c = '?';
        }
    }
    (void)fprintf(stderr, "kvass: %s\n", text);
}

int cli_fail(const kvass_error *err)
{
    if (err->code == KVASS_CANCELLED && cli_interrupted()) {
        return CLI_RUNTIME; /* cli_leave will say it with a signal */
    }
    cli_say("%s (%s)", err->message, err->rule);
    switch (err->code) {
    case KVASS_INVALID:
        return CLI_USAGE;
    case KVASS_FORMAT:
    case KVASS_UNSUPPORTED:
        return CLI_BAD_MODEL;
    case KVASS_NOMEM:
    case KVASS_CONTEXT_FULL:
    case KVASS_BUDGET:
        return CLI_NO_ROOM;
    case KVASS_OK:
    case KVASS_IO:
    case KVASS_CANCELLED:
    case KVASS_NAN_LOGITS:
        break;
    }
    return CLI_RUNTIME;
}

double cli_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- signals -------------------------------------------------------------------------------- */

static atomic_bool interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    atomic_store(&interrupted, true);
}

void cli_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    (void)sigemptyset(&action.sa_mask);
    struct sigaction old;
    if (sigaction(SIGINT, NULL, &old) == 0 && old.sa_handler == SIG_IGN) {
        return; /* started in the background by a shell: stay deaf to it */
    }
    (void)sigaction(SIGINT, &action, NULL);
}

bool cli_interrupted(void)
{
    return atomic_load(&interrupted);
}

bool cli_cancel(void *unused)
{
    (void)unused;
    return cli_interrupted();
}

int cli_leave(int code)
{
    if (cli_interrupted()) {
        (void)signal(SIGINT, SIG_DFL);
        (void)raise(SIGINT);
    }
    return code;
}

static void on_bus_error(int signal_number)
{
    static const char text[] = "kvass: model file changed while it was mapped\n";
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    _exit(CLI_BAD_MODEL);
}

void cli_catch_bus_error(void)
{
    struct sigaction action = {.sa_handler = on_bus_error};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}
