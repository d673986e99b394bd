/* test_checkpoint.c - what a path may be: which reader takes it, and how everything else is
 * refused. */
#include <sys/stat.h>

#include "model/checkpoint.h"
#include "tests/unit/model_files.h"

static void other_files_are_refused_by_what_they_are(void **state)
{
    const folder *f = *state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *needle;
    } cases[] = {
        {"", 0, "found an empty file"},
        {"<!DOCTYPE html><html>", 21, "found a saved web page"},
        {"\n\n  <html lang=\"en\">", 20, "found a saved web page"},
        {"version https://git-lfs.github.com/spec/v1\noid", 46, "found a Git LFS pointer"},
        {"\x80\2}q\1.", 6, "found a Python pickle"},
        {"\x1f\x8b\x08\0", 4, "found a gzip file"},
        {"\x89HDF\r\n", 6, "found an HDF5 file"},
        {"\x93NUMPY\1\0", 8, "found a NumPy array"},
        {"lmgg\1\0\0\0", 8, "found an old GGML file"},
        {"{\"model_type\": \"llama\"}", 23, "found JSON text"},
        {"\177ELF\2\1\1", 7, "found a program"},
        {"just a sentence", 15, "found an unknown kind of file"},
    };
    static const char *const names[] = {"model.safetensors", "model.bin", "model"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool known = !strstr(cases[i].needle, "unknown");
        for (size_t k = known ? 0 : 2; k < 3; k++) {
            unit_write(in_folder(f, names[k]), cases[i].bytes, cases[i].n);
            expect_refused(in_folder(f, names[k]), "CHECKPOINT_KIND", cases[i].needle);
            expect_refused(in_folder(f, names[k]), "CHECKPOINT_KIND", names[k]);
        }
    }
}

static void what_is_no_file_is_refused(void **state)
{
    const folder *f = *state;
    expect_refused(in_folder(f, "nothing"), "FILE_OPEN", "nothing: cannot be opened");
    assert_int_equal(mkfifo(in_folder(f, "fifo.bin"), 0600), 0);
    expect_refused(in_folder(f, "fifo.bin"), "FILE_KIND", "found a FIFO");
    expect_refused("/dev/zero", "FILE_KIND", "device");
    expect_refused("", "FILE_OPEN", "cannot be opened");
}

static void folders_are_searched(void **state)
{
    const folder *f = *state;
    expect_refused(f->path, "CHECKPOINT_KIND", "found a folder with none of them");
    write_text(f, "tf_model.h5", "x");
    expect_refused(f->path, "CHECKPOINT_KIND", "found only tf_model.h5");
    write_text(f, "ckpt.pt", "PK\3\4");
    expect_refused(f->path, "ZIP", "ckpt.pt: its directory: expected a zip archive in order");
    write_text(f, "pytorch_model.bin", "PK\3\4");
    expect_refused(f->path, "ZIP", "pytorch_model.bin: its directory");
    write_text(f, "model.safetensors.index.json", "{}");
    expect_refused(f->path, "INDEX_JSON", "model.safetensors.index.json");
    write_text(f, "model.safetensors", "12345");
    expect_refused(f->path, "HEADER_SIZE", "model.safetensors: expected at least 8 bytes, found 5");
}

static void pytorch_shards_are_listed_by_an_index(void **state)
{
    static const struct {
        const char *index, *rule, *needle;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"a.bin\"}}", "FILE_OPEN", "a.bin: cannot be opened"},
        {"{\"weight_map\":{\"a\":\"../a.bin\"}}", "INDEX_NAME", "found \"../a.bin\""},
        {"{\"weight_map\":{\"a\":\"a.bin\",\"b\":\"b.safetensors\"}}", "INDEX_NAME",
         "the name of a .bin file in this folder, found \"b.safetensors\""},
        {"{\"weight_map\":{\"a\":\"a.pt\"}}", "INDEX_NAME", "found \"a.pt\""},
        {"{\"weight_map\":{\"a\":\"text.bin\"}}", "ZIP", "text.bin: its directory"},
        {"{}", "INDEX_JSON", "pytorch_model.bin.index.json"},
    };
    const folder *f = *state;
    write_text(f, "text.bin", "no archive");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(f, "pytorch_model.bin.index.json", cases[i].index);
        expect_refused(f->path, cases[i].rule, cases[i].needle);
    }
}

static void paths_may_end_in_slashes_or_stand_alone(void **state)
{
    const folder *f = *state;
    char path[UNIT_PATH_BYTES + 8], old[UNIT_PATH_BYTES];
    builder *b = calloc(1, sizeof *b);
    add_tiny_llama(b, "F32", true, false);
    write_builder(b, in_folder(f, "model.safetensors"));
    write_text(f, "config.json", TINY_LLAMA_CONFIG "}");
    (void)snprintf(path, sizeof path, "%s///", f->path);
    kvass_model *m = expect_opens(path, NULL);
    kvass_model_close(&m);
    m = expect_opens(in_folder(f, "model.safetensors"), NULL);
    kvass_model_close(&m);
    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(f->path), 0);
    m = expect_opens("model.safetensors", NULL);
    kvass_model_close(&m);
    m = expect_opens(".", NULL);
    kvass_model_close(&m);
    assert_int_equal(chdir(old), 0);
    free(b);
}

static void warnings_are_kept_up_to_a_number(void **state)
{
    (void)state;
    kvass_checkpoint *ckpt = calloc(1, sizeof *ckpt);
    for (int i = 0; i < 100; i++) {
        kvass_checkpoint_warn(ckpt, "warning %d", i);
    }
    assert_int_equal(ckpt->n_warnings, 64);
    assert_string_equal(ckpt->warnings[63], "warning 63");
    kvass_checkpoint_close(&ckpt);
    assert_null(ckpt);
    kvass_checkpoint_close(&ckpt);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(other_files_are_refused_by_what_they_are),
        TEST(what_is_no_file_is_refused),
        TEST(folders_are_searched),
        TEST(pytorch_shards_are_listed_by_an_index),
        TEST(paths_may_end_in_slashes_or_stand_alone),
        cmocka_unit_test(warnings_are_kept_up_to_a_number),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
