/* cli_model.c - which checkpoint to open, and the tokenizer that belongs to it.
 * A tokenizer lies beside its model: in the folder itself, or for a llama2.c file as tokenizer.bin,
 * tok<n_vocab>.bin or another tok*.bin whose vocabulary has the model's size. A GGUF file has its
 * own.
 */
#include "tools/cli.h"

#include <errno.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define BUNDLED     "weights/tiny"
#define PATH_SIZE   4096
#define PROGRESS_MS 300

/* ---- the model ------------------------------------------------------------------------------ */

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* the folder part of path[]: "." when it has none */
static void folder_of(const char *path, char *folder)
{
    const char *slash = strrchr(path, '/');
    size_t n = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (n >= PATH_SIZE) {
        n = 0;
    }
    (void)snprintf(folder, PATH_SIZE, "%.*s", n > 0 ? (int)n : 1, n > 0 ? path : ".");
}

static bool join(char *out, const char *folder, const char *name)
{
    int n = snprintf(out, PATH_SIZE, "%s/%s", folder, name);
    return n > 0 && n < PATH_SIZE;
}

/* where a model's companions lie: the folder it is, or is in */
static void model_folder(const char *path, char *folder)
{
    if (is_folder(path)) {
        (void)snprintf(folder, PATH_SIZE, "%s", path);
    } else {
        folder_of(path, folder);
    }
}

/* In a build folder a small file beside the program names the source tree. */
static bool source_tree(const char *exe_folder, char *root)
{
    char note[PATH_SIZE];
    FILE *file = join(note, exe_folder, "source-root") ? fopen(note, "re") : NULL;
    bool found = file && fgets(root, PATH_SIZE, file);
    if (file) {
        (void)fclose(file);
    }
    if (found) {
        root[strcspn(root, "\n")] = '\0';
    }
    return found;
}

static const char *find_bundled(void)
{
    static char path[PATH_SIZE];
    char exe[PATH_SIZE], exe_folder[PATH_SIZE], root[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n > 0) {
        exe[n] = '\0';
        folder_of(exe, exe_folder);
        if (source_tree(exe_folder, root) && join(path, root, BUNDLED) && exists(path)) {
            return path;
        }
        if (join(path, exe_folder, "../share/kvass/" BUNDLED) && exists(path)) {
            return path;
        }
    }
    return join(path, KVASS_DATA_FOLDER, BUNDLED) && exists(path) ? path : NULL;
}

const char *cli_find_model(const cli_options *opts)
{
    const char *model = opts->model;
    if (!model || model[0] == '\0') {
        model = getenv("KVASS_MODEL");
    }
    if (!model || model[0] == '\0') {
        model = find_bundled();
    }
    if (!model) {
        cli_say(
            "no model: give one with -m or KVASS_MODEL (the bundled weights are not installed)");
    }
    return model;
}

/* A progress line after PROGRESS_MS, by a timer: most models are open long before. */
static char progress_text[256];

static void on_timer(int signal_number)
{
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, progress_text, strlen(progress_text));
    (void)n;
    progress_text[0] = '\0';
}

static void start_progress(const char *path)
{
    const char *name = strrchr(path, '/');
    (void)snprintf(progress_text, sizeof progress_text, "loading %.200s ...",
                   name && name[1] != '\0' ? name + 1 : path);
    struct sigaction action = {.sa_handler = on_timer, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {.it_value = {.tv_usec = PROGRESS_MS * 1000}};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

static void stop_progress(void)
{
    struct itimerval off = {.it_value = {0}};
    (void)setitimer(ITIMER_REAL, &off, NULL);
    if (progress_text[0] == '\0') {
        (void)fputs("\r\033[K", stderr);
    }
}

int cli_open_model(cli_options *opts, bool header_only, kvass_model **model)
{
    const char *path = cli_find_model(opts);
    if (!path) {
        return CLI_USAGE;
    }
    kvass_model_options options = kvass_model_options_default();
    options.header_only = header_only;
    options.use_mmap = opts->use_mmap;
    if (opts->use_mmap) {
        cli_catch_bus_error();
    }
    const char *term = getenv("TERM");
    bool progress =
        !header_only && !opts->quiet && isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    if (progress) {
        start_progress(path);
    }
    kvass_error err;
    kvass_status status = kvass_model_open(model, path, &options, &err);
    if (progress) {
        stop_progress();
    }
    if (status != KVASS_OK) {
        return cli_fail(&err);
    }
    if (opts->window_is_sqrt) {
        kvass_model_info info;
        kvass_model_get_info(*model, &info);
        int32_t n_ctx = opts->context.n_ctx > 0 ? opts->context.n_ctx : info.n_ctx;
        opts->context.window = (int32_t)(4 * sqrt((double)n_ctx));
    }
    for (int32_t i = 0; opts->verbose && kvass_model_warning(*model, i); i++) {
        cli_say("%s", kvass_model_warning(*model, i));
    }
    return CLI_OK;
}

/* ---- the tokenizer -------------------------------------------------------------------------- */

bool cli_is_gguf(const kvass_model_info *info)
{
    return strncmp(info->format, "GGUF", 4) == 0;
}

/* whose tokenizers are not named alike */
static bool is_llama2c(const kvass_model_info *info)
{
    return strncmp(info->format, "llama2.c", 8) == 0;
}

/* The first of the llama2.c tokenizers in `folder` that fits; what was wrong with the first one
 * tried is left in *err. */
static kvass_status open_beside_bin(const char *folder, int32_t n_vocab, kvass_tokenizer **tok,
                                    kvass_error *err)
{
    char path[PATH_SIZE], name[64];
    (void)snprintf(name, sizeof name, "tok%d.bin", (int)n_vocab);
    const char *const names[] = {"tokenizer.bin", name};
    kvass_status status = KVASS_INVALID;
    bool tried = false;
    for (int i = 0; i < 2; i++) {
        if (join(path, folder, names[i]) && exists(path)) {
            status = kvass_tokenizer_open(tok, path, n_vocab, tried ? NULL : err);
            tried = true;
            if (status == KVASS_OK) {
                return KVASS_OK;
            }
        }
    }
    glob_t found = {0};
    if (join(path, folder, "tok*.bin") && glob(path, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            kvass_status again =
                kvass_tokenizer_open(tok, found.gl_pathv[i], n_vocab, tried ? NULL : err);
            status = tried && again != KVASS_OK ? status : again;
            tried = true;
            if (again == KVASS_OK) {
                break;
            }
        }
    }
    globfree(&found);
    if (!tried) {
        err->code = KVASS_UNSUPPORTED;
        err->rule = "TOKENIZER_MISSING";
        (void)snprintf(err->message, sizeof err->message,
                       "%.200s: no tokenizer.bin, tok%d.bin or tok*.bin beside the model; name one "
                       "with --tokenizer",
                       folder, (int)n_vocab);
        status = KVASS_UNSUPPORTED;
    }
    return status;
}

static kvass_status open_tokenizer(const cli_options *opts, const kvass_model *model,
                                   kvass_tokenizer **tok, kvass_error *err)
{
    kvass_model_info info = {0};
    if (model) {
        kvass_model_get_info(model, &info);
    }
    *tok = NULL;
    kvass_tokenizer_options options = kvass_tokenizer_options_default();
    options.n_vocab = info.n_vocab;
    options.pattern = opts->pattern;
    if (opts->tokenizer) {
        return kvass_tokenizer_open_as(tok, opts->tokenizer, &options, err);
    }
    if (cli_is_gguf(&info)) {
        return kvass_tokenizer_open_as(tok, info.path, &options, err);
    }
    char folder[PATH_SIZE];
    model_folder(info.path, folder);
    if (is_llama2c(&info)) {
        return open_beside_bin(folder, info.n_vocab, tok, err);
    }
    return kvass_tokenizer_open_as(tok, folder, &options, err);
}

size_t cli_tokenizer_bytes(const kvass_model *model, char *path, size_t n)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json"};
    char folder[PATH_SIZE], found[PATH_SIZE];
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    model_folder(info.path, folder);
    bool beside = !is_llama2c(&info) && !cli_is_gguf(&info);
    for (int i = 0; i < 2 && beside; i++) {
        struct stat st;
        if (join(found, folder, names[i]) && stat(found, &st) == 0 && S_ISREG(st.st_mode) &&
            strlen(found) < n) {
            (void)snprintf(path, n, "%s", found);
            return (size_t)st.st_size;
        }
    }
    return 0;
}

int cli_open_tokenizer(const cli_options *opts, const kvass_model *model, kvass_tokenizer **tok)
{
    kvass_error err;
    kvass_status status = open_tokenizer(opts, model, tok, &err);
    if (status == KVASS_OK) {
        return CLI_OK;
    }
    int code = cli_fail(&err);
    return !opts->tokenizer && status == KVASS_IO ? CLI_BAD_MODEL : code;
}

void cli_try_tokenizer(const cli_options *opts, const kvass_model *model, kvass_tokenizer **tok)
{
    kvass_error err;
    (void)open_tokenizer(opts, model, tok, &err);
}
