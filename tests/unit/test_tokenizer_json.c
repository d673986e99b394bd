/* test_tokenizer_json.c - tokenizer.json and vocab.json with merges.txt: every refusal, by rule and
 * by what the message says, and what small documents do. */
#include "tests/unit/unit.h"

#include <pthread.h>

#include "engine/kvass.h"

static char folder[UNIT_PATH_BYTES], path[UNIT_PATH_BYTES + 32];

static const char *file_in_folder(const char *name)
{
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    unit_folder(folder);
    return 0;
}

static void remove_files(void)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                        "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)unlink(file_in_folder(names[i]));
    }
}

static int remove_folder(void **state)
{
    (void)state;
    remove_files();
    return rmdir(folder);
}

static void write_text(const char *name, const char *text)
{
    unit_write(file_in_folder(name), text, strlen(text));
}

/* ---- documents ------------------------------------------------------------------------------- */

/* The parts of a tokenizer.json; NULL takes what `usual` has. */
typedef struct doc {
    const char *outline, *normalizer, *pretok, *post, *decoder, *model, *vocab, *merges, *added;
} doc;

#define BYTES       "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define SPLIT(rest) "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":" rest "}"
#define VOCAB       "\"a\":0,\"b\":1,\"c\":2,\"\\u0120\":3,\"ab\":4,\"abc\":5,\"\\u0120a\":6"
#define MERGES      "\"a b\",\"ab c\",\"\\u0120 a\""
#define ADDED(rest) "{\"id\":7,\"content\":\"<s>\",\"special\":true" rest "}"

static const doc usual = {
    "\"version\":\"1.0\"", "null", BYTES,  "null",   "{\"type\":\"ByteLevel\"}",
    "\"type\":\"BPE\"",    VOCAB,  MERGES, ADDED("")};

/* spaces in front of the vocabulary's and the merges' entries: enough make them long lists */
static int padding;

static int pad(void **state)
{
    (void)state;
    padding = 70000;
    return 0;
}

static void write_doc(const doc *d)
{
    static char text[65536 + 2 * 70000];
#define PART(name) (d->name ? d->name : usual.name)
    int n = snprintf(text, sizeof text,
                     "{%s,\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,"
                     "\"decoder\":%s,\"model\":{%s,\"vocab\":{%*s%s},\"merges\":[%*s%s]},"
                     "\"added_tokens\":[%s]}",
                     PART(outline), PART(normalizer), PART(pretok), PART(post), PART(decoder),
                     PART(model), padding, "", PART(vocab), padding, "", PART(merges), PART(added));
    assert_in_range(n, 1, sizeof text - 1);
    write_text("tokenizer.json", text);
}

static kvass_tokenizer *open_folder(void)
{
    kvass_tokenizer *tok = NULL;
    kvass_error err = {0};
    if (kvass_tokenizer_open(&tok, folder, 0, &err) != KVASS_OK) {
        fail_msg("%s: %s", err.rule, err.message);
    }
    return tok;
}

static kvass_tokenizer *open_doc(const doc *d)
{
    write_doc(d);
    return open_folder();
}

static void refuse_folder(kvass_status code, const char *rule, const char *says)
{
    kvass_tokenizer *tok = (kvass_tokenizer *)folder;
    kvass_error err = {0};
    if (kvass_tokenizer_open(&tok, folder, 0, &err) != code || strcmp(err.rule, rule) != 0 ||
        !strstr(err.message, says)) {
        fail_msg("expected %s \"%s\", found %d %s \"%s\"", rule, says, (int)err.code, err.rule,
                 err.message);
    }
    assert_null(tok);
    assert_non_null(strstr(err.message, folder));
}

typedef struct refusal {
    doc d;
    kvass_status code;
    const char *rule, *says;
} refusal;

static void refuse_all(const refusal *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        write_doc(&cases[i].d);
        refuse_folder(cases[i].code, cases[i].rule, cases[i].says);
    }
}
#define REFUSE(cases) refuse_all(cases, sizeof(cases) / sizeof((cases)[0]))

/* The ids of text[n] as "1 2 3". */
static const char *ids_of(const kvass_tokenizer *tok, const char *text, size_t n, bool special)
{
    static char line[1024];
    int32_t ids[256];
    size_t n_ids = 0, at = 0;
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = opt.parse_special = special;
    kvass_error err = {0};
    if (kvass_tokenizer_encode(tok, text, n, &opt, ids, 256, &n_ids, &err) != KVASS_OK) {
        (void)snprintf(line, sizeof line, "%s", err.rule);
        return line;
    }
    line[0] = '\0';
    for (size_t i = 0; i < n_ids; i++) {
        at += (size_t)snprintf(line + at, sizeof line - at, i ? " %d" : "%d", ids[i]);
    }
    return line;
}

static void expect(const doc *d, const char *text, const char *ids)
{
    kvass_tokenizer *tok = open_doc(d);
    assert_string_equal(ids_of(tok, text, strlen(text), true), ids);
    kvass_tokenizer_close(&tok);
}

/* ---- vocabulary, merges, added tokens ---------------------------------------------------------
 */

static void test_vocab(void **state)
{
    (void)state;
    const refusal cases[] = {
        {{.vocab = ""}, KVASS_FORMAT, "MERGE_PART", "\"a\" is not in the vocabulary"},
        {{.vocab = "", .merges = "", .added = ""}, KVASS_FORMAT, "VOCAB_SIZE", "is empty"},
        {{.vocab = VOCAB ",\"x\":-1"},
         KVASS_FORMAT,
         "VOCAB_ID",
         "vocab[\"x\"]: expected an id in 0"},
        {{.vocab = VOCAB ",\"x\":2097152"}, KVASS_FORMAT, "VOCAB_ID", "2097152"},
        {{.vocab = VOCAB ",\"x\":9223372036854775807"}, KVASS_FORMAT, "VOCAB_ID", "0 .. 2097151"},
        {{.vocab = VOCAB ",\"x\":1.0"}, KVASS_FORMAT, "VOCAB_ID", "found a real"},
        {{.vocab = VOCAB ",\"x\":\"9\""}, KVASS_FORMAT, "VOCAB_ID", "found a string"},
        {{.vocab = VOCAB ",\"x\":4"},
         KVASS_FORMAT,
         "VOCAB_ID",
         "vocab[\"x\"]: id 4 belongs to \"ab\" already"},
        {{.vocab = VOCAB ",\"a\":9"}, KVASS_FORMAT, "JSON_DUPLICATE", "\"a\""},
    };
    REFUSE(cases);
    /* sparse ids are fine, and cost what the highest costs */
    kvass_tokenizer *tok = open_doc(&(doc){.vocab = VOCAB ",\"x\":2097151"});
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    assert_int_equal(info.n_vocab, 2097152);
    size_t n;
    assert_non_null(kvass_tokenizer_piece(tok, 1000000, &n));
    assert_int_equal(n, 0);
    assert_string_equal(ids_of(tok, "xab", 3, false), "2097151 4");
    kvass_tokenizer_close(&tok);
}

static void test_merges(void **state)
{
    (void)state;
    const refusal cases[] = {
        {{.merges = MERGES ",\"ab\""}, KVASS_FORMAT, "MERGE_FORMAT", "merges[3]"},
        {{.merges = MERGES ",\"a b c\""}, KVASS_FORMAT, "MERGE_FORMAT", "merges[3]"},
        {{.merges = "\" a\""}, KVASS_FORMAT, "MERGE_FORMAT", "merges[0]"},
        {{.merges = "\"a \""}, KVASS_FORMAT, "MERGE_FORMAT", "merges[0]"},
        {{.merges = "\"\""}, KVASS_FORMAT, "MERGE_FORMAT", "merges[0]"},
        {{.merges = "7"}, KVASS_FORMAT, "MERGE_FORMAT", "found an integer"},
        {{.merges = "[\"a\"]"}, KVASS_FORMAT, "MERGE_FORMAT", "found an array"},
        {{.merges = "[\"a\",\"b\",\"c\"]"}, KVASS_FORMAT, "MERGE_FORMAT", "found an array"},
        {{.merges = "[\"a\",1]"}, KVASS_FORMAT, "MERGE_FORMAT", "found an array"},
        {{.merges = "\"a b\",\"a z\""},
         KVASS_FORMAT,
         "MERGE_PART",
         "merges[1]: \"z\" is not in the vocabulary"},
        {{.merges = "[\"\",\"a\"]"}, KVASS_FORMAT, "MERGE_PART", "merges[0]: \"\""},
        {{.merges = "\"b a\""},
         KVASS_FORMAT,
         "MERGE_RESULT",
         "merges[0]: \"b\" and \"a\" together are not in the vocabulary"},
        {{.merges = MERGES ",\"a b\""}, KVASS_FORMAT, "MERGE_DUPLICATE", "merges[3]"},
    };
    REFUSE(cases);
    expect(&(doc){.merges = "[\"a\",\"b\"],[\"ab\",\"c\"]"}, "abc ab", "5 3 4");
    /* the order of the merges decides, not the order in the text */
    expect(&(doc){.vocab = VOCAB ",\"bc\":8", .merges = "\"b c\",\"a b\""}, "abc", "0 8");
    expect(&(doc){.vocab = VOCAB ",\"bc\":8", .merges = "\"a b\",\"b c\""}, "abc", "4 2");
    /* a word of the vocabulary is taken whole only when merges are ignored */
    expect(&(doc){.merges = "\"a b\""}, "abc", "4 2");
    expect(&(doc){.merges = "\"a b\"", .model = "\"ignore_merges\":true"}, "abc", "5");
}

static void test_added(void **state)
{
    (void)state;
    const refusal cases[] = {
        {{.added = "{\"id\":7,\"content\":\"\"}"}, KVASS_FORMAT, "ADDED_TOKEN", "added token 0"},
        {{.added = "{\"id\":7}"}, KVASS_FORMAT, "ADDED_TOKEN", "\"content\": expected a string"},
        {{.added = "{\"content\":\"<s>\"}"}, KVASS_FORMAT, "ADDED_TOKEN", "\"id\": expected"},
        {{.added = "{\"id\":-1,\"content\":\"<s>\"}"}, KVASS_FORMAT, "ADDED_TOKEN", "id -1"},
        {{.added = "{\"id\":2097152,\"content\":\"<s>\"}"}, KVASS_FORMAT, "ADDED_TOKEN", "2097152"},
        {{.added = "{\"id\":7,\"content\":\"<s>\",\"special\":1}"},
         KVASS_FORMAT,
         "KEY_TYPE",
         "\"special\": expected true or false, found an integer"},
        {{.added = ADDED("") ",{\"id\":8,\"content\":\"<s>\",\"special\":true}"},
         KVASS_FORMAT,
         "ADDED_TOKEN",
         "added token 1, \"<s>\": its name is empty, or taken"},
        {{.added = ADDED("") ",{\"id\":7,\"content\":\"<t>\"}"},
         KVASS_FORMAT,
         "ADDED_TOKEN",
         "another token at 7"},
        {{.added = "{\"id\":5,\"content\":\"<s>\"}"}, KVASS_FORMAT, "ADDED_TOKEN", "id 5"},
        {{.added = "{\"id\":9,\"content\":\"abc\"}"},
         KVASS_FORMAT,
         "ADDED_TOKEN",
         "that token at 5"},
    };
    REFUSE(cases);
    static char long_name[8192];
    (void)snprintf(long_name, sizeof long_name, "{\"id\":7,\"content\":\"%04097d\"}", 0);
    write_doc(&(doc){.added = long_name});
    refuse_folder(KVASS_FORMAT, "ADDED_TOKEN", "4097 bytes");

    /* longest first; the shorter one elsewhere */
    doc d = {.added = ADDED("") ",{\"id\":8,\"content\":\"<s><s>\",\"special\":true}"};
    expect(&d, "a<s><s><s>b<s>", "0 8 7 1 7");
}

static void test_special(void **state)
{
    (void)state;
    kvass_tokenizer *tok =
        open_doc(&(doc){.vocab = VOCAB ",\"<\":8,\"s\":9,\">\":10",
                        .added = ADDED("") ",{\"id\":11,\"content\":\"aa\",\"special\":false}"});
    assert_string_equal(ids_of(tok, "a<s>b", 5, true), "0 7 1");
    assert_string_equal(ids_of(tok, "a<s>b", 5, false), "0 8 9 10 1");
    /* other added tokens are words of the language, special or not asked for */
    assert_string_equal(ids_of(tok, "baab", 4, false), "1 11 1");
    assert_true(kvass_tokenizer_is_special(tok, 7));
    assert_false(kvass_tokenizer_is_special(tok, 11));
    assert_int_equal(kvass_tokenizer_find(tok, "<s>", 3), 7);
    assert_int_equal(kvass_tokenizer_find(tok, " a", 2), 6);
    assert_int_equal(kvass_tokenizer_find(tok, "aa", 2), 11);
    assert_int_equal(kvass_tokenizer_find(tok, "<s", 2), -1);
    assert_int_equal(kvass_tokenizer_find(tok, "", 0), -1);
    kvass_tokenizer_close(&tok);
}

/* ---- stages ---------------------------------------------------------------------------------- */

static void test_normalizers(void **state)
{
    (void)state;
    const refusal cases[] = {
        {{.normalizer = "{\"type\":\"BertNormalizer\"}"},
         KVASS_UNSUPPORTED,
         "NORMALIZER",
         "normalizer \"BertNormalizer\" is not supported"},
        {{.normalizer = "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AA==\"}"},
         KVASS_FORMAT,
         "CHARSMAP",
         "map of 1 bytes"},
        {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},"
                        "{\"type\":\"ByteLevel\"}]}"},
         KVASS_UNSUPPORTED,
         "NORMALIZER",
         "ByteLevel"},
        {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Sequence\"}]}"},
         KVASS_UNSUPPORTED,
         "NORMALIZER",
         "Sequence"},
        {{.normalizer = "{\"type\":\"Sequence\"}"}, KVASS_FORMAT, "KEY_TYPE", "normalizers"},
        {{.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"b\"}"},
         KVASS_FORMAT,
         "REGEX_SYNTAX",
         "parenthesis"},
        {{.normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"b\"}"},
         KVASS_UNSUPPORTED,
         "NORMALIZER",
         "Replace"},
        {{.normalizer = "{\"type\":\"Prepend\"}"}, KVASS_FORMAT, "KEY_TYPE", "prepend"},
        {{.normalizer = "{}"},
         KVASS_FORMAT,
         "KEY_TYPE",
         "\"type\": expected a string, found absent"},
        {{.normalizer = "\"NFC\""},
         KVASS_FORMAT,
         "KEY_TYPE",
         "\"normalizer\": expected an object, found a string"},
    };
    REFUSE(cases);
}

static void test_stages(void **state)
{
    (void)state;
    const refusal cases[] = {
        {{.pretok = "{\"type\":\"BertPreTokenizer\"}"},
         KVASS_UNSUPPORTED,
         "PRE_TOKENIZER",
         "pre-tokenizer \"BertPreTokenizer\" is not supported"},
        {{.pretok = "{\"type\":\"UnicodeScripts\"}"},
         KVASS_UNSUPPORTED,
         "PRE_TOKENIZER",
         "UnicodeScripts"},
        {{.pretok = "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTES ",{\"type\":\"Digits\"}]}"},
         KVASS_UNSUPPORTED,
         "PRE_TOKENIZER",
         "\"Digits\" after \"ByteLevel\""},
        {{.pretok = "{\"type\":\"Split\",\"behavior\":\"Sometimes\",\"pattern\":\"a\"}"},
         KVASS_UNSUPPORTED,
         "PRE_TOKENIZER",
         "behavior \"Sometimes\""},
        {{.pretok = "{\"type\":\"ByteLevel\",\"use_regex\":\"yes\"}"},
         KVASS_FORMAT,
         "KEY_TYPE",
         "use_regex"},
        {{.pretok = "null"}, KVASS_UNSUPPORTED, "DECODER", "does not undo"},
        {{.decoder = "null"}, KVASS_UNSUPPORTED, "DECODER", "does not undo"},
        {{.decoder = "{\"type\":\"WordPiece\"}"},
         KVASS_UNSUPPORTED,
         "DECODER",
         "decoder \"WordPiece\" is not supported"},
        {{.decoder = "{\"type\":\"Strip\",\"content\":\" \",\"start\":2,\"stop\":0}"},
         KVASS_UNSUPPORTED,
         "DECODER",
         "Strip"},
        {{.model = "\"type\":\"BPE\",\"byte_fallback\":true"},
         KVASS_UNSUPPORTED,
         "DECODER",
         "byte fallback"},
        {{.post = "{\"type\":\"Whatever\"}"},
         KVASS_UNSUPPORTED,
         "POST_PROCESSOR",
         "post-processor \"Whatever\" is not supported"},
        {{.post = "{\"type\":\"BertProcessing\"}"}, KVASS_FORMAT, "TEMPLATE", "\"cls\": expected"},
        {{.post = "{\"type\":\"RobertaProcessing\",\"cls\":[\"<s>\",7],\"sep\":[\"a\",8]}"},
         KVASS_FORMAT,
         "TEMPLATE",
         "\"sep\": expected a token and its id"},
    };
    REFUSE(cases);
    char many[2048] = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}";
    for (int i = 0; i < 16; i++) {
        strcat(many, ",{\"type\":\"NFC\"}");
    }
    strcat(many, "]}");
    kvass_tokenizer *tok;
    kvass_error err = {0};
    write_doc(&(doc){.normalizer = many});
    assert_int_equal(kvass_tokenizer_open(&tok, folder, 0, &err), KVASS_UNSUPPORTED);
    assert_string_equal(err.rule, "NORMALIZER");
}

static void test_model(void **state)
{
    (void)state;
    const refusal cases[] = {
        {{.model = "\"type\":\"WordPiece\""},
         KVASS_UNSUPPORTED,
         "TOKENIZER_MODEL",
         "model type \"WordPiece\" is not supported"},
        {{.model = "\"type\":\"Unigram\""},
         KVASS_FORMAT,
         "KEY_TYPE",
         "expected an array \"vocab\""},
        {{.model = "\"end_of_word_suffix\":\"</w>\""},
         KVASS_UNSUPPORTED,
         "BPE_OPTION",
         "end_of_word_suffix \"</w>\""},
        {{.model = "\"continuing_subword_prefix\":\"##\""}, KVASS_UNSUPPORTED, "BPE_OPTION", "##"},
        {{.model = "\"dropout\":0.1"}, KVASS_UNSUPPORTED, "BPE_OPTION", "dropout"},
        {{.model = "\"unk_token\":\"<unk>\""}, KVASS_FORMAT, "UNK_TOKEN", "<unk>"},
        {{.model = "\"fuse_unk\":\"no\""}, KVASS_FORMAT, "KEY_TYPE", "fuse_unk"},
        {{.outline = "\"version\":\"2.0\""}, KVASS_UNSUPPORTED, "TOKENIZER_VERSION", "2.0"},
        {{.outline = "\"truncation\":{\"max_length\":8,\"stride\":8}"},
         KVASS_FORMAT,
         "TRUNCATION",
         "stride 8"},
        {{.outline = "\"truncation\":{\"max_length\":8,\"stride\":-1}"},
         KVASS_FORMAT,
         "TRUNCATION",
         "stride -1"},
    };
    REFUSE(cases);
    write_text("tokenizer.json",
               "{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]},"
               "\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":" BYTES "}");
    refuse_folder(KVASS_FORMAT, "KEY_TYPE", "found an array and an array");
    write_text("tokenizer.json", "{\"modell\":{}}");
    refuse_folder(KVASS_UNSUPPORTED, "TOKENIZER_KIND", "JSON text");
    write_text("tokenizer.json", "{\"model\":{}");
    refuse_folder(KVASS_FORMAT, "JSON_SYNTAX", "line 1");
    write_text("tokenizer.json", "<!DOCTYPE html><html>");
    refuse_folder(KVASS_UNSUPPORTED, "TOKENIZER_KIND", "a saved web page");
    write_text("tokenizer.json", "version https://git-lfs.github.com/spec/v1\n");
    refuse_folder(KVASS_UNSUPPORTED, "TOKENIZER_KIND", "a Git LFS pointer");
    expect(&(doc){.outline = "\"truncation\":{\"max_length\":2,\"stride\":0}"}, "cccc", "2 2 2 2");
}

static void test_template(void **state)
{
    (void)state;
#define TEMPLATE(single, special)                                                                  \
    "{\"type\":\"TemplateProcessing\",\"single\":[" single "],\"special_tokens\":{" special "}}"
#define TEXT "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}"
#define BOS  "{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}}"
    const refusal cases[] = {
        {{.post = TEMPLATE(BOS "," TEXT, "")},
         KVASS_FORMAT,
         "TEMPLATE",
         "\"<s>\", which has no ids"},
        {{.post = TEMPLATE(BOS "," TEXT, "\"<s>\":{\"ids\":[9]}")},
         KVASS_FORMAT,
         "TEMPLATE",
         "an id that is no token"},
        {{.post = TEMPLATE(BOS "," TEXT, "\"<s>\":{\"ids\":[-1]}")},
         KVASS_FORMAT,
         "TEMPLATE",
         "an id that is no token"},
        {{.post = TEMPLATE(BOS, "\"<s>\":{\"ids\":[7]}")}, KVASS_FORMAT, "TEMPLATE", "just once"},
        {{.post = TEMPLATE(TEXT "," TEXT, "")}, KVASS_FORMAT, "TEMPLATE", "just once"},
        {{.post = TEMPLATE("{\"Sequence\":{\"id\":\"B\"}}", "")},
         KVASS_FORMAT,
         "TEMPLATE",
         "just once"},
        {{.post = TEMPLATE("{}", "")}, KVASS_FORMAT, "KEY_TYPE", "\"id\""},
    };
    REFUSE(cases);
    kvass_tokenizer *tok =
        open_doc(&(doc){.post = TEMPLATE(BOS "," TEXT "," BOS "," BOS, "\"<s>\":{\"ids\":[7,7]}")});
    assert_string_equal(ids_of(tok, "ab", 2, true), "7 7 4 7 7 7 7");
    assert_string_equal(ids_of(tok, "ab", 2, false), "4");
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    assert_int_equal(info.bos, 7);
    assert_int_equal(info.eos, -1);
    assert_true(info.adds_bos);
    assert_string_equal(info.kind, "bpe");
    kvass_tokenizer_close(&tok);
}

/* ---- regular expressions ----------------------------------------------------------------------
 */

static void test_regex(void **state)
{
    (void)state;
#define REGEX(text) SPLIT("{\"Regex\":\"" text "\"}")
    const refusal cases[] = {
        {{.pretok = REGEX("(a")}, KVASS_FORMAT, "REGEX_SYNTAX", "byte 2"},
        {{.pretok = REGEX("a**")}, KVASS_FORMAT, "REGEX_SYNTAX", "quantifier"},
        {{.pretok = REGEX("\\\\p{Nonsense}")}, KVASS_FORMAT, "REGEX_SYNTAX", "property"},
        {{.pretok = REGEX("")}, KVASS_FORMAT, "REGEX_SIZE", "0 bytes"},
        {{.pretok = REGEX("\\\\C")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "\"\\C\" (byte 0)"},
        {{.pretok = REGEX("a\\\\h")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "\"\\h\" (byte 1)"},
        {{.pretok = REGEX("\\\\b")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "\\b"},
        {{.pretok = REGEX("[a&&b]")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "&&"},
        {{.pretok = REGEX("[a[b]]")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "\"[b\""},
        {{.pretok = REGEX("[[:alpha:]]")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "\"[:\""},
        {{.pretok = REGEX("[]a]")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "]"},
        {{.pretok = REGEX("[a")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "byte 1"},
        {{.pretok = REGEX("[\\\\W]")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "\\W"},
        {{.pretok = REGEX("(?m)a.")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "(?m)"},
        {{.pretok = REGEX("(?R)")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "(?R)"},
        {{.pretok = REGEX("(*LIMIT_MATCH=9)a")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "(*LI"},
        {{.pretok = REGEX("a{2}+")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "{2}+"},
        {{.pretok = REGEX("a{,2}")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "{,2"},
        {{.pretok = REGEX("a{")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "{"},
        {{.pretok = REGEX("\\\\p")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "\\p"},
        {{.pretok = REGEX("\\\\u12")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "\\u1"},
        {{.pretok = REGEX("a\\\\")}, KVASS_UNSUPPORTED, "REGEX_DIALECT", "byte 1"},
        {{.pretok = SPLIT("{}")}, KVASS_FORMAT, "KEY_TYPE", "String"},
        {{.pretok = SPLIT("{\"Regex\":7}")}, KVASS_FORMAT, "KEY_TYPE", "Regex"},
    };
    REFUSE(cases);
    static char pattern[8192];
    (void)snprintf(pattern, sizeof pattern, REGEX("%04097d"), 0);
    write_doc(&(doc){.pretok = pattern});
    refuse_folder(KVASS_FORMAT, "REGEX_SIZE", "4097 bytes, expected 1 .. 4096");
}

/* An expression that takes exponential time stops with an error; the tokenizer works on. */
static void test_regex_limit(void **state)
{
    (void)state;
    kvass_tokenizer *tok =
        open_doc(&(doc){.pretok = "{\"type\":\"Sequence\",\"pretokenizers\":[" REGEX(
                            "\\\\A(a+)+b\\\\z") "," BYTES "]}"});
    assert_string_equal(ids_of(tok, "aaab", 4, false), "0 0 4");
    char text[62];
    memset(text, 'a', sizeof text);
    memcpy(text + 60, "cb", 2);
    assert_string_equal(ids_of(tok, text, sizeof text, false), "REGEX_LIMIT");
    assert_string_equal(ids_of(tok, "ab", 2, false), "4");
    kvass_tokenizer_close(&tok);
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

/* All 256 bytes as a vocabulary: the identity, whatever the bytes are. */
static void test_any_bytes(void **state)
{
    (void)state;
    static char vocab[8192];
    size_t at = 0;
    for (int byte = 0; byte < 256; byte++) {
        int c = byte <= 0x20                   ? 0x100 + byte
                : byte >= 0x7f && byte <= 0xa0 ? 0x121 + byte - 0x7f
                : byte == 0xad                 ? 0x143
                                               : byte;
        at += (size_t)snprintf(vocab + at, sizeof vocab - at, "%s\"\\u%04x\":%d", byte ? "," : "",
                               (unsigned)c, byte);
    }
    kvass_tokenizer *tok =
        open_doc(&(doc){.vocab = vocab, .merges = "", .added = "", .normalizer = "null"});
    const uint64_t seed = 77;
    print_message("seed %llu\n", (unsigned long long)seed);
    uint64_t random = seed;
    for (int round = 0; round < 300; round++) {
        unsigned char text[200];
        int32_t ids[200];
        size_t n = unit_random(&random) % sizeof text, n_ids = 0;
        for (size_t i = 0; i < n; i++) {
            static const unsigned char odd[] = {0,    0xff, 0xc3, 0xa9, 0xe2,
                                                0x80, 0xed, '\r', '\n', ' '};
            uint32_t r = unit_random(&random);
            text[i] = r % 3 ? odd[r / 3 % sizeof odd] : (unsigned char)(r >> 8);
        }
        assert_int_equal(
            kvass_tokenizer_encode(tok, (const char *)text, n, NULL, ids, 200, &n_ids, NULL),
            KVASS_OK);
        assert_int_equal(n_ids, n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(ids[i], text[i]);
            size_t n_piece;
            const char *piece = kvass_tokenizer_piece(tok, ids[i], &n_piece);
            assert_int_equal(n_piece, 1);
            assert_int_equal((unsigned char)piece[0], text[i]);
        }
    }
    kvass_tokenizer_close(&tok);
}

static void test_unknown_bytes(void **state)
{
    (void)state;
    expect(&(doc){.model = NULL}, "abz", "BYTE_UNKNOWN");
    expect(&(doc){.model = "\"unk_token\":\"\\u0120\""}, "abzzb", "4 3 3 1");
    expect(&(doc){.model = "\"unk_token\":\"\\u0120\",\"fuse_unk\":true"}, "abzzb", "4 3 1");
}

/* Pieces outside the printable alphabet, and names that look like bytes. */
static void test_odd_pieces(void **state)
{
    (void)state;
    kvass_tokenizer *tok = open_doc(&(doc){.vocab = VOCAB ",\" x\":8,\"<0x41>\":9,\"<0xZZ>\":10"});
    size_t n;
    assert_memory_equal(kvass_tokenizer_piece(tok, 8, &n), " x", 2);
    assert_int_equal(n, 2);
    assert_memory_equal(kvass_tokenizer_piece(tok, 9, &n), "<0x41>", 6);
    assert_string_equal(ids_of(tok, " abc", 4, false), "3 5");
    kvass_tokenizer_close(&tok);
#define SPM_DECODER                                                                                \
    "{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"_\"},"   \
    "\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","      \
    "\"content\":\" \",\"start\":1,\"stop\":0}]}"
    tok = open_doc(
        &(doc){.vocab = "\"a\":0,\"_\":1,\"<0x0a>\":2,\"<0xZZ>\":3,\"<0x-1>\":4,\"<0x0A>\":5",
               .merges = "",
               .pretok = "null",
               .normalizer = "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                             "\"content\":\"_\"}",
               .model = "\"byte_fallback\":true",
               .decoder = SPM_DECODER});
    assert_memory_equal(kvass_tokenizer_piece(tok, 5, &n), "\n", 1);
    assert_int_equal(n, 1);
    assert_memory_equal(kvass_tokenizer_piece(tok, 3, &n), "<0xZZ>", 6);
    assert_int_equal(n, 6);
    assert_memory_equal(kvass_tokenizer_piece(tok, 4, &n), "<0x-1>", 6);
    assert_int_equal(n, 6);
    assert_memory_equal(kvass_tokenizer_piece(tok, 1, &n), " ", 1);
    assert_string_equal(ids_of(tok, "a \n", 3, false), "0 1 5");
    assert_int_equal(kvass_tokenizer_find(tok, " ", 1), 1); /* by what it decodes to */
    assert_int_equal(kvass_tokenizer_find(tok, "_", 1), 1); /* and as it is spelled */
    assert_string_equal(ids_of(tok, "b", 1, false), "BYTE_UNKNOWN");
    kvass_tokenizer_close(&tok);
}

/* Long runs stay fast: quadratic code would run into the test's time limit. */
static void test_long(void **state)
{
    (void)state;
    const doc docs[] = {
        {.vocab = VOCAB ",\"aa\":8,\"aaaa\":9", .merges = "\"a a\",\"aa aa\""},
        {.vocab = VOCAB ",\"aa\":8,\"aaaa\":9,\"\\u0120\\u0120\":10",
         .merges = "\"a a\",\"aa aa\",\"\\u0120 \\u0120\"",
         .pretok = "{\"type\":\"Sequence\",\"pretokenizers\":[" REGEX(
             "[^\\\\s]+|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+") "," BYTES "]}"},
    };
    size_t n = 1000000, n_ids;
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < 2; i++) {
        remove_files();
        kvass_tokenizer *tok = open_doc(&docs[i]);
        memset(text, 'a', n + 1);
        assert_int_equal(kvass_tokenizer_encode(tok, text, n, NULL, NULL, 0, &n_ids, NULL),
                         KVASS_OK);
        assert_int_equal(n_ids, n / 4);
        memset(text, ' ', n);
        kvass_error err = {0};
        if (kvass_tokenizer_encode(tok, text, n + 1, NULL, NULL, 0, &n_ids, &err) != KVASS_OK) {
            fail_msg("%s", err.message);
        }
        assert_int_equal(n_ids, i == 0 ? n + 1 : n / 2 + 2);
        kvass_tokenizer_close(&tok);
    }
    free(text);
}

/* ---- threads ----------------------------------------------------------------------------------
 */

#define N_SHARED 200

static const char shared_text[] = "abc 12 e\xcc\x81 abca";

typedef struct reader {
    const kvass_tokenizer *tok;
    size_t n_ids;
} reader;

static void *encode_often(void *arg)
{
    reader *r = arg;
    for (int i = 0; i < N_SHARED; i++) {
        size_t n = 0;
        if (kvass_tokenizer_encode(r->tok, shared_text, sizeof shared_text - 1, NULL, NULL, 0, &n,
                                   NULL) != KVASS_OK) {
            n = 0;
        }
        r->n_ids += n;
    }
    return NULL;
}

/* One tokenizer, four threads, no lock. */
static void test_threads(void **state)
{
    (void)state;
    kvass_tokenizer *tok =
        open_doc(&(doc){.normalizer = "{\"type\":\"NFC\"}", .model = "\"unk_token\":\"c\""});
    reader readers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        readers[i] = (reader){tok, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, encode_often, &readers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    size_t n = 0;
    assert_int_equal(
        kvass_tokenizer_encode(tok, shared_text, sizeof shared_text - 1, NULL, NULL, 0, &n, NULL),
        KVASS_OK);
    assert_true(n > 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(readers[i].n_ids, N_SHARED * n);
    }
    kvass_tokenizer_close(&tok);
}

/* ---- vocab.json and merges.txt --------------------------------------------------------------- */

static void test_vocab_merges(void **state)
{
    (void)state;
    remove_files();
    write_text("vocab.json", "{" VOCAB ",\"<|endoftext|>\":7}");
    kvass_tokenizer *tok;
    kvass_error err = {0};
    assert_int_equal(kvass_tokenizer_open(&tok, folder, 0, &err), KVASS_IO);
    assert_non_null(strstr(err.message, "merges.txt"));
    static const struct {
        const char *merges, *rule, *says;
    } bad[] = {
        {"#version: 0.2\na b\nab\n", "MERGE_FORMAT", "merges.txt: merges[1]"},
        {"a b\n\nab c\n", "MERGE_FORMAT", "merges[1]"},
        {"a b\na  b\n", "MERGE_FORMAT", "merges[1]"},
        {"a b\nb a", "MERGE_RESULT", "merges[1]"},
        {"a b\na b\n", "MERGE_DUPLICATE", "merges[1]"},
        {"a x", "MERGE_PART", "\"x\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text("merges.txt", bad[i].merges);
        refuse_folder(KVASS_FORMAT, bad[i].rule, bad[i].says);
    }
    static const char *const good[] = {"#version: 0.2\na b\nab c\n\xc4\xa0 a\n",
                                       "a b\r\nab c\r\n\xc4\xa0 a"};
    for (size_t i = 0; i < 2; i++) {
        write_text("merges.txt", good[i]);
        tok = open_folder();
        assert_string_equal(ids_of(tok, "abc a<|endoftext|>", 18, true), "5 6 7");
        kvass_tokenizer_info info;
        kvass_tokenizer_get_info(tok, &info);
        assert_int_equal(info.bos, 7);
        assert_int_equal(info.eos, 7);
        assert_false(info.adds_bos);
        kvass_tokenizer_close(&tok);
    }
    /* the file itself may be named, too */
    assert_int_equal(kvass_tokenizer_open(&tok, file_in_folder("vocab.json"), 0, &err), KVASS_OK);
    kvass_tokenizer_close(&tok);
}

static void test_config(void **state)
{
    (void)state;
    remove_files();
    write_text("vocab.json", "{" VOCAB ",\"<s>\":7,\"1\":8,\"2\":9,\"12\":10}");
    write_text("merges.txt", "a b\nab c\n\xc4\xa0 a\n1 2\n");
    write_text("tokenizer_config.json", "{\"tokenizer_class\":\"LlamaTokenizer\"}");
    refuse_folder(KVASS_UNSUPPORTED, "TOKENIZER_CLASS", "\"LlamaTokenizer\"");
    write_text("tokenizer_config.json", "{\"pre_tokenizer\":{\"type\":\"Digits\"}}");
    refuse_folder(KVASS_UNSUPPORTED, "PRE_TOKENIZER", "without a \"ByteLevel\"");
    write_text("tokenizer_config.json", "{\"add_prefix_space\":7}");
    refuse_folder(KVASS_FORMAT, "KEY_TYPE", "add_prefix_space");
    write_text("tokenizer_config.json", "{\"added_tokens_decoder\":{\"x\":{\"content\":\"<s>\"}}}");
    refuse_folder(KVASS_FORMAT, "ADDED_TOKEN", "\"x\" is no token id");
    write_text("tokenizer_config.json", "[1");
    refuse_folder(KVASS_FORMAT, "JSON_SYNTAX", "tokenizer_config.json");

    static const struct {
        const char *config, *ids; /* of "12abc<s>", specials parsed */
    } good[] = {
        {"{\"tokenizer_class\":\"GPT2Tokenizer\",\"add_prefix_space\":true,"
         "\"added_tokens_decoder\":{\"7\":{\"content\":\"<s>\",\"special\":true}}}",
         "3 10 5 7"},
        {"{\"tokenizer_class\":\"Qwen2Tokenizer\","
         "\"added_tokens_decoder\":{\"7\":{\"content\":\"<s>\",\"special\":true}}}",
         "8 9 5 7"},
        {"{\"tokenizer_class\":\"GPT2Tokenizer\",\"add_bos_token\":true,\"bos_token\":{\"content\":"
         "\"<s>\"},\"eos_token\":\"c\",\"added_tokens_decoder\":{\"7\":{\"content\":\"<s>\","
         "\"special\":true}}}",
         "7 10 5 7"},
    };
    for (size_t i = 0; i < 3; i++) {
        write_text("tokenizer_config.json", good[i].config);
        kvass_tokenizer *tok = open_folder();
        assert_string_equal(ids_of(tok, "12abc<s>", 8, true), good[i].ids);
        kvass_tokenizer_info info;
        kvass_tokenizer_get_info(tok, &info);
        assert_int_equal(info.eos, i == 2 ? 2 : -1);
        assert_int_equal(info.bos, i == 2 ? 7 : -1);
        kvass_tokenizer_close(&tok);
    }
    remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vocab),        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_added),        cmocka_unit_test(test_special),
        cmocka_unit_test(test_normalizers),  cmocka_unit_test(test_stages),
        cmocka_unit_test(test_model),        cmocka_unit_test(test_template),
        cmocka_unit_test(test_regex),        cmocka_unit_test(test_regex_limit),
        cmocka_unit_test(test_any_bytes),    cmocka_unit_test(test_unknown_bytes),
        cmocka_unit_test(test_odd_pieces),   cmocka_unit_test(test_long),
        cmocka_unit_test(test_vocab_merges), cmocka_unit_test(test_config),
        cmocka_unit_test(test_threads),
    };
    const struct CMUnitTest of_long_lists[] = {
        cmocka_unit_test_setup(test_vocab, pad),      cmocka_unit_test_setup(test_merges, pad),
        cmocka_unit_test_setup(test_added, pad),      cmocka_unit_test_setup(test_model, pad),
        cmocka_unit_test_setup(test_odd_pieces, pad),
    };
    int n_failed = cmocka_run_group_tests_name("tokenizer_json", tests, make_folder, remove_folder);
    return n_failed + cmocka_run_group_tests_name("tokenizer_json, long lists", of_long_lists,
                                                  make_folder, remove_folder);
}
