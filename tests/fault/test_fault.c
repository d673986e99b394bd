/* test_fault.c - every allocation, every map and every read of an opening call fails in turn, and
 * every write of a save.
 * Each operation is run with its n-th such call failing, n = 0, 1, 2, ..., once and from then on,
 * until it no longer comes to an n-th. Every failure must come back as a status with a rule and a
 * message, leave the outputs untouched and give all memory back.
 */
#include "tests/unit/unit.h"

#include <dirent.h>

#include "engine/base/json.h"
#include "tests/fault/fault.h"

/* ---- operations ------------------------------------------------------------------------------ */

/* What an operation found wrong with its outputs; it may not assert by itself. */
static const char *complaint;

static void expect(bool right, const char *otherwise)
{
    complaint = right || complaint ? complaint : otherwise;
}

static kvass_tokenizer *tok; /* for the operations on an open tokenizer */
static kvass_model *model;   /* and on an open model */

static const char *source_path(const char *name)
{
    static char path[2 * UNIT_PATH_BYTES];
    const char *root = getenv("KVASS_SOURCE_ROOT");
    (void)snprintf(path, sizeof path, "%s/%s", root ? root : ".", name);
    return path;
}

/* closes what was opened, or looks that nothing was */
#define FINISH(kind, object)                                                                       \
    if (status == KVASS_OK) {                                                                      \
        expect((object) != NULL, "success without an object");                                     \
    } else {                                                                                       \
        expect((object) == NULL, "an object in spite of failure");                                 \
    }                                                                                              \
    kvass_##kind##_close(&(object))

static int anything; /* what an output points at before the call */

static kvass_status open_model(const char *path, kvass_error *err)
{
    kvass_model *m = (void *)&anything;
    kvass_status status = kvass_model_open(&m, path, NULL, err);
    FINISH(model, m);
    return status;
}

static kvass_status map_model(const char *path, kvass_error *err)
{
    kvass_model *m = (void *)&anything;
    kvass_model_options opt = kvass_model_options_default();
    opt.use_mmap = true;
    kvass_status status = kvass_model_open(&m, path, &opt, err);
    FINISH(model, m);
    return status;
}

static kvass_status open_tokenizer(const char *path, kvass_error *err)
{
    kvass_tokenizer *t = (void *)&anything;
    kvass_status status = kvass_tokenizer_open(&t, path, 0, err);
    FINISH(tokenizer, t);
    return status;
}

static kvass_status parse_json(const char *text, kvass_error *err)
{
    kvass_json *root = (void *)&anything;
    kvass_status status = kvass_json_parse(&root, text, strlen(text), "text", err);
    const char *end = kvass_json_as_string(kvass_json_get(root, "end"), NULL);
    expect(status != KVASS_OK || (end && strcmp(end, "here") == 0), "another document");
    FINISH(json, root);
    return status;
}

static kvass_status encode(const char *text, kvass_error *err)
{
    int32_t ids[1024];
    size_t n = 777, cap = sizeof ids / sizeof *ids;
    kvass_encode_options opt = kvass_encode_options_default();
    opt.add_special = opt.parse_special = true;
    ids[0] = -777;
    kvass_status status = kvass_tokenizer_encode(tok, text, strlen(text), &opt, ids, cap, &n, err);
    if (status != KVASS_OK) {
        expect(n == 777 && ids[0] == -777, "ids in spite of failure");
    } else {
        expect(n > 0 && n <= cap && ids[0] >= 0, "no ids");
    }
    return status;
}

static kvass_status stream(const char *text, kvass_error *err)
{
    kvass_stream *s = (void *)&anything;
    kvass_status status = kvass_stream_open(&s, tok, true, err);
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    expect((s != NULL) == (status == KVASS_OK), "a stream in spite of failure");
    (void)text;
    for (int32_t id = 0; status == KVASS_OK && id < info.n_vocab; id++) {
        const char *bytes = text;
        size_t n = 777;
        status = kvass_stream_put(s, id, &bytes, &n, err);
        expect(status == KVASS_OK || (bytes == text && n == 777), "bytes in spite of failure");
    }
    kvass_stream_close(&s);
    return status;
}

static kvass_context_options small_context(void)
{
    kvass_context_options opt = kvass_context_options_default();
    opt.n_ctx = 64;
    opt.n_batch = 8;
    opt.n_seqs = 3;
    opt.n_threads = 2;
    return opt;
}

static kvass_status open_context(const char *path, kvass_error *err)
{
    kvass_context_options opt = small_context();
    kvass_context *c = (void *)&anything;
    (void)path;
    kvass_status status = kvass_context_open(&c, model, &opt, err);
    FINISH(context, c);
    return status;
}

static kvass_status open_uncached(const char *path, kvass_error *err)
{
    kvass_context_options opt = small_context();
    kvass_context *c = (void *)&anything;
    (void)path;
    opt.retain = KVASS_RETAIN_NONE;
    opt.page_seed = 5;
    kvass_status status = kvass_context_open(&c, model, &opt, err);
    FINISH(context, c);
    return status;
}

static kvass_status open_with_prefix(const char *path, kvass_error *err)
{
    static const int32_t prefix[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    kvass_context_options opt = small_context();
    kvass_context *c = (void *)&anything;
    (void)path;
    opt.retain = KVASS_RETAIN_WINDOW;
    opt.window = 5;
    opt.n_sinks = 2;
    opt.prefix = prefix;
    opt.n_prefix = sizeof prefix / sizeof *prefix;
    kvass_status status = kvass_context_open(&c, model, &opt, err);
    FINISH(context, c);
    return status;
}

static kvass_status open_sampler(const char *path, kvass_error *err)
{
    kvass_sampler *s = (void *)&anything;
    (void)path;
    kvass_status status = kvass_sampler_open(&s, 512, NULL, err);
    FINISH(sampler, s);
    return status;
}

static kvass_status open_cache(const char *path, kvass_error *err)
{
    kvass_cache_dims dims = kvass_cache_dims_default();
    kvass_cache *c = (void *)&anything;
    (void)path;
    dims.n_layers = 2;
    dims.n_kv_heads = 2;
    dims.head_dim = 8;
    dims.n_ctx = 64;
    kvass_status status = kvass_cache_open(&c, &dims, err);
    FINISH(cache, c);
    return status;
}

static kvass_seq *some_seq; /* of a context that is open */

static kvass_status watch_seq(const char *path, kvass_error *err)
{
    enum { N = 3 };
    static float weights[2][N * N];
    static unsigned char keys[2][N * N];
    (void)path;
    kvass_attention_map maps[2];
    for (int i = 0; i < 2; i++) {
        maps[i] = (kvass_attention_map){
            .layer = i, .head = i, .n = N, .weights = weights[i], .keys = keys[i]};
    }
    kvass_status status = kvass_seq_watch(some_seq, maps, 2, err);
    expect(kvass_seq_watch(some_seq, NULL, 0, NULL) == KVASS_OK, "watching cannot end");
    return status;
}

/* ---- the table ------------------------------------------------------------------------------- */

typedef kvass_status operation(const char *argument, kvass_error *err);

#define FIXTURES   "tests/golden/"
#define TOKENIZERS "tests/fault/tokenizers/"

/* each with a path in the source tree */
static const struct {
    operation *run;
    const char *path;
} openings[] = {
    {open_model, FIXTURES "llama-untied/v0.bin"},
    {open_model, FIXTURES "llama-gqa/v1.bin"},
    {open_model, FIXTURES "llama-mha/v2-g32.bin"},
    {open_model, FIXTURES "llama-gqa"},
    {open_model, FIXTURES "llama-bf16"},
    {open_model, FIXTURES "llama-rope3"},
    {open_model, FIXTURES "llama-sharded"},
    {open_model, FIXTURES "gpt2"},
    {open_model, FIXTURES "kvass"},
    {map_model, FIXTURES "llama-untied/v0.bin"},
    {map_model, FIXTURES "llama-sharded"},
    {map_model, FIXTURES "gpt2"},
    {open_tokenizer, TOKENIZERS "tokenizer.bin"},
    {open_tokenizer, TOKENIZERS "json"},
    {open_tokenizer, TOKENIZERS "sentence/tokenizer.json"},
    {open_tokenizer, TOKENIZERS "pair"},
    {open_tokenizer, TOKENIZERS "unigram.json"},
    {open_tokenizer, TOKENIZERS "bpe.model"},
    {open_tokenizer, TOKENIZERS "unigram.model"},
};

/* texts that take every stage: added tokens, composition, bytes for what is no piece */
static const struct {
    const char *path, *text;
} texts[] = {
    {TOKENIZERS "tokenizer.bin", "the lion and \xc3\xa9 on \xe2\x82\xac \xff the end."},
    {TOKENIZERS "json",
     "once <|end|>  the \xc3\xa9 and e\xcc\x81\n\n  all 'll 0123 \xe2\x82\xac the in."},
    {TOKENIZERS "sentence", "<s>the lion and \xc3\xa9 on \xe2\x82\xac \xff the end."},
    {TOKENIZERS "pair", "<|endoftext|>all the 'll e\xcc\x81 and \xe2\x82\xac\n\n 0123 on in a"},
    {TOKENIZERS "unigram.json", "The  lion\tand <x> \xc3\xa9\xff."},
    {TOKENIZERS "bpe.model", "<s>the  lion <x> \xc3\xa9 \xff the."},
    {TOKENIZERS "unigram.model", "<s>the  lion\t<x> \xc3\xa9 \xff the."},
};

/* ---- the loop -------------------------------------------------------------------------------- */

/* Whether a failure of `kind` may end so. jansson may take its own want of memory for bad text. */
static bool fitting(operation *run, fault_kind kind, kvass_status status)
{
    if (kind == FAULT_MEMORY) {
        return status == KVASS_NOMEM || (run == parse_json && status == KVASS_FORMAT);
    }
    return status == KVASS_IO || status == KVASS_FORMAT || status == KVASS_NOMEM;
}

/* Run with failures until there are none; returns how many runs had one. */
static long every_failure(operation *run, const char *argument, fault_kind kind, bool sticky)
{
    kvass_error err = {0};
    complaint = NULL;
    kvass_status status = run(argument, &err); /* also fills what libraries keep for themselves */
    if (status != KVASS_OK || complaint) {
        fail_msg("%s: %s %s", argument, complaint ? complaint : "", err.message);
    }
    bool harmless = kind == FAULT_READ_SIGNAL || kind == FAULT_READ_SHORT ||
                    kind == FAULT_WRITE_SIGNAL || kind == FAULT_WRITE_SHORT;
    int n_grown = 0; /* tries of this call after which more blocks were live than before */
    for (long n = 0;; n++) {
        long live = fault_live();
        err = (kvass_error){0};
        fault_begin(kind, n, sticky);
        status = run(argument, &err);
        long failed = fault_end();
        if (complaint) {
            fail_msg("%s, call %ld: %s", argument, n, complaint);
        }
        if (fault_live() != live && ++n_grown < 3) {
            n--; /* a library may keep a block for its next thread, but not for each */
            continue;
        }
        if (n_grown == 3) {
            fail_msg("%s, call %ld: %ld blocks leaked", argument, n, fault_live() - live);
        }
        n_grown = 0;
        if (status == KVASS_OK && !failed) {
            return n;
        }
        if (harmless && status != KVASS_OK) {
            fail_msg("%s, call %ld: %s", argument, n, err.message);
        }
        if (status != KVASS_OK &&
            (err.code != status || !err.rule || !err.rule[0] || !err.message[0])) {
            fail_msg("%s, call %ld: status %d without a word", argument, n, (int)status);
        }
        if (status != KVASS_OK && !fitting(run, kind, status)) {
            fail_msg("%s, call %ld: unexpected status: %s", argument, n, err.message);
        }
    }
}

static void try(operation *run, const char *argument, fault_kind kind)
{
    long once = every_failure(run, argument, kind, false);
    long later = kind == FAULT_READ_SIGNAL ? 0 : every_failure(run, argument, kind, true);
    print_message("%.60s: kind %d: %ld, %ld\n", argument, (int)kind, once, later);
    assert_true(once > 0 || kind == FAULT_MAP);
}

static void openings_without_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        try(openings[i].run, source_path(openings[i].path), FAULT_MEMORY);
        try(openings[i].run, source_path(openings[i].path), FAULT_MAP);
    }
}

static void openings_with_bad_reads(void **state)
{
    static const fault_kind kinds[] = {FAULT_READ_ERROR, FAULT_READ_END, FAULT_READ_SIGNAL};
    (void)state;
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            try(openings[i].run, source_path(openings[i].path), kinds[k]);
        }
        (void)every_failure(openings[i].run, source_path(openings[i].path), FAULT_READ_SHORT,
                            false);
    }
}

/* one byte at a time, all the way, of a small file */
static void shortest_reads(void **state)
{
    kvass_error err = {0};
    (void)state;
    complaint = NULL;
    fault_begin(FAULT_READ_SHORT, 0, true);
    kvass_status status = open_tokenizer(source_path(TOKENIZERS "tokenizer.bin"), &err);
    long n_short = fault_end();
    assert_int_equal(status, KVASS_OK);
    assert_null(complaint);
    assert_true(n_short > 1000);
}

static void texts_without_memory(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        kvass_error err;
        if (kvass_tokenizer_open(&tok, source_path(texts[i].path), 0, &err) != KVASS_OK) {
            fail_msg("%s", err.message);
        }
        try(encode, texts[i].text, FAULT_MEMORY);
        try(stream, "stream", FAULT_MEMORY);
        kvass_tokenizer_close(&tok);
    }
}

static void json_without_memory(void **state)
{
    (void)state;
    fault_spare_jansson(false);
    try(parse_json, "{\"a\":[1,-2.5e3,true,null,{\"b\":{}}],\"c\":\"\\u00e9\",\"end\":\"here\"}",
        FAULT_MEMORY);
    fault_spare_jansson(true);
}

static void the_rest_without_memory(void **state)
{
    static const struct {
        operation *run;
        const char *name;
    } all[] = {
        {open_context, "context"},
        {open_uncached, "uncached context"},
        {open_with_prefix, "context with a prefix"},
        {open_sampler, "sampler"},
        {open_cache, "cache"},
    };
    (void)state;
    assert_int_equal(kvass_model_open(&model, source_path(FIXTURES "llama-gqa"), NULL, NULL),
                     KVASS_OK);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        try(all[i].run, all[i].name, FAULT_MEMORY);
        try(all[i].run, all[i].name, FAULT_MAP);
    }
    kvass_context *context;
    assert_int_equal(kvass_context_open(&context, model, NULL, NULL), KVASS_OK);
    assert_int_equal(kvass_seq_open(&some_seq, context, NULL), KVASS_OK);
    try(watch_seq, "watching a sequence", FAULT_MEMORY);
    kvass_context_close(&context);
    kvass_model_close(&model);
}

/* ---- saved sequences ------------------------------------------------------------------------- */

static kvass_seq *seq; /* of SAVED_TOKENS tokens */
static char folder[UNIT_PATH_BYTES], saved[UNIT_PATH_BYTES + 16];

enum { SAVED_TOKENS = 20 };

static kvass_status save(const char *path, kvass_error *err)
{
    return kvass_seq_save(seq, path, err);
}

/* a restored sequence is whole, or what kvass_seq_open gives, or as it was */
static kvass_status restore(const char *path, kvass_error *err)
{
    int32_t n = -1;
    kvass_status status = kvass_seq_load(seq, path, &n, err);
    expect(status != KVASS_OK || (n == SAVED_TOKENS && kvass_seq_logits(seq)), "not restored");
    expect(status == KVASS_OK || n == -1, "a count in spite of failure");
    expect(kvass_seq_n_tokens(seq) == 0 || kvass_seq_n_tokens(seq) == SAVED_TOKENS, "half a load");
    return status;
}

/* what lies in the folder, all of its names together */
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

/* whatever fails at whichever call: the old file or the new one is there, whole, and no other */
static void saves_that_fail(void)
{
    static const fault_kind kinds[] = {FAULT_WRITE_ERROR, FAULT_SYNC, FAULT_RENAME};
    kvass_error err = {0};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (long n = 0, failed = 1; failed; n++) {
            size_t n_bytes;
            unit_write(saved, "old", 3);
            fault_begin(kinds[k], n, false);
            kvass_status status = save(saved, &err);
            failed = fault_end();
            char *bytes = unit_slurp(saved, &n_bytes);
            bool is_old = n_bytes == 3 && memcmp(bytes, "old", 3) == 0;
            free(bytes);
            assert_int_equal(count_files(), 1);
            assert_int_equal(status, failed ? KVASS_IO : KVASS_OK);
            /* only the folder's own sync comes after the rename */
            bool renamed = kinds[k] == FAULT_SYNC && n == 1;
            assert_true(is_old == (failed && !renamed));
            assert_true(is_old || restore(saved, &err) == KVASS_OK);
        }
    }
}

static void sessions(void **state)
{
    kvass_context *ctx;
    kvass_error err;
    int32_t tokens[SAVED_TOKENS] = {1, 2, 3};
    kvass_context_options opt = small_context();
    (void)state;
    complaint = NULL;
    unit_folder(folder);
    (void)snprintf(saved, sizeof saved, "%s/saved", folder);
    opt.n_threads = 1;
    assert_int_equal(kvass_model_open(&model, source_path(FIXTURES "llama-gqa"), NULL, NULL),
                     KVASS_OK);
    assert_int_equal(kvass_context_open(&ctx, model, &opt, &err), KVASS_OK);
    assert_int_equal(kvass_seq_open(&seq, ctx, &err), KVASS_OK);
    assert_int_equal(kvass_prefill(seq, tokens, SAVED_TOKENS, &err), KVASS_OK);
    saves_that_fail();
    (void)every_failure(save, saved, FAULT_WRITE_SIGNAL, false);
    (void)every_failure(save, saved, FAULT_WRITE_SHORT, false);
    try(restore, saved, FAULT_READ_ERROR);
    try(restore, saved, FAULT_READ_END);
    try(restore, saved, FAULT_READ_SIGNAL);
    (void)every_failure(restore, saved, FAULT_READ_SHORT, false);
    assert_int_equal(remove(saved), 0);
    assert_int_equal(rmdir(folder), 0);
    kvass_context_close(&ctx);
    kvass_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openings_without_memory),
        cmocka_unit_test(openings_with_bad_reads),
        cmocka_unit_test(shortest_reads),
        cmocka_unit_test(texts_without_memory),
        cmocka_unit_test(json_without_memory),
        cmocka_unit_test(the_rest_without_memory),
        cmocka_unit_test(sessions),
    };
    if (!fault_prepare()) {
        (void)fprintf(stderr, "fault: jansson's code was not found\n");
        return 1;
    }
    return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
