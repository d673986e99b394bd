/* test_stop.c - stop strings in text that arrives in pieces, against a search of the whole text.
 */
#include "tests/unit/unit.h"
#include "tools/stop.h"

#include <stdlib.h>
#include <string.h>

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* Feed text[n] in random pieces; what comes out is collected. Returns whether a stop was found. */
static bool feed(cli_stop *stop, const char *text, size_t n, uint32_t *rng, cli_bytes *got)
{
    const char *out;
    size_t n_out;
    for (size_t at = 0; at < n;) {
        size_t piece = next_random(rng) % 5;
        piece = piece < n - at ? piece : n - at;
        int found = cli_stop_put(stop, text + at, piece, &out, &n_out);
        assert_in_range(found, 0, 1);
        assert_true(cli_bytes_add(got, out, n_out));
        if (found == 1) {
            return true;
        }
        at += piece;
    }
    cli_stop_end(stop, &out, &n_out);
    assert_true(cli_bytes_add(got, out, n_out));
    return false;
}

static void pieces_give_what_the_whole_text_gives(void **state)
{
    (void)state;
    static const char *const choices[] = {"a",   "ab",    "aab", "abab",
                                          "bbb", "abcab", "c",   "aaaaaaaa"};
    int n_stopped = 0;
    for (uint32_t seed = 0; seed < 3000; seed++) {
        uint32_t rng = seed * 2654435761u + 1;
        cli_stop stop = {0};
        for (uint32_t i = next_random(&rng) % 4; i > 0; i--) {
            stop.strings[stop.n++] = choices[next_random(&rng) % 8];
        }
        char text[41];
        size_t n = next_random(&rng) % 40, first = n;
        for (size_t i = 0; i < n; i++) {
            text[i] = "abc"[next_random(&rng) % 3];
        }
        text[n] = '\0';
        for (int i = 0; i < stop.n; i++) {
            const char *found = strstr(text, stop.strings[i]);
            first = found && (size_t)(found - text) < first ? (size_t)(found - text) : first;
        }
        cli_bytes got = {0};
        assert_true(cli_bytes_add(&got, "", 0));
        bool stopped = feed(&stop, text, n, &rng, &got);
        if (stopped != (first < n) || got.n > first || memcmp(got.data, text, got.n) != 0) {
            fail_msg("seed %u: text '%s' gave '%s'", seed, text, got.data);
        }
        /* with several stops a shorter one inside a longer one's piece may end the text first, but
         * never later than the earliest beginning */
        if (stop.n <= 1) {
            assert_int_equal(got.n, first);
        }
        n_stopped += stopped;
        cli_bytes_free(&got);
        cli_bytes_free(&stop.held);
    }
    assert_in_range(n_stopped, 500, 2500);
}

static void bytes_of_any_kind_pass(void **state)
{
    (void)state;
    cli_stop stop = {.strings = {"\xff\xfe"}, .n = 1};
    const char text[] = "a\0b\xff"
                        "c\xff\xfe";
    const char *out;
    size_t n_out;
    assert_int_equal(cli_stop_put(&stop, text, 4, &out, &n_out), 0);
    assert_int_equal(n_out, 3);
    assert_memory_equal(out, "a\0b", 3);
    assert_int_equal(cli_stop_put(&stop, text + 4, 3, &out, &n_out), 1);
    assert_int_equal(n_out, 2);
    assert_memory_equal(out,
                        "\xff"
                        "c",
                        2);
    cli_bytes_free(&stop.held);
}

static void without_stops_nothing_is_held(void **state)
{
    (void)state;
    cli_stop stop = {0};
    const char *out;
    size_t n_out;
    assert_int_equal(cli_stop_put(&stop, "text", 4, &out, &n_out), 0);
    assert_int_equal(n_out, 4);
    cli_stop_end(&stop, &out, &n_out);
    assert_int_equal(n_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_give_what_the_whole_text_gives),
        cmocka_unit_test(bytes_of_any_kind_pass),
        cmocka_unit_test(without_stops_nothing_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
