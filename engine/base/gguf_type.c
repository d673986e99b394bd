/* gguf_type.c - the kinds of tensor elements that a GGUF file may name.
 * Sizes are known for all of them, so that a file is judged as a whole; what has no dtype can be
 * listed and not run. Numbers that once meant something and were withdrawn have no entry.
 */
#include "engine/base/gguf.h"
#include "engine/kvass.h"

#define HERE(name, dtype, n_block, n_bytes)                                                        \
    {                                                                                              \
        name, n_block, n_bytes, KVASS_DTYPE_##dtype                                                \
    }
#define ELSEWHERE(name, n_block, n_bytes)                                                          \
    {                                                                                              \
        name, n_block, n_bytes, -1                                                                 \
    }

static const kvass_gguf_type types[] = {
    [0] = HERE("F32", F32, 1, 4),         [1] = HERE("F16", F16, 1, 2),
    [2] = HERE("Q4_0", Q4_0, 32, 18),     [3] = HERE("Q4_1", Q4_1, 32, 20),
    [6] = HERE("Q5_0", Q5_0, 32, 22),     [7] = HERE("Q5_1", Q5_1, 32, 24),
    [8] = HERE("Q8_0", Q8_0, 32, 34),     [9] = ELSEWHERE("Q8_1", 32, 36),
    [10] = HERE("Q2_K", Q2_K, 256, 84),   [11] = HERE("Q3_K", Q3_K, 256, 110),
    [12] = HERE("Q4_K", Q4_K, 256, 144),  [13] = HERE("Q5_K", Q5_K, 256, 176),
    [14] = HERE("Q6_K", Q6_K, 256, 210),  [15] = ELSEWHERE("Q8_K", 256, 292),
    [16] = ELSEWHERE("IQ2_XXS", 256, 66), [17] = ELSEWHERE("IQ2_XS", 256, 74),
    [18] = ELSEWHERE("IQ3_XXS", 256, 98), [19] = ELSEWHERE("IQ1_S", 256, 50),
    [20] = ELSEWHERE("IQ4_NL", 32, 18),   [21] = ELSEWHERE("IQ3_S", 256, 110),
    [22] = ELSEWHERE("IQ2_S", 256, 82),   [23] = ELSEWHERE("IQ4_XS", 256, 136),
    [24] = ELSEWHERE("I8", 1, 1),         [25] = ELSEWHERE("I16", 1, 2),
    [26] = ELSEWHERE("I32", 1, 4),        [27] = ELSEWHERE("I64", 1, 8),
    [28] = ELSEWHERE("F64", 1, 8),        [29] = ELSEWHERE("IQ1_M", 256, 56),
    [30] = HERE("BF16", BF16, 1, 2),      [34] = ELSEWHERE("TQ1_0", 256, 54),
    [35] = ELSEWHERE("TQ2_0", 256, 66),   [39] = ELSEWHERE("MXFP4", 32, 17),
};

const kvass_gguf_type *kvass_gguf_type_get(uint32_t number)
{
    return number < sizeof types / sizeof *types && types[number].name ? &types[number] : NULL;
}
