/* inspect.h - what inspect.c and inspect_check.c share.
 */
#ifndef KVASS_TOOLS_INSPECT_H
#define KVASS_TOOLS_INSPECT_H

#include "tools/cli.h"

/* the product of a tensor's dimensions */
int64_t inspect_n_elements(const kvass_tensor_info *tensor);

/* Read all stored tensors; adds the NaN and infinite values, and the tensors that have some, naming
 * each on stderr. Returns an exit code. */
int inspect_check(const kvass_model *model, int64_t *n_bad, int64_t *n_bad_tensors);

#endif
