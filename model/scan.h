/* scan.h - a pull scanner over JSON text that builds nothing.
 * For the two large JSON texts a checkpoint brings, the safetensors header and the index of shards:
 * a document tree would take 20 to 80 times their size, a cursor takes nothing. Strict: UTF-8, no
 * lone surrogate, no NUL, no trailing comma. Every failure is FORMAT with the scanner's rule and
 * names the byte in the file.
 */
#ifndef KVASS_MODEL_SCAN_H
#define KVASS_MODEL_SCAN_H

#include "engine/base/error.h"

typedef struct kvass_scan {
    char *text; /* text[size]: strings are decoded in place */
    size_t size, at;
    size_t base; /* where text starts in the file */
    const char *path;
    const char *rule; /* of the failures that follow */
    kvass_error *err;
} kvass_scan;

/* "path: byte N: <message>", N the place of `at` */
kvass_status kvass_scan_fail(const kvass_scan *s, size_t at, const char *fmt, ...)
    KVASS_PRINTF(3, 4);

/* Walking { } and [ ]: open takes the bracket and says whether there is a first item; next takes
 * the comma (another item follows) or the closing bracket. for (st = kvass_scan_open(s, '{',
 * &more); st == OK && more; st = kvass_scan_next(s, '}', &more)) */
kvass_status kvass_scan_open(kvass_scan *s, char bracket, bool *more);
kvass_status kvass_scan_next(kvass_scan *s, char closing, bool *more);

/* A string: *out[*n_bytes], inside s->text, followed by a NUL. */
kvass_status kvass_scan_string(kvass_scan *s, char **out, size_t *n_bytes);
/* A string and the colon after it. */
kvass_status kvass_scan_key(kvass_scan *s, char **out, size_t *n_bytes);
/* Digits only, without a leading zero, at most 2^63 - 1. */
kvass_status kvass_scan_int(kvass_scan *s, int64_t *out);
/* Any value, nested at most 16 deep. */
kvass_status kvass_scan_skip(kvass_scan *s);
/* Nothing but white space may be left. */
kvass_status kvass_scan_end(kvass_scan *s);

#endif
