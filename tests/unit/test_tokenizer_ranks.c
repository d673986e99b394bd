/* test_tokenizer_ranks.c - tiktoken's rank files and maps of characters: what small ones do, where
 * they are found, and every refusal by rule and by what the message says.
 */
#include "tests/unit/unit.h"

#include <sys/stat.h>

#include "engine/kvass.h"

static char folder[UNIT_PATH_BYTES];

static int make_folder(void **state)
{
    (void)state;
    unit_folder(folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static const char *path_of(const char *name)
{
    static char path[2 * UNIT_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Write the file, open it (or the folder it is in) and remove it again. */
static kvass_status open_bytes(kvass_tokenizer **tok, const char *name, const void *bytes, size_t n,
                               const char *pattern, kvass_error *err)
{
    kvass_tokenizer_options opt = kvass_tokenizer_options_default();
    opt.pattern = pattern;
    unit_write(path_of(name), bytes, n);
    kvass_status status = kvass_tokenizer_open_as(tok, path_of(name), &opt, err);
    assert_int_equal(unlink(path_of(name)), 0);
    return status;
}

static void refuse_bytes(const char *name, const void *bytes, size_t n, const char *pattern,
                         kvass_status code, const char *rule, const char *says)
{
    kvass_tokenizer *tok = (kvass_tokenizer *)folder;
    kvass_error err = {0};
    if (open_bytes(&tok, name, bytes, n, pattern, &err) != code || strcmp(err.rule, rule) != 0 ||
        !strstr(err.message, says)) {
        fail_msg("expected %s \"%s\", found %d %s \"%s\"", rule, says, (int)err.code, err.rule,
                 err.message);
    }
    assert_null(tok);
}

/* The ids of a text as "1 2 3", or the rule of the error. */
static const char *ids_of(const kvass_tokenizer *tok, const char *text, bool special)
{
    static char line[1024];
    int32_t ids[256];
    size_t n_ids = 0, at = 0;
    kvass_error err = {0};
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = opt.parse_special = special;
    line[0] = '\0';
    if (kvass_tokenizer_encode(tok, text, strlen(text), &opt, ids, 256, &n_ids, &err) != KVASS_OK) {
        return err.rule;
    }
    for (size_t i = 0; i < n_ids; i++) {
        at += (size_t)snprintf(line + at, sizeof line - at, i ? " %d" : "%d", ids[i]);
    }
    return line;
}

/* ---- tiktoken -------------------------------------------------------------------------------- */

static char ranks[1 << 22];

/* Append the line of a token to `ranks`. */
static size_t add_rank(size_t at, const char *token, size_t n, long rank)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++) {
            bits = bits << 8 | (i + k < n ? (unsigned char)token[i + k] : 0);
        }
        for (size_t k = 0; k < 4; k++) {
            ranks[at++] = i + k > n ? '=' : digits[bits >> (18 - 6 * k) & 63];
        }
    }
    return at + (size_t)snprintf(ranks + at, sizeof ranks - at, " %ld\n", rank);
}

/* All bytes but `without`, in order. */
static size_t add_bytes(int without)
{
    size_t at = 0;
    for (int byte = 0; byte < 256; byte++) {
        char self = (char)byte;
        at = byte == without ? at : add_rank(at, &self, 1, byte);
    }
    return at;
}

static void ranks_merge(void **state)
{
    (void)state;
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    size_t at = add_bytes(-1);
    at = add_rank(at, "bc", 2, 256);
    at = add_rank(at, "ab", 2, 257);
    at = add_rank(at, "abc", 3, 258);
    at = add_rank(at, " x", 2, 259);
    at = add_rank(at, "abcd", 4, 261); /* whole, though nothing merges to it; 260 is left out */
    if (open_bytes(&tok, "a.tiktoken", ranks, at, "gpt2", &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    assert_string_equal(info.kind, "tiktoken");
    assert_int_equal(info.n_vocab, 262);
    assert_int_equal(info.eos, -1);
    assert_string_equal(ids_of(tok, "abc", false), "258");
    assert_string_equal(ids_of(tok, "abcb", false), "258 98");
    assert_string_equal(ids_of(tok, "abcd", false), "261");
    assert_string_equal(ids_of(tok, "abb", false), "257 98");
    assert_string_equal(ids_of(tok, "a x\xff", false), "97 259 255");
    assert_int_equal(ids_of(tok, "<|endoftext|>", true)[0], '6'); /* plain text */
    kvass_tokenizer_close(&tok);
    assert_int_equal(open_bytes(&tok, "gpt2.tiktoken", ranks, at, NULL, &err), KVASS_OK);
    kvass_tokenizer_close(&tok);
}

/* A file with as many ranks as a known one is that, and has its control tokens. */
static size_t add_many(long n_ranks)
{
    size_t at = add_bytes(-1);
    for (long rank = 256; rank < n_ranks; rank++) {
        char token[16];
        int n = snprintf(token, sizeof token, "~%ld", rank);
        at = add_rank(at, token, (size_t)n, rank);
    }
    return at;
}

static void ranks_by_size(void **state)
{
    (void)state;
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    kvass_tokenizer_info info;
    assert_int_equal(open_bytes(&tok, "x", ranks, add_many(50256), NULL, &err), KVASS_OK);
    kvass_tokenizer_get_info(tok, &info);
    assert_int_equal(info.n_vocab, 50257);
    assert_int_equal(info.eos, 50256);
    assert_string_equal(ids_of(tok, "<|endoftext|>a", true), "50256 97");
    assert_true(kvass_tokenizer_is_special(tok, 50256));
    kvass_tokenizer_close(&tok);
    size_t n = add_many(128000);
    assert_int_equal(open_bytes(&tok, "tokenizer.model", ranks, n, NULL, &err), KVASS_OK);
    kvass_tokenizer_get_info(tok, &info);
    assert_int_equal(info.n_vocab, 128256);
    assert_int_equal(info.bos, 128000);
    assert_true(info.adds_bos);
    assert_string_equal(ids_of(tok, "a<|eot_id|>", true), "128000 97 128009");
    assert_true(kvass_tokenizer_is_special(tok, 128255));
    kvass_tokenizer_close(&tok);
}

static void ranks_refused(void **state)
{
    (void)state;
    const char *name = "a.tiktoken";
    size_t n = add_bytes(-1);
    refuse_bytes(name, ranks, n, NULL, KVASS_UNSUPPORTED, "TOKENIZER_PATTERN",
                 "its 256 ranks tell how text is cut into words: say it with --pattern");
    refuse_bytes(name, ranks, n, "gpt5", KVASS_INVALID, "TOKENIZER_PATTERN", "\"gpt5\"");
    refuse_bytes(name, ranks, add_bytes('b'), "gpt2", KVASS_FORMAT, "RANK_BYTES", "byte 0x62");
    n = add_bytes(-1);
    refuse_bytes(name, ranks, add_rank(n, "ab", 2, 7), "gpt2", KVASS_FORMAT, "RANK_DUPLICATE",
                 "line 257: rank 7, but its rank belongs to other bytes already");
    refuse_bytes(name, ranks, add_rank(n, "a", 1, 300), "gpt2", KVASS_FORMAT, "RANK_DUPLICATE",
                 "its bytes have a rank already");
    refuse_bytes(name, ranks, add_rank(n, "ab", 2, 2097152), "gpt2", KVASS_FORMAT, "RANK_LINE",
                 "a rank below 2097152");
    static const char *const lines[] = {"YWI=",
                                        "YWI= ",
                                        "YWI= -1",
                                        "YWI= 1x",
                                        "YW!= 300",
                                        "YWI 300",
                                        "= 300",
                                        " 300",
                                        "YWI=\t300",
                                        "YWI=  300",
                                        "Y=I= 300",
                                        "YWI= 300 1",
                                        "YWI= 99999999999999999999"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        memcpy(ranks + n, lines[i], strlen(lines[i]));
        refuse_bytes(name, ranks, n + strlen(lines[i]), "gpt2", KVASS_FORMAT, "RANK_LINE",
                     "line 257: expected base64, a space and a rank");
    }
    refuse_bytes(name, "", 0, "gpt2", KVASS_FORMAT, "RANK_BYTES", "byte 0x00");
}

static void ranks_read_crlf(void **state)
{
    (void)state;
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    size_t n = add_bytes(-1), n_out = 0;
    static char windows[1 << 14];
    for (size_t i = 0; i < n; i++) {
        if (ranks[i] == '\n') {
            windows[n_out++] = '\r';
        }
        windows[n_out++] = ranks[i];
    }
    assert_int_equal(open_bytes(&tok, "a", windows, n_out, "cl100k", &err), KVASS_OK);
    assert_string_equal(ids_of(tok, "ab", false), "97 98");
    kvass_tokenizer_close(&tok);
}

/* ---- characters ------------------------------------------------------------------------------ */

#define PICKLE_BEGIN "\x80\x04\x95\x80\x00\x00\x00\x00\x00\x00\x00}\x94("
#define STOI                                                                                       \
    "\x8c\x04stoi\x94}\x94(\x8c\x01"                                                               \
    "a\x94K\x00\x8c\x02\xc3\xa9\x94K\x01\x8c\x01\n\x94K\x02u"
#define ITOS "\x8c\x04itos\x94}\x94(K\x00h\x03K\x01h\x04K\x02h\x05u"

static void characters(void **state)
{
    (void)state;
    static const char pickle[] = PICKLE_BEGIN "\x8c\x0avocab_size\x94K\x03" STOI "u.";
    static const struct {
        const char *name, *text;
        size_t n;
    } files[] = {
#define FILE_OF(name, text) {name, text, sizeof text - 1}
        FILE_OF("meta.pkl", pickle),
        FILE_OF("m.json", "{\"a\":0,\"\xc3\xa9\":1,\"\\n\":2}"),
        FILE_OF("meta.json", "{\"stoi\":{\"a\":0,\"\xc3\xa9\":1,\"\\n\":2}}"),
        FILE_OF("meta.json", "{\"itos\":{\"0\":\"a\",\"1\":\"\xc3\xa9\",\"2\":\"\\n\"}}"),
        FILE_OF("meta.json", "{\"itos\":[\"a\",\"\xc3\xa9\",\"\\n\"],\"stoi\":{\"a\":0}}"),
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        kvass_tokenizer *tok = NULL;
        kvass_error err = {0};
        if (open_bytes(&tok, files[i].name, files[i].text, files[i].n, NULL, &err) != KVASS_OK) {
            fail_msg("%d: %s: %s", (int)i, err.rule, err.message);
        }
        kvass_tokenizer_info info;
        kvass_tokenizer_get_info(tok, &info);
        assert_string_equal(info.kind, "characters");
        assert_int_equal(info.n_vocab, 3);
        assert_string_equal(ids_of(tok, "a\xc3\xa9\na", false), "0 1 2 0");
        assert_string_equal(ids_of(tok, "b", false), "WORD_UNKNOWN");
        assert_string_equal(ids_of(tok, "a\xc3", false), "WORD_UNKNOWN");
        kvass_tokenizer_close(&tok);
    }
}

/* beside the model, in the folder that is asked for */
static void found_in_folder(void **state)
{
    (void)state;
    static const char pickle[] = PICKLE_BEGIN STOI "u.";
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    unit_write(path_of("meta.pkl"), pickle, sizeof pickle - 1);
    assert_int_equal(kvass_tokenizer_open(&tok, folder, 3, &err), KVASS_OK);
    kvass_tokenizer_close(&tok);
    assert_int_equal(kvass_tokenizer_open(&tok, folder, 2, &err), KVASS_FORMAT);
    assert_string_equal(err.rule, "VOCAB_SIZE");
    assert_int_equal(unlink(path_of("meta.pkl")), 0);
    unit_write(path_of("gpt2.tiktoken"), ranks, add_bytes(-1));
    assert_int_equal(kvass_tokenizer_open(&tok, folder, 0, &err), KVASS_OK);
    kvass_tokenizer_close(&tok);
    assert_int_equal(unlink(path_of("gpt2.tiktoken")), 0);
    assert_int_equal(kvass_tokenizer_open(&tok, folder, 0, &err), KVASS_IO);
    assert_non_null(strstr(err.message, "meta.pkl"));
}

static void longer_texts(void **state)
{
    (void)state;
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    static const char text[] = "{\"stoi\":{\"a\":0,\"<eos>\":1}}";
    assert_int_equal(open_bytes(&tok, "m.json", text, sizeof text - 1, NULL, &err), KVASS_OK);
    assert_true(kvass_tokenizer_is_special(tok, 1));
    assert_string_equal(ids_of(tok, "a<eos>a", true), "0 1 0");
    assert_string_equal(ids_of(tok, "a<eos>a", false), "WORD_UNKNOWN");
    kvass_tokenizer_close(&tok);
}

static void characters_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *rule, *says;
    } files[] = {
        {"{\"stoi\":{\"a\":-1}}", "CHARACTER_MAP", "id -1 for 1 bytes"},
        {"{\"stoi\":{\"a\":2097152}}", "CHARACTER_MAP", "expected an id in 0 .. 2097151"},
        {"{\"stoi\":{\"\":0}}", "CHARACTER_MAP", "for 0 bytes"},
        {"{\"stoi\":{\"a\":0,\"b\":0}}", "CHARACTER_MAP", "what else the file says of this id"},
        {"{\"itos\":[\"a\",\"a\"]}", "CHARACTER_MAP", "what else the file says of this text"},
        {"{\"stoi\":{\"a\":0},\"itos\":[\"b\"]}", "CHARACTER_MAP", "\"b\" with id 0"},
        {"{\"stoi\":{\"a\":0.5}}", "CHARACTER_MAP", "\"stoi\": expected whole numbers, found a"},
        {"{\"stoi\":[]}", "CHARACTER_MAP", "\"stoi\": expected an object"},
        {"{\"stoi\":{}}", "CHARACTER_MAP", "with characters in it"},
        {"{\"itos\":\"x\"}", "CHARACTER_MAP", "\"itos\": expected an object or an array"},
        {"{\"itos\":{\"x\":\"a\"}}", "CHARACTER_MAP", "\"itos\": expected texts by ids"},
        {"{\"itos\":[1]}", "CHARACTER_MAP", "\"itos\": expected texts by ids"},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        refuse_bytes("meta.json", files[i].text, strlen(files[i].text), NULL, KVASS_FORMAT,
                     files[i].rule, files[i].says);
    }
#define REFUSE_PICKLE(text, code, rule, says)                                                      \
    refuse_bytes("meta.pkl", text, sizeof text - 1, NULL, code, rule, says)
    REFUSE_PICKLE("\x80\x04K\x01.", KVASS_FORMAT, "CHARACTER_MAP", "expected a dictionary");
    REFUSE_PICKLE("\x80\x04}.", KVASS_FORMAT, "CHARACTER_MAP", "with characters in it");
    REFUSE_PICKLE("\x80\x04}(\x8c\x04stoiK\x01u.", KVASS_FORMAT, "CHARACTER_MAP", "\"stoi\"");
    REFUSE_PICKLE("\x80\x04}(\x8c\x04itosK\x01u.", KVASS_FORMAT, "CHARACTER_MAP", "\"itos\"");
    REFUSE_PICKLE("\x80\x04}(\x8c\x04stoi}(K\x01K\x01uu.", KVASS_FORMAT, "CHARACTER_MAP",
                  "\"stoi\": expected ids by texts, found a whole number");
    REFUSE_PICKLE("\x80\x04}(\x8c\x04itos}(K\x01K\x01uu.", KVASS_FORMAT, "CHARACTER_MAP",
                  "\"itos\": expected texts by ids");
    REFUSE_PICKLE("\x80\x04"
                  "cos\nsystem\n.",
                  KVASS_UNSUPPORTED, "PICKLE_FUNCTION", "os.system");
    REFUSE_PICKLE(PICKLE_BEGIN STOI, KVASS_FORMAT, "PICKLE", "meta.pkl");
    REFUSE_PICKLE(PICKLE_BEGIN STOI "\x8c\x04itos\x94]\x94(h\x04h\x04"
                                    "eu.",
                  KVASS_FORMAT, "CHARACTER_MAP", "contradicts");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_merge),   cmocka_unit_test(ranks_by_size),
        cmocka_unit_test(ranks_refused), cmocka_unit_test(ranks_read_crlf),
        cmocka_unit_test(characters),    cmocka_unit_test(found_in_folder),
        cmocka_unit_test(longer_texts),  cmocka_unit_test(characters_refused),
    };
    return cmocka_run_group_tests_name("tokenizer_ranks", tests, make_folder, remove_folder);
}
