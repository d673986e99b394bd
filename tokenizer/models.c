/* models.c - the models of tokenizer.json, by name: BPE, Unigram, WordLevel. */
#include <stdlib.h>
#include <string.h>

#include "tokenizer/build.h"
#include "tokenizer/unigram.h"
#include "tokenizer/wordlevel.h"

/* ---- BPE ------------------------------------------------------------------------------------- */

/* Options that would change the result and are not supported. */
static kvass_status check_bpe(const kvass_json *model, const char *path, kvass_error *err)
{
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const char *affix = "";
        size_t n = 0;
        if (!kvass_key_absent(model, affixes[i])) {
            kvass_status status = kvass_key_string(model, affixes[i], &affix, &n, path, err);
            if (status != KVASS_OK) {
                return status;
            }
        }
        if (n > 0) {
            return kvass_fail(err, KVASS_UNSUPPORTED, "BPE_OPTION",
                              "%s: model: %s \"%.100s\" is not supported", path, affixes[i], affix);
        }
    }
    double dropout = 0;
    if (!kvass_key_absent(model, "dropout") &&
        (!kvass_json_as_real(kvass_json_get(model, "dropout"), &dropout) || dropout != 0)) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "BPE_OPTION",
                          "%s: model: dropout (a random encoding) is not supported", path);
    }
    return KVASS_OK;
}

static kvass_status read_merge(tok_build *b, tok_bpe *bpe, size_t i, const kvass_json *merge,
                               kvass_error *err)
{
    size_t n, n_right;
    const char *line = kvass_json_as_string(merge, &n);
    if (line) {
        return kvass_build_merge_line(b, bpe, i, line, n, err);
    }
    const char *left = kvass_json_as_string(kvass_json_at(merge, 0), &n);
    const char *right = kvass_json_as_string(kvass_json_at(merge, 1), &n_right);
    if (kvass_json_size(merge) != 2 || !left || !right) {
        return kvass_fail(err, KVASS_FORMAT, "MERGE_FORMAT",
                          "%s: merges[%zu]: expected \"a b\" or [\"a\", \"b\"], found %s", b->path,
                          i, kvass_json_kind_name(merge));
    }
    return kvass_build_merge(b, bpe, i, left, n, right, n_right, err);
}

static kvass_status read_options(tok_build *b, tok_bpe *bpe, const kvass_json *model,
                                 kvass_error *err)
{
    kvass_status status = kvass_key_bool(model, "ignore_merges", &bpe->ignore_merges, b->path, err);
    if (status == KVASS_OK) {
        status = kvass_key_bool(model, "fuse_unk", &bpe->fuse_unk, b->path, err);
    }
    if (status != KVASS_OK || kvass_key_absent(model, "unk_token")) {
        return status;
    }
    const char *unk = NULL;
    size_t n;
    status = kvass_key_string(model, "unk_token", &unk, &n, b->path, err);
    if (status == KVASS_OK) {
        bpe->unk = kvass_build_find(b, unk, n);
        if (bpe->unk < 0) {
            status = kvass_fail(err, KVASS_FORMAT, "UNK_TOKEN",
                                "%s: model: unk_token \"%.100s\" is not in the vocabulary", b->path,
                                unk);
        }
    }
    return status;
}

static kvass_status read_merges(tok_build *b, tok_bpe *bpe, const kvass_json *merges,
                                kvass_error *err)
{
    kvass_json_walk walk =
        kvass_json_walk_begin(b->lists ? &b->lists[TOK_LIST_MERGES] : NULL, merges);
    const kvass_json *piece;
    size_t number = 0;
    kvass_status status = kvass_json_walk_next(&walk, &piece, err);
    while (status == KVASS_OK && piece) {
        size_t n = kvass_json_size(piece);
        for (size_t i = 0; status == KVASS_OK && i < n; i++) {
            status = read_merge(b, bpe, number++, kvass_json_at(piece, i), err);
        }
        if (status == KVASS_OK) {
            status = kvass_json_walk_next(&walk, &piece, err);
        }
    }
    kvass_json_walk_end(&walk);
    return status;
}

static kvass_status build_bpe(tok_build *b, const kvass_json *model, const tok_entry *entries,
                              size_t n_entries, kvass_error *err)
{
    const kvass_json *vocab = kvass_json_get(model, "vocab");
    const kvass_json *merges = kvass_json_get(model, "merges");
    if (kvass_json_get_kind(vocab) != KVASS_JSON_OBJECT ||
        kvass_json_get_kind(merges) != KVASS_JSON_ARRAY) {
        return kvass_fail(
            err, KVASS_FORMAT, "KEY_TYPE",
            "%s: model: expected an object \"vocab\" and an array \"merges\", found %s "
            "and %s",
            b->path, kvass_json_kind_name(vocab), kvass_json_kind_name(merges));
    }
    tok_bpe *bpe = NULL;
    kvass_status status = kvass_build_vocab(b, vocab, entries, n_entries, err);
    if (status == KVASS_OK) {
        /* where they stayed text their number is not known yet */
        size_t n_merges = kvass_json_size(merges);
        size_t n_pieces = (size_t)b->tok->vocab.n_vocab;
        status = kvass_build_bpe(b, n_merges > 0 ? n_merges : n_pieces, &bpe, err);
    }
    if (status == KVASS_OK) {
        status = read_options(b, bpe, model, err);
    }
    return status == KVASS_OK ? read_merges(b, bpe, merges, err) : status;
}

/* ---- Unigram --------------------------------------------------------------------------------- */

/* Scores and keys of the whole list; *lowest is the lowest score. */
static void list_scores(const kvass_json *vocab, double *scores, tok_key *keys, double *lowest)
{
    *lowest = 0;
    for (size_t i = 0; i < kvass_json_size(vocab); i++) {
        const kvass_json *one = kvass_json_at(vocab, i);
        size_t n = 0;
        const char *text = kvass_json_as_string(kvass_json_at(one, 0), &n);
        scores[i] = 0;
        (void)kvass_json_as_real(kvass_json_at(one, 1), &scores[i]);
        *lowest = i == 0 || scores[i] < *lowest ? scores[i] : *lowest;
        keys[i] = (tok_key){text, (uint32_t)n, (int32_t)i};
    }
}

static kvass_status unigram_unk(const tok_build *b, const kvass_json *model, int32_t *unk,
                                kvass_error *err)
{
    int64_t id = -1;
    size_t n = kvass_json_size(kvass_json_get(model, "vocab"));
    if (kvass_key_absent(model, "unk_id")) {
        return KVASS_OK;
    }
    if (!kvass_json_as_int(kvass_json_get(model, "unk_id"), &id) || id < 0 || id >= (int64_t)n) {
        return kvass_fail(err, KVASS_FORMAT, "UNK_TOKEN",
                          "%s: model: unk_id: expected an id in 0 .. %zu, found %s %lld", b->path,
                          n - 1, kvass_json_kind_name(kvass_json_get(model, "unk_id")),
                          (long long)id);
    }
    *unk = (int32_t)id;
    return KVASS_OK;
}

static kvass_status build_unigram(tok_build *b, const kvass_json *model, const tok_entry *entries,
                                  size_t n_entries, kvass_error *err)
{
    const kvass_json *vocab = kvass_json_get(model, "vocab");
    size_t n = kvass_json_size(vocab);
    int32_t unk = -1;
    if (kvass_json_get_kind(vocab) != KVASS_JSON_ARRAY) {
        return kvass_fail(err, KVASS_FORMAT, "KEY_TYPE",
                          "%s: model: expected an array \"vocab\", found %s", b->path,
                          kvass_json_kind_name(vocab));
    }
    if (b->decoding.byte_level) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "TOKENIZER_MODEL",
                          "%s: a Unigram model after ByteLevel is not supported", b->path);
    }
    kvass_status status = kvass_build_vocab(b, vocab, entries, n_entries, err);
    if (status == KVASS_OK) {
        status = unigram_unk(b, model, &unk, err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    double *scores = malloc(n * sizeof *scores + 1), lowest;
    tok_key *keys = malloc(n * sizeof *keys + 1);
    if (!scores || !keys) {
        free(scores);
        free(keys);
        return kvass_fail_nomem(err, n * sizeof *keys, "scores");
    }
    list_scores(vocab, scores, keys, &lowest);
    tok_unigram *unigram = NULL;
    status = kvass_unigram_open(b->tok, keys, n, scores, &unigram, err);
    free(keys);
    if (status == KVASS_OK) {
        unigram->unk = unk;
        unigram->unk_score = lowest - UNKNOWN_PENALTY;
        unigram->by_words = false; /* a word is one already */
        if (b->decoding.byte_fallback) {
            kvass_build_byte_ids(b, unigram->byte_ids);
        }
    }
    return status;
}

/* ---- WordLevel ------------------------------------------------------------------------------- */

static kvass_status build_wordlevel(tok_build *b, const kvass_json *model, const tok_entry *entries,
                                    size_t n_entries, kvass_error *err)
{
    const kvass_json *vocab = kvass_json_get(model, "vocab");
    if (kvass_json_get_kind(vocab) != KVASS_JSON_OBJECT) {
        return kvass_fail(err, KVASS_FORMAT, "KEY_TYPE",
                          "%s: model: expected an object \"vocab\", found %s", b->path,
                          kvass_json_kind_name(vocab));
    }
    const char *unk = "<unk>";
    size_t n = strlen(unk);
    tok_wordlevel *wordlevel = NULL;
    kvass_status status = kvass_build_vocab(b, vocab, entries, n_entries, err);
    if (status == KVASS_OK && !kvass_key_absent(model, "unk_token")) {
        status = kvass_key_string(model, "unk_token", &unk, &n, b->path, err);
    }
    if (status == KVASS_OK) {
        status = kvass_wordlevel_open(b->tok, &wordlevel, err);
    }
    if (status == KVASS_OK) {
        wordlevel->unk = kvass_build_find(b, unk, n);
    }
    return status;
}

/* ---- by name --------------------------------------------------------------------------------- */

kvass_status kvass_model_find(const kvass_json *model, const char *path, tok_build_fn **build,
                              bool *byte_fallback, kvass_error *err)
{
    static const struct {
        const char *type;
        tok_build_fn *build;
    } kinds[] = {{"BPE", build_bpe}, {"Unigram", build_unigram}, {"WordLevel", build_wordlevel}};
    const kvass_json *type = kvass_json_get(model, "type");
    const char *name = kvass_json_as_string(type, NULL);
    if (!type && kvass_json_get(model, "merges")) {
        name = "BPE"; /* older files do not say so */
    }
    *build = NULL;
    for (size_t i = 0; name && i < sizeof kinds / sizeof kinds[0]; i++) {
        *build = strcmp(name, kinds[i].type) == 0 ? kinds[i].build : *build;
    }
    if (!*build) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "TOKENIZER_MODEL",
                          "%s: model type \"%.100s\" is not supported, only BPE, Unigram and "
                          "WordLevel are",
                          path, name ? name : kvass_json_kind_name(type));
    }
    *byte_fallback = false;
    kvass_status status = kvass_key_bool(model, "byte_fallback", byte_fallback, path, err);
    return status == KVASS_OK && *build == build_bpe ? check_bpe(model, path, err) : status;
}
