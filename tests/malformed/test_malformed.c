/* test_malformed.c - every file of cases.zip is refused as index.txt says: by its rule, with a
 * message that names the file and tells what is wrong, and within 64 MiB and 16 times the file.
 * tools/reference/malformed.py makes both and says how to look through what is said (--say).
 * Compiled twice: models and tokenizers, without BLAS and under a limit of address space; saved
 * sequences (SESSIONS), which need an engine. A line of the index: name, what is opened, rule,
 * fragment of the message, what is wrong, parted by tabs.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/unit.h"

#include "engine/base/archive.h"
#include "engine/kvass.h"

#if defined(__SANITIZE_ADDRESS__)
#define LIMITED 0 /* the sanitizer's own address space is far beyond any limit */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LIMITED 0
#endif
#endif
#ifndef LIMITED
#define LIMITED 1
#endif
#ifndef SESSIONS
#define SESSIONS 0
#endif

enum { MAX_CASES = 1024, MAX_ENTRIES = 4096, MAX_FILE = 1 << 22, MIB = 1 << 20 };

typedef struct malformed {
    char *name, *opened, *rule, *says, *wrong;
} malformed;

static malformed cases[MAX_CASES];
static int n_cases;
static char folder[UNIT_PATH_BYTES];
static kvass_file archive;
static kvass_zip *zip;

/* ---- the index ------------------------------------------------------------------------------- */

static void read_index(char *text)
{
    for (char *line; (line = strsep(&text, "\n")) && *line;) {
        assert_true(n_cases < MAX_CASES);
        malformed *c = &cases[n_cases++];
        char **parts[] = {&c->name, &c->opened, &c->rule, &c->says, &c->wrong};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            *parts[i] = strsep(&line, "\t");
            assert_non_null(*parts[i]);
        }
    }
}

/* ---- files ----------------------------------------------------------------------------------- */

/* Entry i of the archive when it is a file of the case: its path in the folder, else NULL. */
static const char *file_of(const malformed *c, int32_t i)
{
    const char *name = kvass_zip_name(zip, i);
    size_t n = strlen(c->name);
    return name && strncmp(name, c->name, n) == 0 && name[n] == '/' ? name + n + 1 : NULL;
}

static void path_in(char out[2 * UNIT_PATH_BYTES], const char *name)
{
    (void)snprintf(out, 2 * UNIT_PATH_BYTES, "%s/%s", folder, name);
}

/* Write the case's files into `folder`, or remove them; their bytes together. */
static size_t unpack(const malformed *c, bool remove)
{
    size_t total = 0;
    for (int32_t i = 0; i < kvass_zip_size(zip); i++) {
        const char *name = file_of(c, i);
        char path[2 * UNIT_PATH_BYTES], *bytes;
        size_t n;
        if (!name) {
            continue;
        }
        path_in(path, name);
        if (remove) {
            assert_int_equal(unlink(path), 0);
            continue;
        }
        kvass_error err = {0};
        assert_int_equal(kvass_zip_slurp(zip, i, MAX_FILE, &bytes, &n, &err), KVASS_OK);
        unit_write(path, bytes, n);
        free(bytes);
        total += n;
    }
    return total;
}

/* ---- opening --------------------------------------------------------------------------------- */

#if !SESSIONS
static void limit_memory(size_t n_bytes)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lu", &pages) != 1) {
        _exit(3);
    }
    (void)fclose(f);
    rlim_t limit = pages * (rlim_t)sysconf(_SC_PAGESIZE) + 64 * MIB + 16 * n_bytes;
    struct rlimit r = {.rlim_cur = limit, .rlim_max = limit};
    if (LIMITED && setrlimit(RLIMIT_AS, &r) != 0) {
        _exit(3);
    }
}

/* true and *err when the case's file is refused */
static bool refused(const malformed *c, kvass_error *err)
{
    kvass_model *model = NULL;
    kvass_tokenizer *tok = NULL;
    char path[2 * UNIT_PATH_BYTES];
    bool is_model = strncmp(c->opened, "model ", 6) == 0;
    const char *name = strchr(c->opened, ' ') + 1;
    path_in(path, name);
    kvass_status status =
        is_model ? kvass_model_open(&model, strcmp(name, ".") ? path : folder, NULL, err)
                 : kvass_tokenizer_open(&tok, strcmp(name, ".") ? path : folder, 0, err);
    kvass_model_close(&model);
    kvass_tokenizer_close(&tok);
    return status != KVASS_OK;
}

static bool is_ours(const malformed *c)
{
    return strcmp(c->opened, "session") != 0;
}
#else
static kvass_model *model;
static kvass_context *ctx;
static kvass_seq *seq;
static char *saved;
static size_t n_saved;

static void limit_memory(size_t n_bytes)
{
    (void)n_bytes; /* BLAS needs more by itself; nothing is allocated while a sequence loads */
}

static int open_engine(const char *root)
{
    kvass_error err = {0};
    char path[2 * UNIT_PATH_BYTES];
    int32_t tokens[40];
    kvass_context_options opt = kvass_context_options_default();
    opt.n_ctx = 64;
    opt.n_threads = 1;
    for (int32_t i = 0; i < 40; i++) {
        tokens[i] = i % 7 + 1;
    }
    (void)snprintf(path, sizeof path, "%s/tests/golden/llama-gqa", root);
    bool ok = kvass_model_open(&model, path, NULL, &err) == KVASS_OK &&
              kvass_context_open(&ctx, model, &opt, &err) == KVASS_OK &&
              kvass_seq_open(&seq, ctx, &err) == KVASS_OK &&
              kvass_prefill(seq, tokens, 40, &err) == KVASS_OK;
    path_in(path, "saved");
    ok = ok && kvass_seq_save(seq, path, &err) == KVASS_OK;
    if (!ok) {
        print_message("%s\n", err.message);
        return -1;
    }
    saved = unit_slurp(path, &n_saved);
    return unlink(path) == 0 && kvass_seq_truncate(seq, 0, &err) == KVASS_OK ? 0 : -1;
}

/* Apply changes: offset and length, little-endian int32, and as many bytes; length -1 cuts. A
 * negative offset counts from the end. */
static size_t apply(char *bytes, size_t n, const char *patch, size_t n_patch)
{
    for (size_t at = 0; at + 8 <= n_patch;) {
        int32_t offset, length;
        memcpy(&offset, patch + at, 4);
        memcpy(&length, patch + at + 4, 4);
        size_t place = offset < 0 ? n - (size_t)-offset : (size_t)offset;
        at += 8;
        if (length < 0) {
            n = place;
        } else {
            memcpy(bytes + place, patch + at, (size_t)length);
            at += (size_t)length;
        }
    }
    return n;
}

static bool refused(const malformed *c, kvass_error *err)
{
    (void)c;
    char path[2 * UNIT_PATH_BYTES];
    size_t n_patch, n_left = 0;
    path_in(path, "patch");
    char *patch = unit_slurp(path, &n_patch), *bytes = malloc(n_saved);
    assert_non_null(bytes);
    memcpy(bytes, saved, n_saved);
    size_t n = apply(bytes, n_saved, patch, n_patch);
    free(patch);
    path_in(path, "changed");
    unit_write(path, bytes, n);
    free(bytes);
    kvass_status status = kvass_seq_load(seq, path, NULL, err);
    n_left = (size_t)kvass_seq_n_tokens(seq);
    assert_int_equal(unlink(path), 0);
    return status != KVASS_OK && n_left == 0;
}

static bool is_ours(const malformed *c)
{
    return strcmp(c->opened, "session") == 0;
}
#endif

/* In a process of its own, so that the limit ends with it. Exits 0 when all is as it should be. */
static bool as_expected(const malformed *c, size_t n_bytes, bool say)
{
    (void)fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        kvass_error err = {0};
        limit_memory(n_bytes);
        bool was_refused = refused(c, &err), named = strstr(err.message, folder) != NULL;
        bool ok = was_refused && named && strcmp(err.rule, c->rule) == 0 &&
                  strstr(err.message, c->says) != NULL;
        if (say) {
            const char *short_message =
                named ? strstr(err.message, folder) + strlen(folder) : err.message;
            (void)printf("%s\t%s\t%s\t(%s)\n", c->name, was_refused ? err.rule : "ACCEPTED",
                         short_message, c->wrong);
        } else if (!ok) {
            (void)fprintf(stderr, "%s (%s): expected %s \"%s\", found %s %s \"%s\"%s\n", c->name,
                          c->wrong, c->rule, c->says, was_refused ? "" : "no refusal",
                          was_refused ? err.rule : "", err.message,
                          named ? "" : ", which does not name the file");
        }
        (void)fflush(NULL);
        _exit(ok || say ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFEXITED(status)) {
        print_message("%s (%s): ended by signal %d\n", c->name, c->wrong, WTERMSIG(status));
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int run_all(bool say)
{
    int n_wrong = 0, n_run = 0;
    for (int i = 0; i < n_cases; i++) {
        if (is_ours(&cases[i])) {
            size_t n_bytes = unpack(&cases[i], false);
            n_wrong += !as_expected(&cases[i], n_bytes, say);
            (void)unpack(&cases[i], true);
            n_run++;
        }
    }
    if (!say) {
        print_message("%d malformed files, %d not refused as they should be\n", n_run, n_wrong);
    }
    return n_wrong;
}

static void all_are_refused(void **state)
{
    (void)state;
    assert_int_equal(run_all(false), 0);
    assert_true(n_cases >= 400);
}

/* arguments: the folder with both files, the root of the source tree, and maybe --say */
int main(int argc, char **argv)
{
    char path[UNIT_PATH_BYTES];
    size_t n;
    kvass_error err = {0};
    assert_true(argc >= 3);
    unit_folder(folder);
    (void)snprintf(path, sizeof path, "%s/index.txt", argv[1]);
    char *index = unit_slurp(path, &n);
    read_index(index);
    (void)snprintf(path, sizeof path, "%s/cases.zip", argv[1]);
    assert_int_equal(kvass_file_open(&archive, path, &err), KVASS_OK);
    assert_int_equal(kvass_zip_open(&zip, &archive, &err), KVASS_OK);
    int result = 0;
#if SESSIONS
    assert_int_equal(open_engine(argv[2]), 0);
#endif
    if (argc > 3 && strcmp(argv[3], "--say") == 0) {
        (void)run_all(true);
    } else {
        const struct CMUnitTest tests[] = {cmocka_unit_test(all_are_refused)};
        result = cmocka_run_group_tests_name("malformed", tests, NULL, NULL);
    }
#if SESSIONS
    kvass_seq_close(&seq);
    kvass_context_close(&ctx);
    kvass_model_close(&model);
    free(saved);
#endif
    kvass_zip_close(&zip);
    kvass_file_close(&archive);
    free(index);
    (void)rmdir(folder);
    return result;
}
