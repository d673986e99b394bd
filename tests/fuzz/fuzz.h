/* fuzz.h - what the fuzz targets share.
 * A target is one file with fuzz_one(): it feeds the bytes it is given to the library and calls
 * fuzz_fail() when a promise is broken; sanitizers see to the rest. fuzz.c holds libFuzzer's entry
 * point; in ordinary builds replay.c's main() runs the committed inputs through it.
 */
#ifndef KVASS_TESTS_FUZZ_H
#define KVASS_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kvass.h"

/* One input, in a heap block of exactly n_bytes. */
void fuzz_one(const uint8_t *bytes, size_t n_bytes);

/* libFuzzer's entry point. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

/* Say what is wrong and abort. */
_Noreturn void fuzz_fail(const char *fmt, ...) KVASS_PRINTF(1, 2);

/* A file in memory, called `name` inside a temporary folder that is removed at exit; the same file
 * for the same name. Returns its path, valid while the program runs. The folder is a part of the
 * name: "hf/config.json". */
const char *fuzz_file(const char *name, const void *bytes, size_t n_bytes);
/* Take it away, if it is there. */
void fuzz_no_file(const char *name);
/* The folder `name`, for readers that take folders. */
const char *fuzz_folder(const char *name);

/* The next part of an input: up to a byte 0, or to the end. */
typedef struct fuzz_input {
    const uint8_t *bytes;
    size_t n_bytes, at;
} fuzz_input;
const uint8_t *fuzz_part(fuzz_input *in, size_t *n_bytes);
/* The next byte, or 0 after the end. */
uint8_t fuzz_byte(fuzz_input *in);

/* path of `name` in the source tree */
const char *fuzz_source(const char *name);

/* A refusal must name its rule and say something. */
void fuzz_check_refusal(kvass_status status, const kvass_error *err);

/* Open the model at `path`; when it is accepted ask everything about it, run a few tokens through
 * it, and close it. Returns what opening said. */
kvass_status fuzz_model(const char *path, bool use_mmap, kvass_error *err);

/* Encode text[n_bytes] (*n_ids ids, free() them; NULL when it is refused), checking what every
 * tokenizer promises. */
int32_t *fuzz_encode(const kvass_tokenizer *tok, const uint8_t *text, size_t n_bytes,
                     const kvass_encode_options *opt, size_t *n_ids);

/* Stream ids[n_ids]: every byte of their pieces must come out, none held back for long. Returns the
 * text (free() it). */
char *fuzz_stream(const kvass_tokenizer *tok, const int32_t *ids, size_t n_ids, size_t *n_bytes);

#endif
