/* rope.c - see rope.h. Su et al. 2021; the llama3 blend as Llama 3.1's reference code defines it.
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

void kvass_rope_frequencies(const kvass_rope_spec *spec, double *freqs)
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
        }
        freqs[i] = freq;
    }
}

void kvass_rope_angles(const double *freqs, int32_t n_rot, int32_t pos, float *cos_out,
                       float *sin_out)
{
    for (int32_t i = 0; i < n_rot / 2; i++) {
        double angle = freqs[i] * pos;
        cos_out[i] = (float)cos(angle);
        sin_out[i] = (float)sin(angle);
    }
}

bool kvass_rope_same(const kvass_rope_spec *a, const kvass_rope_spec *b)
{
    return a->n_rot == b->n_rot && a->theta == b->theta && a->scaling == b->scaling &&
           (a->scaling == KVASS_ROPE_PLAIN || a->factor == b->factor) &&
           (a->scaling != KVASS_ROPE_LLAMA3 ||
            (a->low_freq_factor == b->low_freq_factor &&
             a->high_freq_factor == b->high_freq_factor && a->original_ctx == b->original_ctx));
}
