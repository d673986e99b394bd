/* error.c - status texts and the one place that fills a kvass_error. */
#include "engine/base/error.h"

#include <stdarg.h>
#include <stdio.h>

const char *kvass_status_text(kvass_status status)
{
    switch (status) {
#define X(name, value, text)                                                                       \
    case KVASS_##name:                                                                             \
        return text;
        KVASS_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

const char *kvass_version(void)
{
#define STRING_OF(x) #x
#define VERSION_OF(major, minor, patch) STRING_OF(major) "." STRING_OF(minor) "." STRING_OF(patch)
    return VERSION_OF(KVASS_VERSION_MAJOR, KVASS_VERSION_MINOR, KVASS_VERSION_PATCH);
}

kvass_status kvass_fail(kvass_error *err, kvass_status code, const char *rule, const char *fmt, ...)
{
    if (err) {
        err->code = code;
        err->rule = rule;
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(err->message, sizeof err->message, fmt, args);
        va_end(args);
    }
    return code;
}

kvass_status kvass_fail_nomem(kvass_error *err, size_t n_bytes, const char *what)
{
    return kvass_fail(err, KVASS_NOMEM, "NOMEM", "out of memory: %zu bytes for %s", n_bytes, what);
}
