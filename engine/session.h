/* session.h - a sequence in a file: what session.c writes and session_load.c reads.
 * The file: a header of what the rows mean (model, cache, layer by layer), the tokens, the last
 * logits, a checksum; the pages, a checksum. Numbers are little-endian, pages as they lie in
 * memory.
 */
#ifndef KVASS_ENGINE_SESSION_H
#define KVASS_ENGINE_SESSION_H

#include "engine/cache/save.h"
#include "engine/context.h"

enum {
    KVASS_SESSION_VERSION = 1,
    KVASS_SESSION_ORDER = 0x01020304, /* as this machine writes it */
    KVASS_SESSION_NAME = 8,           /* bytes of a name, filled up with zeros */
    KVASS_SESSION_NAMES = 5,
    KVASS_SESSION_NUMBERS = 11
};

extern const char kvass_session_magic[8];

/* What must be equal in file and context; the last name and the last number only where the context
 * promises the same bits on every path. */
typedef struct kvass_session_terms {
    struct {
        const char *what, *name;
    } names[KVASS_SESSION_NAMES];
    struct {
        const char *what;
        int32_t value;
    } numbers[KVASS_SESSION_NUMBERS];
} kvass_session_terms;

kvass_session_terms kvass_session_terms_of(const kvass_context *ctx);

/* Leading pages that every sequence of the context shares; they are in no file. */
int32_t kvass_session_shared_pages(const kvass_context *ctx);
/* Bytes of the pages of a sequence of n_tokens, and of its whole file. */
uint64_t kvass_session_pages_bytes(const kvass_context *ctx, int32_t n_tokens);
uint64_t kvass_session_bytes(const kvass_context *ctx, int32_t n_tokens, bool has_logits);

#endif
