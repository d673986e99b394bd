/* build_merges.c - the merges of a BPE, by the spelling of what they join. */
#include <string.h>

#include "tokenizer/build.h"

#define N_MARK (sizeof WORD_MARK - 1)

void kvass_build_byte_ids(const tok_build *b, int32_t byte_ids[256])
{
    static const char digits[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; byte++) {
        char name[6] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        byte_ids[byte] = kvass_build_find(b, name, sizeof name);
    }
}

kvass_status kvass_build_bpe(tok_build *b, size_t n_merges, tok_bpe **bpe, kvass_error *err)
{
    kvass_status status = kvass_bpe_open(bpe, &b->tok->vocab, n_merges, err);
    if (status != KVASS_OK) {
        return status;
    }
    b->tok->ops = &kvass_bpe_ops;
    b->tok->model = *bpe;
    (*bpe)->by_char = !b->decoding.byte_level;
    (*bpe)->by_words = (*bpe)->by_char && kvass_build_find(b, WORD_MARK, N_MARK) >= 0;
    for (int byte = 0; byte < 256 && b->decoding.byte_level; byte++) {
        char self = (char)byte;
        (*bpe)->byte_ids[byte] = kvass_vocab_word(&b->tok->vocab, &self, 1);
    }
    if (!b->decoding.byte_level && b->decoding.byte_fallback) {
        kvass_build_byte_ids(b, (*bpe)->byte_ids);
    }
    return KVASS_OK;
}

/* One merge: two spellings, and the ids found for them and for both together, -1 where none is. */
typedef struct joint {
    const char *left, *right;
    size_t n_left, n_right;
    int32_t left_id, right_id, merged;
} joint;

/* Where both parts are spelled in the printable alphabet, all three are words of bytes. */
static bool find_bytes(const tok_build *b, const tok_bpe *bpe, joint *j)
{
    size_t n_left, n_right;
    char *left = b->scratch;
    if (!b->decoding.byte_level || !kvass_bytelevel_decode(j->left, j->n_left, left, &n_left) ||
        !kvass_bytelevel_decode(j->right, j->n_right, left + n_left, &n_right)) {
        return false;
    }
    const tok_vocab *vocab = &b->tok->vocab;
    j->left_id = kvass_vocab_word(vocab, left, n_left);
    j->right_id = kvass_vocab_word(vocab, left + n_left, n_right);
    j->merged = kvass_bpe_find_next(bpe, left, n_left + n_right);
    return true;
}

static void find_joint(const tok_build *b, tok_bpe *bpe, joint *j)
{
    j->left_id = j->right_id = j->merged = -1;
    if (j->n_left > b->longest || j->n_right > b->longest) {
        j->left_id = kvass_build_find(b, j->left, j->n_left);
        return;
    }
    if (find_bytes(b, bpe, j)) {
        return;
    }
    j->left_id = kvass_build_find(b, j->left, j->n_left);
    j->right_id = kvass_build_find(b, j->right, j->n_right);
    if (j->left_id < 0 || j->right_id < 0) {
        return;
    }
    char *both = b->scratch;
    size_t n = j->n_left + j->n_right;
    memcpy(both, j->left, j->n_left);
    memcpy(both + j->n_left, j->right, j->n_right);
    if (!b->decoding.byte_level) {
        j->merged = kvass_bpe_find_next(bpe, both, n);
    }
    if (j->merged < 0) {
        j->merged = kvass_words_get(&b->others, both, n);
    }
    bpe->by_words = bpe->by_words && !kvass_merge_crosses(both, n, WORD_MARK, N_MARK);
}

static int at_most(size_t n, int most)
{
    return n < (size_t)most ? (int)n : most;
}

kvass_status kvass_build_merge(tok_build *b, tok_bpe *bpe, size_t i, const char *left,
                               size_t n_left, const char *right, size_t n_right, kvass_error *err)
{
    joint j = {.left = left, .right = right, .n_left = n_left, .n_right = n_right};
    find_joint(b, bpe, &j);
    if (j.left_id < 0 || j.right_id < 0) {
        return kvass_fail(err, KVASS_FORMAT, "MERGE_PART",
                          "%s: merges[%zu]: \"%.*s\" is not in the vocabulary", b->path, i,
                          at_most(j.left_id < 0 ? n_left : n_right, 100),
                          j.left_id < 0 ? left : right);
    }
    int n_shown_left = at_most(n_left, 60), n_shown_right = at_most(n_right, 60);
    if (j.merged < 0) {
        return kvass_fail(
            err, KVASS_FORMAT, "MERGE_RESULT",
            "%s: merges[%zu]: \"%.*s\" and \"%.*s\" together are not in the vocabulary", b->path, i,
            n_shown_left, left, n_shown_right, right);
    }
    bool fresh = false;
    kvass_status status = kvass_bpe_add(bpe, j.left_id, j.right_id, j.merged, &fresh, err);
    if (status == KVASS_OK && !fresh) {
        status = kvass_fail(err, KVASS_FORMAT, "MERGE_DUPLICATE",
                            "%s: merges[%zu]: \"%.*s\" and \"%.*s\" were merged before", b->path, i,
                            n_shown_left, left, n_shown_right, right);
    }
    return status;
}

kvass_status kvass_build_merge_line(tok_build *b, tok_bpe *bpe, size_t i, const char *text,
                                    size_t n, kvass_error *err)
{
    const char *space = memchr(text, ' ', n);
    size_t n_left = space ? (size_t)(space - text) : 0;
    size_t n_right = space ? n - n_left - 1 : 0;
    if (n_left == 0 || n_right == 0 || memchr(space + 1, ' ', n_right)) {
        return kvass_fail(err, KVASS_FORMAT, "MERGE_FORMAT",
                          "%s: merges[%zu]: expected two tokens parted by a space, found \"%.*s\"",
                          b->path, i, at_most(n, 100), text);
    }
    return kvass_build_merge(b, bpe, i, text, n_left, space + 1, n_right, err);
}
