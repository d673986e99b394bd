/* parity.h - one text, one model, every way of running it.
 * A path is a way to get logits[n_tokens, n_vocab] of a text: the full-sequence path whole or in
 * chunks, token by token, after a fork or a cut, in a batch, or with nothing kept. The tests say
 * how equal the results must be. Every run ends by asserting that all pages came home.
 */
#ifndef KVASS_TESTS_PARITY_H
#define KVASS_TESTS_PARITY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/kvass.h"

/* The text of one test: random ids out of a seed that is printed. */
typedef struct parity_text {
    const kvass_model *model;
    int32_t n_tokens, n_vocab;
    int32_t *ids;
    size_t n_floats; /* n_tokens * n_vocab */
} parity_text;

typedef struct parity_setup {
    kvass_store store;
    bool deterministic;
    bool shuffled; /* pages in random order; the pool always has just enough of them */
    int32_t n_threads;
    int32_t window; /* 0 = full */
    int32_t n_sinks;
    kvass_positions positions;
    kvass_share share;
    bool none;      /* nothing is kept */
    int32_t n_topk; /* 0 = everything is read */
    int32_t n_dense_layers, n_recent;
    int32_t most_batch; /* not 0: rows of a chunk at most */
    bool offload;       /* as little in memory as can be, the rest in a file */
} parity_setup;

typedef struct parity_path {
    const char *name;
    /* fill logits[n_tokens, n_vocab] */
    void (*run)(const parity_text *text, const parity_setup *setup, int32_t arg, float *logits);
    int32_t arg; /* chunk size, cut position, ... */
} parity_path;

/* The paths; the first is the reference: one prefill of everything. Ends with name NULL. */
extern const parity_path parity_paths[];

/* How far a text's logits b are from a, over all its tokens: the largest difference, in standard
 * deviations of a; the mean of KL(softmax(a) || softmax(b)). */
double parity_worst(const parity_text *text, const float *a, const float *b);
double parity_mean_kl(const parity_text *text, const float *a, const float *b);

/* What all contexts of a setup have in common; a pool of just enough pages. */
kvass_context_options parity_options(const parity_text *text, const parity_setup *setup);

/* The least budget that a context with an offload file can have. */
size_t parity_least_budget(const kvass_model *model, kvass_context_options options);
/* A path that no file has, in a folder for temporary files. Static storage. */
const char *parity_temp_path(void);
/* Pages that contexts of the paths have read out of offload files. */
extern int64_t parity_cold_pages_read;

/* Fails the test with the library's message. */
void parity_check(kvass_status status, const kvass_error *err);

#endif
