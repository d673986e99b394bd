/* relay.c - reading, widening, transposing and reordering; see relay.h. */
#include "model/relay.h"

#include <string.h>

#include "engine/base/half.h"

enum { STRIP_BYTES = 1 << 20 };

size_t kvass_relay_scratch(size_t n_row, size_t head_bytes)
{
    size_t row = n_row * sizeof(float); /* the widest element; q8 with its scales is narrower */
    size_t least = row > head_bytes ? row : head_bytes;
    return least > STRIP_BYTES ? least : STRIP_BYTES;
}

static size_t element_bytes(const kvass_tensor *t)
{
    return (size_t)kvass_dtype_get((kvass_dtype)t->dtype)->block_bytes;
}

static float element(const void *from, size_t i, int32_t dtype)
{
    float f;
    uint16_t h;
    if (dtype == KVASS_DTYPE_F32) {
        memcpy(&f, (const char *)from + i * sizeof f, sizeof f);
        return f;
    }
    memcpy(&h, (const char *)from + i * sizeof h, sizeof h);
    return dtype == KVASS_DTYPE_F16 ? kvass_f16_to_f32(h) : kvass_bf16_to_f32(h);
}

kvass_status kvass_relay_floats(const kvass_relay *r, int64_t first, int64_t n, float *out,
                                kvass_error *err)
{
    size_t size = element_bytes(r->tensor), strip = r->n_scratch / size;
    size_t total = (size_t)n;
    for (size_t done = 0; done < total;) {
        size_t now = total - done < strip ? total - done : strip;
        uint64_t offset = r->tensor->offset + ((uint64_t)first + done) * size;
        kvass_status status = kvass_file_read(r->file, offset, r->scratch, now * size, err);
        if (status != KVASS_OK) {
            return status;
        }
        for (size_t i = 0; i < now; i++) {
            out[done + i] = element(r->scratch, i, r->tensor->dtype);
        }
        done += now;
    }
    return KVASS_OK;
}

kvass_status kvass_relay_rows(const kvass_relay *r, int64_t row, int64_t n_rows, size_t row_bytes,
                              void *out, kvass_error *err)
{
    uint64_t offset = r->tensor->offset + (uint64_t)row * row_bytes;
    return kvass_file_read(r->file, offset, out, (size_t)n_rows * row_bytes, err);
}

/* n values of int8 with one scale per `group` of them -> n / 32 blocks, each with its own scale */
static void interleave(const unsigned char *values, const unsigned char *scales, size_t n,
                       size_t group, unsigned char *out)
{
    for (size_t i = 0; i < n; i += KVASS_QBLOCK) {
        memcpy(out, scales + i / group * sizeof(float), sizeof(float));
        memcpy(out + sizeof(float), values + i, KVASS_QBLOCK);
        out += sizeof(float) + KVASS_QBLOCK;
    }
}

kvass_status kvass_relay_q8(const kvass_relay *r, int64_t row, int64_t n_rows, int32_t n_in,
                            void *out, kvass_error *err)
{
    const kvass_tensor *t = r->tensor;
    size_t width = (size_t)n_in, group = (size_t)r->q8_group;
    size_t in_bytes = width + width / group * sizeof(float);
    size_t out_bytes = width / KVASS_QBLOCK * (sizeof(float) + KVASS_QBLOCK);
    size_t strip = r->n_scratch / in_bytes, total = (size_t)n_rows;
    uint64_t scales_at = t->offset + (uint64_t)t->shape[0] * width;
    for (size_t done = 0; done < total;) {
        size_t now = total - done < strip ? total - done : strip;
        uint64_t first = ((uint64_t)row + done) * width;
        unsigned char *values = r->scratch, *scales = values + now * width;
        kvass_status status = kvass_file_read(r->file, t->offset + first, values, now * width, err);
        if (status == KVASS_OK) {
            status = kvass_file_read(r->file, scales_at + first / group * sizeof(float), scales,
                                     now * width / group * sizeof(float), err);
        }
        if (status != KVASS_OK) {
            return status;
        }
        interleave(values, scales, now * width, group, (unsigned char *)out + done * out_bytes);
        done += now;
    }
    return KVASS_OK;
}

/* to[i] = from[i * stride]: a column becomes a row; the size of an element is known to the compiler
 */
static void gather4(unsigned char *to, const unsigned char *from, size_t stride, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        memcpy(to + i * 4, from + i * stride, 4);
    }
}

static void gather2(unsigned char *to, const unsigned char *from, size_t stride, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        memcpy(to + i * 2, from + i * stride, 2);
    }
}

/* out[c, k + i] = in[i, column + c] for 0 <= i < n_rows, where out's rows have n_in elements */
static void transpose(const unsigned char *in, size_t n_rows, size_t n_columns, size_t size,
                      const kvass_relay_part *part, size_t n_in, size_t k)
{
    for (size_t c = 0; c < (size_t)part->n_out; c++) {
        unsigned char *to = (unsigned char *)part->out + (c * n_in + k) * size;
        const unsigned char *from = in + ((size_t)part->column + c) * size;
        (size == 4 ? gather4 : gather2)(to, from, n_columns * size, n_rows);
    }
}

kvass_status kvass_relay_transposed(const kvass_relay *r, int64_t n_in, int64_t n_columns,
                                    const kvass_relay_part *parts, int32_t n_parts,
                                    kvass_error *err)
{
    size_t size = element_bytes(r->tensor), row_bytes = (size_t)n_columns * size;
    size_t strip = r->n_scratch / row_bytes, total = (size_t)n_in;
    for (size_t done = 0; done < total;) {
        size_t now = total - done < strip ? total - done : strip;
        kvass_status status =
            kvass_relay_rows(r, (int64_t)done, (int64_t)now, row_bytes, r->scratch, err);
        if (status != KVASS_OK) {
            return status;
        }
        for (int32_t i = 0; i < n_parts; i++) {
            transpose(r->scratch, now, (size_t)n_columns, size, &parts[i], total, done);
        }
        done += now;
    }
    return KVASS_OK;
}

void kvass_relay_halves(void *rows, int64_t n_rows, size_t row_bytes, int32_t head_dim,
                        int32_t n_rot, void *scratch)
{
    size_t half = (size_t)n_rot / 2;
    for (int64_t first = 0; first < n_rows; first += head_dim) {
        unsigned char *head = (unsigned char *)rows + (size_t)first * row_bytes;
        memcpy(scratch, head, (size_t)n_rot * row_bytes);
        for (size_t i = 0; i < half; i++) {
            const unsigned char *pair = (const unsigned char *)scratch + 2 * i * row_bytes;
            memcpy(head + i * row_bytes, pair, row_bytes);
            memcpy(head + (half + i) * row_bytes, pair + row_bytes, row_bytes);
        }
    }
}
