/* test_torch.c - PyTorch files written here, zip archives and pickles byte by byte: every refusal,
 * by rule and by what the message says. What whole files give is golden_logits' to test.
 */
#include "tests/unit/unit.h"

#include "model/checkpoint.h"

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

/* ---- writing an archive ---------------------------------------------------------------------- */

typedef struct entry {
    const char *name;
    const void *bytes;
    size_t n;
    uint16_t method; /* 0 stored, 8 deflated */
} entry;

typedef struct buffer {
    unsigned char bytes[65536];
    size_t n;
} buffer;

static buffer zip;

static void put(buffer *b, const void *bytes, size_t n)
{
    assert_true(b->n + n <= sizeof b->bytes);
    memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}

static void put_number(buffer *b, uint32_t value, size_t n)
{
    unsigned char bytes[4] = {(unsigned char)value, (unsigned char)(value >> 8),
                              (unsigned char)(value >> 16), (unsigned char)(value >> 24)};
    put(b, bytes, n);
}

static uint32_t crc32_of(const unsigned char *bytes, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
        }
    }
    return ~crc;
}

/* What the local and the central header have in common. */
static void put_header(buffer *b, const entry *e)
{
    put_number(b, 20, 2);
    put_number(b, 0, 2);
    put_number(b, e->method, 2);
    put_number(b, 0, 4);
    put_number(b, crc32_of(e->bytes, e->n), 4);
    put_number(b, (uint32_t)e->n, 4);
    put_number(b, (uint32_t)e->n, 4);
    put_number(b, (uint32_t)strlen(e->name), 2);
    put_number(b, 0, 2);
}

static void make_zip(const entry *entries, size_t n)
{
    size_t places[8];
    zip.n = 0;
    for (size_t i = 0; i < n; i++) {
        places[i] = zip.n;
        put(&zip, "PK\3\4", 4);
        put_header(&zip, &entries[i]);
        put(&zip, entries[i].name, strlen(entries[i].name));
        put(&zip, entries[i].bytes, entries[i].n);
    }
    size_t directory = zip.n;
    for (size_t i = 0; i < n; i++) {
        put(&zip, "PK\1\2", 4);
        put_number(&zip, 20, 2);
        put_header(&zip, &entries[i]);
        put_number(&zip, 0, 2);
        put_number(&zip, 0, 4);
        put_number(&zip, 0, 4);
        put_number(&zip, (uint32_t)places[i], 4);
        put(&zip, entries[i].name, strlen(entries[i].name));
    }
    size_t end = zip.n;
    put(&zip, "PK\5\6\0\0\0\0", 8);
    put_number(&zip, (uint32_t)n, 2);
    put_number(&zip, (uint32_t)n, 2);
    put_number(&zip, (uint32_t)(end - directory), 4);
    put_number(&zip, (uint32_t)directory, 4);
    put_number(&zip, 0, 2);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void refuse_zip(kvass_status code, const char *rule, const char *says)
{
    kvass_checkpoint *ckpt = (kvass_checkpoint *)path;
    kvass_error err = {0};
    unit_write(path, zip.bytes, zip.n);
    if (kvass_checkpoint_open(&ckpt, path, &err) != code || strcmp(err.rule, rule) != 0 ||
        !strstr(err.message, says)) {
        fail_msg("expected %s \"%s\", found %d %s \"%s\"", rule, says, (int)err.code, err.rule,
                 err.message);
    }
    assert_null(ckpt);
}

static const char storage[16] = {0};

/* An archive with this pickle and a storage "0" of four floats. */
static void refuse_bytes(const char *pickle, size_t n, kvass_status code, const char *rule,
                         const char *says)
{
    const entry entries[] = {{"a/data.pkl", pickle, n, 0}, {"a/data/0", storage, 16, 0}};
    make_zip(entries, 2);
    refuse_zip(code, rule, says);
}
#define REFUSE(pickle, code, rule, says) refuse_bytes(pickle, sizeof(pickle) - 1, code, rule, says)

/* Nothing is wrong with it but that no config.json lies beside it. */
#define ACCEPT(pickle) REFUSE(pickle, KVASS_IO, "CONFIG_FILE", "expected the model's configuration")

#define STRING(length, text) "X" length "\0\0\0" text
#define FLOATS               "ctorch\nFloatStorage\n"
#define STORAGE(type, key, n)                                                                      \
    "(" STRING("\7", "storage") type STRING("\1", key) STRING("\3", "cpu") "K" n "tQ"
#define TENSOR(store, offset, size, stride)                                                        \
    "ctorch._utils\n_rebuild_tensor_v2\n(" store "K" offset size stride "\x89"                     \
    "ccollections\nOrderedDict\n)RtR"
#define USUAL       TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "K\4\x85", "K\1\x85")
#define DICT(items) "\x80\2}(" items "u."
#define NAMED(item) DICT(STRING("\1", "w") item)

static void test_archives(void **state)
{
    (void)state;
    const entry other[] = {{"a/readme", "x", 1, 0}};
    make_zip(other, 1);
    refuse_zip(KVASS_UNSUPPORTED, "CHECKPOINT_KIND", "without data.pkl");
    const entry beside[] = {{"a/nodata.pkl", "x", 1, 0}};
    make_zip(beside, 1);
    refuse_zip(KVASS_UNSUPPORTED, "CHECKPOINT_KIND", "without data.pkl");
    zip.n -= 8;
    refuse_zip(KVASS_FORMAT, "ZIP", "its directory");

    static const char pickle[] = NAMED(USUAL);
    entry entries[] = {{"a/data.pkl", pickle, sizeof pickle - 1, 0},
                       {"a/data/0", storage, 16, 8},
                       {"a/byteorder", "big", 3, 0}};
    make_zip(entries, 2);
    refuse_zip(KVASS_UNSUPPORTED, "ZIP_ENTRY", "a/data/0: expected an entry stored as it is");
    entries[1].method = 0;
    make_zip(entries, 3);
    refuse_zip(KVASS_UNSUPPORTED, "BYTE_ORDER", "\"big\"");
    entries[2] = (entry){"a/byteorder", "little", 6, 0};
    make_zip(entries, 3);
    refuse_zip(KVASS_IO, "CONFIG_FILE", "configuration");
    entries[1].n = 12;
    make_zip(entries, 2);
    refuse_zip(KVASS_FORMAT, "STORAGE", "4 elements of 4 bytes, but \"a/data/0\" has 12 bytes");
    make_zip(entries, 1);
    refuse_zip(KVASS_FORMAT, "STORAGE", "\"a/data/0\", which the archive lacks");
}

static void test_pickles(void **state)
{
    (void)state;
    REFUSE("", KVASS_FORMAT, "PICKLE", "byte 0: it ends without a STOP");
    REFUSE("\x80\2}", KVASS_FORMAT, "PICKLE", "byte 3: it ends without a STOP");
    REFUSE("\x80\2.", KVASS_FORMAT, "PICKLE", "one value");
    REFUSE("\x80\2}}.", KVASS_FORMAT, "PICKLE", "one value");
    REFUSE("\x80\2(.", KVASS_FORMAT, "PICKLE", "one value");
    REFUSE("\x80\6}.", KVASS_FORMAT, "PICKLE", "a protocol above 5");
    REFUSE("\x80", KVASS_FORMAT, "PICKLE", "a number beyond the end");
    /* what runs something, or is no part of tensors */
    REFUSE("cos\nsystem\n(X\2\0\0\0lstR.", KVASS_UNSUPPORTED, "PICKLE_FUNCTION",
           "byte 0: it asks for \"os.system\"");
    REFUSE("cbuiltins\neval\n.", KVASS_UNSUPPORTED, "PICKLE_FUNCTION", "\"builtins.eval\"");
    REFUSE("ctorch\nFloatStorag\n.", KVASS_UNSUPPORTED, "PICKLE_FUNCTION", "FloatStorag");
    REFUSE("\x80\4\x8c\2os\x8c\6system\x93.", KVASS_UNSUPPORTED, "PICKLE_OPCODE", "0x93");
    REFUSE("(ios\nsystem\n.", KVASS_UNSUPPORTED, "PICKLE_OPCODE", "byte 1: instruction 0x69");
    REFUSE("}\x81.", KVASS_UNSUPPORTED, "PICKLE_OPCODE", "0x81");
    REFUSE("\x82\1.", KVASS_UNSUPPORTED, "PICKLE_OPCODE", "0x82");
    REFUSE("S'x'\n.", KVASS_UNSUPPORTED, "PICKLE_OPCODE", "0x53");
    REFUSE("cos\nsystem", KVASS_FORMAT, "PICKLE", "a function's name beyond the end");
    REFUSE("})R.", KVASS_FORMAT, "PICKLE", "a call without a function");
    REFUSE("ccollections\nOrderedDict\n}\x85R.", KVASS_FORMAT, "PICKLE", "with arguments");
    /* strings, numbers */
    REFUSE("X\xff\xff\xff\xff"
           "a.",
           KVASS_FORMAT, "PICKLE", "a string beyond the end");
    REFUSE("X\1", KVASS_FORMAT, "PICKLE", "a string beyond the end");
    REFUSE("\x8a\x09\1\1\1\1\1\1\1\1\1.", KVASS_FORMAT, "PICKLE", "more than 64 bits");
    REFUSE("J\1\2", KVASS_FORMAT, "PICKLE", "a number beyond the end");
    REFUSE("G\1\2", KVASS_FORMAT, "PICKLE", "a number beyond the end");
    /* stack and memory */
    REFUSE("K\1K\2s.", KVASS_FORMAT, "PICKLE", "an item for no container");
    REFUSE("K\1(K\1K\2u.", KVASS_FORMAT, "PICKLE", "items for no container");
    REFUSE("}(K\1u.", KVASS_FORMAT, "PICKLE", "items for no container");
    REFUSE("}u.", KVASS_FORMAT, "PICKLE", "items for no container");
    REFUSE("](K\1K\2u.", KVASS_FORMAT, "PICKLE", "items for no container");
    REFUSE("}K\1a.", KVASS_FORMAT, "PICKLE", "an item for no container");
    REFUSE("K\1t.", KVASS_FORMAT, "PICKLE", "a tuple without a mark");
    REFUSE("K\1\x86.", KVASS_FORMAT, "PICKLE", "too few values");
    REFUSE("K\1(\x86.", KVASS_FORMAT, "PICKLE", "too few values");
    REFUSE("h\1.", KVASS_FORMAT, "PICKLE", "what it did not remember");
    REFUSE("}q\3h\2.", KVASS_FORMAT, "PICKLE", "what it did not remember");
    REFUSE("q\1.", KVASS_FORMAT, "PICKLE", "nothing to remember");
    REFUSE("}r\xff\xff\xff\x7f.", KVASS_FORMAT, "PICKLE", "a place beyond reason");
    REFUSE("K\1}b.", KVASS_FORMAT, "PICKLE", "state for something that has none");
    REFUSE("K\1Q.", KVASS_FORMAT, "PICKLE", "that is no tuple");
}

static void test_tensors(void **state)
{
    (void)state;
    ACCEPT(NAMED(USUAL));
    ACCEPT(NAMED("ctorch._utils\n_rebuild_parameter\n(" USUAL "\x88}tR"));
    REFUSE("].", KVASS_FORMAT, "TENSOR_KIND", "a dictionary of tensors, found a list");
    REFUSE("}.", KVASS_FORMAT, "NO_TENSORS", "found none");
    REFUSE(NAMED("K\1"), KVASS_FORMAT, "TENSOR_KIND", "\"w\": expected a tensor, found a whole");
    REFUSE(NAMED("]"), KVASS_FORMAT, "TENSOR_KIND", "found a list");
    REFUSE(DICT("K\1" USUAL), KVASS_FORMAT, "TENSOR_NAME", "found a whole number");
    REFUSE(DICT(STRING("\0", "") USUAL), KVASS_FORMAT, "TENSOR_NAME", "found a string");
    REFUSE(DICT(STRING("\1", "\0") USUAL), KVASS_FORMAT, "TENSOR_NAME", "found a string");
    REFUSE(DICT(STRING("\1", "w") USUAL STRING("\1", "w") USUAL), KVASS_FORMAT, "DUPLICATE_TENSOR",
           "\"w\"");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "1", "\4"), "\0", "K\4\x85", "K\1\x85")), KVASS_FORMAT,
           "STORAGE", "\"a/data/1\", which the archive lacks");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\5"), "\0", "K\4\x85", "K\1\x85")), KVASS_FORMAT,
           "STORAGE", "5 elements of 4 bytes");
    REFUSE(NAMED(TENSOR(STORAGE("K\1", "0", "\4"), "\0", "K\4\x85", "K\1\x85")), KVASS_FORMAT,
           "STORAGE", "a known type");
    REFUSE(NAMED(TENSOR("N", "\0", "K\4\x85", "K\1\x85")), KVASS_FORMAT, "STORAGE", "a known type");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\1", "K\4\x85", "K\1\x85")), KVASS_FORMAT,
           "OVERFLOW", "beyond its storage");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "K\4\x85", "K\2\x85")), KVASS_FORMAT,
           "OVERFLOW", "beyond its storage");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0",
                        "(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x08\xff\xff\xff\xff\xff\xff"
                        "\xff\x7ft",
                        "K\0K\0\x86")),
           KVASS_FORMAT, "OVERFLOW", "beyond its storage");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "J\xff\xff\xff\xff\x85", "K\1\x85")),
           KVASS_FORMAT, "SHAPE", "0 or more");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "K\4\x85", "J\xff\xff\xff\xff\x85")),
           KVASS_FORMAT, "SHAPE", "0 or more");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "K\4\x85", ")")), KVASS_FORMAT, "SHAPE",
           "as many strides");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "K\4", "K\1\x85")), KVASS_FORMAT, "SHAPE",
           "as many strides");
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t",
                        "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t")),
           KVASS_FORMAT, "SHAPE", "at most 8 sizes");
    /* one element a million times */
    REFUSE(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "J\x40\x42\x0f\0\x85", "K\0\x85")),
           KVASS_UNSUPPORTED, "TENSOR_STRIDES", "in one place");
    ACCEPT(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "K\2K\2\x86", "K\1K\2\x86")));
    ACCEPT(NAMED(TENSOR(STORAGE(FLOATS, "0", "\4"), "\0", "K\0\x85", "K\1\x85")));
}

static void test_arguments(void **state)
{
    (void)state;
#define CHECKPOINT(arguments)                                                                      \
    DICT(STRING("\5", "model") "}(" STRING("\1", "w") USUAL "u" STRING("\12", "model_args")        \
             arguments)
    REFUSE(CHECKPOINT("}"), KVASS_UNSUPPORTED, "FAMILY", "nanoGPT's (with \"n_embd\")");
    REFUSE(CHECKPOINT("]"), KVASS_UNSUPPORTED, "FAMILY", "llama2.c's (with \"dim\")");
    REFUSE(CHECKPOINT("}(" STRING("\6", "n_embd") "K\4u"), KVASS_FORMAT, "CONFIG_TYPE",
           "\"n_layer\": expected a whole number, found absent");
    REFUSE(CHECKPOINT("}(" STRING("\3", "dim") "N"
                                               "u"),
           KVASS_FORMAT, "CONFIG_TYPE", "\"dim\": expected a whole number, found None");
    REFUSE(CHECKPOINT("}(" STRING("\3", "dim") "\x88u"), KVASS_FORMAT, "CONFIG_TYPE",
           "found a truth value");
#define NANO                                                                                       \
    STRING("\7", "n_layer")                                                                        \
    "K\1" STRING("\6", "n_head") "K\1" STRING("\6", "n_embd") "K\2" STRING(                        \
        "\12", "block_size") "K\4" STRING("\12", "vocab_size") "K\3"
    REFUSE(CHECKPOINT("}(" NANO STRING("\4", "bias") "K\1u"), KVASS_FORMAT, "CONFIG_TYPE",
           "\"bias\": expected a truth value");
    static const char pickle[] = CHECKPOINT("}(" NANO STRING("\4", "bias") "\x89u");
    const entry entries[] = {{"data.pkl", pickle, sizeof pickle - 1, 0},
                             {"data/0", storage, 16, 0}};
    make_zip(entries, 2);
    unit_write(path, zip.bytes, zip.n);
    kvass_checkpoint *ckpt;
    kvass_error err = {0};
    assert_int_equal(kvass_checkpoint_open(&ckpt, path, &err), KVASS_OK);
    assert_string_equal(ckpt->format, "PyTorch");
    assert_string_equal(kvass_json_as_string(kvass_json_get(ckpt->config, "model_type"), NULL),
                        "nanogpt");
    const kvass_tensor *w = kvass_checkpoint_find(ckpt, "w");
    assert_non_null(w);
    assert_int_equal(w->n_bytes, 16);
    assert_int_equal(w->dtype, KVASS_DTYPE_F32);
    kvass_checkpoint_close(&ckpt);
}

/* A file cut at any byte, and one with any byte changed, is refused or read, never worse. */
static void test_damaged(void **state)
{
    (void)state;
    static const char pickle[] = NAMED(USUAL);
    const entry entries[] = {{"a/data.pkl", pickle, sizeof pickle - 1, 0},
                             {"a/data/0", storage, 16, 0}};
    make_zip(entries, 2);
    const size_t n = zip.n;
    for (size_t i = 0; i < 2 * n; i++) {
        kvass_checkpoint *ckpt;
        kvass_error err = {0};
        unsigned char *byte = &zip.bytes[i % n];
        *byte ^= i < n ? 0 : 0xff;
        unit_write(path, zip.bytes, i < n ? i : n);
        *byte ^= i < n ? 0 : 0xff;
        assert_int_not_equal(kvass_checkpoint_open(&ckpt, path, &err), KVASS_OK);
        assert_true(err.rule && err.message[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_archives), cmocka_unit_test(test_pickles),
        cmocka_unit_test(test_tensors),  cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests_name("torch", tests, make_file, remove_file);
}
