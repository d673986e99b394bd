/* isa.c - which kernels this CPU gets, by name. */
#include "engine/kernels/kernels.h"

const char *kvass_isa_name(uint32_t isa)
{
    return kvass_kernels_get(isa).name; /* a string of static storage, though the table is a copy */
}
