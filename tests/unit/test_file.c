/* test_file.c - regular files: ranges, kinds, maps, slurping; and the cursor of reader.h. */
#include <sys/stat.h>

#include "engine/base/file.h"
#include "engine/base/reader.h"
#include "tests/unit/unit.h"

static char dir[UNIT_PATH_BYTES];

static const char *at(const char *name)
{
    static char path[2 * UNIT_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int make_dir(void **state)
{
    (void)state;
    unit_folder(dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    (void)unlink(at("a"));
    (void)unlink(at("fifo"));
    return rmdir(dir);
}

static void ranges_are_read_exactly(void **state)
{
    (void)state;
    kvass_file file;
    kvass_error err = {0};
    char buf[8];
    unit_write(at("a"), "0123456789", 10);
    assert_int_equal(kvass_file_open(&file, at("a"), &err), KVASS_OK);
    assert_int_equal(file.size, 10);
    for (uint64_t offset = 0; offset <= 12; offset++) {
        for (size_t n = 0; n <= 8; n++) {
            memset(buf, 'x', sizeof buf);
            kvass_status status = kvass_file_read(&file, offset, buf, n, &err);
            if (offset + n <= 10) {
                assert_int_equal(status, KVASS_OK);
                assert_memory_equal(buf, &"0123456789"[offset], n);
            } else {
                assert_int_equal(status, KVASS_FORMAT);
                assert_string_equal(err.rule, "FILE_TRUNCATED");
                assert_non_null(strstr(err.message, "found a file of 10 bytes"));
            }
            for (size_t i = status == KVASS_OK ? n : 0; i < sizeof buf; i++) {
                assert_int_equal(buf[i], 'x');
            }
        }
    }
    assert_int_equal(kvass_file_read(&file, UINT64_MAX, buf, 2, &err), KVASS_FORMAT);
    assert_int_equal(kvass_file_read(&file, 1, buf, SIZE_MAX, &err), KVASS_FORMAT);
    kvass_file_close(&file);
    assert_int_equal(file.fd, -1);
    kvass_file_close(&file);
}

static void a_file_that_shrinks_is_noticed(void **state)
{
    (void)state;
    kvass_file file;
    kvass_error err = {0};
    char buf[10];
    unit_write(at("a"), "0123456789", 10);
    assert_int_equal(kvass_file_open(&file, at("a"), &err), KVASS_OK);
    assert_int_equal(truncate(at("a"), 4), 0);
    assert_int_equal(kvass_file_read(&file, 0, buf, 10, &err), KVASS_FORMAT);
    assert_string_equal(err.rule, "FILE_TRUNCATED");
    assert_non_null(strstr(err.message, "became shorter"));
    kvass_file_close(&file);
}

static void files_are_mapped(void **state)
{
    (void)state;
    kvass_file file;
    kvass_error err = {0};
    unit_write(at("a"), "0123456789", 10);
    assert_int_equal(kvass_file_open(&file, at("a"), &err), KVASS_OK);
    assert_null(file.map);
    assert_int_equal(kvass_file_map(&file, &err), KVASS_OK);
    assert_memory_equal(file.map, "0123456789", 10);
    const void *map = file.map;
    assert_int_equal(kvass_file_map(&file, &err), KVASS_OK);
    assert_ptr_equal(file.map, map);
    kvass_file_close(&file);
    assert_null(file.map);
    unit_write(at("a"), "", 0);
    assert_int_equal(kvass_file_open(&file, at("a"), &err), KVASS_OK);
    assert_int_equal(kvass_file_map(&file, &err), KVASS_OK);
    assert_null(file.map);
    kvass_file_close(&file);
}

static void only_regular_files_open(void **state)
{
    (void)state;
    kvass_file file;
    kvass_error err = {0};
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_int_equal(kvass_file_open(&file, at("fifo"), &err), KVASS_IO);
    assert_string_equal(err.rule, "FILE_KIND");
    assert_int_equal(kvass_file_open(&file, "/dev/zero", &err), KVASS_IO);
    assert_string_equal(err.rule, "FILE_KIND");
    assert_int_equal(kvass_file_open(&file, dir, &err), KVASS_IO);
    assert_non_null(strstr(err.message, "found a folder"));
    assert_int_equal(kvass_file_open(&file, at("missing"), &err), KVASS_IO);
    assert_string_equal(err.rule, "FILE_OPEN");
    assert_non_null(strstr(err.message, "No such file"));
    assert_int_equal(file.fd, -1);
}

static void small_files_are_slurped(void **state)
{
    (void)state;
    kvass_error err = {0};
    char *text = (char *)&err;
    size_t n = 77;
    unit_write(at("a"), "ab\0cd", 5);
    assert_int_equal(kvass_file_slurp(at("a"), 4, &text, &n, &err), KVASS_FORMAT);
    assert_string_equal(err.rule, "FILE_SIZE");
    assert_ptr_equal(text, (char *)&err);
    assert_int_equal(n, 77);
    assert_int_equal(kvass_file_slurp(at("a"), 5, &text, &n, &err), KVASS_OK);
    assert_int_equal(n, 5);
    assert_memory_equal(text, "ab\0cd", 6);
    free(text);
    unit_write(at("a"), "", 0);
    assert_int_equal(kvass_file_slurp(at("a"), 0, &text, &n, &err), KVASS_OK);
    assert_int_equal(n, 0);
    assert_string_equal(text, "");
    free(text);
}

static void the_cursor_never_passes_the_end(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x80, 0x3f, 9};
    for (size_t size = 0; size <= sizeof bytes; size++) {
        kvass_reader r = {.bytes = bytes, .size = size};
        uint32_t u = 0;
        uint64_t wide = 0;
        int32_t i = 0;
        float f = 0;
        assert_int_equal(kvass_reader_u64(&r, &wide), size >= 8);
        assert_int_equal(r.at, size >= 8 ? 8 : 0);
        assert_true(size < 8 || wide == UINT64_C(0xffffffff04030201));
        r.at = 0;
        assert_int_equal(kvass_reader_u32(&r, &u), size >= 4);
        assert_true(size < 4 || u == 0x04030201);
        assert_int_equal(kvass_reader_i32(&r, &i), size >= 8);
        assert_true(size < 8 || i == -1);
        assert_int_equal(kvass_reader_f32(&r, &f), size >= 12);
        assert_true(size < 12 || f == 1.0f);
        assert_null(kvass_reader_take(&r, kvass_reader_left(&r) + 1));
        assert_null(kvass_reader_take(&r, SIZE_MAX));
        assert_non_null(kvass_reader_take(&r, kvass_reader_left(&r)));
        assert_int_equal(kvass_reader_left(&r), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_read_exactly),
        cmocka_unit_test(a_file_that_shrinks_is_noticed),
        cmocka_unit_test(files_are_mapped),
        cmocka_unit_test(only_regular_files_open),
        cmocka_unit_test(small_files_are_slurped),
        cmocka_unit_test(the_cursor_never_passes_the_end),
    };
    return cmocka_run_group_tests_name("file", tests, make_dir, remove_dir);
}
