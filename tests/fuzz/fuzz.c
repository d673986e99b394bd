/* fuzz.c - files in memory, and what every fuzz target checks; see fuzz.h. */
#include "tests/fuzz/fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 512, MAX_FILES = 24, MAX_CONTEXT_BYTES = 1 << 26 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    /* a block of its own, so that a sanitizer sees the first byte beyond it */
    uint8_t *copy = malloc(n_bytes > 0 ? n_bytes : 1);
    if (!copy) {
        return 0;
    }
    if (n_bytes > 0) {
        memcpy(copy, bytes, n_bytes);
    }
    fuzz_one(copy, n_bytes);
    free(copy);
    return 0;
}

_Noreturn void fuzz_fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)fputs("promise broken: ", stderr);
    (void)vfprintf(stderr, fmt, args);
    (void)fputc('\n', stderr);
    va_end(args);
    abort();
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A temporary folder of links to memory files. */
static char folder[64];
static struct {
    char name[64], path[PATH_BYTES];
    int fd;
    bool linked;
} files[MAX_FILES];
static int n_files;

static void remove_folder(void)
{
    char path[PATH_BYTES];
    for (int i = 0; i < n_files; i++) {
        (void)unlink(files[i].path);
        (void)snprintf(path, sizeof path, "%s", files[i].path);
        *strrchr(path, '/') = '\0';
        (void)rmdir(path);
    }
    (void)rmdir(folder);
}

static void make_folder(void)
{
    if (!folder[0]) {
        (void)snprintf(folder, sizeof folder, "/tmp/kvass-fuzz-XXXXXX");
        if (!mkdtemp(folder) || atexit(remove_folder) != 0) {
            fuzz_fail("no temporary folder");
        }
    }
}

const char *fuzz_folder(const char *name)
{
    static char path[PATH_BYTES];
    make_folder();
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)mkdir(path, 0700);
    return path;
}

static int find_file(const char *name)
{
    for (int i = 0; i < n_files; i++) {
        if (strcmp(files[i].name, name) == 0) {
            return i;
        }
    }
    if (n_files == MAX_FILES || strlen(name) >= sizeof files[0].name) {
        fuzz_fail("too many files");
    }
    int fd = memfd_create("kvass-fuzz", 0), i = n_files++;
    if (fd < 0) {
        fuzz_fail("no memory file");
    }
    char own_folder[64];
    (void)snprintf(own_folder, sizeof own_folder, "%s", name);
    char *slash = strrchr(own_folder, '/');
    if (slash) {
        *slash = '\0';
        (void)fuzz_folder(own_folder);
    }
    make_folder();
    (void)snprintf(files[i].name, sizeof files[i].name, "%s", name);
    (void)snprintf(files[i].path, sizeof files[i].path, "%s/%s", folder, name);
    files[i].fd = fd;
    return i;
}

const char *fuzz_file(const char *name, const void *bytes, size_t n_bytes)
{
    int i = find_file(name);
    if (ftruncate(files[i].fd, 0) != 0 ||
        pwrite(files[i].fd, bytes, n_bytes, 0) != (ssize_t)n_bytes) {
        fuzz_fail("cannot write %s", name);
    }
    if (!files[i].linked) {
        char target[64];
        (void)snprintf(target, sizeof target, "/proc/self/fd/%d", files[i].fd);
        if (symlink(target, files[i].path) != 0) {
            fuzz_fail("cannot make %s", files[i].path);
        }
        files[i].linked = true;
    }
    return files[i].path;
}

void fuzz_no_file(const char *name)
{
    int i = find_file(name);
    if (files[i].linked) {
        (void)unlink(files[i].path);
        files[i].linked = false;
    }
}

const char *fuzz_source(const char *name)
{
    static char path[PATH_BYTES];
    const char *root = getenv("KVASS_SOURCE_ROOT");
    (void)snprintf(path, sizeof path, "%s/%s", root ? root : ".", name);
    return path;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

const uint8_t *fuzz_part(fuzz_input *in, size_t *n_bytes)
{
    const uint8_t *start = in->bytes + in->at;
    const uint8_t *end = in->at < in->n_bytes ? memchr(start, 0, in->n_bytes - in->at) : NULL;
    *n_bytes = end ? (size_t)(end - start) : in->n_bytes - in->at;
    in->at += *n_bytes + (end != NULL);
    return start;
}

uint8_t fuzz_byte(fuzz_input *in)
{
    return in->at < in->n_bytes ? in->bytes[in->at++] : 0;
}

/* ---- checks ---------------------------------------------------------------------------------- */

void fuzz_check_refusal(kvass_status status, const kvass_error *err)
{
    if (getenv("KVASS_FUZZ_TALK")) { /* what became of an input */
        (void)fprintf(stderr, "%s\n", status == KVASS_OK ? "ok" : err->message);
    }
    if (status != KVASS_OK && (err->code != status || !err->rule || !err->message[0])) {
        fuzz_fail("status %d without a word", (int)status);
    }
}

static void ask(const kvass_model *model, const kvass_model_info *info)
{
    kvass_error err;
    for (int32_t i = 0; i < info->n_tensors; i++) {
        kvass_tensor_info tensor;
        char last;
        if (kvass_model_get_tensor(model, i, &tensor, &err) != KVASS_OK) {
            fuzz_fail("tensor %d of %d: %s", i, info->n_tensors, err.message);
        }
        if (tensor.n_bytes > 0 &&
            kvass_model_read_tensor(model, i, tensor.n_bytes - 1, &last, 1, &err) != KVASS_OK) {
            fuzz_fail("%s", err.message);
        }
        if (kvass_model_read_tensor(model, i, tensor.n_bytes, &last, 1, &err) == KVASS_OK) {
            fuzz_fail("tensor %d can be read beyond its end", i);
        }
    }
    for (int32_t i = 0; i < info->n_warnings; i++) {
        if (!kvass_model_warning(model, i)) {
            fuzz_fail("warning %d of %d is NULL", i, info->n_warnings);
        }
    }
    for (int32_t i = 0; i < info->n_eos; i++) {
        if (info->eos[i] < 0 || info->eos[i] >= info->n_vocab) {
            fuzz_fail("end token %d of a vocabulary of %d", info->eos[i], info->n_vocab);
        }
    }
}

/* two tokens together, two one by one, each time a pick */
static void run(kvass_context *ctx, const kvass_model_info *info)
{
    kvass_error err;
    kvass_seq *seq;
    kvass_sampler *sampler;
    const int32_t prompt[] = {0, info->n_vocab - 1};
    if (kvass_seq_open(&seq, ctx, &err) != KVASS_OK ||
        kvass_sampler_open(&sampler, info->n_vocab, NULL, &err) != KVASS_OK) {
        fuzz_fail("%s", err.message);
    }
    kvass_status status = kvass_prefill(seq, prompt, info->n_ctx < 4 ? 1 : 2, &err);
    for (int i = 0; i < 2 && status == KVASS_OK && info->n_ctx >= 4; i++) {
        int32_t token = -1;
        status = kvass_sampler_pick(sampler, kvass_seq_logits(seq), NULL, 0, &token, &err);
        if (status == KVASS_OK && (token < 0 || token >= info->n_vocab)) {
            fuzz_fail("picked %d of %d", token, info->n_vocab);
        }
        status = status == KVASS_OK ? kvass_decode(seq, token, &err) : status;
    }
    if (status != KVASS_OK && status != KVASS_NAN_LOGITS) {
        fuzz_fail("%s", err.message);
    }
    kvass_sampler_close(&sampler);
    kvass_seq_close(&seq);
}

kvass_status fuzz_model(const char *path, bool use_mmap, kvass_error *err)
{
    kvass_model_options opt = kvass_model_options_default();
    kvass_model *model;
    opt.use_mmap = use_mmap;
    kvass_status status = kvass_model_open(&model, path, &opt, err);
    fuzz_check_refusal(status, err);
    if (status != KVASS_OK) {
        return status;
    }
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    ask(model, &info);
    kvass_context_options small = kvass_context_options_default();
    small.n_ctx = info.n_ctx < 8 ? info.n_ctx : 8;
    small.n_batch = 3;
    small.n_threads = 1;
    size_t scratch, cache;
    kvass_context *ctx;
    kvass_error why = {0};
    status = kvass_context_bytes(model, &small, &scratch, &cache, &why);
    fuzz_check_refusal(status, &why);
    if (status == KVASS_OK && scratch + cache < MAX_CONTEXT_BYTES) {
        status = kvass_context_open(&ctx, model, &small, &why);
        fuzz_check_refusal(status, &why);
        if (status == KVASS_OK) {
            run(ctx, &info);
            kvass_context_close(&ctx);
        }
    }
    kvass_model_close(&model);
    return KVASS_OK;
}

int32_t *fuzz_encode(const kvass_tokenizer *tok, const uint8_t *text, size_t n_bytes,
                     const kvass_encode_options *opt, size_t *n_ids)
{
    kvass_tokenizer_info info;
    kvass_error err = {0};
    size_t n = 0, again = 0;
    *n_ids = 0;
    kvass_tokenizer_get_info(tok, &info);
    kvass_status status =
        kvass_tokenizer_encode(tok, (const char *)text, n_bytes, opt, NULL, 0, &n, &err);
    fuzz_check_refusal(status, &err);
    if (status != KVASS_OK) {
        return NULL;
    }
    int32_t *ids = malloc((n > 0 ? n : 1) * sizeof *ids);
    if (!ids) {
        return NULL;
    }
    status = kvass_tokenizer_encode(tok, (const char *)text, n_bytes, opt, ids, n, &again, &err);
    if (status != KVASS_OK || again != n) {
        fuzz_fail("encoded twice: %zu ids, then %zu (status %d)", n, again, (int)status);
    }
    for (size_t i = 0; i < n; i++) {
        size_t unused;
        if (ids[i] < 0 || ids[i] >= info.n_vocab || !kvass_tokenizer_piece(tok, ids[i], &unused)) {
            fuzz_fail("id %d of a vocabulary of %d", ids[i], info.n_vocab);
        }
    }
    *n_ids = n;
    return ids;
}

char *fuzz_stream(const kvass_tokenizer *tok, const int32_t *ids, size_t n_ids, size_t *n_bytes)
{
    kvass_stream *stream;
    kvass_error err = {0};
    if (kvass_stream_open(&stream, tok, true, &err) != KVASS_OK) {
        fuzz_fail("%s", err.message);
    }
    size_t n_in = 0, n_out = 0, cap = 0, n, n_starts = 1, longest = 1;
    char *text = NULL;
    kvass_tokenizer_info info;
    kvass_tokenizer_get_info(tok, &info);
    for (size_t i = 0; i <= n_ids; i++) {
        const char *bytes = NULL;
        if (i == n_ids) {
            kvass_stream_end(stream, &bytes, &n);
        } else if (kvass_stream_put(stream, ids[i], &bytes, &n, &err) != KVASS_OK) {
            fuzz_fail("%s", err.message);
        } else {
            size_t n_piece;
            (void)kvass_tokenizer_piece(tok, ids[i], &n_piece);
            n_in += n_piece;
            longest = n_piece > longest ? n_piece : longest;
            n_starts += ids[i] == info.bos;
        }
        if (n_out + n > cap) {
            cap = 2 * (n_out + n) + 64;
            char *grown = realloc(text, cap);
            if (!grown) {
                fuzz_fail("out of memory");
            }
            text = grown;
        }
        if (n > 0) {
            memcpy(text + n_out, bytes, n);
        }
        n_out += n;
        /* at most three bytes wait, at each beginning the spaces of a token may be dropped, and
         * each token may have one before it */
        size_t waiting = i == n_ids ? 0 : 3;
        if (n_out > n_in + i || n_in > n_out + waiting + n_starts * longest) {
            fuzz_fail("stream: %zu bytes in, %zu out", n_in, n_out);
        }
    }
    kvass_stream_close(&stream);
    *n_bytes = n_out;
    return text;
}
