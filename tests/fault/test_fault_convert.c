/* test_fault_convert.c - converting while memory, writes, syncs, renames and reads fail, each in
 * turn: what was there before stays, no part of the new file is left, all memory comes back. And
 * PyTorch, GGUF and sharded files, opened in the same way.
 */
#include "tests/unit/unit.h"

#include <dirent.h>

#include "engine/kvass.h"
#include "tests/fault/fault.h"

static kvass_model *model;
static kvass_tokenizer *tok;
static char folder[UNIT_PATH_BYTES], target[UNIT_PATH_BYTES + 16];

static const char *source_path(const char *name)
{
    static char path[2 * UNIT_PATH_BYTES];
    const char *root = getenv("KVASS_SOURCE_ROOT");
    (void)snprintf(path, sizeof path, "%s/%s", root ? root : ".", name);
    return path;
}

typedef kvass_status operation(const char *argument, kvass_error *err);

/* ---- operations ------------------------------------------------------------------------------ */

static kvass_status to_gguf(const char *path, kvass_error *err)
{
    kvass_convert_options opt = kvass_convert_options_default();
    opt.type = KVASS_DTYPE_Q8_0;
    opt.replace = true;
    return kvass_model_convert(model, path, &opt, err);
}

static kvass_status to_safetensors(const char *path, kvass_error *err)
{
    kvass_convert_options opt = kvass_convert_options_default();
    opt.container = KVASS_CONTAINER_SAFETENSORS;
    opt.type = KVASS_DTYPE_F16;
    return kvass_model_convert(model, path, &opt, err);
}

static kvass_status describe(const char *path, kvass_error *err)
{
    kvass_metadata *m = NULL;
    const char *lost;
    kvass_tokenizer_info info;
    (void)path;
    kvass_tokenizer_get_info(tok, &info);
    kvass_status status = kvass_tokenizer_describe(tok, info.n_vocab + 3, &m, &lost, err);
    bool right = (m != NULL) == (status == KVASS_OK);
    kvass_metadata_close(&m);
    return right ? status : KVASS_INVALID;
}

static kvass_status describe_json(const char *path, kvass_error *err)
{
    kvass_metadata *m = NULL;
    (void)path;
    kvass_status status = kvass_tokenizer_describe_json(tok, &m, err);
    bool right = (m != NULL) == (status == KVASS_OK);
    kvass_metadata_close(&m);
    return right ? status : KVASS_INVALID;
}

static kvass_status open_model(const char *path, kvass_error *err)
{
    kvass_model *m = NULL;
    kvass_status status = kvass_model_open(&m, path, NULL, err);
    bool right = (m != NULL) == (status == KVASS_OK);
    kvass_model_close(&m);
    return right ? status : KVASS_INVALID;
}

/* ---- the folder ------------------------------------------------------------------------------ */

static size_t count_files(void)
{
    DIR *dir = opendir(folder);
    size_t n = 0;
    assert_non_null(dir);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        n += e->d_name[0] != '.';
    }
    (void)closedir(dir);
    return n;
}

static bool is_old(void)
{
    size_t n;
    char *bytes = unit_slurp(target, &n);
    bool old = n == 3 && memcmp(bytes, "old", 3) == 0;
    free(bytes);
    return old;
}

static void remove_target(void)
{
    static const char *const names[] = {"model.safetensors", "config.json"};
    char path[UNIT_PATH_BYTES + 64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", target, names[i]);
        (void)remove(path);
    }
    (void)remove(target);
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* Calls of `kind` fail one after the other; what `after` looks at is right each time. */
static long each_failure(operation *run, const char *argument, fault_kind kind,
                         void (*before)(void), void (*after)(bool done, bool failed))
{
    int n_grown = 0;
    kvass_error err = {0};
    if (before) {
        before();
    }
    assert_int_equal(run(argument, &err), KVASS_OK); /* libraries fill what they keep */
    for (long n = 0;; n++) {
        if (before) {
            before();
        }
        long live = fault_live();
        err = (kvass_error){0};
        fault_begin(kind, n, false);
        kvass_status status = run(argument, &err);
        long failed = fault_end();
        /* a library may keep a block, but not for each call; and free what a sanitizer's own
         * functions gave it, which nothing counted */
        if (fault_live() > live && ++n_grown < 3) {
            n--;
            continue;
        }
        if (n_grown == 3) {
            fail_msg("%s, call %ld: %ld blocks leaked", argument, n, fault_live() - live);
        }
        n_grown = 0;
        if (after) {
            after(status == KVASS_OK, failed > 0);
        }
        if (status != KVASS_OK && (status == KVASS_INVALID || !err.rule || !err.message[0])) {
            fail_msg("%s, call %ld: status %d, %s", argument, n, (int)status, err.message);
        }
        if (!failed) {
            assert_int_equal(status, KVASS_OK);
            return n;
        }
    }
}

static const fault_kind kinds[] = {FAULT_MEMORY, FAULT_WRITE_ERROR, FAULT_SYNC,
                                   FAULT_RENAME, FAULT_READ_ERROR,  FAULT_READ_END};

static void put_old(void)
{
    unit_write(target, "old", 3);
}

/* The old file, or the new one; only its folder's own sync comes after it has its name. */
static void look_at_file(bool done, bool failed)
{
    assert_int_equal(count_files(), 1);
    assert_true(!done || !is_old());
    assert_true(done || failed);
}

static void gguf(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        long n = each_failure(to_gguf, target, kinds[k], put_old, look_at_file);
        print_message("GGUF: kind %d: %ld\n", (int)kinds[k], n);
        assert_true(n > 0);
    }
    assert_int_equal(remove(target), 0);
}

static void look_at_folder(bool done, bool failed)
{
    assert_int_equal(count_files(), done ? 1 : 0);
    assert_true(done || failed);
    remove_target();
}

static void safetensors(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        long n = each_failure(to_safetensors, target, kinds[k], remove_target, look_at_folder);
        print_message("safetensors: kind %d: %ld\n", (int)kinds[k], n);
        assert_true(n > 0);
    }
}

static void tokenizers(void **state)
{
    static const char *const paths[] = {"tests/fault/tokenizers/tokenizer.bin",
                                        "tests/fault/tokenizers/pair",
                                        "tests/fault/tokenizers/bpe.model"};
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        kvass_error err;
        if (kvass_tokenizer_open(&tok, source_path(paths[i]), 0, &err) != KVASS_OK) {
            fail_msg("%s", err.message);
        }
        assert_true(each_failure(describe, paths[i], FAULT_MEMORY, NULL, NULL) > 0);
        if (i == 1) { /* the others are no BPE of bytes */
            assert_true(each_failure(describe_json, paths[i], FAULT_MEMORY, NULL, NULL) > 0);
        }
        kvass_tokenizer_close(&tok);
    }
}

static void openings(void **state)
{
    static const char *const paths[] = {"tests/golden/torch/views", "tests/golden/torch/llama2c.pt",
                                        "tests/golden/torch/ckpt.pt", "tests/golden/torch/sharded",
                                        "tests/golden/llama-bias/model.gguf"};
    static const fault_kind faults[] = {FAULT_MEMORY, FAULT_MAP, FAULT_READ_ERROR, FAULT_READ_END};
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
            long n = each_failure(open_model, source_path(paths[i]), faults[k], NULL, NULL);
            assert_true(n > 0 || faults[k] == FAULT_MAP);
        }
    }
}

static int set_up(void **state)
{
    (void)state;
    unit_folder(folder);
    (void)snprintf(target, sizeof target, "%s/target", folder);
    return kvass_model_open(&model, source_path("tests/golden/llama-bias"), NULL, NULL) != KVASS_OK;
}

static int tear_down(void **state)
{
    (void)state;
    kvass_model_close(&model);
    return remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf),
        cmocka_unit_test(safetensors),
        cmocka_unit_test(tokenizers),
        cmocka_unit_test(openings),
    };
    if (!fault_prepare()) {
        (void)fprintf(stderr, "fault: jansson's code was not found\n");
        return 1;
    }
    return cmocka_run_group_tests_name("fault_convert", tests, set_up, tear_down);
}
