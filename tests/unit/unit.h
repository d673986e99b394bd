/* unit.h - cmocka and the headers it wants, and files for tests.
 * unit_shared() finds data that lies beside the source tree and is no part of it; a test without it
 * skips and says so.
 */
#ifndef KVASS_TESTS_UNIT_H
#define KVASS_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define UNIT_PATH_BYTES 512

/* path of `name` under $KVASS_SHARED, or under ../shared beside $KVASS_SOURCE_ROOT; skips the test
 * when it is not there */
static inline const char *unit_shared(const char *name, char path[UNIT_PATH_BYTES])
{
    const char *shared = getenv("KVASS_SHARED"), *root = getenv("KVASS_SOURCE_ROOT");
    if (shared) {
        (void)snprintf(path, UNIT_PATH_BYTES, "%s/%s", shared, name);
    } else {
        (void)snprintf(path, UNIT_PATH_BYTES, "%s/../shared/%s", root ? root : ".", name);
    }
    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    return path;
}

/* The whole file; free() it. */
static inline char *unit_slurp(const char *path, size_t *n_bytes)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fail_msg("cannot open %s", path);
    }
    char *bytes = NULL;
    size_t n, cap = 0;
    *n_bytes = 0;
    do {
        cap = cap * 2 + 65536;
        bytes = realloc(bytes, cap + 1);
        assert_non_null(bytes);
        n = fread(bytes + *n_bytes, 1, cap - *n_bytes, f);
        *n_bytes += n;
    } while (*n_bytes == cap);
    (void)fclose(f);
    bytes[*n_bytes] = '\0';
    return bytes;
}

static inline void unit_write(const char *path, const void *bytes, size_t n_bytes)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n_bytes, f), n_bytes);
    assert_int_equal(fclose(f), 0);
}

/* A fresh folder; remove its files and then rmdir() it. */
static inline void unit_folder(char path[UNIT_PATH_BYTES])
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(path, UNIT_PATH_BYTES, "%s/kvass-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
}

/* A small generator for random inputs; print the seed where it is chosen. */
static inline uint32_t unit_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

#endif
