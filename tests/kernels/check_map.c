/* check_map.c - checks of the kernels that work element by element. */
#include "tests/kernels/check.h"

#include <math.h>
#include <string.h>

#include "engine/base/half.h"

#define MAX_N 4101

typedef void unary_fn(float *x, int32_t n);

/* In place on x[n]: every element within rel * |expected| + abs * |x| + TINY of the oracle, and
 * with the bits that it has alone. */
static void check_unary(check *c, const char *what, unary_fn *f, unary_fn *scalar,
                        double (*oracle)(double), double rel, double abs)
{
    float in[MAX_N], reference[MAX_N];
    for (check_case t = {0}; check_next(c, &t);) {
        float *x = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        memcpy(in, x, (size_t)t.n * sizeof *x);
        memcpy(reference, x, (size_t)t.n * sizeof *x);
        f(x, t.n);
        scalar(reference, t.n);
        for (int32_t i = 0; i < t.n; i++) {
            double expected = oracle(in[i]);
            check_close_to(c, what, t.n, i, x[i], expected,
                           rel * fabs(expected) + abs * fabs((double)in[i]) + TINY);
            float alone[3] = {0.0f, in[i], 0.0f}; /* room for what a bad kernel does */
            f(&alone[1], 1);
            if (!check_same(&alone[1], &x[i], 1)) {
                check_fail(c, "%s: n = %d: element %d has other bits than alone", what, (int)t.n,
                           (int)i);
            }
            if (t.fill == FILL_NORMAL) {
                check_agree(c, x[i], reference[i]);
            }
        }
        check_guards(c, what, t.n);
    }
    check_agree_end(c, what);

    float odd[] = {NAN, INFINITY, -0.0f, 0.0f, 0.0f};
    f(odd, 4);
    if (!isnan(odd[0]) || odd[1] != INFINITY || odd[2] != 0.0f || odd[3] != 0.0f) {
        check_fail(c, "%s: NaN, infinity, -0, 0 became %g, %g, %g, %g", what, (double)odd[0],
                   (double)odd[1], (double)odd[2], (double)odd[3]);
    }
}

static double silu_oracle(double x)
{
    return x / (1.0 + exp(-x));
}

static double gelu_tanh_oracle(double x)
{
    double u = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return x / (1.0 + exp(-2.0 * u));
}

static double gelu_erf_oracle(double x)
{
    return 0.5 * x * erfc(-x * 0.7071067811865476);
}

static double relu_oracle(double x)
{
    return x > 0.0 ? x : 0.0;
}

/* exp's argument is exact, so silu is good to a few units in the last place */
void check_silu(check *c, const kvass_kernels *k)
{
    check_unary(c, "silu", k->silu, c->scalar->silu, silu_oracle, 4 * UNIT_ROUNDOFF, 0.0);
}

/* u's own rounding moves exp(-2u) by |2u| times as much: bounded beside |x|, not beside the result
 */
void check_gelu_tanh(check *c, const kvass_kernels *k)
{
    check_unary(c, "gelu_tanh", k->gelu_tanh, c->scalar->gelu_tanh, gelu_tanh_oracle,
                4 * UNIT_ROUNDOFF, 4 * UNIT_ROUNDOFF);
}

void check_gelu_erf(check *c, const kvass_kernels *k)
{
    check_unary(c, "gelu_erf", k->gelu_erf, c->scalar->gelu_erf, gelu_erf_oracle, 4 * UNIT_ROUNDOFF,
                4 * UNIT_ROUNDOFF);
}

void check_relu(check *c, const kvass_kernels *k)
{
    check_unary(c, "relu", k->relu, c->scalar->relu, relu_oracle, 0.0, 0.0);
}

/* A cap of 2 puts the drawn values on both sides of where the curve bends. What x / cap loses among
 * subnormals comes back cap times as large. 0 and NaN stay what they are, infinity becomes the cap.
 */
void check_softcap(check *c, const kvass_kernels *k)
{
    static const float caps[] = {0.25f, 2.0f, 50.0f};
    float in[MAX_N], reference[MAX_N];
    for (check_case t = {0}; check_next(c, &t);) {
        float *x = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        float cap = caps[(size_t)t.n % 3];
        memcpy(in, x, (size_t)t.n * sizeof *x);
        memcpy(reference, x, (size_t)t.n * sizeof *x);
        k->softcap(x, cap, t.n);
        c->scalar->softcap(reference, cap, t.n);
        for (int32_t i = 0; i < t.n; i++) {
            double expected = (double)cap * tanh((double)in[i] / (double)cap);
            check_close_to(c, "softcap", t.n, i, x[i], expected,
                           6 * UNIT_ROUNDOFF * fabs(expected) + (1 + (double)cap) * TINY);
            float alone[3] = {0.0f, in[i], 0.0f};
            k->softcap(&alone[1], cap, 1);
            if (!check_same(&alone[1], &x[i], 1)) {
                check_fail(c, "softcap: n = %d: element %d has other bits than alone", (int)t.n,
                           (int)i);
            }
            if (t.fill == FILL_NORMAL) {
                check_agree(c, x[i], reference[i]);
            }
        }
        check_guards(c, "softcap", t.n);
    }
    check_agree_end(c, "softcap");
    float odd[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f};
    k->softcap(odd, 30.0f, 5);
    if (!isnan(odd[0]) || odd[1] != 30.0f || odd[2] != -30.0f || odd[3] != 0.0f || odd[4] != 0.0f) {
        check_fail(c, "softcap: a special value is wrong");
    }
}

/* exp to 2 units in the last place over the whole range, seen through exp_sum with max 0 */
void check_exp_accuracy(check *c, const kvass_kernels *k)
{
    enum { N = 4096, ROUNDS = 256 };
    float in[N], out[N];
    for (int32_t round = 0; round < ROUNDS && !c->failed; round++) {
        for (int32_t i = 0; i < N; i++) {
            double u = (double)(check_random(c) >> 11) * 0x1p-53;
            in[i] = (float)(round % 2 == 0 ? -110.0 + 199.0 * u : 2.0 * u - 1.0);
        }
        memcpy(out, in, sizeof out);
        k->exp_sum(out, N, 0.0f);
        for (int32_t i = 0; i < N; i++) {
            double expected = exp((double)in[i]);
            double ulp = expected < 0x1p-126 ? TINY : ldexp(1.0, ilogb(expected) - 23);
            if (expected <= 0x1.fffffep127) {
                check_close_to(c, "exp", N, i, out[i], expected, 2.0 * ulp);
            }
        }
    }
    float odd[] = {0.0f, -0.0f, -104.0f, -INFINITY, 89.0f, INFINITY, NAN, -1e30f, 1e30f};
    k->exp_sum(odd, 9, 0.0f);
    if (odd[0] != 1.0f || odd[1] != 1.0f || odd[2] != 0.0f || odd[3] != 0.0f ||
        odd[4] != INFINITY || odd[5] != INFINITY || !isnan(odd[6]) || odd[7] != 0.0f ||
        odd[8] != INFINITY) {
        check_fail(c, "exp: a special value is wrong");
    }
}

typedef void binary_fn(float *y, const float *x, int32_t n);

static float sum_of(float y, float x)
{
    return y + x;
}

static float product_of(float y, float x)
{
    return y * x;
}

/* y[n] op= x[n]: one operation, so every bit is known */
static void check_binary(check *c, const char *what, binary_fn *f, float (*oracle)(float, float))
{
    float in[MAX_N];
    for (check_case t = {0}; check_next(c, &t);) {
        float *y = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        float *x = check_take_floats(c, 1, (size_t)t.n, t.place, t.fill);
        check_freeze(c, 1);
        memcpy(in, y, (size_t)t.n * sizeof *y);
        f(y, x, t.n);
        for (int32_t i = 0; i < t.n; i++) {
            float expected = oracle(in[i], x[i]);
            check_close_to(c, what, t.n, i, y[i], expected, 0.0);
        }
        check_guards(c, what, t.n);
    }
}

void check_add(check *c, const kvass_kernels *k)
{
    check_binary(c, "add", k->add, sum_of);
}

void check_mul(check *c, const kvass_kernels *k)
{
    check_binary(c, "mul", k->mul, product_of);
}

void check_scale(check *c, const kvass_kernels *k)
{
    float in[MAX_N];
    for (check_case t = {0}; check_next(c, &t);) {
        float *y = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        float s = (float)check_normal(c);
        memcpy(in, y, (size_t)t.n * sizeof *y);
        k->scale(y, s, t.n);
        for (int32_t i = 0; i < t.n; i++) {
            float expected = in[i] * s;
            check_close_to(c, "scale", t.n, i, y[i], expected, 0.0);
        }
        check_guards(c, "scale", t.n);
    }
}

/* n stands for the pairs of a head; three heads, with and without values that are left alone */
void check_rope(check *c, const kvass_kernels *k)
{
    enum { HEADS = 3, REST = 3 };
    static float in[HEADS * (2 * MAX_N + REST)], reference[HEADS * (2 * MAX_N + REST)];
    for (check_case t = {0}; check_next(c, &t);) {
        int32_t rest = t.place % 2 == 0 ? 0 : REST;
        int32_t head_dim = 2 * t.n + rest;
        size_t n_bytes = (size_t)(HEADS * head_dim) * sizeof(float);
        float *x = check_take_floats(c, 0, (size_t)(HEADS * head_dim), t.place, t.fill);
        float *cosines = check_take_floats(c, 1, (size_t)t.n, t.place, FILL_ZERO);
        float *sines = check_take_floats(c, 2, (size_t)t.n, t.place, FILL_ZERO);
        for (int32_t i = 0; i < t.n; i++) {
            double angle = check_normal(c);
            cosines[i] = (float)cos(angle);
            sines[i] = (float)sin(angle);
        }
        check_freeze(c, 1);
        check_freeze(c, 2);
        memcpy(in, x, n_bytes);
        memcpy(reference, x, n_bytes);
        k->rope(x, HEADS, head_dim, 2 * t.n, cosines, sines);
        c->scalar->rope(reference, HEADS, head_dim, 2 * t.n, cosines, sines);
        for (int32_t i = 0; i < HEADS * head_dim; i++) {
            int32_t d = i % head_dim;
            int32_t p = t.n > 0 ? d % t.n : 0;
            double expected = in[i];
            double bound = 0.0;
            if (d < 2 * t.n) { /* a*cos - b*sin, b*cos + a*sin */
                double other = d < t.n ? -(double)in[i + t.n] : (double)in[i - t.n];
                expected = in[i] * (double)cosines[p] + other * (double)sines[p];
                bound = 3 * UNIT_ROUNDOFF *
                            (fabs(in[i] * (double)cosines[p]) + fabs(other * (double)sines[p])) +
                        2 * TINY;
            }
            check_close_to(c, "rope", t.n, i, x[i], expected, bound);
            if (t.fill == FILL_NORMAL) {
                check_agree(c, x[i], reference[i]);
            }
        }
        check_guards(c, "rope", t.n);
    }
    check_agree_end(c, "rope");
}

/* Every f16 and bf16 there is, and blocks of q8 with every scale, bit for bit. */
static void check_widen_halves(check *c, const kvass_kernels *k, kvass_dtype dtype, int32_t n,
                               int32_t place)
{
    uint16_t *in = check_take(c, 0, (size_t)n, sizeof *in, place);
    float *out = check_take(c, 1, (size_t)n, sizeof *out, place);
    uint32_t first = (uint32_t)check_random(c);
    for (int32_t i = 0; i < n; i++) {
        in[i] = (uint16_t)(first + (uint32_t)i);
    }
    check_freeze(c, 0);
    k->widen[dtype](in, n, out);
    for (int32_t i = 0; i < n; i++) {
        double expected =
            dtype == KVASS_DTYPE_F16 ? check_f16_value(in[i]) : check_bf16_value(in[i]);
        bool same_sign = (signbit(out[i]) != 0) == (in[i] >> 15 != 0);
        if (!(out[i] == expected || isnan(expected)) || isnan(out[i]) != isnan(expected) ||
            !same_sign) {
            check_fail(c, "widen: n = %d: %s %04x became %.9g", (int)n, kvass_dtype_name(dtype),
                       (unsigned)in[i], (double)out[i]);
        }
    }
    check_guards(c, "widen", n);
}

static void check_widen_q8(check *c, const kvass_kernels *k, kvass_dtype dtype, int32_t n_blocks,
                           int32_t place)
{
    const size_t d_bytes = dtype == KVASS_DTYPE_Q8_0 ? sizeof(uint16_t) : sizeof(float);
    int32_t n = n_blocks * KVASS_QBLOCK;
    unsigned char *in =
        check_take(c, 0, (size_t)n_blocks * (d_bytes + KVASS_QBLOCK) / d_bytes, d_bytes, place);
    float *out = check_take(c, 1, (size_t)n, sizeof *out, place);
    for (size_t i = 0; i < c->slots[0].n_bytes; i++) {
        in[i] = (unsigned char)check_random(c);
    }
    check_freeze(c, 0);
    k->widen[dtype](in, n, out);
    for (int32_t i = 0; i < n; i++) {
        const unsigned char *block = in + (size_t)(i / KVASS_QBLOCK) * (d_bytes + KVASS_QBLOCK);
        uint16_t h;
        float d;
        memcpy(&h, block, sizeof h);
        memcpy(&d, block, sizeof d);
        if (dtype == KVASS_DTYPE_Q8_0) {
            d = (float)check_f16_value(h);
        }
        float expected = d * (float)(int8_t)block[d_bytes + (size_t)(i % KVASS_QBLOCK)];
        check_close_to(c, "widen q8", n, i, out[i], expected, 0.0);
    }
    check_guards(c, "widen q8", n);
}

void check_widen(check *c, const kvass_kernels *k)
{
    for (check_case t = {0}; check_next(c, &t);) {
        check_widen_halves(c, k, KVASS_DTYPE_F16, t.n, t.place);
        check_widen_halves(c, k, KVASS_DTYPE_BF16, t.n, t.place);
        check_widen_q8(c, k, KVASS_DTYPE_Q8_0, t.n % 200, t.place);
        check_widen_q8(c, k, KVASS_DTYPE_Q8_F32, t.n % 200, t.place);
        float *in = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        float *out = check_take(c, 1, (size_t)t.n, sizeof *out, t.place);
        check_freeze(c, 0);
        k->widen[KVASS_DTYPE_F32](in, t.n, out);
        if (!check_same(in, out, t.n)) {
            check_fail(c, "widen: n = %d: f32 is no copy", (int)t.n);
        }
        check_guards(c, "widen f32", t.n);
    }
    check_widen_halves(c, k, KVASS_DTYPE_F16, 65536, 0); /* all there are, wherever it starts */
    check_widen_halves(c, k, KVASS_DTYPE_BF16, 65536, 0);
}

/* Around every f16: itself, the point halfway to its neighbour, and the floats beside that point.
 * The expected value is found by comparing distances in double. */
static void check_narrow_halfway(check *c, const kvass_kernels *k)
{
    for (uint32_t h = 0; h < 0x7c00 && !c->failed; h++) {
        double low = check_f16_value((uint16_t)h);
        double high = h == 0x7bff ? 65536.0 : check_f16_value((uint16_t)(h + 1));
        float middle = (float)(0.5 * (low + high)); /* exact */
        uint16_t even = (uint16_t)(h % 2 == 0 ? h : h + 1);
        float in[8] = {(float)low, middle, nextafterf(middle, 0.0f), nextafterf(middle, INFINITY)};
        uint16_t expected[8] = {(uint16_t)h, even, (uint16_t)h, (uint16_t)(h + 1)};
        uint16_t out[8];
        for (int32_t i = 0; i < 4; i++) {
            in[4 + i] = -in[i];
            expected[4 + i] = (uint16_t)(expected[i] | 0x8000u);
        }
        k->narrow_f16(in, 8, out);
        for (int32_t i = 0; i < 8; i++) {
            if (out[i] != expected[i] || kvass_f32_to_f16(in[i]) != expected[i]) {
                check_fail(c, "narrow_f16: %.9g became %04x and %04x, expected %04x", (double)in[i],
                           (unsigned)out[i], (unsigned)kvass_f32_to_f16(in[i]),
                           (unsigned)expected[i]);
            }
        }
    }
}

void check_narrow_f16(check *c, const kvass_kernels *k)
{
    for (check_case t = {0}; check_next(c, &t);) {
        float *x = check_take_floats(c, 0, (size_t)t.n, t.place, t.fill);
        uint16_t *out = check_take(c, 1, (size_t)t.n, sizeof *out, t.place);
        if (t.fill == FILL_HUGE) { /* any bits at all, NaN and infinity among them */
            for (int32_t i = 0; i < t.n; i++) {
                x[i] = kvass_bits_f32((uint32_t)check_random(c));
            }
        }
        check_freeze(c, 0);
        k->narrow_f16(x, t.n, out);
        for (int32_t i = 0; i < t.n; i++) {
            if (out[i] != kvass_f32_to_f16(x[i])) {
                check_fail(c, "narrow_f16: n = %d: %.9g became %04x", (int)t.n, (double)x[i],
                           (unsigned)out[i]);
            }
        }
        check_guards(c, "narrow_f16", t.n);
    }
    check_narrow_halfway(c, k);
    uint16_t round_trip;
    for (uint32_t h = 0; h < 65536; h++) { /* NaN comes back quiet */
        float value = kvass_f16_to_f32((uint16_t)h);
        k->narrow_f16(&value, 1, &round_trip);
        if (round_trip != (isnan(value) ? (h | 0x200u) : h)) {
            check_fail(c, "narrow_f16: %04x came back as %04x", (unsigned)h, (unsigned)round_trip);
        }
    }
}
