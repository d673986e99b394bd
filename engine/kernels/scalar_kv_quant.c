/* scalar_kv_quant.c - the truth about quantized cache rows: each value as it is defined, one by
 * one. Called through the scalar table; other instruction sets are checked against it.
 */
#include "engine/base/half.h"
#include "engine/kernels/kernels.h"

static int32_t block_size(int32_t head_dim, int32_t b)
{
    int32_t left = head_dim - b * KVASS_KV_BLOCK;
    return left < KVASS_KV_BLOCK ? left : KVASS_KV_BLOCK;
}

/* the 4-bit value i of a block of n */
static float nibble(const uint8_t *block, int32_t n, int32_t i)
{
    int32_t half = (n + 1) / 2;
    return (float)(i < half ? block[i] & 15 : block[i - half] >> 4);
}

static void kv_dot_q8(const float *q, int32_t n_q, int32_t head_dim, const int8_t *values,
                      const uint16_t *scales, int32_t n_rows, float scale, float *scores,
                      int32_t ld_scores)
{
    int32_t n_blocks = kvass_kv_blocks(head_dim);
    for (int32_t j = 0; j < n_rows; j++, values += head_dim, scales += n_blocks) {
        for (int32_t g = 0; g < n_q; g++) {
            const float *x = q + (size_t)g * (size_t)head_dim;
            float sum = 0.0f;
            for (int32_t d = 0; d < head_dim; d++) {
                sum += x[d] * (kvass_f16_to_f32(scales[d / KVASS_KV_BLOCK]) * (float)values[d]);
            }
            scores[(size_t)g * (size_t)ld_scores + (size_t)j] = scale * sum;
        }
    }
}

static void kv_acc_q8(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                      const int8_t *values, const uint16_t *scales, int32_t n_rows, float *out)
{
    int32_t n_blocks = kvass_kv_blocks(head_dim);
    for (int32_t j = 0; j < n_rows; j++, values += head_dim, scales += n_blocks) {
        for (int32_t g = 0; g < n_q; g++) {
            float weight = w[(size_t)g * (size_t)ld_w + (size_t)j];
            float *y = out + (size_t)g * (size_t)head_dim;
            for (int32_t d = 0; d < head_dim; d++) {
                y[d] += weight * (kvass_f16_to_f32(scales[d / KVASS_KV_BLOCK]) * (float)values[d]);
            }
        }
    }
}

static void kv_dot_q4(const float *q, int32_t n_q, int32_t head_dim, const uint8_t *nibbles,
                      const uint16_t *minima, const uint16_t *steps, int32_t n_rows, float scale,
                      float *scores, int32_t ld_scores)
{
    for (int32_t j = 0; j < n_rows; j++, nibbles += kvass_kv_nibble_bytes(head_dim)) {
        for (int32_t g = 0; g < n_q; g++) {
            const float *x = q + (size_t)g * (size_t)head_dim;
            float sum = 0.0f;
            for (int32_t d = 0; d < head_dim; d++) {
                int32_t b = d / KVASS_KV_BLOCK;
                float v = nibble(nibbles + b * (KVASS_KV_BLOCK / 2), block_size(head_dim, b),
                                 d % KVASS_KV_BLOCK);
                sum += x[d] * (kvass_f16_to_f32(minima[d]) + kvass_f16_to_f32(steps[d]) * v);
            }
            scores[(size_t)g * (size_t)ld_scores + (size_t)j] = scale * sum;
        }
    }
}

static void kv_acc_q4(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                      const uint8_t *nibbles, const uint16_t *minima, const uint16_t *steps,
                      int32_t n_rows, float *out)
{
    int32_t n_blocks = kvass_kv_blocks(head_dim);
    for (int32_t j = 0; j < n_rows; j++, nibbles += kvass_kv_nibble_bytes(head_dim)) {
        for (int32_t d = 0; d < head_dim; d++) {
            int32_t b = d / KVASS_KV_BLOCK, at = j * n_blocks + b;
            float v = nibble(nibbles + b * (KVASS_KV_BLOCK / 2), block_size(head_dim, b),
                             d % KVASS_KV_BLOCK);
            v = kvass_f16_to_f32(minima[at]) + kvass_f16_to_f32(steps[at]) * v;
            for (int32_t g = 0; g < n_q; g++) {
                out[(size_t)g * (size_t)head_dim + (size_t)d] +=
                    w[(size_t)g * (size_t)ld_w + (size_t)j] * v;
            }
        }
    }
}

static void kv_bound(const kvass_probe *probe, int32_t n_q, int32_t n_blocks, const int8_t *bounds,
                     const float *scales, int32_t n_rows, float *scores, int32_t ld_scores)
{
    for (int32_t j = 0; j < n_rows; j++) {
        for (int32_t g = 0; g < n_q; g++) {
            float score = 0.0f;
            for (int32_t b = 0; b < n_blocks; b++) {
                const int16_t *w = probe->w + (size_t)(g * n_blocks + b) * KVASS_KV_BLOCK;
                const int8_t *low = bounds + (size_t)(j * n_blocks + b) * 2 * KVASS_KV_BLOCK;
                int32_t sum = 0;
                for (int32_t c = 0; c < KVASS_KV_BLOCK; c++) {
                    sum += w[c] * (w[c] < 0 ? low[c] : low[KVASS_KV_BLOCK + c]);
                }
                score += scales[j * n_blocks + b] *
                         (probe->d[g * n_blocks + b] * (float)sum + probe->lost[g * n_blocks + b]);
            }
            scores[(size_t)g * (size_t)ld_scores + (size_t)j] = score;
        }
    }
}

void kvass_scalar_fill_kv_quant(kvass_kernels *k)
{
    k->kv_dot_q8 = kv_dot_q8;
    k->kv_acc_q8 = kv_acc_q8;
    k->kv_dot_q4 = kv_dot_q4;
    k->kv_acc_q4 = kv_acc_q4;
    k->kv_bound = kv_bound;
}
