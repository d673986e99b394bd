/* inspect_check.c - `kvass inspect --check`: every stored number, looked at once.
 * Numbers are judged by their bits, so that no type has to be widened.
 */
#include "tools/inspect.h"

#include <stdlib.h>

#define BLOCK_SIZE ((size_t)1 << 20)

int64_t inspect_n_elements(const kvass_tensor_info *tensor)
{
    int64_t n = 1; /* the reader has checked that the product fits */
    for (int32_t d = 0; d < tensor->n_dims; d++) {
        n *= tensor->shape[d];
    }
    return n;
}

/* Where a type keeps floating-point numbers: n beside each other, `width` bytes wide, and `step`
 * bytes from such a group to the next. */
typedef struct scan_rule {
    size_t start, step, width, n;
    uint32_t exponent; /* all its bits set: infinity or NaN */
} scan_rule;

/* GGUF's blocks hold a scale, or a scale and an offset, as f16. */
static const scan_rule block_rules[KVASS_N_DTYPES] = {
    [KVASS_DTYPE_Q8_0] = {0, 34, 2, 1, 0x7c00u},    [KVASS_DTYPE_Q4_0] = {0, 18, 2, 1, 0x7c00u},
    [KVASS_DTYPE_Q4_1] = {0, 20, 2, 2, 0x7c00u},    [KVASS_DTYPE_Q5_0] = {0, 22, 2, 1, 0x7c00u},
    [KVASS_DTYPE_Q5_1] = {0, 24, 2, 2, 0x7c00u},    [KVASS_DTYPE_Q2_K] = {80, 84, 2, 2, 0x7c00u},
    [KVASS_DTYPE_Q3_K] = {108, 110, 2, 1, 0x7c00u}, [KVASS_DTYPE_Q4_K] = {0, 144, 2, 2, 0x7c00u},
    [KVASS_DTYPE_Q5_K] = {0, 176, 2, 2, 0x7c00u},   [KVASS_DTYPE_Q6_K] = {208, 210, 2, 1, 0x7c00u},
};

static bool rule_of(const kvass_tensor_info *tensor, scan_rule *rule)
{
    switch (tensor->dtype) {
    case KVASS_DTYPE_F32:
        *rule = (scan_rule){0, 4, 4, 1, 0x7f800000u};
        return true;
    case KVASS_DTYPE_F16:
        *rule = (scan_rule){0, 2, 2, 1, 0x7c00u};
        return true;
    case KVASS_DTYPE_BF16:
        *rule = (scan_rule){0, 2, 2, 1, 0x7f80u};
        return true;
    case KVASS_DTYPE_Q8_F32: /* all int8 first, then the scales */
        *rule = (scan_rule){(size_t)inspect_n_elements(tensor), 4, 4, 1, 0x7f800000u};
        return true;
    case KVASS_N_DTYPES:
        return false;
    default:
        *rule = block_rules[tensor->dtype];
        return true;
    }
}

static int64_t count_bad(const unsigned char *block, size_t n_bytes, const scan_rule *rule)
{
    int64_t n_bad = 0;
    for (size_t i = 0; i < n_bytes; i += rule->step) {
        for (size_t j = i, k = 0; k < rule->n && j + rule->width <= n_bytes; k++) {
            uint32_t bits = (uint32_t)block[j] | (uint32_t)block[j + 1] << 8;
            if (rule->width == 4) {
                bits |= (uint32_t)block[j + 2] << 16 | (uint32_t)block[j + 3] << 24;
            }
            n_bad += (bits & rule->exponent) == rule->exponent;
            j += rule->width;
        }
    }
    return n_bad;
}

static kvass_status check_tensor(const kvass_model *model, int32_t i,
                                 const kvass_tensor_info *tensor, unsigned char *block,
                                 int64_t *n_bad, kvass_error *err)
{
    scan_rule rule;
    if (!rule_of(tensor, &rule)) {
        return KVASS_OK;
    }
    size_t block_size = BLOCK_SIZE / rule.step * rule.step;
    for (size_t at = rule.start; at < tensor->n_bytes; at += block_size) {
        size_t n = tensor->n_bytes - at < block_size ? tensor->n_bytes - at : block_size;
        kvass_status status = kvass_model_read_tensor(model, i, at, block, n, err);
        if (status != KVASS_OK) {
            return status;
        }
        *n_bad += count_bad(block, n, &rule);
    }
    return KVASS_OK;
}

int inspect_check(const kvass_model *model, int64_t *n_bad, int64_t *n_bad_tensors)
{
    kvass_error err;
    kvass_model_info info;
    kvass_model_get_info(model, &info);
    unsigned char *block = malloc(BLOCK_SIZE);
    if (!block) {
        cli_say("out of memory for %zu bytes", BLOCK_SIZE);
        return CLI_NO_ROOM;
    }
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < info.n_tensors && status == KVASS_OK; i++) {
        kvass_tensor_info tensor;
        int64_t n = 0;
        status = kvass_model_get_tensor(model, i, &tensor, &err);
        if (status == KVASS_OK) {
            status = check_tensor(model, i, &tensor, block, &n, &err);
        }
        if (status == KVASS_OK && n > 0) {
            *n_bad += n;
            ++*n_bad_tensors;
            cli_say("%s: tensor %s: %lld values are NaN or infinite", info.path, tensor.name,
                    (long long)n);
        }
    }
    free(block);
    return status == KVASS_OK ? CLI_OK : cli_fail(&err);
}
