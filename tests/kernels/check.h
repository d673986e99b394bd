/* check.h - what the kernel tests share: guarded buffers, fills, cases, and a verdict.
 *
 * A check runs one table entry over many cases and records its first complaint instead of stopping,
 * so that the tests can also assert that a bad kernel is caught. Every buffer a kernel sees comes
 * from check_take(): 64 canary bytes stand on both sides, or its end is the end of the last
 * readable page. Inputs are compared afterwards with a copy. All randomness comes from the printed
 * seed.
 */
#ifndef KVASS_TESTS_KERNELS_CHECK_H
#define KVASS_TESTS_KERNELS_CHECK_H

#include "engine/kernels/kernels.h"

#define UNIT_ROUNDOFF 0x1p-24  /* of f32 */
#define TINY          0x1p-149 /* the smallest f32; what a product may lose by underflow */
#define MAX_NMSE      1e-7     /* between instruction sets */
#define N_SLOTS       8

typedef enum fill {
    FILL_NORMAL, /* normally distributed */
    FILL_ZERO,
    FILL_HUGE, /* +-1e17 in turn, or the largest that the type holds */
    FILL_DENORMAL,
    FILL_EQUAL,
    N_FILLS
} fill;

/* Where buffers lie: 0..3 elements off alignment, or ending at a page that cannot be read. */
enum { PLACE_PAGE_END = 4, N_PLACES };

typedef struct slot {
    unsigned char *pages; /* usable pages, between two that are not */
    unsigned char *copy;  /* of the data when it was frozen */
    unsigned char *data;
    size_t n_bytes;
    bool in_use, frozen;
} slot;

typedef struct check {
    uint64_t seed, state;
    const kvass_kernels *scalar; /* the truth to agree with */
    int32_t n_places;            /* how many of the places are tried */
    slot slots[N_SLOTS];
    double diff, norm; /* running sums of check_agree */
    bool failed;
    char message[256];
} check;

/* Both abort the program when memory is out. */
void check_open(check *c, uint64_t seed);
void check_close(check *c);

/* Forget verdict and sums, start the random numbers anew. */
void check_reset(check *c);

/* Record the first complaint. */
void check_fail(check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A fresh buffer of n elements in slot i. */
void *check_take(check *c, int32_t i, size_t n, size_t element_bytes, int32_t place);
/* From here on the slot is an input: check_guards() wants it unchanged. */
void check_freeze(check *c, int32_t i);
/* Canaries and inputs of all slots; then the slots are free again. */
void check_guards(check *c, const char *what, int32_t n);

uint64_t check_random(check *c);
double check_normal(check *c);
float check_fill_value(check *c, fill f, int32_t i, double huge);
void check_fill_floats(check *c, fill f, float *x, size_t n);
float *check_take_floats(check *c, int32_t i, size_t n, int32_t place, fill f);

/* Elements that hold the same bits, NaN included. */
bool check_same(const float *a, const float *b, int32_t n);

/* |value - expected| <= bound, or both NaN, or equal */
void check_close_to(check *c, const char *what, int32_t n, int32_t i, double value, double expected,
                    double bound);

/* Normalised mean squared error against the scalar table, over everything between begin and end. */
void check_agree(check *c, double value, double reference);
void check_agree_end(check *c, const char *what);

/* All lengths x places x fills: for (check_case t = {0}; check_next(c, &t);) */
typedef struct check_case {
    int32_t started, i_length;
    int32_t n, place;
    fill fill;
} check_case;
bool check_next(const check *c, check_case *t);

/* The checks: each looks at one entry, or a few of a kind, of table k. */
typedef void check_fn(check *c, const kvass_kernels *k);
check_fn check_dot, check_rmsnorm, check_layernorm, check_max, check_exp_sum, check_softmax;
check_fn check_silu, check_gelu_tanh, check_gelu_erf, check_relu, check_softcap;
check_fn check_add, check_mul, check_scale;
check_fn check_rope, check_widen, check_narrow_f16, check_exp_accuracy;
check_fn check_matmul_f32, check_matmul_f16, check_matmul_bf16, check_matmul_q8_f32;
check_fn check_quantize, check_matmul_int;
check_fn check_kv_dot_q8, check_kv_acc_q8, check_kv_dot_q4, check_kv_acc_q4;
check_fn check_kv_dot, check_kv_acc, check_kv_bound, check_gemm_nt, check_gemm_nn;

/* Values of stored elements by arithmetic in double alone. */
double check_f16_value(uint16_t h);
double check_bf16_value(uint16_t h);

#endif
