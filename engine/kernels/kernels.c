/* kernels.c - puts a kernel table together out of what the CPU has and the caller allows.
 *
 * Called once per context. The scalar entries come first, so every table is complete; then each
 * allowed instruction set overwrites the entries it implements, from the oldest to the newest.
 */
#include "engine/kernels/kernels.h"

#ifdef KVASS_HAVE_AVX2
#include <cpuid.h>

/* F16C is leaf 1, ecx bit 29; not every compiler's __builtin_cpu_supports knows its name. That the
 * operating system saves the ymm registers is part of what "avx2" answers. */
static bool cpu_has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 29)) != 0;
}

#ifdef KVASS_HAVE_AVX512
static bool cpu_has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif
#endif

uint32_t kvass_kernels_cpu_isa(void)
{
    uint32_t isa = KVASS_ISA_SCALAR;
#ifdef KVASS_HAVE_AVX2
    if (cpu_has_avx2()) {
        isa |= KVASS_ISA_AVX2;
#ifdef KVASS_HAVE_AVX512
        isa |= cpu_has_avx512() ? KVASS_ISA_AVX512 : 0u;
#endif
    }
#endif
    return isa;
}

kvass_kernels kvass_kernels_get(uint32_t mask)
{
    kvass_kernels k = {0};
    uint32_t isa = mask & kvass_kernels_cpu_isa();
    kvass_kernels_fill_scalar(&k);
    kvass_kernels_fill_gemm(&k);
#ifdef KVASS_HAVE_AVX2
    if (isa & KVASS_ISA_AVX2) {
        kvass_kernels_fill_avx2(&k);
#ifdef KVASS_HAVE_AVX512
        if (isa & KVASS_ISA_AVX512) {
            kvass_kernels_fill_avx512(&k);
        }
#endif
    }
#endif
    (void)isa;
    return k;
}
