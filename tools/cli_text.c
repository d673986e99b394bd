/* cli_text.c - bytes in from files and standard input, text out to stdout.
 * Input is taken as it is, NUL and all. Output to a terminal is made harmless: a model can produce
 * any bytes, escape sequences too.
 */
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_TEXT    ((size_t)1 << 31) /* INT32_MAX tokens could not be addressed beyond */
#define PATIENCE_MS 2000

bool cli_bytes_add(cli_bytes *bytes, const char *data, size_t n)
{
    if (n >= SIZE_MAX / 2 - bytes->n) {
        return false;
    }
    if (bytes->n + n + 1 > bytes->cap) {
        size_t cap = (bytes->n + n + 1) * 2;
        char *grown = realloc(bytes->data, cap);
        if (!grown) {
            return false;
        }
        bytes->data = grown;
        bytes->cap = cap;
    }
    if (n > 0) {
        memcpy(bytes->data + bytes->n, data, n);
    }
    bytes->n += n;
    bytes->data[bytes->n] = '\0';
    return true;
}

void cli_bytes_free(cli_bytes *bytes)
{
    free(bytes->data);
    *bytes = (cli_bytes){0};
}

/* A silent pipe that nobody writes to looks like a hang: say what is being waited for. */
static void warn_if_silent(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    if (poll(&poll_fd, 1, PATIENCE_MS) == 0) {
        cli_say("waiting for standard input (</dev/null if there is none)");
    }
}

static int read_all(cli_bytes *bytes, int fd, const char *name)
{
    static char block[1 << 16];
    for (;;) {
        ssize_t n = read(fd, block, sizeof block);
        if (n == 0) {
            return CLI_OK;
        }
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            cli_say("%s: %s", name, strerror(errno));
            return CLI_RUNTIME;
        }
        if (bytes->n + (size_t)n > MAX_TEXT) {
            cli_say("%s: more than %zu bytes of input", name, MAX_TEXT);
            return CLI_NO_ROOM;
        }
        if (!cli_bytes_add(bytes, block, (size_t)n)) {
            cli_say("%s: out of memory after %zu bytes", name, bytes->n);
            return CLI_NO_ROOM;
        }
    }
}

int cli_read_file(cli_bytes *bytes, const char *path)
{
    if (strcmp(path, "-") == 0) {
        if (!isatty(STDIN_FILENO)) {
            warn_if_silent(STDIN_FILENO);
        }
        return read_all(bytes, STDIN_FILENO, "standard input");
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        cli_say("%s: %s", path, strerror(errno));
        return CLI_RUNTIME;
    }
    int code = read_all(bytes, fd, path);
    (void)close(fd);
    return code;
}

/* ---- UTF-8 ---------------------------------------------------------------------------------- */

size_t cli_utf8(const char *p, size_t n, uint32_t *code)
{
    const unsigned char *u = (const unsigned char *)p;
    *code = u[0];
    if (u[0] < 0x80) {
        return 1;
    }
    size_t len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || len > n) {
        return 0;
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = u[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (u[i] & 0x3fu);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }
    *code = c;
    return len;
}

size_t cli_utf8_errors(const char *text, size_t n)
{
    size_t n_errors = 0;
    uint32_t code;
    for (size_t i = 0; i < n;) {
        size_t len = cli_utf8(text + i, n - i, &code);
        n_errors += len == 0;
        i += len > 0 ? len : 1;
    }
    return n_errors;
}

/* ---- output --------------------------------------------------------------------------------- */

static bool is_harmless(uint32_t code)
{
    return code == '\n' || code == '\t' || (code >= 0x20 && code < 0x7f) || code >= 0xa0;
}

void cli_put_text(const char *text, size_t n, bool raw)
{
    static int is_terminal = -1;
    if (is_terminal < 0) {
        is_terminal = isatty(STDOUT_FILENO);
    }
    if (raw || !is_terminal) {
        (void)fwrite(text, 1, n, stdout);
        return;
    }
    for (size_t i = 0; i < n;) {
        uint32_t code;
        size_t len = cli_utf8(text + i, n - i, &code);
        if (len > 0 && is_harmless(code)) {
            (void)fwrite(text + i, 1, len, stdout);
        } else {
            (void)fputs("\xef\xbf\xbd", stdout);
        }
        i += len > 0 ? len : 1;
    }
}

int cli_finish_output(void)
{
    errno = 0;
    bool failed = fflush(stdout) != 0 || ferror(stdout);
    if (failed) {
        cli_say("standard output: %s", errno != 0 ? strerror(errno) : "write error");
        return CLI_RUNTIME;
    }
    return CLI_OK;
}
