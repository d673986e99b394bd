/* read_values.c - the numbers of a tensor as its file stores them, widened to f32.
 * For those who look at a checkpoint rather than run it: blocks are taken apart by the kernels'
 * own code, a piece of the tensor at a time.
 */
#include <stdlib.h>

#include "engine/base/checked.h"
#include "engine/kernels/kernels.h"
#include "model/model.h"

enum { PIECE = 256 }; /* elements that every type has whole blocks of */

static kvass_status check_range(const kvass_model *model, const kvass_tensor *tensor, int64_t first,
                                int64_t n, int64_t n_elements, kvass_error *err)
{
    if (tensor->dtype >= KVASS_N_DTYPES) {
        return kvass_fail(err, KVASS_UNSUPPORTED, "DTYPE_UNSUPPORTED",
                          "%s: tensor \"%s\": its type cannot be read as numbers",
                          model->ckpt->path, tensor->name);
    }
    if (first < 0 || n < 0 || first > n_elements || n > n_elements - first || n > INT32_MAX ||
        first % PIECE != 0 || (n % PIECE != 0 && first + n != n_elements)) {
        return kvass_fail(
            err, KVASS_INVALID, "TENSOR_RANGE",
            "%s: tensor \"%s\": elements %lld + %lld, it has %lld; expected multiples "
            "of %d",
            model->ckpt->path, tensor->name, (long long)first, (long long)n, (long long)n_elements,
            PIECE);
    }
    return KVASS_OK;
}

/* llama2.c's groups: all int8 first, then a scale for each group. */
static kvass_status read_groups(const kvass_model *model, int32_t i, int64_t first, float *out,
                                int64_t n, int64_t n_elements, size_t n_bytes, kvass_error *err)
{
    int64_t group = 4 * n_elements / ((int64_t)n_bytes - n_elements);
    int64_t from = first / group, n_groups = (first + n + group - 1) / group - from;
    size_t n_scales = (size_t)n_groups * sizeof(float);
    int8_t *q = malloc((size_t)n + 1);
    float *scales = malloc(n_scales);
    kvass_status status =
        q && scales ? KVASS_OK : kvass_fail_nomem(err, n_scales + (size_t)n, "a tensor's numbers");
    if (!status) {
        status = kvass_model_read_tensor(model, i, (size_t)first, q, (size_t)n, err);
    }
    if (!status) {
        size_t at = (size_t)n_elements + (size_t)from * sizeof(float);
        status = kvass_model_read_tensor(model, i, at, scales, n_scales, err);
    }
    for (int64_t k = 0; !status && k < n; k++) {
        out[k] = scales[(first + k) / group - from] * (float)q[k];
    }
    free(q);
    free(scales);
    return status;
}

kvass_status kvass_model_read_values(const kvass_model *model, int32_t i, int64_t first, float *out,
                                     int64_t n, kvass_error *err)
{
    if (!model || (!out && n > 0)) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "model or out is NULL");
    }
    kvass_tensor_info info;
    kvass_status status = kvass_model_get_tensor(model, i, &info, err);
    if (status) {
        return status;
    }
    int64_t n_elements = 1; /* the reader has checked that the product fits */
    for (int32_t d = 0; d < info.n_dims; d++) {
        n_elements *= info.shape[d];
    }
    status = check_range(model, &model->ckpt->tensors[i], first, n, n_elements, err);
    if (status || n == 0) {
        return status;
    }
    if (info.dtype == KVASS_DTYPE_Q8_F32) {
        return read_groups(model, i, first, out, n, n_elements, info.n_bytes, err);
    }
    size_t before, n_bytes;
    (void)kvass_dtype_row_bytes(info.dtype, first, &before);
    if (!kvass_dtype_row_bytes(info.dtype, n, &n_bytes)) {
        return kvass_fail(err, KVASS_FORMAT, "SHAPE", "%s: tensor \"%s\": no whole blocks",
                          model->ckpt->path, info.name);
    }
    void *stored = malloc(n_bytes);
    if (!stored) {
        return kvass_fail_nomem(err, n_bytes, "a tensor's numbers");
    }
    status = kvass_model_read_tensor(model, i, before, stored, n_bytes, err);
    if (!status) {
        kvass_kernels kernels = kvass_kernels_get(KVASS_ISA_SCALAR);
        kernels.widen[info.dtype](stored, (int32_t)n, out);
    }
    free(stored);
    return status;
}
