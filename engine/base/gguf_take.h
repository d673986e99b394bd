/* gguf_take.h - the bytes of a GGUF header, taken one after the other as they prove to be there;
 * for gguf.c. A claim costs no memory before its bytes are found.
 */
#ifndef KVASS_BASE_GGUF_TAKE_H
#define KVASS_BASE_GGUF_TAKE_H

#include "engine/base/gguf.h"

typedef struct gguf_parse {
    kvass_gguf *g; /* g->bytes[g->n_bytes] were read so far */
    const kvass_file *file;
    size_t at;
    kvass_error *err;
} gguf_parse;

/* "FILE: byte AT: ..." */
kvass_status kvass_gguf_fail(const gguf_parse *p, kvass_status code, const char *rule, size_t at,
                             const char *fmt, ...) KVASS_PRINTF(5, 6);

uint64_t kvass_gguf_left(const gguf_parse *p); /* bytes of the file */

/* Make bytes at .. at + n - 1 of the file present. FORMAT (GGUF_TRUNCATED), UNSUPPORTED
 * (GGUF_HEADER), IO, NOMEM; so the others. */
kvass_status kvass_gguf_need(gguf_parse *p, uint64_t n);
kvass_status kvass_gguf_take_u32(gguf_parse *p, uint32_t *out);
kvass_status kvass_gguf_take_u64(gguf_parse *p, uint64_t *out);
/* A string of min .. max bytes: where it lies. FORMAT (`rule`) as well. */
kvass_status kvass_gguf_take_string(gguf_parse *p, const char *what, const char *rule, uint64_t min,
                                    uint64_t max, size_t *at, uint32_t *n);

#endif
