/* avx2.c - norms, softmax, position, activations and element-wise kernels for AVX2, FMA and F16C.
 *
 * Entered through kvass_kernels_get(), which asks the CPU first; the products with weights are in
 * avx2_matmul.c, the reading of cache rows in avx2_cache.c. Sums go to partial sum i % 16 (i % 8 in
 * exp_sum) and are folded by reduce(), so their order depends on the length alone.
 */
#include <math.h>

#include "engine/kernels/avx2.h"

/* ---- element by element ---------------------------------------------------------------------- */

/* x[n] = f(x) */
FORCE_INLINE void map(float *x, int32_t n, __m256 (*f)(__m256))
{
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        _mm256_storeu_ps(x + i, f(_mm256_loadu_ps(x + i)));
    }
    store_part(x + i, n - i, f(load_part(x + i, n - i)));
}

/* y[n] = f(y, x) */
FORCE_INLINE void map2(float *y, const float *x, int32_t n, __m256 (*f)(__m256, __m256))
{
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        _mm256_storeu_ps(y + i, f(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    }
    store_part(y + i, n - i, f(load_part(y + i, n - i), load_part(x + i, n - i)));
}

/* x / (1 + exp(-u)) */
FORCE_INLINE __m256 gate(__m256 x, __m256 u)
{
    __m256 e = exp_vec(_mm256_sub_ps(_mm256_setzero_ps(), u));
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

FORCE_INLINE __m256 silu_vec(__m256 x)
{
    return gate(x, x);
}

/* 0.5 * x * (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) * (x + 0.044715 * x^3) */
FORCE_INLINE __m256 gelu_tanh_vec(__m256 x)
{
    __m256 x3 = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
    __m256 u = _mm256_fmadd_ps(x3, _mm256_set1_ps(0.044715f), x);
    return gate(x, _mm256_mul_ps(u, _mm256_set1_ps(2.0f * 0.79788456f)));
}

/* x * P(x), P the normal distribution's integral. For the tail, P(-a) = exp(-a^2 / 2) * R(a), and R
 * is a polynomial in t = 1 / (1 + 0.35 a), minimax on 0 <= a <= 14, relative error 3.2e-8. */
FORCE_INLINE __m256 gelu_erf_vec(__m256 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 a = _mm256_andnot_ps(sign, x);
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(a, _mm256_set1_ps(0.35f), one));
    __m256 p = _mm256_set1_ps(-0.02914597486f);
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.1439718971f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-0.2557146285f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.1591745439f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(-0.02311006879f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.1055080903f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.1198328488f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.1398618719f));
    p = _mm256_fmadd_ps(p, t, _mm256_set1_ps(0.1396214042f));
    __m256 e = exp_vec(_mm256_mul_ps(_mm256_mul_ps(a, a), _mm256_set1_ps(-0.5f)));
    __m256 tail = _mm256_mul_ps(_mm256_mul_ps(p, t), e);
    /* a set sign bit, of x, picks the second operand */
    return _mm256_mul_ps(x, _mm256_blendv_ps(_mm256_sub_ps(one, tail), tail, x));
}

FORCE_INLINE __m256 relu_vec(__m256 x)
{
    return _mm256_max_ps(_mm256_setzero_ps(), x); /* this operand order lets NaN through */
}

FORCE_INLINE __m256 add_vec(__m256 y, __m256 x)
{
    return _mm256_add_ps(y, x);
}

FORCE_INLINE __m256 mul_vec(__m256 y, __m256 x)
{
    return _mm256_mul_ps(y, x);
}

static void silu(float *x, int32_t n)
{
    map(x, n, silu_vec);
}

static void gelu_tanh(float *x, int32_t n)
{
    map(x, n, gelu_tanh_vec);
}

static void gelu_erf(float *x, int32_t n)
{
    map(x, n, gelu_erf_vec);
}

static void relu(float *x, int32_t n)
{
    map(x, n, relu_vec);
}

/* cap * tanh(u), u = x / cap. Small u by u + u^3 P(u^2), minimax on |u| <= 0.625, relative error
 * 4.4e-9; the others by 1 - 2 / (exp(2|u|) + 1), where that loses nothing. */
FORCE_INLINE __m256 softcap_vec(__m256 x, __m256 cap)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 u = _mm256_div_ps(x, cap);
    __m256 a = _mm256_andnot_ps(sign, u);

    __m256 e = exp_vec(_mm256_add_ps(a, a));
    __m256 large = _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(e, one));
    large = _mm256_or_ps(_mm256_sub_ps(one, large), _mm256_and_ps(sign, u));

    __m256 z = _mm256_mul_ps(u, u);
    __m256 p = _mm256_set1_ps(-0x1.75e1ccp-8f);
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0x1.52269cp-6f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(-0x1.b83c5ap-5f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(0x1.110726p-3f));
    p = _mm256_fmadd_ps(p, z, _mm256_set1_ps(-0x1.555532p-2f));
    __m256 small = _mm256_fmadd_ps(_mm256_mul_ps(u, z), p, u);

    __m256 is_small = _mm256_cmp_ps(a, _mm256_set1_ps(0.625f), _CMP_LT_OQ); /* not for NaN */
    return _mm256_mul_ps(cap, _mm256_blendv_ps(large, small, is_small));
}

static void softcap(float *x, float cap, int32_t n)
{
    __m256 c = _mm256_set1_ps(cap);
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        _mm256_storeu_ps(x + i, softcap_vec(_mm256_loadu_ps(x + i), c));
    }
    store_part(x + i, n - i, softcap_vec(load_part(x + i, n - i), c));
}

static void add(float *y, const float *x, int32_t n)
{
    map2(y, x, n, add_vec);
}

static void mul(float *y, const float *x, int32_t n)
{
    map2(y, x, n, mul_vec);
}

static void scale_by(float *y, float s, int32_t n)
{
    __m256 factor = _mm256_set1_ps(s);
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(y + i), factor));
    }
    store_part(y + i, n - i, _mm256_mul_ps(load_part(y + i, n - i), factor));
}

static void narrow_f16(const float *x, int32_t n, uint16_t *out)
{
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128((__m128i *)(out + i), halves);
    }
    uint16_t last[VEC];
    __m256 v = load_part(x + i, n - i);
    _mm_storeu_si128((__m128i *)last, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
    for (int32_t j = 0; i + j < n; j++) {
        out[i + j] = last[j];
    }
}

/* Rotates up to 8 pairs (lo[i], hi[i]). */
FORCE_INLINE void rotate(float *lo, float *hi, const float *cos, const float *sin, int32_t n)
{
    __m256 a = load_part(lo, n);
    __m256 b = load_part(hi, n);
    __m256 c = load_part(cos, n);
    __m256 s = load_part(sin, n);
    store_part(lo, n, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
    store_part(hi, n, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
}

static void rope(float *x, int32_t n_heads, int32_t head_dim, int32_t n_rot, const float *cos,
                 const float *sin)
{
    int32_t half = n_rot / 2;
    for (int32_t head = 0; head < n_heads; head++) {
        float *lo = x + (size_t)head * (size_t)head_dim;
        for (int32_t i = 0; i < half; i += VEC) {
            rotate(lo + i, lo + half + i, cos + i, sin + i, half - i);
        }
    }
}

/* ---- reductions ------------------------------------------------------------------------------ */

/* sum_i term(a[i], b[i]), element i in partial sum i % 16 */
FORCE_INLINE float sum_terms(const float *a, const float *b, int32_t n,
                             __m256 (*step)(__m256 a, __m256 b, __m256 sum))
{
    __m256 s0 = _mm256_setzero_ps();
    __m256 s1 = _mm256_setzero_ps();
    int32_t i = 0;
    for (; i + 2 * VEC <= n; i += 2 * VEC) {
        s0 = step(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
        s1 = step(_mm256_loadu_ps(a + i + VEC), _mm256_loadu_ps(b + i + VEC), s1);
    }
    if (i < n) {
        s0 = step(load_part(a + i, n - i), load_part(b + i, n - i), s0);
    }
    if (i + VEC < n) {
        i += VEC;
        s1 = step(load_part(a + i, n - i), load_part(b + i, n - i), s1);
    }
    return reduce(_mm256_add_ps(s0, s1));
}

FORCE_INLINE __m256 step_product(__m256 a, __m256 b, __m256 sum)
{
    return _mm256_fmadd_ps(a, b, sum);
}

FORCE_INLINE __m256 step_first(__m256 a, __m256 b, __m256 sum)
{
    (void)b;
    return _mm256_add_ps(a, sum);
}

static float dot(const float *a, const float *b, int32_t n)
{
    return sum_terms(a, b, n, step_product);
}

static void rmsnorm(const float *x, const float *w, int32_t n, float eps, float *y)
{
    __m256 inv = _mm256_set1_ps(1.0f / sqrtf(dot(x, x, n) / (float)n + eps));
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), inv);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
    }
    __m256 v = _mm256_mul_ps(load_part(x + i, n - i), inv);
    store_part(y + i, n - i, _mm256_mul_ps(v, load_part(w + i, n - i)));
}

/* sum_i (x[i] - mean)^2, element i in partial sum i % 16 */
FORCE_INLINE float sum_squares_from(const float *x, float mean, int32_t n)
{
    __m256 m = _mm256_set1_ps(mean);
    __m256 s0 = _mm256_setzero_ps();
    __m256 s1 = _mm256_setzero_ps();
    int32_t i = 0;
    for (; i + 2 * VEC <= n; i += 2 * VEC) {
        __m256 d0 = _mm256_sub_ps(_mm256_loadu_ps(x + i), m);
        __m256 d1 = _mm256_sub_ps(_mm256_loadu_ps(x + i + VEC), m);
        s0 = _mm256_fmadd_ps(d0, d0, s0);
        s1 = _mm256_fmadd_ps(d1, d1, s1);
    }
    for (int32_t h = 0; i < n; h++, i += VEC) { /* at most two turns */
        __m256 d = _mm256_sub_ps(load_part(x + i, n - i), m);
        d = _mm256_and_ps(d, _mm256_castsi256_ps(first_lanes(n - i)));
        if (h == 0) {
            s0 = _mm256_fmadd_ps(d, d, s0);
        } else {
            s1 = _mm256_fmadd_ps(d, d, s1);
        }
    }
    return reduce(_mm256_add_ps(s0, s1));
}

static void layernorm(const float *x, const float *w, const float *b, int32_t n, float eps,
                      float *y)
{
    float mean = sum_terms(x, x, n, step_first) / (float)n;
    float inv = 1.0f / sqrtf(sum_squares_from(x, mean, n) / (float)n + eps);
    for (int32_t i = 0; i < n; i += VEC) {
        __m256 v = _mm256_sub_ps(load_part(x + i, n - i), _mm256_set1_ps(mean));
        v = _mm256_mul_ps(_mm256_mul_ps(v, _mm256_set1_ps(inv)), load_part(w + i, n - i));
        if (b) {
            v = _mm256_add_ps(v, load_part(b + i, n - i));
        }
        store_part(y + i, n - i, v);
    }
}

static float max_value(const float *s, int32_t n)
{
    __m256 best = _mm256_set1_ps(s[0]);
    __m256 nan = _mm256_cmp_ps(best, best, _CMP_UNORD_Q);
    for (int32_t i = 0; i < n; i += VEC) {
        __m256 here = _mm256_castsi256_ps(first_lanes(n - i));
        __m256 v = _mm256_blendv_ps(best, load_part(s + i, n - i), here);
        best = _mm256_max_ps(best, v);
        nan = _mm256_or_ps(nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    if (_mm256_movemask_ps(nan) != 0) {
        return NAN;
    }
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(best), _mm256_extractf128_ps(best, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    m = _mm_max_ss(m, _mm_movehdup_ps(m));
    return _mm_cvtss_f32(m);
}

static float exp_sum(float *s, int32_t n, float max)
{
    __m256 m = _mm256_set1_ps(max);
    __m256 sum = _mm256_setzero_ps();
    int32_t i = 0;
    for (; i + VEC <= n; i += VEC) {
        __m256 e = exp_vec(_mm256_sub_ps(_mm256_loadu_ps(s + i), m));
        _mm256_storeu_ps(s + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    if (i < n) {
        __m256 e = exp_vec(_mm256_sub_ps(load_part(s + i, n - i), m));
        store_part(s + i, n - i, e);
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(first_lanes(n - i))));
    }
    return reduce(sum);
}

static void softmax(float *s, int32_t n)
{
    float sum = exp_sum(s, n, max_value(s, n));
    scale_by(s, 1.0f / sum, n);
}

void kvass_kernels_fill_avx2(kvass_kernels *k)
{
    k->name = "avx2";
    k->narrow_f16 = narrow_f16;
    k->dot = dot;
    k->rmsnorm = rmsnorm;
    k->layernorm = layernorm;
    k->max = max_value;
    k->exp_sum = exp_sum;
    k->softmax = softmax;
    k->rope = rope;
    k->silu = silu;
    k->gelu_tanh = gelu_tanh;
    k->gelu_erf = gelu_erf;
    k->relu = relu;
    k->softcap = softcap;
    k->add = add;
    k->mul = mul;
    k->scale = scale_by;
    kvass_avx2_fill_matmul(k);
    kvass_avx2_fill_quants(k);
    kvass_avx2_fill_packed(k);
    kvass_avx2_fill_cache(k);
    kvass_avx2_fill_kv_quant(k);
}
