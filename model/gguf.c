/* gguf.c - GGUF files as a directory of tensors, whole or split over several files.
 * Called by checkpoint.c. Tensors get the names their family knows (gguf_arch.c), shapes the order
 * of all others here. In a split checkpoint every part has a header of its own; the first has the
 * metadata.
 */
#include "model/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/limits.h"

enum { NAME_BYTES = 256, TAIL_BYTES = 20 /* of "-00001-of-00002.gguf" */ };

static const char *const factor_names[KVASS_GGUF_N_FACTORS] = {
    "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};

/* Read a tensor that belongs to the configuration. */
static kvass_status read_factors(const kvass_checkpoint *ckpt, const kvass_gguf_tensor *t,
                                 const char *name, kvass_gguf_factors *out, kvass_error *err)
{
    const kvass_file *file = &ckpt->files[ckpt->n_files - 1];
    if (t->type->dtype != KVASS_DTYPE_F32 || t->n_dims != 1 ||
        t->dims[0] > KVASS_GGUF_MAX_FACTORS) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "ROPE_SCALING",
                          "%s: tensor \"%s\": expected at most %d F32 numbers, found %" PRId64
                          " of type %s in %d dimensions",
                          file->path, name, KVASS_GGUF_MAX_FACTORS, t->dims[0], t->type->name,
                          t->n_dims);
    }
    unsigned char bytes[KVASS_GGUF_MAX_FACTORS * sizeof(float)];
    kvass_status status = kvass_file_read(file, t->offset, bytes, (size_t)t->n_bytes, err);
    kvass_reader r = {bytes, (size_t)t->n_bytes, 0};
    out->n = status == KVASS_OK ? (int32_t)t->dims[0] : 0;
    for (int32_t i = 0; i < out->n; i++) {
        (void)kvass_reader_f32(&r, &out->values[i]);
        if (!isfinite(out->values[i])) {
            return kvass_fail(err, KVASS_FORMAT, "ROPE_SCALING",
                              "%s: tensor \"%s\": number %d: expected a finite one", file->path,
                              name, i);
        }
    }
    return status;
}

/* Which of factor_names this is, or KVASS_GGUF_N_FACTORS. */
static int factors_of(const char *name)
{
    int i = 0;
    while (i < KVASS_GGUF_N_FACTORS && strcmp(name, factor_names[i]) != 0) {
        i++;
    }
    return i;
}

static kvass_status add_tensors(kvass_checkpoint *ckpt, const kvass_gguf *g,
                                const kvass_gguf_arch *arch, kvass_gguf_factors *factors,
                                kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (uint32_t i = 0; i < g->n_tensors && status == KVASS_OK; i++) {
        const kvass_gguf_tensor *from = &g->tensors[i];
        char stored[NAME_BYTES], name[NAME_BYTES];
        (void)snprintf(stored, sizeof stored, "%.*s", (int)from->n_name,
                       (const char *)g->bytes + from->name_at);
        int which = factors_of(stored);
        if (which < KVASS_GGUF_N_FACTORS) {
            status = read_factors(ckpt, from, stored, &factors[which], err);
            continue;
        }
        kvass_gguf_rename(arch, stored, name, sizeof name);
        kvass_tensor t = {.name = name,
                          .dtype = from->type->dtype,
                          .type_name = from->type->name,
                          .n_dims = from->n_dims,
                          .file = ckpt->n_files - 1,
                          .offset = from->offset,
                          .n_bytes = (size_t)from->n_bytes};
        for (int32_t d = 0; d < t.n_dims; d++) {
            t.shape[d] = from->dims[t.n_dims - 1 - d];
        }
        status = kvass_checkpoint_add_tensor(ckpt, &t, err);
    }
    return status;
}

/* Open one file and read its header; bytes behind its last tensor are odd but harmless. */
static kvass_status open_part(kvass_checkpoint *ckpt, const char *path, kvass_gguf **out,
                              kvass_error *err)
{
    kvass_status status = kvass_checkpoint_add_file(ckpt, path, err);
    if (status == KVASS_OK) {
        status = kvass_gguf_open(out, &ckpt->files[ckpt->n_files - 1], err);
    }
    if (status != KVASS_OK) {
        return status;
    }
    const kvass_gguf *g = *out;
    uint64_t size = ckpt->files[ckpt->n_files - 1].size;
    if (g->n_tensors > 0 && size > g->data_end && size - g->data_end >= g->alignment) {
        kvass_checkpoint_warn(ckpt, "%s: %" PRIu64 " bytes after the last tensor are not used",
                              path, size - g->data_end);
    }
    return KVASS_OK;
}

/* ---- split files ----------------------------------------------------------------------------- */

static int64_t int_or(const kvass_gguf *g, const char *key, int64_t otherwise)
{
    int64_t value = otherwise;
    (void)kvass_gguf_as_int(g, kvass_gguf_find(g, key), 0, &value);
    return value;
}

/* What the name of part `no` (from 0) of `count` ends in: tail[TAIL_BYTES + 1]. */
static void tail_of(int64_t no, int64_t count, char *tail)
{
    char text[64];
    (void)snprintf(text, sizeof text, "-%05" PRId64 "-of-%05" PRId64 ".gguf", no + 1, count);
    memcpy(tail, text, TAIL_BYTES);
    tail[TAIL_BYTES] = '\0';
}

static bool is_part(const char *path, int64_t no, int64_t count)
{
    char tail[TAIL_BYTES + 1];
    size_t n = strlen(path);
    tail_of(no, count, tail);
    return n >= TAIL_BYTES && strcmp(path + n - TAIL_BYTES, tail) == 0;
}

/* The parts after the first, whose header is g; they lie beside it. */
static kvass_status add_parts(kvass_checkpoint *ckpt, const char *path, const kvass_gguf *g,
                              const kvass_gguf_arch *arch, kvass_gguf_factors *factors,
                              int64_t count, kvass_error *err)
{
    size_t n = strlen(path);
    char *part = malloc(n + 1);
    if (!part) {
        return kvass_fail_nomem(err, n + 1, "a path");
    }
    kvass_status status = KVASS_OK;
    for (int64_t i = 1; i < count && status == KVASS_OK; i++) {
        kvass_gguf *other = NULL;
        memcpy(part, path, n + 1);
        tail_of(i, count, part + n - TAIL_BYTES);
        status = open_part(ckpt, part, &other, err);
        if (status == KVASS_OK &&
            (int_or(other, "split.no", -1) != i || int_or(other, "split.count", -1) != count)) {
            status = kvass_fail(err, KVASS_FORMAT, "GGUF_SPLIT",
                                "%s: expected part %" PRId64 " of %" PRId64
                                ", found \"split.no\" %" PRId64 " and \"split.count\" %" PRId64,
                                part, i + 1, count, int_or(other, "split.no", -1),
                                int_or(other, "split.count", -1));
        }
        if (status == KVASS_OK) {
            status = add_tensors(ckpt, other, arch, factors, err);
        }
        kvass_gguf_close(&other);
    }
    free(part);
    int32_t n_found = ckpt->n_tensors;
    for (int i = 0; i < KVASS_GGUF_N_FACTORS; i++) {
        n_found += factors[i].n > 0;
    }
    int64_t n_tensors = int_or(g, "split.tensors.count", n_found);
    if (status == KVASS_OK && n_tensors != n_found) {
        status = kvass_fail(err, KVASS_FORMAT, "GGUF_SPLIT",
                            "%s: \"split.tensors.count\": expected %d, which the parts have "
                            "together, found %" PRId64,
                            path, n_found, n_tensors);
    }
    return status;
}

static kvass_status check_split(const char *path, const kvass_gguf *g, int64_t *count,
                                kvass_error *err)
{
    int64_t no = int_or(g, "split.no", 0);
    *count = int_or(g, "split.count", 1);
    if (*count == 0) {
        *count = 1;
    }
    if (*count < 1 || *count > KVASS_MAX_SHARDS || no < 0 || no >= *count) {
        return kvass_fail(err, KVASS_FORMAT, "GGUF_SPLIT",
                          "%s: expected a part of 1 .. %d, found \"split.no\" %" PRId64
                          " and \"split.count\" %" PRId64,
                          path, KVASS_MAX_SHARDS, no, *count);
    }
    if (*count > 1 && (no != 0 || !is_part(path, 0, *count))) {
        return kvass_fail(err, KVASS_FORMAT, "GGUF_SPLIT",
                          "%s: expected the first of %" PRId64
                          " parts, with a name that ends in \"-00001-of-%05" PRId64
                          ".gguf\", found part %" PRId64,
                          path, *count, *count, no + 1);
    }
    return KVASS_OK;
}

kvass_status kvass_gguf_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    static const char *const formats[] = {"GGUF v2", "GGUF v3"};
    kvass_gguf *g = NULL;
    const kvass_gguf_arch *arch = NULL;
    kvass_gguf_factors factors[KVASS_GGUF_N_FACTORS] = {0};
    int64_t count = 1;
    kvass_status status = open_part(ckpt, path, &g, err);
    if (status == KVASS_OK) {
        ckpt->format = formats[g->version == 3];
        status = kvass_gguf_arch_find(&arch, g, path, err);
    }
    if (status == KVASS_OK) {
        ckpt->rope_pairs = arch->rope_pairs;
        ckpt->laid_out = true;
        status = check_split(path, g, &count, err);
    }
    if (status == KVASS_OK) {
        status = add_tensors(ckpt, g, arch, factors, err);
    }
    if (status == KVASS_OK && count > 1) {
        status = add_parts(ckpt, path, g, arch, factors, count, err);
    }
    if (status == KVASS_OK) {
        status = kvass_checkpoint_seal(ckpt, err);
    }
    if (status == KVASS_OK) {
        status = kvass_gguf_make_config(ckpt, g, arch, factors, err);
    }
    kvass_gguf_close(&g);
    return status;
}
