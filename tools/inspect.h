/* inspect.h - what the files of `kvass inspect` share.
 */
#ifndef KVASS_TOOLS_INSPECT_H
#define KVASS_TOOLS_INSPECT_H

#include "tools/cli.h"

/* the product of a tensor's dimensions */
int64_t inspect_n_elements(const kvass_tensor_info *tensor);

/* ---- inspect_check.c ------------------------------------------------------------------------- */

/* Of one tensor's numbers; min to sd are of the finite ones, if there are any. */
typedef struct inspect_stats {
    int64_t n_bad; /* NaN or infinite */
    bool known;
    float min, max;
    double mean, sd;
} inspect_stats;

/* Read all stored tensors into (*stats)[n_tensors], which is the caller's to free; names those with
 * NaN or infinite values on stderr. Returns an exit code. */
int inspect_check(const kvass_model *model, inspect_stats **stats);
void inspect_print_stats(const kvass_model *model, const inspect_stats *stats);
json_t *inspect_json_stats(const kvass_model *model, const inspect_stats *stats);

/* ---- inspect_layers.c ------------------------------------------------------------------------ */

void inspect_print_layers(const kvass_model *model, int32_t n_layers);
json_t *inspect_json_layers(const kvass_model *model, int32_t n_layers);

/* ---- inspect_tokenizer.c --------------------------------------------------------------------- */

typedef struct inspect_tokenizer {
    char kind[16]; /* as the file says: "BPE", "Unigram", ... */
    int64_t n_vocab, n_added;
} inspect_tokenizer;

/* Kind and size of the tokenizer.json or vocab.json at `path`, without reading it properly; false
 * when it does not look like one. */
bool inspect_glance(const char *path, inspect_tokenizer *tok);

/* ---- inspect_gguf.c -------------------------------------------------------------------------- */

/* Kind, size, bos and eos of the tokenizer in the GGUF file at `path`, without reading it properly;
 * false when there is none. */
bool inspect_glance_gguf(const char *path, kvass_tokenizer_info *tok);

#endif
