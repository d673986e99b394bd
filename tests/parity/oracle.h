/* oracle.h - a forward pass in double precision, written to be checked by eye.
 * No cache, no pages, no tiles: keys and values of all positions in plain arrays, and for each
 * query a loop over those it may see. Where positions count in the cache, raw keys are rotated anew
 * for every query, at their index in the cache, as the paper on attention sinks describes (Xiao et
 * al. 2023). Each layer is told what it sees and whose keys it reads by the test, not by the
 * engine.
 */
#ifndef KVASS_TESTS_ORACLE_H
#define KVASS_TESTS_ORACLE_H

#include "model/model.h"

typedef struct oracle_rules {
    int32_t window; /* 0 = all */
    int32_t n_sinks;
    bool cache_positions;
    bool pairs; /* layer 2i+1 reads the keys and values of layer 2i */
    /* from position n_prefill on, layers from n_dense on read n_topk pages (0 = all) of 32
     * positions, those of the newest n_recent positions included, of the sinks not */
    int32_t n_topk, n_dense, n_recent, n_prefill;
    /* q8, q4: a query at p reads positions before 32 * floor((p + 1 - 32) / 32) quantized, in pages
     * of 32; not together with positions in the cache */
    kvass_store store;
    double *weights; /* not NULL: [n_layers, n_heads, n, n] gets what each query gives each key */
} oracle_rules;

/* logits[n_tokens, n_vocab] of tokens[n_tokens], at most 2048; *closest, unless NULL, is the least
 * relative distance in score between a page that was chosen and one that was not. false when out
 * of memory */
bool oracle_run(const kvass_model *model, const oracle_rules *rules, const int32_t *tokens,
                int32_t n_tokens, double *logits, double *closest);

#endif
