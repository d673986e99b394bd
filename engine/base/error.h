/* error.h - how every layer reports failure.
 * A function that can fail for more than one reason returns kvass_status and fills a kvass_error.
 * kvass_fail() does both in one line: return kvass_fail(err, KVASS_FORMAT, "HEADER_SIZE", "...").
 */
#ifndef KVASS_BASE_ERROR_H
#define KVASS_BASE_ERROR_H

#include "engine/kvass.h"

/* Fill *err (unless NULL) and return `code`. `rule` must have static storage. */
kvass_status kvass_fail(kvass_error *err, kvass_status code, const char *rule, const char *fmt, ...)
    KVASS_PRINTF(4, 5);

/* kvass_fail for an allocation of n_bytes for `what` ("token ids"). */
kvass_status kvass_fail_nomem(kvass_error *err, size_t n_bytes, const char *what);

#endif
