/* test_json_list.c - lists that stay text say what the whole document says, and whatever is taken
 * that way is a well-formed document. */
#include "tests/unit/unit.h"

/* compiled in here, so that small lists are long ones */
#define LONG_BYTES  8
#define PIECE_BYTES 3
#include "engine/base/json_list.c"

static char path[UNIT_PATH_BYTES + 32];

/* What was found in a document: keys, strings and numbers, in order. */
typedef struct seen {
    char text[4096];
    size_t n, n_pieces, n_cut;
    bool twice; /* a key of the vocabulary is there twice */
} seen;

static void write_text(const char *text, size_t n)
{
    (void)unlink(path); /* a file written over is waited for by some file systems */
    unit_write(path, text, n);
}

static void note(seen *s, const char *text, int64_t value)
{
    int n = snprintf(s->text + s->n, sizeof s->text - s->n, "%s=%lld;", text, (long long)value);
    assert_in_range(n, 1, sizeof s->text - s->n - 1);
    s->n += (size_t)n;
}

static void note_piece(seen *s, const kvass_json *piece)
{
    char key[4096];
    for (void *it = kvass_json_iter(piece); it; it = kvass_json_next(piece, it)) {
        int64_t id = -1;
        (void)kvass_json_as_int(kvass_json_iter_value(it), &id);
        (void)snprintf(key, sizeof key, "%s=", kvass_json_iter_key(it));
        const char *before = s->text;
        while ((before = strstr(before, key)) != NULL) {
            s->twice = s->twice || before == s->text || before[-1] == ';';
            before++;
        }
        note(s, kvass_json_iter_key(it), id);
    }
    if (kvass_json_get_kind(piece) == KVASS_JSON_ARRAY) {
        for (size_t i = 0; i < kvass_json_size(piece); i++) {
            const kvass_json *one = kvass_json_at(piece, i);
            const char *text = kvass_json_as_string(one, NULL);
            note(s, text ? text : kvass_json_kind_name(one), (int64_t)kvass_json_size(one));
        }
    }
}

/* Read the file by lists, or as a whole. */
static kvass_status look(seen *s, bool by_lists)
{
    kvass_json_list lists[] = {{.name = "vocab", .open = '{'}, {.name = "merges", .open = '['}};
    kvass_json *root = NULL;
    char *text = NULL;
    kvass_error err;
    *s = (seen){0};
    kvass_status status = by_lists ? kvass_json_open_lists(&root, &text, lists, 2, path, 4096, &err)
                                   : kvass_json_open(&root, path, 4096, &err);
    for (int i = 0; i < 2 && status == KVASS_OK; i++) {
        const kvass_json *whole = kvass_json_get(kvass_json_get(root, "model"), lists[i].name);
        const kvass_json *piece = NULL;
        kvass_json_walk walk = kvass_json_walk_begin(by_lists ? &lists[i] : NULL, whole);
        do {
            status = kvass_json_walk_next(&walk, &piece, &err);
            if (status == KVASS_OK && piece) {
                note_piece(s, piece);
                s->n_pieces++;
            }
        } while (status == KVASS_OK && piece);
        kvass_json_walk_end(&walk);
        assert_true(status != KVASS_OK || lists[i].walked == (lists[i].text != NULL));
        s->n_cut += lists[i].text != NULL;
    }
    assert_true(status == KVASS_OK || err.message[0] != '\0');
    kvass_json_close(&root);
    free(text);
    return status;
}

static const char good[] =
    "{\"a\":[1,{\"model\":{\"vocab\":{\"x\":7}}}],\"o\":{\"p\":{}},\"model\" :\n {\"type\":\"BPE\","
    "\"vocab\": {\"a\\\"b\":1, \"},{\":2,\"\\\\\":3 , \"[\":4,\"\xc3\xa9\":55},\"x\":[[],{}],"
    "\"merges\":[\"a b\", [\"[\",\"]\"],\"\\\\\" ,\"c,\\\"\"]},\"z\":true}";

static void test_same(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n_cut, n_pieces;
    } cases[] = {
        {good, 2, 9},
        {"{\"model\":{\"vocab\":{},\"merges\":[]}}", 0, 2},
        {"{\"model\":{\"vocab\":{         },\"merges\":[          ]}}", 2, 2},
        {"{\"model\":{\"vocab\":[\"an array\",7],\"merges\":{\"an\":1,\"object\":2}}}", 0, 2},
        {"{\"m\\u006fdel\":{\"vocab\":{\"aaaa\":1,\"bbbb\":2}}}", 0, 1},
        {"{\"vocab\":{\"aaaa\":1,\"bbbb\":2},\"merges\":[\"aaaaaaaaaa\"]}", 0, 0},
        {"{\"model\":{\"merges\":[\"aa bb\",\"cc dd\"],\"vocab\":{\"aaaa\":1,\"bbbb\":2}}}", 2, 4},
        {"{\"model\":{\"merges\":[1,2,3,4,5,6,7,8,9]}}", 1, 5},
        {"{\"model\":\"vocab\",\"vocab\":{\"aaaa\":1,\"bbbb\":2}}", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        seen whole, by_lists;
        write_text(cases[i].text, strlen(cases[i].text));
        assert_int_equal(look(&whole, false), KVASS_OK);
        assert_int_equal(look(&by_lists, true), KVASS_OK);
        assert_string_equal(by_lists.text, whole.text);
        assert_int_equal(by_lists.n_cut, cases[i].n_cut);
        assert_int_equal(by_lists.n_pieces, cases[i].n_pieces);
        assert_false(by_lists.twice);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{\"model\":{\"merges\":[\"aaaa\",\"bbbb\",]}}",
        "{\"model\":{\"merges\":[         ,\"bbbb\"]}}",
        "{\"model\":{\"merges\":[\"aaaa\",,\"bbbb\"]}}",
        "{\"model\":{\"merges\":[\"aaaa\",       ,1]}}",
        "{\"model\":{\"vocab\":{\"aaaa\":1,\"bbbb\":2]}}",
        "{\"model\":{\"vocab\":{\"aaaa\":1,\"bbbb\"}}}",
        "{\"model\":{\"vocab\":{\"aaaa\":1 \"bbbb\":2}}}",
        "{\"model\":{\"merges\":[\"aaaaaaaaaaa\"]0}}",
        "{\"model\":{\"merges\":[\"aaaaaaaaaaa\"]}",
        "{\"model\":{\"merges\":[\"aaaaaaaaaaa\"",
        "{\"model\":{\"vocab\":{\"aaaa\":1,\"b\\ud800\":2}}}",
        "{\"model\":{\"merges\":[\"aaaaaaaaaaa",
        "{\"model\":{\"merges\":[\"aaaa\",[[[[1,2,3}]]]}}",
        "{\"model\":{\"merges\":[\"aaaaaaaaaaa\\",
        "{\"model\":{\"vocab\":{\"aa\":1,\"aa\":2,\"c\":3}}}",
        "{\"model\":{\"merges\":[\"aaaaaaa\"]},",
        "{\"model\":{\"merges\":[\"aaaaaaa\"]},\"model\":1}",
        "{\"model\":{\"vocab\":{\"a\":1,\"bbbbb\":2}",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        seen s;
        write_text(cases[i], strlen(cases[i]));
        assert_int_equal(look(&s, false), KVASS_FORMAT);
        kvass_status status = look(&s, true);
        assert_true(status == KVASS_FORMAT || s.twice);
    }
    /* a NUL where a list might be cut */
    seen s;
    char text[] = "{\"model\":{\"merges\":[\"aaaa\"?\"bbbb\",\"cccc\"]}}";
    *strchr(text, '?') = '\0';
    write_text(text, sizeof text - 1);
    assert_int_equal(look(&s, true), KVASS_FORMAT);
}

/* Documents with a few bytes changed: by lists as by the whole, but for keys that are there twice.
 */
static void test_changed(void **state)
{
    (void)state;
    static const char bytes[] = "\"\\,:[]{} 1atn\x80\x01";
    uint64_t random = 20;
    size_t n_taken = 0;
    print_message("seed %d\n", (int)random);
    for (int i = 0; i < 3000; i++) {
        char text[2 * sizeof good];
        size_t n = sizeof good - 1;
        memcpy(text, good, n);
        for (uint32_t k = 1 + unit_random(&random) % 3; k > 0; k--) {
            size_t at = unit_random(&random) % n;
            char byte = bytes[unit_random(&random) % (sizeof bytes - 1)];
            switch (unit_random(&random) % 3) {
            case 0:
                text[at] = byte;
                break;
            case 1:
                memmove(text + at, text + at + 1, n - at - 1);
                n--;
                break;
            default:
                memmove(text + at + 1, text + at, n - at);
                text[at] = byte;
                n++;
                break;
            }
        }
        seen whole, by_lists;
        write_text(text, n);
        kvass_status status = look(&whole, false), mine = look(&by_lists, true);
        assert_true(mine == status || (mine == KVASS_OK && by_lists.twice));
        if (status == KVASS_OK) {
            assert_string_equal(by_lists.text, whole.text);
            n_taken++;
        }
    }
    assert_in_range(n_taken, 150, 2850);
}

static int make_file(void **state)
{
    (void)state;
    char folder[UNIT_PATH_BYTES];
    unit_folder(folder);
    (void)snprintf(path, sizeof path, "%s/t.json", folder);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    return rmdir(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_changed),
    };
    return cmocka_run_group_tests_name("json_list", tests, make_file, remove_file);
}
