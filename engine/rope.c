/* rope.c - see rope.h. Su et al. 2021; the llama3 blend as Llama 3.1's reference code defines it;
 * yarn: Peng et al. 2023; long: Ding et al. 2024, where the context as opened, not the text so far,
 * decides between the two lists of factors, so that no key is ever rotated by the wrong one.
 */
#include "engine/rope.h"

#include <math.h>

static const double two_pi = 6.283185307179586476925286766559;

/* long wavelengths are stretched by factor, short ones stay, those between are blended */
static double llama3_frequency(const kvass_rope_spec *spec, double freq)
{
    double wavelength = two_pi / freq;
    double longest_kept = spec->original_ctx / spec->high_freq_factor;
    double shortest_stretched = spec->original_ctx / spec->low_freq_factor;
    if (wavelength < longest_kept) {
        return freq;
    }
    if (wavelength > shortest_stretched) {
        return freq / spec->factor;
    }
    double smooth = (spec->original_ctx / wavelength - spec->low_freq_factor) /
                    (spec->high_freq_factor - spec->low_freq_factor);
    return (1.0 - smooth) * freq / spec->factor + smooth * freq;
}

/* pairs up to blend_low stay, those from blend_high on are stretched by factor */
static double yarn_frequency(const kvass_rope_spec *spec, int32_t pair, double freq)
{
    double width = spec->blend_high - spec->blend_low;
    double stretched = (pair - spec->blend_low) / (width != 0 ? width : 0.001);
    stretched = stretched < 0 ? 0 : stretched > 1 ? 1 : stretched;
    return freq * (1.0 - stretched) + freq / spec->factor * stretched;
}

static double long_frequency(const kvass_rope_spec *spec, int32_t n_ctx, int32_t pair, double freq)
{
    const kvass_json *factors =
        n_ctx > spec->original_ctx ? spec->long_factors : spec->short_factors;
    double factor = 1;
    (void)kvass_json_as_real(kvass_json_at(factors, (size_t)pair), &factor);
    return freq / factor;
}

void kvass_rope_frequencies(const kvass_rope_spec *spec, int32_t n_ctx, double *freqs)
{
    for (int32_t i = 0; i < spec->n_rot / 2; i++) {
        double freq = pow(spec->theta, -2.0 * i / spec->n_rot);
        switch (spec->scaling) {
        case KVASS_ROPE_PLAIN:
            break;
        case KVASS_ROPE_LINEAR:
            freq /= spec->factor;
            break;
        case KVASS_ROPE_LLAMA3:
            freq = llama3_frequency(spec, freq);
            break;
        case KVASS_ROPE_YARN:
            freq = yarn_frequency(spec, i, freq);
            break;
        case KVASS_ROPE_LONG:
            freq = long_frequency(spec, n_ctx, i, freq);
            break;
        }
        freqs[i] = freq;
    }
}

void kvass_rope_angles(const kvass_rope_spec *spec, const double *freqs, int32_t pos,
                       float *cos_out, float *sin_out)
{
    bool scaled = spec->scaling == KVASS_ROPE_YARN || spec->scaling == KVASS_ROPE_LONG;
    double length = scaled ? spec->attn_factor : 1.0;
    for (int32_t i = 0; i < spec->n_rot / 2; i++) {
        double angle = freqs[i] * pos;
        cos_out[i] = (float)(length * cos(angle));
        sin_out[i] = (float)(length * sin(angle));
    }
}

bool kvass_rope_same(const kvass_rope_spec *a, const kvass_rope_spec *b)
{
    return a->n_rot == b->n_rot && a->theta == b->theta && a->scaling == b->scaling &&
           (a->scaling == KVASS_ROPE_PLAIN ||
            (a->factor == b->factor && a->low_freq_factor == b->low_freq_factor &&
             a->high_freq_factor == b->high_freq_factor && a->original_ctx == b->original_ctx &&
             a->attn_factor == b->attn_factor && a->blend_low == b->blend_low &&
             a->blend_high == b->blend_high && a->short_factors == b->short_factors &&
             a->long_factors == b->long_factors));
}
