/* replay.c - main() of a fuzz target without libFuzzer: runs the committed inputs.
 * Arguments are files and folders of files. Each input is run whole, then shortened to some
 * lengths, then with a few bytes changed; the changes come from a fixed seed and each input's own
 * name, so a failure is met again by running that file alone. `--plain` runs the inputs only. When
 * a promise is broken the guilty input is written to the file that KVASS_FUZZ_KEEP names.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

enum { N_SHORTER = 24, N_CHANGED = 40 };

static bool plain;
static long n_inputs;

static uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static const uint8_t *current;
static size_t n_current;

static void keep_input(int signal_number)
{
    const char *path = getenv("KVASS_FUZZ_KEEP");
    FILE *f = path ? fopen(path, "wb") : NULL;
    if (f) {
        (void)fwrite(current, 1, n_current, f);
        (void)fclose(f);
    }
    (void)signal(signal_number, SIG_DFL);
}

static void run(const uint8_t *bytes, size_t n_bytes)
{
    current = bytes;
    n_current = n_bytes;
    (void)LLVMFuzzerTestOneInput(bytes, n_bytes);
    n_inputs++;
}

static void run_variants(const char *name, uint8_t *bytes, size_t n_bytes)
{
    uint64_t state = 1;
    for (const char *c = name; *c; c++) {
        state = state * 31 + (unsigned char)*c;
    }
    for (size_t i = 0; i < N_SHORTER && n_bytes > 0; i++) {
        run(bytes, i < 8 ? n_bytes - 1 - i % n_bytes : next_random(&state) % n_bytes);
    }
    for (int i = 0; i < N_CHANGED && n_bytes > 0; i++) {
        size_t at[3];
        uint8_t old[3];
        for (int k = 0; k < 3; k++) {
            at[k] = next_random(&state) % n_bytes;
            old[k] = bytes[at[k]];
            bytes[at[k]] = (uint8_t)(k == 0 ? next_random(&state) : old[k] ^ 1u << i % 8);
            run(bytes, n_bytes); /* one, two, three changes */
        }
        for (int k = 2; k >= 0; k--) {
            bytes[at[k]] = old[k];
        }
    }
}

static bool run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        (void)fprintf(stderr, "%s: cannot be opened\n", path);
        return false;
    }
    (void)fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    size_t n = size > 0 ? (size_t)size : 0;
    uint8_t *bytes = malloc(n + 1);
    bool ok = bytes && fread(bytes, 1, n, f) == n;
    (void)fclose(f);
    if (ok) {
        run(bytes, n);
        if (!plain) {
            const char *slash = strrchr(path, '/');
            run_variants(slash ? slash + 1 : path, bytes, n);
        }
    }
    free(bytes);
    return ok;
}

static bool run_folder(const char *path)
{
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    bool ok = n >= 0;
    for (int i = 0; i < n; i++) {
        char file[1024];
        (void)snprintf(file, sizeof file, "%s/%s", path, entries[i]->d_name);
        ok = (entries[i]->d_name[0] == '.' || run_file(file)) && ok;
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
    return ok;
}

int main(int argc, char **argv)
{
    bool ok = argc > 1;
    (void)signal(SIGABRT, keep_input);
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (strcmp(argv[i], "--plain") == 0) {
            plain = true;
        } else if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode)) {
            ok = run_folder(argv[i]) && ok;
        } else {
            ok = run_file(argv[i]) && ok;
        }
    }
    (void)printf("%ld inputs\n", n_inputs);
    return ok && n_inputs > 0 ? 0 : 1;
}
