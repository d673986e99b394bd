/* scalar.c - every kernel in portable C: the truth that other instruction sets are judged by.
 *
 * Written to be read. Entered through kvass_kernels_get(); the contract of each entry stands in
 * kernels.h. Sums go into LANES partial sums folded in a fixed tree: more exact than one running
 * sum, and the order depends on the length alone. Compiled with -ffp-contract=off.
 */
#include <math.h>
#include <string.h>

#include "engine/base/half.h"
#include "engine/kernels/scalar.h"

#define LANES 16  /* partial sums of one reduction: element i goes to sum i % LANES */
#define CHUNK 256 /* elements of a weight row widened at a time; a multiple of every block */

static float fold(float sum[LANES])
{
    for (int32_t width = LANES / 2; width > 0; width /= 2) {
        for (int32_t j = 0; j < width; j++) {
            sum[j] += sum[j + width];
        }
    }
    return sum[0];
}

static float dot(const float *a, const float *b, int32_t n)
{
    float sum[LANES] = {0};
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int32_t j = 0; j < LANES; j++) {
            sum[j] += a[i + j] * b[i + j];
        }
    }
    for (int32_t j = 0; i + j < n; j++) {
        sum[j] += a[i + j] * b[i + j];
    }
    return fold(sum);
}

/* ---- stored types ---------------------------------------------------------------------------- */

static void widen_f32(const void *in, int32_t n, float *out)
{
    if (n > 0) {
        memcpy(out, in, (size_t)n * sizeof *out);
    }
}

static void widen_f16(const void *in, int32_t n, float *out)
{
    const uint16_t *h = in;
    for (int32_t i = 0; i < n; i++) {
        out[i] = kvass_f16_to_f32(h[i]);
    }
}

static void widen_bf16(const void *in, int32_t n, float *out)
{
    const uint16_t *h = in;
    for (int32_t i = 0; i < n; i++) {
        out[i] = kvass_bf16_to_f32(h[i]);
    }
}

static void widen_q8_f32(const void *in, int32_t n, float *out)
{
    const uint8_t *block = in;
    for (int32_t i = 0; i < n; i += KVASS_QBLOCK) {
        float d;
        memcpy(&d, block, sizeof d);
        const int8_t *q = (const int8_t *)(block + sizeof d);
        for (int32_t j = 0; j < KVASS_QBLOCK; j++) {
            out[i + j] = d * (float)q[j];
        }
        block += sizeof d + KVASS_QBLOCK;
    }
}

static void narrow_f16(const float *x, int32_t n, uint16_t *out)
{
    for (int32_t i = 0; i < n; i++) {
        out[i] = kvass_f32_to_f16(x[i]);
    }
}

/* ---- products with weights ------------------------------------------------------------------- */

/* y[m, row0..row1-1] = x[m, n_in] . w[n_out, n_in]^T. A row is widened a few hundred elements at a
 * time, and each y adds up the dot products of these chunks in order. */
static void matmul(kvass_dtype dtype, void (*widen)(const void *, int32_t, float *), const void *w,
                   size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1, const float *x,
                   int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    const kvass_dtype_traits *traits = kvass_dtype_get(dtype);
    const size_t chunk_bytes = (size_t)(CHUNK / traits->n_block) * (size_t)traits->block_bytes;
    float values[CHUNK];
    for (int32_t r = row0; r < row1; r++) {
        const uint8_t *chunk = (const uint8_t *)w + (size_t)r * row_bytes;
        for (int32_t i = 0; i < m; i++) {
            y[(size_t)i * (size_t)ldy + (size_t)r] = 0.0f;
        }
        for (int32_t k = 0; k < n_in; k += CHUNK, chunk += chunk_bytes) {
            int32_t n = n_in - k < CHUNK ? n_in - k : CHUNK;
            widen(chunk, n, values);
            for (int32_t i = 0; i < m; i++) {
                y[(size_t)i * (size_t)ldy + (size_t)r] +=
                    dot(values, x + (size_t)i * (size_t)ldx + k, n);
            }
        }
    }
}

static void matmul_f32(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                       const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_F32, widen_f32, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_f16(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                       const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_F16, widen_f16, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_bf16(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                        const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_BF16, widen_bf16, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

static void matmul_q8_f32(const void *w, size_t row_bytes, int32_t n_in, int32_t row0, int32_t row1,
                          const float *x, int32_t ldx, int32_t m, float *y, int32_t ldy)
{
    matmul(KVASS_DTYPE_Q8_F32, widen_q8_f32, w, row_bytes, n_in, row0, row1, x, ldx, m, y, ldy);
}

/* ---- norms ----------------------------------------------------------------------------------- */

static void rmsnorm(const float *x, const float *w, int32_t n, float eps, float *y)
{
    float mean_square = dot(x, x, n) / (float)n;
    float inv = 1.0f / sqrtf(mean_square + eps);
    for (int32_t i = 0; i < n; i++) {
        y[i] = x[i] * inv * w[i];
    }
}

static void layernorm(const float *x, const float *w, const float *b, int32_t n, float eps,
                      float *y)
{
    float sum[LANES] = {0};
    for (int32_t i = 0; i < n; i++) {
        sum[i % LANES] += x[i];
    }
    float mean = fold(sum) / (float)n;

    float squares[LANES] = {0};
    for (int32_t i = 0; i < n; i++) {
        float d = x[i] - mean;
        squares[i % LANES] += d * d;
    }
    float inv = 1.0f / sqrtf(fold(squares) / (float)n + eps);

    for (int32_t i = 0; i < n; i++) {
        float value = (x[i] - mean) * inv * w[i];
        y[i] = b ? value + b[i] : value;
    }
}

/* ---- softmax --------------------------------------------------------------------------------- */

static float max_value(const float *s, int32_t n)
{
    float m = s[0];
    for (int32_t i = 1; i < n; i++) {
        if (s[i] > m || isnan(s[i])) { /* once m is NaN, no comparison replaces it */
            m = s[i];
        }
    }
    return m;
}

static float exp_sum(float *s, int32_t n, float max)
{
    float sum[LANES] = {0};
    for (int32_t i = 0; i < n; i++) {
        s[i] = expf(s[i] - max);
        sum[i % LANES] += s[i];
    }
    return fold(sum);
}

static void scale_by(float *y, float s, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] *= s;
    }
}

static void softmax(float *s, int32_t n)
{
    float sum = exp_sum(s, n, max_value(s, n));
    scale_by(s, 1.0f / sum, n);
}

/* ---- position and activation ----------------------------------------------------------------- */

static void rope(float *x, int32_t n_heads, int32_t head_dim, int32_t n_rot, const float *cos,
                 const float *sin)
{
    int32_t half = n_rot / 2;
    for (int32_t head = 0; head < n_heads; head++) {
        float *lo = x + (size_t)head * (size_t)head_dim;
        float *hi = lo + half;
        for (int32_t i = 0; i < half; i++) {
            float a = lo[i];
            float b = hi[i];
            lo[i] = a * cos[i] - b * sin[i];
            hi[i] = b * cos[i] + a * sin[i];
        }
    }
}

static void silu(float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        x[i] = x[i] / (1.0f + expf(-x[i]));
    }
}

/* 0.5 * x * (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) * (x + 0.044715 * x^3): the right
 * side loses nothing where tanh(u) is close to -1. */
static void gelu_tanh(float *x, int32_t n)
{
    const float sqrt_2_over_pi = 0.79788456f;
    for (int32_t i = 0; i < n; i++) {
        float u = sqrt_2_over_pi * (x[i] + 0.044715f * (x[i] * x[i] * x[i]));
        x[i] = x[i] / (1.0f + expf(-2.0f * u));
    }
}

/* x * (the normal distribution's integral up to x) */
static void gelu_erf(float *x, int32_t n)
{
    const float sqrt_half = 0.70710678f;
    for (int32_t i = 0; i < n; i++) {
        x[i] = 0.5f * x[i] * erfcf(-x[i] * sqrt_half);
    }
}

static void relu(float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        x[i] = x[i] < 0.0f ? 0.0f : x[i]; /* NaN stays */
    }
}

static void softcap(float *x, float cap, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        x[i] = cap * tanhf(x[i] / cap);
    }
}

static void add(float *y, const float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] += x[i];
    }
}

static void mul(float *y, const float *x, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        y[i] *= x[i];
    }
}

/* ---- cache rows ------------------------------------------------------------------------------ */

/* scores[n_q, n_rows] = scale * q[n_q, head_dim] . rows[n_rows, head_dim]^T; a value of rows has
 * value_bytes bytes and is widened by `widen` */
static void kv_dot(void (*widen)(const void *, int32_t, float *), size_t value_bytes,
                   const float *q, int32_t n_q, int32_t head_dim, const void *rows, int32_t n_rows,
                   float scale, float *scores, int32_t ld_scores)
{
    const uint8_t *in = rows;
    float values[CHUNK];
    for (int32_t j = 0; j < n_rows; j++) {
        for (int32_t g = 0; g < n_q; g++) {
            scores[(size_t)g * (size_t)ld_scores + (size_t)j] = 0.0f;
        }
        for (int32_t d = 0; d < head_dim; d += CHUNK) {
            int32_t n = head_dim - d < CHUNK ? head_dim - d : CHUNK;
            widen(in, n, values);
            in += (size_t)n * value_bytes;
            for (int32_t g = 0; g < n_q; g++) {
                scores[(size_t)g * (size_t)ld_scores + (size_t)j] +=
                    dot(q + (size_t)g * (size_t)head_dim + d, values, n);
            }
        }
        for (int32_t g = 0; g < n_q; g++) {
            scores[(size_t)g * (size_t)ld_scores + (size_t)j] *= scale;
        }
    }
}

/* out[n_q, head_dim] += w[n_q, n_rows] . rows[n_rows, head_dim], row after row */
static void kv_acc(void (*widen)(const void *, int32_t, float *), size_t value_bytes,
                   const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim, const void *rows,
                   int32_t n_rows, float *out)
{
    const uint8_t *in = rows;
    float values[CHUNK];
    for (int32_t j = 0; j < n_rows; j++) {
        for (int32_t d = 0; d < head_dim; d += CHUNK) {
            int32_t n = head_dim - d < CHUNK ? head_dim - d : CHUNK;
            widen(in, n, values);
            in += (size_t)n * value_bytes;
            for (int32_t g = 0; g < n_q; g++) {
                float weight = w[(size_t)g * (size_t)ld_w + (size_t)j];
                float *y = out + (size_t)g * (size_t)head_dim + d;
                for (int32_t i = 0; i < n; i++) {
                    y[i] += weight * values[i];
                }
            }
        }
    }
}

static void kv_dot_f32(const float *q, int32_t n_q, int32_t head_dim, const float *rows,
                       int32_t n_rows, float scale, float *scores, int32_t ld_scores)
{
    kv_dot(widen_f32, sizeof *rows, q, n_q, head_dim, rows, n_rows, scale, scores, ld_scores);
}

static void kv_dot_f16(const float *q, int32_t n_q, int32_t head_dim, const uint16_t *rows,
                       int32_t n_rows, float scale, float *scores, int32_t ld_scores)
{
    kv_dot(widen_f16, sizeof *rows, q, n_q, head_dim, rows, n_rows, scale, scores, ld_scores);
}

static void kv_acc_f32(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                       const float *rows, int32_t n_rows, float *out)
{
    kv_acc(widen_f32, sizeof *rows, w, ld_w, n_q, head_dim, rows, n_rows, out);
}

static void kv_acc_f16(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                       const uint16_t *rows, int32_t n_rows, float *out)
{
    kv_acc(widen_f16, sizeof *rows, w, ld_w, n_q, head_dim, rows, n_rows, out);
}

static void fetch(const void *p, size_t n)
{
    (void)p, (void)n;
}

static const kvass_kernels table = {
    .name = "scalar",
    .matmul =
        {
            [KVASS_DTYPE_F32] = matmul_f32,
            [KVASS_DTYPE_F16] = matmul_f16,
            [KVASS_DTYPE_BF16] = matmul_bf16,
            [KVASS_DTYPE_Q8_F32] = matmul_q8_f32,
        },
    .widen =
        {
            [KVASS_DTYPE_F32] = widen_f32,
            [KVASS_DTYPE_F16] = widen_f16,
            [KVASS_DTYPE_BF16] = widen_bf16,
            [KVASS_DTYPE_Q8_F32] = widen_q8_f32,
        },
    .narrow_f16 = narrow_f16,
    .dot = dot,
    .rmsnorm = rmsnorm,
    .layernorm = layernorm,
    .max = max_value,
    .exp_sum = exp_sum,
    .softmax = softmax,
    .rope = rope,
    .silu = silu,
    .gelu_tanh = gelu_tanh,
    .gelu_erf = gelu_erf,
    .relu = relu,
    .softcap = softcap,
    .add = add,
    .mul = mul,
    .scale = scale_by,
    .fetch = fetch,
    .kv_dot_f32 = kv_dot_f32,
    .kv_acc_f32 = kv_acc_f32,
    .kv_dot_f16 = kv_dot_f16,
    .kv_acc_f16 = kv_acc_f16,
};

void kvass_kernels_fill_scalar(kvass_kernels *k)
{
    *k = table; /* gemm_nt and gemm_nn come from kvass_kernels_fill_gemm */
    kvass_scalar_fill_kv_quant(k);
    kvass_scalar_fill_quants(k);
}
