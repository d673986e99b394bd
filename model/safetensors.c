/* safetensors.c - the safetensors format. Called by checkpoint.c. */
#include "model/checkpoint.h"
kvass_status kvass_safetensors_read(kvass_checkpoint *ckpt, const char *path, kvass_error *err)
{
    (void)ckpt;
    return kvass_fail(err, KVASS_UNSUPPORTED, "CHECKPOINT_KIND", "%s: safetensors is not read yet",
                      path);
}
kvass_status kvass_safetensors_index_read(kvass_checkpoint *ckpt, const char *path,
                                          kvass_error *err)
{
    (void)ckpt;
    return kvass_fail(err, KVASS_UNSUPPORTED, "CHECKPOINT_KIND", "%s: safetensors is not read yet",
                      path);
}
