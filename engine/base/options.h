/* options.h - option structs that may have grown since the caller was compiled.
 * Each starts with size_t struct_size; what an older caller's struct lacks keeps its default.
 */
#ifndef KVASS_BASE_OPTIONS_H
#define KVASS_BASE_OPTIONS_H

#include <string.h>

#include "engine/base/error.h"

/* *dst (holding defaults, dst_size bytes) takes over what *src has; src may be NULL. INVALID when
 * struct_size was not set or is from a newer library. */
static inline kvass_status kvass_options_take(void *dst, size_t dst_size, const void *src,
                                              const char *what, kvass_error *err)
{
    size_t size;
    if (!src) {
        return KVASS_OK;
    }
    memcpy(&size, src, sizeof size);
    if (size < sizeof size || size > dst_size) {
        return kvass_fail(err, KVASS_INVALID, "STRUCT_SIZE",
                          "%s: struct_size is %zu, expected %zu: start from the _default() "
                          "function",
                          what, size, dst_size);
    }
    memcpy(dst, src, size);
    return KVASS_OK;
}

#endif
