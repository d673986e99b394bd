/* read_tensor.c - stored bytes of a tensor, straight from its file.
 * For those who look at a checkpoint rather than run it: the bytes are as the format has them,
 * before any transposing, reordering or widening.
 */
#include "engine/base/checked.h"
#include "model/model.h"

kvass_status kvass_model_read_tensor(const kvass_model *model, int32_t i, size_t offset, void *buf,
                                     size_t n_bytes, kvass_error *err)
{
    if (!model || (!buf && n_bytes > 0)) {
        return kvass_fail(err, KVASS_INVALID, "ARGUMENT", "model or buf is NULL");
    }
    const kvass_checkpoint *ckpt = model->ckpt;
    if (i < 0 || i >= ckpt->n_tensors) {
        return kvass_fail(err, KVASS_INVALID, "TENSOR_INDEX", "%s: tensor %d of %d", ckpt->path,
                          (int)i, (int)ckpt->n_tensors);
    }
    const kvass_tensor *tensor = &ckpt->tensors[i];
    if (!kvass_range_inside(offset, n_bytes, tensor->n_bytes)) {
        return kvass_fail(err, KVASS_INVALID, "TENSOR_RANGE",
                          "%s: tensor %s: bytes %zu + %zu, it has %zu", ckpt->path, tensor->name,
                          offset, n_bytes, tensor->n_bytes);
    }
    return kvass_file_read(&ckpt->files[tensor->file], tensor->offset + offset, buf, n_bytes, err);
}
