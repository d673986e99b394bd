/* eval.h - the parts of `kvass eval`: text into windows, windows into scores.
 */
#ifndef KVASS_TOOLS_EVAL_H
#define KVASS_TOOLS_EVAL_H

#include "tools/cli.h"

/* What is fed to the network at once, from an empty cache: ids[n]; every id but the first is
 * scored. */
typedef struct eval_window {
    const int32_t *ids;
    int32_t n;
    int64_t n_bytes; /* of text that the scored ids stand for */
} eval_window;

typedef struct eval_text {
    cli_bytes bytes;
    int32_t *ids; /* of all windows, one after the other */
    size_t n_ids, cap_ids;
    eval_window *windows; /* windows[n_windows]; ids point into the array above */
    size_t n_windows, cap_windows;
} eval_text;

typedef struct eval_split {
    bool stories;      /* cut into stories, score the beginning of each by itself */
    size_t tail_bytes; /* only the last so many bytes of the text; 0: all of it */
} eval_split;

/* Read the text, cut it, encode it into windows of at most n_ctx positions. Returns an exit
 * code. */
int eval_text_open(eval_text *text, const cli_prompt *source, const eval_split *split,
                   const kvass_tokenizer *tok, int32_t bos, int32_t n_ctx);
void eval_text_close(eval_text *text);

typedef struct eval_scores {
    double nats, reference_nats; /* -log p of the scored tokens, with the cache asked for and with
                                  * the full f32 cache */
    int64_t n_scored, n_bytes, n_fed;
    int64_t n_same_top;
    double kld_mean, kld_p99, kld_max;
    double seconds;          /* of the network with the cache asked for */
    double p50_ms, p99_ms;   /* per decoded token, --path decode */
    kvass_cache_usage usage; /* as it was when most was in use */
    kvass_context_info context;
} eval_scores;

/* Score every window with opt's cache, and against the full f32 cache. decode: one token after the
 * other by the cached path, instead of chunks. Returns an exit code. */
int eval_score(const kvass_model *model, const kvass_context_options *opt, const eval_text *text,
               bool decode, eval_scores *scores);

/* The options of the context that eval_score compares with. */
kvass_context_options eval_reference_options(const kvass_context_options *opt);
/* How many rows may ask for logits at once, so that they take a bounded amount of memory. */
int32_t eval_chunk(int32_t n_vocab, int32_t n_batch);

#endif
