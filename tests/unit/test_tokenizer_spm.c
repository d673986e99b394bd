/* test_tokenizer_spm.c - SentencePiece .model files written here byte by byte: every refusal, by
 * rule and by what the message says, and what options and kinds of pieces do.
 */
#include "tests/unit/unit.h"

#include <math.h>

#include "engine/kvass.h"

static char path[UNIT_PATH_BYTES];

static int make_file(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/kvass-test-XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

/* ---- writing messages ------------------------------------------------------------------------ */

typedef struct message {
    unsigned char bytes[16384];
    size_t n;
} message;

static void put(message *m, const void *bytes, size_t n)
{
    assert_true(m->n + n <= sizeof m->bytes);
    memcpy(m->bytes + m->n, bytes, n);
    m->n += n;
}

static void put_varint(message *m, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put(m, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

static void put_number(message *m, unsigned field, uint64_t value)
{
    put_varint(m, field << 3);
    put_varint(m, value);
}

static void put_bytes(message *m, unsigned field, const void *bytes, size_t n)
{
    put_varint(m, field << 3 | 2);
    put_varint(m, n);
    put(m, bytes, n);
}

static void put_piece(message *m, const char *text, float score, unsigned type)
{
    static message piece;
    piece.n = 0;
    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    put(&piece, &score, sizeof score);
    put_number(&piece, 3, type);
    put_bytes(m, 1, piece.bytes, piece.n);
}

/* <unk> <s> </s> and M a b ab Ma, M being the mark, ids 3 .. 7; kind 1 is unigram, 2 BPE. */
static void put_base(message *m, unsigned kind)
{
    m->n = 0;
    put_piece(m, "<unk>", 0, 2);
    put_piece(m, "<s>", 0, 3);
    put_piece(m, "</s>", 0, 3);
    put_piece(m, "\xe2\x96\x81", -1, 1);
    put_piece(m, "a", -2, 1);
    put_piece(m, "b", -2.5f, 1);
    put_piece(m, "ab", -3, 1);
    put_piece(m,
              "\xe2\x96\x81"
              "a",
              -3.5f, 1);
    unsigned char trainer[] = {3 << 3, (unsigned char)kind};
    put_bytes(m, 2, trainer, sizeof trainer);
}

static void put_options(message *m, bool prefix_space, bool remove_extra, bool escape)
{
    unsigned char norm[] = {3 << 3, prefix_space, 4 << 3, remove_extra, 5 << 3, escape};
    put_bytes(m, 3, norm, sizeof norm);
}

/* ---- opening --------------------------------------------------------------------------------- */

static kvass_tokenizer *open_or_fail(const message *m)
{
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    unit_write(path, m->bytes, m->n);
    if (kvass_tokenizer_open(&tok, path, 0, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    return tok;
}

static void refuse(const message *m, kvass_status code, const char *rule, const char *says)
{
    kvass_tokenizer *tok = (kvass_tokenizer *)path;
    kvass_error err = {0};
    unit_write(path, m->bytes, m->n);
    if (kvass_tokenizer_open(&tok, path, 0, &err) != code || strcmp(err.rule, rule) != 0 ||
        !strstr(err.message, says)) {
        fail_msg("expected %s \"%s\", found %d %s \"%s\"", rule, says, (int)err.code, err.rule,
                 err.message);
    }
    assert_null(tok);
    assert_non_null(strstr(err.message, path));
}

/* Refused with one more piece than the base has. */
static void refuse_piece(unsigned kind, const char *text, float score, unsigned type,
                         const char *rule, const char *says)
{
    static message m;
    put_base(&m, kind);
    put_piece(&m, text, score, type);
    refuse(&m, KVASS_FORMAT, rule, says);
}

static const char *ids_of(const kvass_tokenizer *tok, const char *text, bool special)
{
    static char line[1024];
    int32_t ids[256];
    size_t n_ids = 0, at = 0;
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = opt.parse_special = special;
    assert_int_equal(kvass_tokenizer_encode(tok, text, strlen(text), &opt, ids, 256, &n_ids, NULL),
                     KVASS_OK);
    line[0] = '\0';
    for (size_t i = 0; i < n_ids; i++) {
        at += (size_t)snprintf(line + at, sizeof line - at, i ? " %d" : "%d", ids[i]);
    }
    return line;
}

static void expect(const message *m, const char *text, bool special, const char *ids)
{
    kvass_tokenizer *tok = open_or_fail(m);
    assert_string_equal(ids_of(tok, text, special), ids);
    kvass_tokenizer_close(&tok);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static message m;

static void test_malformed(void **state)
{
    (void)state;
    put_base(&m, 2);
    size_t n = m.n;
    m.n = n - 1;
    refuse(&m, KVASS_FORMAT, "PROTOBUF", "a SentencePiece model");
    m.n = n;
    put(&m, "\x0b", 1); /* a group, which nobody writes any more */
    refuse(&m, KVASS_FORMAT, "PROTOBUF", "a SentencePiece model");
    m.n = n;
    put(&m, "\x00\x00", 2); /* field 0 */
    refuse(&m, KVASS_FORMAT, "PROTOBUF", "a SentencePiece model");
    m.n = n;
    put(&m, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11); /* 2^64 - 1 bytes */
    refuse(&m, KVASS_FORMAT, "PROTOBUF", "a SentencePiece model");
    m.n = n;
    put(&m, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11); /* more than 64 bits */
    refuse(&m, KVASS_FORMAT, "PROTOBUF", "a SentencePiece model");
    m.n = n;
    put(&m, "\x0a\x02\x0a\x01", 4); /* a piece whose text is longer than the piece */
    refuse(&m, KVASS_FORMAT, "PROTOBUF", "a piece");
    m.n = n;
    put(&m, "\x12\x01\x18", 3);
    refuse(&m, KVASS_FORMAT, "PROTOBUF", "the trainer's part");
    m.n = n;
    put(&m, "\x1a\x02\x12\x05", 4);
    refuse(&m, KVASS_FORMAT, "PROTOBUF", "the normalizer");
    /* fields of a later version are passed over */
    m.n = n;
    put_number(&m, 99, 7);
    put_bytes(&m, 98, "x", 1);
    put(&m, "\x9d\x06\1\2\3\4\x99\x06\1\2\3\4\5\6\7\x08", 16);
    expect(&m, "ab", false, "3 6");
}

static void test_pieces(void **state)
{
    (void)state;
    refuse_piece(2, "", 0, 1, "VOCAB_ENTRY", "piece 8, \"\": expected 1 .. 4096 bytes");
    refuse_piece(2, "c", NAN, 1, "TOKEN_SCORE", "piece 8, \"c\": its score");
    refuse_piece(1, "c", -INFINITY, 1, "TOKEN_SCORE", "not a finite number");
    refuse_piece(2, "c", 0, 0, "PIECE_TYPE", "none of 1 .. 6");
    refuse_piece(2, "c", 0, 7, "PIECE_TYPE", "none of 1 .. 6");
    refuse_piece(2, "c", 0, 2, "UNK_TOKEN", "a second piece");
    refuse_piece(2, "c", 0, 5, "PIECE_TYPE", "unused pieces in a BPE");
    refuse_piece(2, "ab", 0, 1, "VOCAB_ENTRY", "its text is another piece's");
    refuse_piece(2, "<s>", 0, 3, "VOCAB_ENTRY", "its text is another piece's");
    refuse_piece(2, "<0x4>", 0, 6, "PIECE_TYPE", "expected a byte");
    m.n = 0;
    put_piece(&m, "a", 0, 1);
    refuse(&m, KVASS_FORMAT, "UNK_TOKEN", "no piece is for what is unknown");
    put_base(&m, 2);
    put_bytes(&m, 2, "\x98\x02\x01", 3);
    refuse(&m, KVASS_FORMAT, "BYTE_UNKNOWN", "0x00");
    /* "<0x41>" and "<0x41>" once more in other digits */
    put_base(&m, 2);
    put_piece(&m, "<0x4A>", 0, 6);
    put_piece(&m, "<0x4a>", 0, 6);
    refuse(&m, KVASS_FORMAT, "PIECE_TYPE", "once each");
}

static void test_options(void **state)
{
    (void)state;
    put_base(&m, 3);
    refuse(&m, KVASS_UNSUPPORTED, "TOKENIZER_MODEL", "type 3 is not supported");
    put_base(&m, 2);
    put_bytes(&m, 2, "\xc0\x01\x01", 3);
    refuse(&m, KVASS_UNSUPPORTED, "NORMALIZER", "treat_whitespace_as_suffix");
    static const struct {
        const char *map;
        size_t n;
        const char *says;
    } maps[] = {{"\1\0", 2, "map of 2 bytes"},
                {"\4\0\0\0\0\0\0\0", 8, "a trie of 4 bytes"},
                {"\3\0\0\0\0\0\0\0", 8, "a trie of 3 bytes"},
                {"\0\0\0\0x", 5, "a trie of 0 bytes"},
                {"\xfc\xff\xff\xff\0\0\0\0", 8, "a trie of 4294967292 bytes"}};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++) {
        static message norm;
        norm.n = 0;
        put_bytes(&norm, 2, maps[i].map, maps[i].n);
        put_base(&m, 1);
        put_bytes(&m, 3, norm.bytes, norm.n);
        refuse(&m, KVASS_FORMAT, "CHARSMAP", maps[i].says);
    }
    /* spaces */
    put_base(&m, 2);
    expect(&m, "  a  a ", false, "7 7");
    put_options(&m, true, false, true);
    expect(&m, " a  ", false, "3 7 3 3");
    put_options(&m, false, true, true);
    expect(&m, " a  b ", false, "4 3 5");
    put_options(&m, false, false, false);
    expect(&m, "a b", false, "4 0 5");
    put_options(&m, true, true, true);
    expect(&m, "   ", false, "");
}

static void test_kinds(void **state)
{
    (void)state;
    /* the highest score merges first: "ab" before "Ma" */
    put_base(&m, 2);
    expect(&m, "ab", false, "3 6");
    expect(&m,
           "a\xffz\xc3\xa9"
           "b<s>",
           false, "7 0 5 0");
    put_base(&m, 1);
    expect(&m, "ab", false, "3 6");
    /* control pieces where they are asked for, BOS before */
    expect(&m, "b<s>b", true, "1 3 5 1 3 5");
    kvass_tokenizer *tok = open_or_fail(&m);
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    assert_int_equal(info.bos, 1);
    assert_int_equal(info.eos, 2);
    assert_true(info.adds_bos);
    assert_true(kvass_tokenizer_is_special(tok, 2));
    assert_false(kvass_tokenizer_is_special(tok, 0));
    size_t n;
    assert_memory_equal(kvass_tokenizer_piece(tok, 7, &n), " a", 2);
    kvass_tokenizer_close(&tok);
    /* user-defined pieces stay whole and are never normalized, unused ones are never made */
    for (unsigned kind = 1; kind <= 2; kind++) {
        put_base(&m, kind);
        put_piece(&m, "bab", 0, 4);
        put_piece(&m, "b\tb", 0, 4);
        expect(&m, "bababb\tba", false, "3 8 6 9 4");
    }
    put_base(&m, 1);
    put_piece(&m, "abab", -1, 5);
    expect(&m, "abab", false, "3 6 6");
    /* BOS and EOS must be control pieces */
    put_base(&m, 2);
    put_bytes(&m, 2, "\xc8\x02\x04\xd0\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 15);
    tok = open_or_fail(&m);
    kvass_tokenizer_get_info(tok, &info);
    assert_int_equal(info.bos, -1);
    assert_int_equal(info.eos, -1);
    assert_string_equal(ids_of(tok, "a", true), "7");
    kvass_tokenizer_close(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests_name("tokenizer_spm", tests, make_file, remove_file);
}
