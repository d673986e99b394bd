/* scalar.h - what the portable kernels' files share.
 */
#ifndef KVASS_KERNELS_SCALAR_H
#define KVASS_KERNELS_SCALAR_H

#include "engine/kernels/kernels.h"

/* The entries of the types of quants.h. */
void kvass_scalar_fill_quants(kvass_kernels *k);

#endif
