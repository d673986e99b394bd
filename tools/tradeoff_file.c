/* tradeoff_file.c - the file of runs: one JSON object a line, appended by one write each. Whatever
 * stops the program leaves whole lines and at most one unfinished one at the end, which the next
 * start drops. Nothing else in a file is ever changed, and a file of something else is refused.
 */
#include "tools/tradeoff.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* what every line begins with, as tradeoff.c writes it */
static const char opening[] = "{\"schema_version\":1,\"kind\":\"tradeoff\",";

/* ---- reading -------------------------------------------------------------------------------- */

/* NULL: a line that means something; else what it lacks */
static const char *lacking(const json_t *line)
{
    const json_t *cache = json_object_get(line, "cache"), *flags = json_object_get(line, "flags");
    const char *kind = json_string_value(json_object_get(line, "kind"));
    if (!kind || strcmp(kind, "tradeoff") != 0) {
        return "no run of kvass tradeoff";
    }
    if (json_integer_value(json_object_get(line, "schema_version")) != 1) {
        return "of another version of kvass tradeoff (schema_version is not 1)";
    }
    if (!json_is_integer(json_object_get(line, "n_ctx")) ||
        !json_is_integer(json_object_get(line, "trials")) ||
        !json_is_string(json_object_get(line, "status")) ||
        !json_is_string(json_object_get(line, "model")) ||
        !(json_is_string(cache) || json_is_null(cache)) ||
        !(json_is_string(flags) || json_is_null(flags))) {
        return "a run without model, n_ctx, cache, flags, trials or status";
    }
    return NULL;
}

static int add_line(const char *path, int n_line, const char *text, size_t n, json_t *lines)
{
    json_error_t problem;
    json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES, &problem);
    const char *lack = line ? lacking(line) : problem.text;
    if (lack) {
        cli_say("%s: line %d: %s", path, n_line, lack);
        json_decref(line);
        return CLI_USAGE;
    }
    if (json_array_append_new(lines, line) != 0) {
        cli_say("%s: out of memory", path);
        return CLI_NO_ROOM;
    }
    return CLI_OK;
}

/* The whole lines of text[n]; *n_whole is how many bytes they take. */
static int add_lines(const char *path, const char *text, size_t n, json_t *lines, size_t *n_whole)
{
    int code = CLI_OK, n_line = 0;
    const char *end;
    *n_whole = 0;
    while (code == CLI_OK && *n_whole < n && (end = memchr(text + *n_whole, '\n', n - *n_whole))) {
        const char *start = text + *n_whole;
        n_line++;
        code = end > start ? add_line(path, n_line, start, (size_t)(end - start), lines) : CLI_OK;
        *n_whole = (size_t)(end - text) + 1;
    }
    return code;
}

int tradeoff_file_read(const char *path, json_t *lines)
{
    cli_bytes bytes = {0};
    size_t n_whole = 0, n_before = json_array_size(lines);
    int code = cli_read_file(&bytes, path);
    if (code == CLI_OK) {
        code = add_lines(path, bytes.data, bytes.n, lines, &n_whole);
    }
    if (code == CLI_OK && n_whole < bytes.n) {
        cli_say("%s: the last line is not finished: left out", path);
    }
    if (code == CLI_OK && json_array_size(lines) == n_before) {
        cli_say("%s: no run in it", path);
        code = CLI_USAGE;
    }
    cli_bytes_free(&bytes);
    return code;
}

/* ---- resuming ------------------------------------------------------------------------------- */

/* Whether the file's runs were made as *setup says; says what differs. */
static int check_setup(const tradeoff_file *file, const json_t *setup, const cli_options *opts)
{
    static const struct {
        const char *name, *word;
    } members[] = {{"model_fingerprint", "another model"},
                   {"text_fingerprint", "another text"},
                   {"cpu", "another processor"},
                   {"isa", "another --isa"},
                   {"threads", "another number of threads (-t)"},
                   {"batch", "another --batch"},
                   {"deterministic", "another --deterministic"}};
    bool told = opts->quiet;
    for (size_t i = 0; i < json_array_size(file->lines); i++) {
        const json_t *line = json_array_get(file->lines, i);
        for (size_t m = 0; m < sizeof members / sizeof *members; m++) {
            json_t *theirs = json_object_get(line, members[m].name);
            json_t *ours = json_object_get(setup, members[m].name);
            if (!theirs || !json_equal(theirs, ours)) {
                char *found = json_dumps(theirs, JSON_ENCODE_ANY);
                char *wanted = json_dumps(ours, JSON_ENCODE_ANY);
                cli_say("%s: its runs were made with %s: %s is %s, here %s; name another file",
                        file->path, members[m].word, members[m].name, found ? found : "missing",
                        wanted ? wanted : "?");
                free(found);
                free(wanted);
                return CLI_USAGE;
            }
        }
        if (!told &&
            !json_equal(json_object_get(line, "commit"), json_object_get(setup, "commit"))) {
            cli_say("warning: %s has runs of another build of kvass", file->path);
            told = true;
        }
    }
    return CLI_OK;
}

/* Take what a stopped program left of its last line out of the file. */
static int drop_rest(const tradeoff_file *file, const char *rest, size_t n, size_t n_whole,
                     const cli_options *opts)
{
    size_t n_same = n < sizeof opening - 1 ? n : sizeof opening - 1;
    if (memcmp(rest, opening, n_same) != 0) {
        cli_say("%s: its last line is no run of kvass tradeoff", file->path);
        return CLI_USAGE;
    }
    if (ftruncate(file->fd, (off_t)n_whole) != 0) {
        cli_say("%s: %s", file->path, strerror(errno));
        return CLI_RUNTIME;
    }
    if (!opts->quiet) {
        cli_say("%s: the last line was not finished: dropped", file->path);
    }
    return CLI_OK;
}

static int read_runs(tradeoff_file *file, const json_t *setup, const cli_options *opts)
{
    cli_bytes bytes = {0};
    size_t n_whole = 0;
    int code = cli_read_file(&bytes, file->path);
    if (code == CLI_OK) {
        code = add_lines(file->path, bytes.data, bytes.n, file->lines, &n_whole);
    }
    if (code == CLI_OK) {
        code = check_setup(file, setup, opts);
    }
    if (code == CLI_OK && n_whole < bytes.n) {
        code = drop_rest(file, bytes.data + n_whole, bytes.n - n_whole, n_whole, opts);
    }
    cli_bytes_free(&bytes);
    return code;
}

int tradeoff_file_open(tradeoff_file *file, const char *path, const json_t *setup,
                       const cli_options *opts)
{
    struct stat st;
    *file = (tradeoff_file){.path = path, .fd = -1, .lines = json_array()};
    if (!file->lines) {
        cli_say("out of memory for the runs");
        return CLI_NO_ROOM;
    }
    if (!path) {
        return CLI_OK;
    }
    file->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0666);
    if (file->fd < 0 || fstat(file->fd, &st) != 0) {
        cli_say("%s: %s", path, strerror(errno));
        return CLI_RUNTIME;
    }
    if (!S_ISREG(st.st_mode)) {
        cli_say("%s: not a regular file: runs are kept there to go on from", path);
        return CLI_USAGE;
    }
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        cli_say("%s: another kvass tradeoff is writing to it", path);
        return CLI_RUNTIME;
    }
    return read_runs(file, setup, opts);
}

void tradeoff_file_close(tradeoff_file *file)
{
    if (file->path && file->fd >= 0) {
        (void)close(file->fd);
    }
    json_decref(file->lines);
    *file = (tradeoff_file){.fd = -1};
}

/* ---- adding --------------------------------------------------------------------------------- */

static int write_line(const tradeoff_file *file, const json_t *line)
{
    /* 9 digits give back any f32 exactly */
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    size_t n = text ? strlen(text) : 0;
    if (!text) {
        cli_say("out of memory for a run");
        return CLI_NO_ROOM;
    }
    text[n] = '\n'; /* one write for both: the end of the string is not needed any more */
    ssize_t n_written = write(file->fd, text, n + 1);
    free(text);
    if (n_written != (ssize_t)(n + 1)) {
        cli_say("%s: %s", file->path, n_written < 0 ? strerror(errno) : "no room");
        return CLI_RUNTIME;
    }
    return CLI_OK;
}

int tradeoff_file_add(tradeoff_file *file, json_t *line)
{
    if (!line || json_array_append_new(file->lines, line) != 0) {
        cli_say("out of memory for a run");
        return CLI_NO_ROOM;
    }
    return file->path ? write_line(file, line) : CLI_OK;
}

const json_t *tradeoff_file_find(const tradeoff_file *file, int32_t n_ctx, const char *flags,
                                 int trial)
{
    for (size_t i = 0; i < json_array_size(file->lines); i++) {
        const json_t *line = json_array_get(file->lines, i);
        const char *theirs = json_string_value(json_object_get(line, "flags"));
        const json_t *which = json_object_get(line, "trial");
        bool same = flags ? theirs && strcmp(flags, theirs) == 0 : !theirs;
        bool done =
            trial < 0 ||
            (json_is_integer(which) ? json_integer_value(which) == trial
                                    : json_integer_value(json_object_get(line, "trials")) > trial);
        if (same && done && json_integer_value(json_object_get(line, "n_ctx")) == n_ctx) {
            return line;
        }
    }
    return NULL;
}
