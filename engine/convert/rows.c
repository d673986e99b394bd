/* rows.c - the bytes of a tensor as it is written, row by row, out of the weights that the engine
 * runs: rows are put back into the order that the file's kind has, norms into its terms, and what
 * has the right type already is copied as it is. See convert.h.
 */
#include <string.h>

#include "engine/base/packed.h"
#include "engine/convert/convert.h"
#include "engine/kernels/pack.h"

/* Where a row (or an element of a bias) of the file lies: in the part's row of that number. */
typedef struct origin {
    int32_t part, row;
} origin;

/* The row that stands at `row` once each head's first n_rot rows are brought from halves
 * (i, i + n_rot/2) to neighbours (2i, 2i+1). */
static int32_t paired(int32_t row, int32_t head_dim, int32_t n_rot)
{
    int32_t i = row % head_dim;
    return i < n_rot ? row - i + i / 2 + i % 2 * (n_rot / 2) : row;
}

static origin origin_of(const kvass_converter *c, const kvass_slot *slot, int32_t row)
{
    const kvass_config *config = &c->model->config;
    int32_t head_dim = config->head_dim;
    origin at = {0, row};
    if (!c->arch && slot->parts->layout == KVASS_LAYOUT_INTERLEAVED) {
        int32_t block = row / head_dim;
        return (origin){block % slot->n_parts, block / slot->n_parts * head_dim + row % head_dim};
    }
    for (; at.part + 1 < slot->n_parts; at.part++) {
        int32_t n = kvass_size_of(config, kvass_role_get(slot->parts[at.part].role)->n_out);
        if (at.row < n) {
            break;
        }
        at.row -= n;
    }
    kvass_role role = slot->parts[at.part].role;
    if (c->arch && c->arch->rope_pairs && (role == KVASS_ROLE_WQ || role == KVASS_ROLE_WK)) {
        at.row = paired(at.row, head_dim, c->model->layers[slot->layer].spec.rope.n_rot);
    }
    return at;
}

static const kvass_weight *weight_of(const kvass_converter *c, const kvass_slot *slot, int32_t part)
{
    return kvass_role_field(c->model, slot->parts[part].role, slot->layer);
}

/* A row as its type has it; put together in c->packed where rows lie interleaved. */
static const unsigned char *row_of(kvass_converter *c, const kvass_weight *w, int32_t row)
{
    if (row >= kvass_packed_end(w)) {
        return (const unsigned char *)w->data + (size_t)row * w->row_bytes;
    }
    size_t n_block = (size_t)kvass_dtype_get(w->dtype)->block_bytes;
    for (size_t at = 0; at < w->row_bytes; at += n_block) {
        unsigned char block[KVASS_BLOCK_BYTES_MAX];
        const void *from = kvass_weight_block(w, row, (int32_t)(at / n_block), block);
        memcpy(c->packed + at, from, n_block);
    }
    return c->packed;
}

/* ---- putting --------------------------------------------------------------------------------- */

static kvass_status put_bytes(kvass_converter *c, const void *bytes, size_t n, kvass_error *err)
{
    kvass_status status = kvass_out_file_put(c->file, bytes, n, err);
    c->done += n;
    if (status == KVASS_OK && c->opt->progress &&
        !c->opt->progress(c->opt->user, c->done, c->total)) {
        status = kvass_fail(err, KVASS_CANCELLED, "CANCELLED", "%s: stopped by the caller",
                            c->file->path);
    }
    return status;
}

/* x[n] as a row of t */
static kvass_status put_floats(kvass_converter *c, const kvass_out_tensor *t, const float *x,
                               int32_t n, int64_t row, kvass_error *err)
{
    size_t n_bytes = 0;
    int32_t unfit = kvass_pack(t->dtype, x, n, c->packed);
    if (unfit >= 0) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "CONVERT_RANGE",
                          "%s: tensor \"%s\": row %lld, value %d: %g has no place in %s",
                          c->file->path, t->name, (long long)row, (int)unfit, (double)x[unfit],
                          kvass_dtype_name(t->dtype));
    }
    (void)kvass_dtype_row_bytes(t->dtype, n, &n_bytes); /* checked when t was listed */
    return put_bytes(c, c->packed, n_bytes, err);
}

static kvass_status put_rows(kvass_converter *c, const kvass_out_tensor *t, kvass_error *err)
{
    kvass_status status = KVASS_OK;
    for (int32_t r = 0; r < t->shape[0] && status == KVASS_OK; r++) {
        origin at = origin_of(c, t->slot, r);
        const kvass_weight *w = weight_of(c, t->slot, at.part);
        if (w->dtype == t->dtype) {
            status = put_bytes(c, row_of(c, w, at.row), w->row_bytes, err);
        } else {
            c->kernels.widen[w->dtype](row_of(c, w, at.row), w->n_in, c->floats);
            status = put_floats(c, t, c->floats, w->n_in, r, err);
        }
    }
    return status;
}

/* t[n_in, n_out]: all is widened to c->floats[n_out, n_in], whose columns become the rows */
static kvass_status put_transposed(kvass_converter *c, const kvass_out_tensor *t, kvass_error *err)
{
    size_t n_in = (size_t)t->shape[0], n_out = (size_t)t->shape[1];
    float *row = c->floats + n_in * n_out;
    for (int32_t r = 0; r < t->shape[1]; r++) {
        origin at = origin_of(c, t->slot, r);
        const kvass_weight *w = weight_of(c, t->slot, at.part);
        c->kernels.widen[w->dtype](row_of(c, w, at.row), w->n_in, c->floats + (size_t)r * n_in);
    }
    kvass_status status = KVASS_OK;
    for (size_t k = 0; k < n_in && status == KVASS_OK; k++) {
        for (size_t r = 0; r < n_out; r++) {
            row[r] = c->floats[r * n_in + k];
        }
        status = put_floats(c, t, row, (int32_t)n_out, (int64_t)k, err);
    }
    return status;
}

/* A norm: GGUF has it whole, a family's own files may have its distance from an offset. */
static kvass_status put_norm(kvass_converter *c, const kvass_out_tensor *t, kvass_error *err)
{
    const kvass_norm *norm = kvass_role_field(c->model, t->slot->parts->role, t->slot->layer);
    int32_t n = (int32_t)t->shape[0];
    const float *from = (t->is_bias ? norm->b : norm->w) + (size_t)t->slot->head * (size_t)n;
    float offset = c->arch || t->is_bias ? 0 : c->model->config.norm_offset;
    for (int32_t i = 0; i < n; i++) {
        c->floats[i] = offset == 0 ? from[i] : from[i] - offset;
    }
    return put_floats(c, t, c->floats, n, 0, err);
}

static kvass_status put_bias(kvass_converter *c, const kvass_out_tensor *t, kvass_error *err)
{
    int32_t n = (int32_t)t->shape[0];
    for (int32_t i = 0; i < n; i++) {
        origin at = origin_of(c, t->slot, i);
        const kvass_linear *linear =
            kvass_role_field(c->model, t->slot->parts[at.part].role, t->slot->layer);
        c->floats[i] = linear->b[at.row];
    }
    return put_floats(c, t, c->floats, n, 0, err);
}

kvass_status kvass_convert_put(kvass_converter *c, const kvass_out_tensor *t, kvass_error *err)
{
    if (!t->slot) {
        return put_floats(c, t, t->values, (int32_t)t->shape[0], 0, err);
    }
    if (kvass_role_get(t->slot->parts->role)->kind == KVASS_KIND_NORM) {
        return put_norm(c, t, err);
    }
    if (t->is_bias) {
        return put_bias(c, t, err);
    }
    bool transposed = !c->arch && t->slot->parts->layout == KVASS_LAYOUT_TRANSPOSED;
    return transposed ? put_transposed(c, t, err) : put_rows(c, t, err);
}
