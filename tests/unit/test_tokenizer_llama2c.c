/* test_tokenizer_llama2c.c - tokenizer.bin: what it refuses, encoding against a plain quadratic
 * version of the same rule, and decoding. */
#include "tests/unit/unit.h"

#include <math.h>

#include "engine/kvass.h"

#define N_BYTES_MAX 4096

/* ---- a small tokenizer.bin ------------------------------------------------------------------- */

typedef struct bin {
    unsigned char bytes[N_BYTES_MAX];
    size_t n;
} bin;

static void put_i32(bin *b, int32_t v)
{
    for (int i = 0; i < 4; i++) {
        b->bytes[b->n++] = (unsigned char)((uint32_t)v >> (8 * i));
    }
}

static void put_token(bin *b, float score, int32_t n_bytes, const char *text)
{
    int32_t bits;
    memcpy(&bits, &score, sizeof bits);
    put_i32(b, bits);
    put_i32(b, n_bytes);
    memcpy(b->bytes + b->n, text, strlen(text));
    b->n += strlen(text);
}

static void put_text(bin *b, float score, const char *text)
{
    put_token(b, score, (int32_t)strlen(text), text);
}

static const struct {
    const char *text;
    float score;
} words[] = {
    {" ", -90},
    {"a", -91},
    {"b", -92},
    {"c", -93},
    {"\xc3\xa9", -94},
    {"ab", -1},
    {"bc", -1},
    {"abc", -5},
    {" a", -3},
    {"aa", -2},
    {"aaaa", -4},
    {" ab", -2.5f},
    {"\xc3\xa9\xc3\xa9", -1},
    {"c a", -0.5f},
    {"<s>", -80},
    {"<0x41>", -81},
};
#define N_WORDS ((int32_t)(sizeof words / sizeof words[0]))

static void put_all(bin *b, bool with_bytes)
{
    b->n = 0;
    put_i32(b, 9);
    put_text(b, 0, "<unk>");
    put_text(b, 0, "\n<s>\n");
    put_text(b, 0, "\n</s>\n");
    for (int i = 0; with_bytes && i < 256; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        put_text(b, 0, name);
    }
    for (int32_t i = 0; i < N_WORDS; i++) {
        put_text(b, words[i].score, words[i].text);
    }
}

static char folder[UNIT_PATH_BYTES], path[UNIT_PATH_BYTES + 32];

static int make_folder(void **state)
{
    (void)state;
    unit_folder(folder);
    (void)snprintf(path, sizeof path, "%s/tokenizer.bin", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static kvass_tokenizer *open_or_fail(const char *at, int32_t n_vocab)
{
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    if (kvass_tokenizer_open(&tok, at, n_vocab, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    return tok;
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void refuse(const bin *b, int32_t n_vocab, kvass_status code, const char *rule,
                   const char *says)
{
    unit_write(path, b->bytes, b->n);
    kvass_tokenizer *tok = (kvass_tokenizer *)path;
    kvass_error err = {0};
    assert_int_equal(kvass_tokenizer_open(&tok, path, n_vocab, &err), code);
    assert_null(tok);
    assert_string_equal(err.rule, rule);
    assert_non_null(strstr(err.message, "tokenizer.bin"));
    if (!strstr(err.message, says)) {
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
    }
}

static void test_refused(void **state)
{
    (void)state;
    bin b = {.n = 0};
    refuse(&b, 0, KVASS_UNSUPPORTED, "TOKENIZER_KIND", "an empty file");
    b.n = 3;
    refuse(&b, 0, KVASS_FORMAT, "TOKENIZER_TRUNCATED", "found a file of 3 bytes");
    b.n = 0;
    put_i32(&b, 0);
    refuse(&b, 0, KVASS_FORMAT, "TOKENIZER_HEADER", "found 0");
    b.n = 0;
    put_i32(&b, -1);
    refuse(&b, 0, KVASS_FORMAT, "TOKENIZER_HEADER", "found -1");
    b.n = 0;
    put_i32(&b, 65536);
    refuse(&b, 0, KVASS_FORMAT, "TOKENIZER_HEADER", "found 65536");
    memcpy(b.bytes, "\n\x0e\n\x05<unk>", 9);
    b.n = 9;
    refuse(&b, 0, KVASS_FORMAT, "PROTOBUF", "a SentencePiece model"); /* what it looks like */
    memcpy(b.bytes, "\x89HDF\r\n\0\0", 8);
    refuse(&b, 0, KVASS_UNSUPPORTED, "TOKENIZER_KIND", "an HDF5 file");

    b.n = 0;
    put_i32(&b, 7);
    put_text(&b, 0, "<unk>");
    refuse(&b, 0, KVASS_FORMAT, "VOCAB_SIZE", "1 tokens, expected at least 3");
    put_token(&b, 0, -1, "");
    refuse(&b, 0, KVASS_FORMAT, "TOKEN_LENGTH", "token 1 at byte 17: length -1");
    b.n = 17;
    put_token(&b, 0, 8, "12345678");
    refuse(&b, 0, KVASS_FORMAT, "TOKEN_LENGTH", "length 8, expected 0 .. 7");
    b.n = 17;
    put_token(&b, NAN, 1, "a");
    refuse(&b, 0, KVASS_FORMAT, "TOKEN_SCORE", "token 1 at byte 17");
    b.n = 17;
    put_token(&b, -INFINITY, 1, "a");
    refuse(&b, 0, KVASS_FORMAT, "TOKEN_SCORE", "finite");

    put_all(&b, true);
    refuse(&b, 512, KVASS_FORMAT, "VOCAB_SIZE", "has 275 tokens, but the model has 512");
    unit_write(path, b.bytes, b.n);
    kvass_tokenizer *tok = open_or_fail(path, 275);
    kvass_tokenizer_close(&tok);
    assert_null(tok);
    /* every shorter file is refused, except those that end between two tokens */
    put_all(&b, false);
    size_t n_accepted = 0, n_all = b.n;
    for (b.n = 0; b.n < n_all; b.n++) {
        unit_write(path, b.bytes, b.n);
        kvass_error err = {0};
        if (kvass_tokenizer_open(&tok, path, 0, &err) == KVASS_OK) {
            n_accepted++;
        } else {
            assert_non_null(err.rule);
        }
        kvass_tokenizer_close(&tok);
    }
    assert_int_equal(n_accepted, N_WORDS);
}

static void test_missing(void **state)
{
    (void)state;
    (void)unlink(path);
    kvass_tokenizer *tok;
    kvass_error err = {0};
    assert_int_equal(kvass_tokenizer_open(&tok, folder, 0, &err), KVASS_IO);
    assert_string_equal(err.rule, "TOKENIZER_MISSING");
    assert_int_equal(kvass_tokenizer_open(&tok, path, 0, &err), KVASS_IO);
    assert_int_equal(kvass_tokenizer_open(&tok, NULL, 0, &err), KVASS_INVALID);
    assert_int_equal(kvass_tokenizer_open(NULL, path, 0, &err), KVASS_INVALID);
    assert_int_equal(kvass_tokenizer_open(&tok, path, -1, NULL), KVASS_INVALID);
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* The piece with this text, bytes and control tokens apart; or -1. */
static int32_t word_of(const kvass_tokenizer *tok, bool with_bytes, const char *text, size_t n)
{
    int32_t id = kvass_tokenizer_find(tok, text, n);
    return id < (with_bytes ? 259 : 3) ? -1 : id;
}

/* The rule as llama2.c states it, in quadratic time, from what the public interface shows. */
static size_t plain_encode(const kvass_tokenizer *tok, const float *scores, bool with_bytes,
                           const char *text, size_t n, int32_t *ids)
{
    size_t n_ids = 0;
    if (n == 0) {
        return 0;
    }
    ids[n_ids++] = kvass_tokenizer_find(tok, " ", 1);
    for (size_t at = 0, size; at < n; at += size) {
        for (size = 1; size < 4 && at + size < n && (text[at + size] & 0xc0) == 0x80; size++) {
        }
        int32_t id = word_of(tok, with_bytes, text + at, size);
        if (id >= 0 || !with_bytes) {
            ids[n_ids++] = id >= 0 ? id : 0;
            continue;
        }
        for (size_t i = 0; i < size; i++) {
            ids[n_ids++] = 3 + (unsigned char)text[at + i];
        }
    }
    for (;;) {
        size_t best = n_ids;
        int32_t best_id = -1;
        for (size_t i = 0; i + 1 < n_ids; i++) {
            char both[64];
            size_t a, b;
            const char *left = kvass_tokenizer_piece(tok, ids[i], &a);
            const char *right = kvass_tokenizer_piece(tok, ids[i + 1], &b);
            int32_t low = with_bytes ? 259 : 3;
            if (ids[i] < low || ids[i + 1] < low || a + b > sizeof both) {
                continue;
            }
            memcpy(both, left, a);
            memcpy(both + a, right, b);
            int32_t id = word_of(tok, with_bytes, both, a + b);
            if (id >= 0 && (best_id < 0 || scores[id] > scores[best_id])) {
                best = i;
                best_id = id;
            }
        }
        if (best_id < 0) {
            return n_ids;
        }
        ids[best] = best_id;
        memmove(ids + best + 1, ids + best + 2, (n_ids - best - 2) * sizeof *ids);
        n_ids--;
    }
}

static void compare(const kvass_tokenizer *tok, const float *scores, bool with_bytes,
                    const char *text, size_t n)
{
    int32_t ours[1100], plain[1100];
    size_t n_ours = 0;
    kvass_error err = {0};
    assert_int_equal(kvass_tokenizer_encode(tok, text, n, NULL, ours, 1100, &n_ours, &err),
                     KVASS_OK);
    size_t n_plain = plain_encode(tok, scores, with_bytes, text, n, plain);
    assert_int_equal(n_ours, n_plain);
    assert_memory_equal(ours, plain, n_ours * sizeof *ours);
}

/* Feed ids through a stream; *n is the number of bytes in out[cap]. */
static void decode(const kvass_tokenizer *tok, const int32_t *ids, size_t n_ids, char *out,
                   size_t cap, size_t *n)
{
    kvass_stream *stream;
    assert_int_equal(kvass_stream_open(&stream, tok, false, NULL), KVASS_OK);
    *n = 0;
    for (size_t i = 0; i <= n_ids; i++) {
        const char *bytes;
        size_t n_bytes;
        if (i < n_ids) {
            assert_int_equal(kvass_stream_put(stream, ids[i], &bytes, &n_bytes, NULL), KVASS_OK);
        } else {
            kvass_stream_end(stream, &bytes, &n_bytes);
        }
        assert_true(*n + n_bytes <= cap);
        memcpy(out + *n, bytes, n_bytes);
        *n += n_bytes;
    }
    kvass_stream_close(&stream);
}

static void test_encode(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "a",  "b",    "c",    " ",    "\xc3\xa9",         "aa", "ab", "<s>", "<0x41>", "x",
        "\n", "\xff", "\xc3", "\xa9", "\xf0\x9f\x98\x80", ""};
    const uint64_t seed = 20240607;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int with_bytes = 0; with_bytes < 2; with_bytes++) {
        bin b;
        put_all(&b, with_bytes);
        unit_write(path, b.bytes, b.n);
        kvass_tokenizer *tok = open_or_fail(folder, 0);
        float scores[275] = {0};
        for (int32_t i = 0; i < N_WORDS; i++) {
            scores[(with_bytes ? 259 : 3) + i] = words[i].score;
        }
        uint64_t random = seed;
        for (int round = 0; round < 2000; round++) {
            char text[256];
            size_t n = 0;
            for (uint32_t i = unit_random(&random) % 24; i > 0; i--) {
                uint32_t p = unit_random(&random) % 16;
                size_t size = p == 15 ? 1 : strlen(parts[p]); /* the last one is a NUL */
                memcpy(text + n, parts[p], size);
                n += size;
            }
            compare(tok, scores, with_bytes, text, n);
            if (with_bytes) {
                int32_t ids[300];
                char back[300];
                size_t n_ids, n_back;
                assert_int_equal(kvass_tokenizer_encode(tok, text, n, NULL, ids, 300, &n_ids, NULL),
                                 KVASS_OK);
                decode(tok, ids, n_ids, back, sizeof back, &n_back);
                assert_int_equal(n_back, n);
                assert_memory_equal(back, text, n);
            }
        }
        kvass_tokenizer_close(&tok);
    }
}

static void test_options(void **state)
{
    (void)state;
    bin b;
    put_all(&b, true);
    unit_write(path, b.bytes, b.n);
    kvass_tokenizer *tok = open_or_fail(path, 0);
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    assert_string_equal(info.kind, "llama2.c");
    assert_int_equal(info.n_vocab, 275);
    assert_int_equal(info.bos, 1);
    assert_int_equal(info.eos, 2);
    assert_true(info.adds_bos);
    assert_true(kvass_tokenizer_is_special(tok, 1));
    assert_false(kvass_tokenizer_is_special(tok, 3));
    assert_false(kvass_tokenizer_is_special(tok, 275));
    assert_false(kvass_tokenizer_is_special(tok, -1));

    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = true;
    int32_t ids[8] = {-7, -7, -7, -7, -7, -7, -7, -7};
    size_t n = 0;
    kvass_error err = {0};
    assert_int_equal(kvass_tokenizer_encode(tok, "", 0, &opt, ids, 8, &n, &err), KVASS_OK);
    assert_int_equal(n, 1);
    assert_int_equal(ids[0], 1);
    /* too little room: the number is still told, and only the room is written */
    assert_int_equal(kvass_tokenizer_encode(tok, "xy", 2, &opt, ids, 2, &n, &err), KVASS_OK);
    assert_int_equal(n, 4);
    assert_int_equal(ids[1], kvass_tokenizer_find(tok, " ", 1));
    assert_int_equal(ids[2], -7);
    assert_int_equal(kvass_tokenizer_encode(tok, "xy", 2, &opt, NULL, 0, &n, &err), KVASS_OK);
    assert_int_equal(n, 4);
    opt.strict_utf8 = true;
    n = 99;
    assert_int_equal(kvass_tokenizer_encode(tok, "ok\xc3(", 4, &opt, ids, 8, &n, &err),
                     KVASS_FORMAT);
    assert_string_equal(err.rule, "UTF8_INVALID");
    assert_non_null(strstr(err.message, "byte 2 (0xc3)"));
    assert_int_equal(n, 99);
    opt.struct_size = 0;
    assert_int_equal(kvass_tokenizer_encode(tok, "a", 1, &opt, ids, 8, &n, &err), KVASS_INVALID);
    assert_string_equal(err.rule, "STRUCT_SIZE");
    assert_int_equal(kvass_tokenizer_encode(NULL, "a", 1, NULL, ids, 8, &n, &err), KVASS_INVALID);
    assert_int_equal(kvass_tokenizer_encode(tok, NULL, 1, NULL, ids, 8, &n, &err), KVASS_INVALID);
    assert_int_equal(kvass_tokenizer_encode(tok, "a", 1, NULL, NULL, 8, &n, &err), KVASS_INVALID);
    assert_int_equal(kvass_tokenizer_encode(tok, "a", 1, NULL, ids, 8, NULL, &err), KVASS_INVALID);
    assert_int_equal(n, 99);
    kvass_tokenizer_close(&tok);
}

/* The space that encoding puts first goes away at the beginning of a text only. */
static void test_decode(void **state)
{
    (void)state;
    bin b;
    put_all(&b, true);
    unit_write(path, b.bytes, b.n);
    kvass_tokenizer *tok = open_or_fail(path, 0);
    int32_t a = kvass_tokenizer_find(tok, " a", 2);
    char out[64];
    size_t n;
    decode(tok, (int32_t[]){1, a, a, 1, a, 2, 3 + '!'}, 7, out, sizeof out, &n);
    assert_int_equal(n, 5);
    assert_memory_equal(out, "a aa!", n);
    size_t n_bytes;
    assert_string_equal(kvass_tokenizer_piece(tok, a, &n_bytes) ? "piece" : "none", "piece");
    assert_int_equal(n_bytes, 2);
    assert_memory_equal(kvass_tokenizer_piece(tok, 3 + 0xff, &n_bytes), "\xff", 1);
    assert_int_equal(n_bytes, 1);
    assert_null(kvass_tokenizer_piece(tok, 275, &n_bytes));
    assert_null(kvass_tokenizer_piece(tok, -1, &n_bytes));
    assert_int_equal(kvass_tokenizer_find(tok, "zzz", 3), -1);
    assert_int_equal(kvass_tokenizer_find(tok, "\n", 1), 3 + '\n');
    kvass_tokenizer_close(&tok);
}

/* A hundred thousand equal letters and a megabyte of spaces: quadratic code would not end here. */
static void test_long(void **state)
{
    (void)state;
    bin b;
    put_all(&b, true);
    unit_write(path, b.bytes, b.n);
    kvass_tokenizer *tok = open_or_fail(path, 0);
    size_t n = 1000000, n_ids;
    char *text = malloc(n);
    assert_non_null(text);
    memset(text, 'a', n);
    assert_int_equal(kvass_tokenizer_encode(tok, text, n, NULL, NULL, 0, &n_ids, NULL), KVASS_OK);
    /* "a a" is no piece and "aa" beats " a": the space stays alone, then fours */
    assert_int_equal(n_ids, 1 + n / 4);
    memset(text, ' ', n);
    assert_int_equal(kvass_tokenizer_encode(tok, text, n, NULL, NULL, 0, &n_ids, NULL), KVASS_OK);
    assert_int_equal(n_ids, n + 1);
    free(text);
    kvass_tokenizer_close(&tok);
}

/* ---- shared data ----------------------------------------------------------------------------- */

/* Real files: they open, and stories come back as they were. */
static void test_shared(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int32_t n_vocab;
    } files[] = {{"models/stories260K/tok512.bin", 512},
                 {"models/llama2c-v2-q8/tok1024.bin", 1024},
                 {"tokenizers/llama2/tokenizer.bin", 32000}};
    char file[UNIT_PATH_BYTES];
    size_t n;
    char *text = unit_slurp(unit_shared("corpora/tinystories/natural-0.9MB.txt", file), &n);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    char *back = malloc(n);
    assert_non_null(ids);
    assert_non_null(back);
    for (size_t i = 0; i < 3; i++) {
        kvass_tokenizer *tok = open_or_fail(unit_shared(files[i].file, file), files[i].n_vocab);
        size_t n_ids, n_back;
        assert_int_equal(kvass_tokenizer_encode(tok, text, n, NULL, ids, n + 1, &n_ids, NULL),
                         KVASS_OK);
        assert_true(n_ids > n / 8 && n_ids < n * 3 / 4);
        decode(tok, ids, n_ids, back, n, &n_back);
        assert_int_equal(n_back, n);
        assert_memory_equal(back, text, n);
        kvass_tokenizer_close(&tok);
    }
    free(text);
    free(ids);
    free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused), cmocka_unit_test(test_missing),
        cmocka_unit_test(test_encode),  cmocka_unit_test(test_options),
        cmocka_unit_test(test_decode),  cmocka_unit_test(test_long),
        cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests_name("tokenizer_llama2c", tests, make_folder, remove_folder);
}
