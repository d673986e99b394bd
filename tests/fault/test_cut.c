/* test_cut.c - tokenizer files that end too early, at every byte. A JSON document must be refused
 * until its last bracket; tokenizer.bin, which stores no count, unless it ends between two pieces.
 */
#include "tests/unit/unit.h"

#include "engine/kvass.h"

enum { TRAILING = 1 }; /* the newline after the JSON fixtures */

static char folder[UNIT_PATH_BYTES];

static const char *at(const char *name)
{
    static char path[2 * UNIT_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static char *fixture(const char *name, size_t *n_bytes)
{
    char path[UNIT_PATH_BYTES];
    const char *root = getenv("KVASS_SOURCE_ROOT");
    (void)snprintf(path, sizeof path, "%s/tests/fault/tokenizers/%s", root ? root : ".", name);
    return unit_slurp(path, n_bytes);
}

/* Open the file cut to n_bytes. */
static kvass_status open_cut(const char *name, const char *bytes, size_t n_bytes)
{
    kvass_tokenizer *tok;
    kvass_error err = {0};
    unit_write(at(name), bytes, n_bytes);
    kvass_status status = kvass_tokenizer_open(&tok, at(name), 0, &err);
    if (status != KVASS_OK) {
        assert_null(tok);
        assert_int_equal(err.code, status);
        assert_true(err.rule && err.message[0]);
        assert_true(status == KVASS_FORMAT || status == KVASS_UNSUPPORTED);
    }
    kvass_tokenizer_close(&tok);
    return status;
}

static void documents(void **state)
{
    static const char *const names[] = {"json/tokenizer.json", "sentence/tokenizer.json"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        size_t n;
        char *bytes = fixture(names[i], &n);
        assert_true(n > 1000);
        for (size_t cut = 0; cut <= n; cut++) {
            bool whole = cut >= n - TRAILING;
            if ((open_cut("tokenizer.json", bytes, cut) == KVASS_OK) != whole) {
                fail_msg("%s cut to %zu of %zu bytes", names[i], cut, n);
            }
        }
        free(bytes);
    }
}

static void pieces(void **state)
{
    size_t n, next = 4; /* where the next piece begins */
    char *bytes = fixture("tokenizer.bin", &n);
    int n_pieces = 0;
    (void)state;
    assert_true(n > 1000);
    for (size_t cut = 0; cut <= n; cut++) {
        bool between = cut == next;
        if ((open_cut("tokenizer.bin", bytes, cut) == KVASS_OK) != (between && n_pieces >= 3)) {
            fail_msg("tokenizer.bin cut to %zu of %zu bytes (%d pieces)", cut, n, n_pieces);
        }
        if (between && cut < n) {
            int32_t length;
            memcpy(&length, bytes + cut + 4, sizeof length);
            next += 8 + (size_t)length;
            n_pieces++;
        }
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents),
        cmocka_unit_test(pieces),
    };
    unit_folder(folder);
    int n_failed = cmocka_run_group_tests_name("cut", tests, NULL, NULL);
    (void)unlink(at("tokenizer.json"));
    (void)unlink(at("tokenizer.bin"));
    (void)rmdir(folder);
    return n_failed;
}
