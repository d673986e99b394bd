/* kernels.h - the reference of every arithmetic operation: maths, shapes, aliasing.
 *
 * A kernel table is a struct of function pointers. kvass_kernels_get() copies the scalar table,
 * which is complete and is the truth, and lets each allowed instruction set overwrite the entries
 * it has. Tables are const and can live side by side in one process.
 *
 * Rules for every implementation:
 *  - pointers need only the alignment of their element type; any length >= 0; inputs are unchanged;
 *    nothing is read or written outside the stated ranges; outputs alias inputs only where said;
 *  - one row's bits depend on that row's values alone: not on the other rows of the call, not on
 *    where a row stands in it, not on how a caller splits rows over calls or threads;
 *  - an element's bits do not depend on its lane: tails go through the same vector code, masked;
 *  - accumulation is in f32; NaN and infinity come out as IEEE arithmetic gives them.
 */
#ifndef KVASS_KERNELS_H
#define KVASS_KERNELS_H

#include "engine/base/tensor.h"

/* Quantized cache rows come in blocks of 32 along head_dim, the last or only one shorter. A block
 * of n 4-bit values takes (n+1)/2 bytes: value i is the low half of byte i, value (n+1)/2 + i the
 * high half. */
enum { KVASS_KV_BLOCK = 32 };

static inline int32_t kvass_kv_blocks(int32_t head_dim)
{
    return (head_dim + KVASS_KV_BLOCK - 1) / KVASS_KV_BLOCK;
}

/* Bytes by which kernels that read cache rows fetch ahead. What comes first is for the caller to
 * fetch. */
enum { KVASS_AHEAD = 2048 };

/* bytes of a row of 4-bit values */
static inline int32_t kvass_kv_nibble_bytes(int32_t head_dim)
{
    return head_dim / KVASS_KV_BLOCK * (KVASS_KV_BLOCK / 2) + (head_dim % KVASS_KV_BLOCK + 1) / 2;
}

/* Activations rounded to 8 bits, in blocks of 32 along a row: x[k] is about d[k/32] * q[k]. */
typedef struct kvass_acts {
    int8_t *q;    /* [m, n] */
    float *d;     /* [m, n/32] */
    int32_t *sum; /* [m, n/16]: of the integers of each half of a block */
} kvass_acts;

/* Queries rounded to 16 bits, in blocks of 32 channels with zeros behind the last:
 * q[g, b, c] is about d[g, b] * w[g, b, c], |w| <= 32767. */
typedef struct kvass_probe {
    int16_t *w;  /* [n_q, n_blocks, 32] */
    float *d;    /* [n_q, n_blocks] */
    float *lost; /* [n_q, n_blocks]: the most by which that lowers a product with 32 numbers of at
                    most 127 */
} kvass_probe;

typedef struct kvass_kernels {
    const char *name; /* of the best instruction set in it: "scalar", "avx2", "avx512" */

    /* Rows row0 .. row1-1 of a product with m vectors at once, one entry per weight dtype that is
     * multiplied as floats:
     *   y[i*ldy + r] = sum_k w[r, k] * x[i*ldx + k]       0 <= i < m, row0 <= r < row1
     * w[n_out, n_in] with rows row_bytes apart. m = 1 is the matrix-vector product; for larger m
     * every y row has the bits that m = 1 gives. n_in is a multiple of the dtype's block. */
    void (*matmul[KVASS_N_DTYPES])(const void *w, size_t row_bytes, int32_t n_in, int32_t row0,
                                   int32_t row1, const float *x, int32_t ldx, int32_t m, float *y,
                                   int32_t ldy);

    /* The same for the other dtypes (kvass_dtype_is_integer), with bits that no instruction set
     * changes. A group of 16 or 32 elements of a weight row has a scale d_w, some types an offset
     * m_w. S is the sum of its integers times those of x, X the sum of those of x, exact both. From
     * y = 0 on, group after group:
     *   y = y + (d_w * d_x) * S;  with an offset also  y = y + (m_w * d_x) * X
     * each operation rounded to f32. Where w is packed, row0 and row1 are multiples of 16 or n_out.
     */
    void (*matmul_int[KVASS_N_DTYPES])(const kvass_weight *w, int32_t row0, int32_t row1,
                                       const kvass_acts *x, int32_t m, float *y, int32_t ldy);

    /* One row of kvass_acts out of x[n], n a multiple of 32: d = max / 127 for the largest size max
     * in a block, q = x * (127 / max) rounded to nearest even. A block with max < 2^-100 is zero;
     * one that holds NaN or infinity has d = NaN and q = 0. */
    void (*quantize)(const float *x, int32_t n, int8_t *q, float *d, int32_t *sum);

    /* out[n] = the values of n stored elements; n is a multiple of the dtype's block */
    void (*widen[KVASS_N_DTYPES])(const void *in, int32_t n, float *out);

    /* out[n] = x[n] rounded to f16, to nearest even */
    void (*narrow_f16)(const float *x, int32_t n, uint16_t *out);

    /* sum_i a[i] * b[i] */
    float (*dot)(const float *a, const float *b, int32_t n);

    /* y[n] = x * w / sqrt(mean(x^2) + eps); w[n]; y may be x. Zhang & Sennrich 2019. */
    void (*rmsnorm)(const float *x, const float *w, int32_t n, float eps, float *y);

    /* y[n] = (x - mean) / sqrt(variance + eps) * w + b; w[n]; b[n] or NULL; y may be x. Variance is
     * the mean squared distance from the mean, in a second pass. */
    void (*layernorm)(const float *x, const float *w, const float *b, int32_t n, float eps,
                      float *y);

    /* max of s[n], n >= 1; NaN if any element is NaN */
    float (*max)(const float *s, int32_t n);

    /* s[i] = exp(s[i] - max); returns their sum. The bits depend on n and the values alone. */
    float (*exp_sum)(float *s, int32_t n, float max);

    /* s[n] = softmax(s), n >= 1; in place */
    void (*softmax)(float *s, int32_t n);

    /* Rotate the first n_rot values of each head of x[n_heads, head_dim] in place, pairing i with
     * i + n_rot/2 ("rotate half"): (a, b) -> (a*cos - b*sin, b*cos + a*sin);
     * cos[n_rot/2], sin[n_rot/2] of this row's position. Su et al. 2021. */
    void (*rope)(float *x, int32_t n_heads, int32_t head_dim, int32_t n_rot, const float *cos,
                 const float *sin);

    /* in place on x[n]; gelu_tanh is GPT-2's "gelu_new", gelu_erf the exact one */
    void (*silu)(float *x, int32_t n);
    void (*gelu_tanh)(float *x, int32_t n);
    void (*gelu_erf)(float *x, int32_t n);
    void (*relu)(float *x, int32_t n);

    /* x[i] = cap * tanh(x[i] / cap), cap > 0 */
    void (*softcap)(float *x, float cap, int32_t n);

    /* y[i] += x[i], y[i] *= x[i], y[i] *= s */
    void (*add)(float *y, const float *x, int32_t n);
    void (*mul)(float *y, const float *x, int32_t n);
    void (*scale)(float *y, float s, int32_t n);

    /* Asks for the n bytes at p, which are read soon; they need not be there. Changes no result. */
    void (*fetch)(const void *p, size_t n);

    /* Cache rows, stored as f32 or f16, row j at rows + j*head_dim. n_q query heads read the same
     * rows.
     * kv_dot: scores[g*ld_scores + j] = scale * sum_d q[g*head_dim + d] * rows[j, d]
     * kv_acc: out[g*head_dim + d] += sum_j w[g*ld_w + j] * rows[j, d], added strictly in order of
     *         j: splitting the rows over calls leaves the bits as they are. */
    void (*kv_dot_f32)(const float *q, int32_t n_q, int32_t head_dim, const float *rows,
                       int32_t n_rows, float scale, float *scores, int32_t ld_scores);
    void (*kv_acc_f32)(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                       const float *rows, int32_t n_rows, float *out);
    void (*kv_dot_f16)(const float *q, int32_t n_q, int32_t head_dim, const uint16_t *rows,
                       int32_t n_rows, float scale, float *scores, int32_t ld_scores);
    void (*kv_acc_f16)(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                       const uint16_t *rows, int32_t n_rows, float *out);

    /* The same sums over quantized rows, n_blocks = kvass_kv_blocks(head_dim), scales in f16:
     * q8          rows[j, d] = scales[j, d/32] * values[j, d]; values[n_rows, head_dim],
     *             scales[n_rows, n_blocks]
     * kv_dot_q4   rows[j, d] = minima[d] + steps[d] * nibble[j, d]; minima[head_dim],
     *             steps[head_dim]
     * kv_acc_q4   rows[j, d] = minima[j, d/32] + steps[j, d/32] * nibble[j, d];
     *             minima[n_rows, n_blocks], steps likewise */
    void (*kv_dot_q8)(const float *q, int32_t n_q, int32_t head_dim, const int8_t *values,
                      const uint16_t *scales, int32_t n_rows, float scale, float *scores,
                      int32_t ld_scores);
    void (*kv_acc_q8)(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                      const int8_t *values, const uint16_t *scales, int32_t n_rows, float *out);
    void (*kv_dot_q4)(const float *q, int32_t n_q, int32_t head_dim, const uint8_t *nibbles,
                      const uint16_t *minima, const uint16_t *steps, int32_t n_rows, float scale,
                      float *scores, int32_t ld_scores);
    void (*kv_acc_q4)(const float *w, int32_t ld_w, int32_t n_q, int32_t head_dim,
                      const uint8_t *nibbles, const uint16_t *minima, const uint16_t *steps,
                      int32_t n_rows, float *out);

    /* How high any key of a group can score, of n_rows groups. Row j has for each block of 32
     * channels the lowest and the highest value of each: bounds[n_rows, n_blocks, 2, 32], in units
     * of scales[n_rows, n_blocks]. For each of n_q probes
     *   scores[g*ld_scores + j] = sum_b scales[j, b] * (d[g, b] * S + lost[g, b])
     *   S = sum_c w[g, b, c] * bounds[j, b, w[g, b, c] < 0 ? 0 : 1, c]      an exact integer */
    void (*kv_bound)(const kvass_probe *probe, int32_t n_q, int32_t n_blocks, const int8_t *bounds,
                     const float *scales, int32_t n_rows, float *scores, int32_t ld_scores);

    /* c[m, n] = alpha * a[m, k] . b[n, k]^T + beta * c; row strides lda, ldb, ldc. beta 0 ignores
     * c.
     * OpenBLAS where built with it: call it inside the team only (see team.h); its bits may
     * depend on m. */
    void (*gemm_nt)(int32_t m, int32_t n, int32_t k, float alpha, const float *a, int32_t lda,
                    const float *b, int32_t ldb, float beta, float *c, int32_t ldc);
    /* c[m, n] = alpha * a[m, k] . b[k, n] + beta * c */
    void (*gemm_nn)(int32_t m, int32_t n, int32_t k, float alpha, const float *a, int32_t lda,
                    const float *b, int32_t ldb, float beta, float *c, int32_t ldc);
    bool gemm_is_blas; /* fast enough that widening weights for it pays */
} kvass_kernels;

/* What this CPU can run, as a mask of kvass_isa. */
uint32_t kvass_kernels_cpu_isa(void);

/* The table for the instruction sets in `mask` that the CPU has. */
kvass_kernels kvass_kernels_get(uint32_t mask);

/* The part of a matmul_int entry whose rows are not packed, for those that pack; avx2_quants.c. */
void kvass_avx2_matmul_rows(const kvass_weight *w, int32_t row0, int32_t row1, const kvass_acts *x,
                            int32_t m, float *y, int32_t ldy);

/* Each implementation file's part of kvass_kernels_get. */
void kvass_kernels_fill_scalar(kvass_kernels *k);
void kvass_scalar_fill_kv_quant(kvass_kernels *k); /* called by the one above */
void kvass_kernels_fill_avx2(kvass_kernels *k);
void kvass_kernels_fill_avx512(kvass_kernels *k); /* on top of avx2's */
void kvass_kernels_fill_gemm(kvass_kernels *k);   /* gemm_blas.c, or gemm_own.c without BLAS */

#endif
