/* tensor.c - the table of element types. */
#include "engine/base/tensor.h"

#include "engine/base/checked.h"

static const kvass_dtype_traits traits[KVASS_N_DTYPES] = {
#define X(name, text, n_block, n_bytes) [KVASS_DTYPE_##name] = {text, n_block, n_bytes},
    KVASS_DTYPE_MAP(X)
#undef X
};

const kvass_dtype_traits *kvass_dtype_get(kvass_dtype dtype)
{
    return &traits[dtype];
}

const char *kvass_dtype_name(kvass_dtype dtype)
{
    int value = (int)dtype;
    return value >= 0 && value < KVASS_N_DTYPES ? traits[value].name : "?";
}

bool kvass_dtype_row_bytes(kvass_dtype dtype, int64_t n, size_t *n_bytes)
{
    const kvass_dtype_traits *t = &traits[dtype];
    if (n < 0 || n % t->n_block != 0) {
        return false;
    }
    return kvass_mul_size((size_t)(n / t->n_block), (size_t)t->block_bytes, n_bytes);
}
