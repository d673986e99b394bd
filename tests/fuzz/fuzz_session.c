/* fuzz_session.c - the input is a byte that says for which context, then a saved sequence. With the
 * top bit of the byte the model's fingerprint, the file's size and both checksums are mended, so
 * that what they guard is met as well. What is restored must run, be saved again, and give its
 * pages back; what is refused must leave the sequence alone.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "tests/fuzz/fuzz.h"

enum {
    MAX_BYTES = 1 << 16,
    FINGERPRINT_AT = 24,
    SIZE_AT = 16,
    COUNTS_AT = 116,
    HEADER_BYTES = 124
};

static const kvass_model *tiny_model(bool own_family)
{
    static kvass_model *models[2];
    kvass_error err;
    const char *path = own_family ? "tests/fuzz/tiny/kvass" : "tests/fuzz/tiny/llama";
    if (!models[own_family] &&
        kvass_model_open(&models[own_family], fuzz_source(path), NULL, &err) != KVASS_OK) {
        fuzz_fail("%s", err.message);
    }
    return models[own_family];
}

static void put_u64(unsigned char *to, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        to[i] = (unsigned char)(value >> 8 * i);
    }
}

static void mend(const kvass_model *model, unsigned char *file, size_t n)
{
    kvass_model_info info;
    int32_t counts[2]; /* tokens, rows of logits */
    kvass_model_get_info(model, &info);
    if (n < HEADER_BYTES + 16) {
        return;
    }
    put_u64(file + FINGERPRINT_AT, info.fingerprint);
    put_u64(file + SIZE_AT, n);
    memcpy(counts, file + COUNTS_AT, sizeof counts);
    if (counts[0] < 0 || (size_t)counts[0] > n / 4 || counts[1] < 0 || counts[1] > 1) {
        return;
    }
    size_t end = HEADER_BYTES + 16 * (size_t)info.n_layers +
                 4 * ((size_t)counts[0] + (size_t)counts[1] * (size_t)info.n_vocab);
    if (end + 16 <= n) {
        put_u64(file + end, kvass_hash_of(file, end, 0));
        put_u64(file + n - 8, kvass_hash_of(file + end + 8, n - end - 16, 0));
    }
}

static kvass_context *open_context(const kvass_model *model, uint8_t choice)
{
    kvass_context *ctx;
    kvass_error err;
    kvass_context_options o = kvass_context_options_default();
    o.n_ctx = 96;
    o.n_batch = 16;
    o.n_threads = 1;
    o.store = choice & 2 ? KVASS_STORE_F32 : KVASS_STORE_F16;
    o.retain = choice & 4   ? KVASS_RETAIN_WINDOW
               : choice & 8 ? KVASS_RETAIN_NONE
                            : KVASS_RETAIN_FULL;
    o.window = choice & 4 ? 20 : 0;
    o.n_sinks = choice & 4 ? 3 : 0;
    if (kvass_context_open(&ctx, model, &o, &err) != KVASS_OK) {
        fuzz_fail("%s", err.message);
    }
    return ctx;
}

/* restored: it must be fit for use */
static void use(kvass_seq *seq)
{
    kvass_error err;
    int32_t n = kvass_seq_n_tokens(seq), again = -1;
    (void)fuzz_file("again", "", 0);
    fuzz_no_file("again"); /* the last save put a file in the place of the link */
    const char *path = fuzz_file("again", "", 0);
    if (kvass_seq_save(seq, path, &err) != KVASS_OK ||
        kvass_seq_load(seq, path, &again, &err) != KVASS_OK || again != n) {
        fuzz_fail("saved again: %d tokens, %d: %s", n, again, err.message);
    }
    if (n < 96 && (kvass_decode(seq, 0, &err) != KVASS_OK || !kvass_seq_logits(seq))) {
        fuzz_fail("%s", err.message);
    }
    if (kvass_seq_truncate(seq, kvass_seq_can_truncate(seq), &err) != KVASS_OK) {
        fuzz_fail("%s", err.message);
    }
}

void fuzz_one(const uint8_t *bytes, size_t n_bytes)
{
    static unsigned char file[MAX_BYTES];
    fuzz_input in = {bytes, n_bytes, 0};
    uint8_t choice = fuzz_byte(&in);
    size_t n = n_bytes - in.at;
    if (n > sizeof file) {
        return;
    }
    if (n > 0) {
        memcpy(file, bytes + in.at, n);
    }
    const kvass_model *model = tiny_model(choice & 1);
    if (choice & 128) {
        mend(model, file, n);
    }
    kvass_error err = {0};
    kvass_context *ctx = open_context(model, choice);
    kvass_seq *seq;
    kvass_cache_usage before, after;
    kvass_context_get_usage(ctx, &before);
    if (kvass_seq_open(&seq, ctx, &err) != KVASS_OK || kvass_decode(seq, 1, &err) != KVASS_OK) {
        fuzz_fail("%s", err.message);
    }
    kvass_status status = kvass_seq_load(seq, fuzz_file("saved", file, n), NULL, &err);
    fuzz_check_refusal(status, &err);
    if (status == KVASS_OK) {
        use(seq);
    } else if (kvass_seq_n_tokens(seq) != 1 || !kvass_seq_logits(seq)) {
        fuzz_fail("refused, but %d tokens are there", kvass_seq_n_tokens(seq));
    }
    kvass_seq_close(&seq);
    kvass_context_get_usage(ctx, &after);
    if (after.n_pages_used != before.n_pages_used) {
        fuzz_fail("%d pages in use, %d at first", after.n_pages_used, before.n_pages_used);
    }
    kvass_context_close(&ctx);
}
