/* eval.h - the parts of `kvass eval`: a text into windows, windows into scores, and three further
 * questions to a cache: does it find a needle, does it answer out of its context, does it last.
 * eval_run.c runs a network and measures time; the other parts say what is fed and what counts.
 */
#ifndef KVASS_TOOLS_EVAL_H
#define KVASS_TOOLS_EVAL_H

#include "tools/cli.h"

/* ---- text ----------------------------------------------------------------------------------- */

/* What is fed to the network at once, from an empty cache: ids[n]; ids[first] and all after it are
 * scored. */
typedef struct eval_window {
    const int32_t *ids;
    int32_t n, first;
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
    bool stories;       /* cut into stories, score the beginning of each by itself */
    bool stream;        /* one window, however long */
    size_t tail_bytes;  /* only the last so many bytes of the text; 0: all of it */
    int64_t n_tokens;   /* only the first so many tokens, begin-of-text included; 0: all */
    int32_t score_from; /* the first token of a window that is scored, >= 1 */
} eval_split;

/* Read the text, cut it, encode it into windows of at most n_ctx positions. Returns an exit
 * code. */
int eval_text_open(eval_text *text, const cli_prompt *source, const eval_split *split,
                   const kvass_tokenizer *tok, int32_t bos, int32_t n_ctx);
void eval_text_close(eval_text *text);

/* How the tokens of a window are read. */
typedef enum eval_path {
    EVAL_PREFILL, /* all of them by the full-sequence path */
    EVAL_DECODE,  /* one after the other by the cached path */
    EVAL_BOTH     /* those before the first scored one by the former, scored ones by the latter */
} eval_path;
extern const char *const eval_path_names[3];

/* ---- running -------------------------------------------------------------------------------- */

/* One context of the model with one sequence, and how long its calls took. */
typedef struct eval_side {
    kvass_context *ctx;
    kvass_seq *seq;
    int32_t n_vocab, n_chunk;
    kvass_row *rows; /* rows[n_chunk] */
    double prefill_seconds, decode_seconds;
    int64_t n_prefilled, n_decoded;
    double *step_ms; /* step_ms[cap_steps] of the tokens decoded; NULL: not wanted */
    int64_t cap_steps;
} eval_side;

kvass_status eval_side_open(eval_side *side, const kvass_model *model,
                            const kvass_context_options *opt, kvass_error *err);
void eval_side_close(eval_side *side);
/* Append ids[n]: by the full-sequence path in calls of at most n_chunk, or one after the other by
 * the cached path. logits[n, n_vocab] get every row's, unless NULL. */
kvass_status eval_feed(eval_side *side, const int32_t *ids, int32_t n, bool decode, float *logits,
                       kvass_error *err);

/* The full f32 cache that others are compared with, of the same size. */
kvass_context_options eval_reference_options(const kvass_context_options *opt);
/* Whether a cache of these options is declared approximate. */
bool eval_is_approximate(const kvass_context_options *opt);
/* How many rows may ask for logits at once, so that they take a bounded amount of memory. */
int32_t eval_chunk(int32_t n_vocab, int32_t n_batch);

/* log sum exp of x[n]; *top is the place of the maximum, the lowest among equals */
double eval_log_sum_exp(const float *x, int32_t n, int32_t *top);

/* "kvass eval: WHAT, 40 of 200" on a terminal's last line, at most a few times a second; total 0
 * takes it away. Silent elsewhere. */
void eval_progress(const cli_options *opts, const char *what, int64_t n_done, int64_t n_total);

/* ---- scores of a text ----------------------------------------------------------------------- */

typedef struct eval_scores {
    double nats, reference_nats; /* -log p of the scored tokens, with the cache asked for and with
                                  * the full f32 cache */
    int64_t n_scored, n_bytes, n_fed;
    int64_t n_same_top;
    double kld_mean, kld_p99, kld_max;
    double kld_floor; /* mean from the full f32 cache to itself, by another path and another number
                       * of threads */
    int64_t n_floor;  /* positions that were measured on */
    double prefill_seconds, decode_seconds; /* of the network with the cache asked for */
    int64_t n_prefilled, n_decoded;
    double p50_ms, p99_ms;   /* per decoded token */
    kvass_cache_usage usage; /* as it was when most was in use */
    kvass_context_info context;
} eval_scores;

/* One position: test[n_vocab] and reference[n_vocab] predict `next`. */
typedef struct eval_row {
    double nats, reference_nats; /* -log p(next) */
    double kld;                  /* of test from reference */
    bool same_top;
} eval_row;
eval_row eval_compare(const float *test, const float *reference, int32_t n_vocab, int32_t next);

/* Score every window with opts' cache, and against the full f32 cache of `reference`: the model
 * itself, or one of the same vocabulary. Returns an exit code. */
int eval_score(const cli_options *opts, const kvass_model *model, const kvass_model *reference,
               const eval_text *text, eval_path path, eval_scores *scores);

/* ---- a stream ------------------------------------------------------------------------------- */

enum { EVAL_STREAM_PARTS = 10, EVAL_STREAM_SAMPLES = 256 };

typedef struct eval_stream_scores {
    struct {
        double nats;
        int64_t n_scored;
        size_t bytes_used, peak_bytes; /* most in the cache, and of the process up to its end */
    } parts[EVAL_STREAM_PARTS];
    /* at n_sampled places all over the stream: the same token predicted out of the stream's cache,
     * and out of as many newest tokens as that cache holds, read anew */
    int64_t n_sampled;
    double sampled_nats, anew_nats;
} eval_stream_scores;

/* Feed the one window of `text`, however long, and score it as it goes by. *scores gets what has
 * no need of a reference; its kld's are NaN. Returns an exit code. */
int eval_stream(const cli_options *opts, const kvass_model *model, const eval_text *text,
                eval_path path, eval_scores *scores, eval_stream_scores *stream);

/* ---- needles -------------------------------------------------------------------------------- */

enum { EVAL_N_DEPTHS = 5, EVAL_N_NEEDLES = 8 };

/* Nats that having read the needle saves when its end is to be said again, at each depth; means
 * over the needles. */
typedef struct eval_needle_scores {
    double gain[EVAL_N_DEPTHS], full_gain[EVAL_N_DEPTHS];
    double mean, full_mean, full_error; /* over all; full_error: standard error of full_mean */
    bool testable;                      /* the full cache gains something */
    double kept;                        /* mean / full_mean */
} eval_needle_scores;

extern const int32_t eval_depths[EVAL_N_DEPTHS]; /* in per cent */

/* Filler is the beginning of the text; each run is as long as the context. Returns an exit code. */
int eval_needle(const cli_options *opts, const kvass_model *model, const kvass_tokenizer *tok,
                int32_t bos, const eval_text *text, eval_needle_scores *scores);

/* ---- recall --------------------------------------------------------------------------------- */

enum { EVAL_MOST_DISTANCES = 64 };

typedef struct eval_recall_scores {
    struct {
        int64_t distance;
        int32_t n, n_exact, n_full_exact;
    } at[EVAL_MOST_DISTANCES]; /* at[n_distances], in order of appearance */
    int32_t n_distances, n, n_exact, n_full_exact;
} eval_recall_scores;

/* Answer the prompts of a file of JSON lines {"distance", "prompt", "answer"} greedily, with opts'
 * cache and with the full f32 cache. Returns an exit code. */
int eval_recall(const cli_options *opts, const kvass_model *model, const kvass_tokenizer *tok,
                int32_t bos, const char *path, eval_recall_scores *scores);

/* ---- results -------------------------------------------------------------------------------- */

/* What was measured; NULL where it was not. */
typedef struct eval_results {
    const cli_options *opts;
    const kvass_model_info *info;
    const kvass_model_info *reference; /* NULL: the model itself */
    eval_path path;
    const eval_scores *scores;
    const eval_stream_scores *stream;
    const eval_needle_scores *needle;
    const eval_recall_scores *recall;
} eval_results;

void eval_print_text(const eval_results *results);
/* The members of r->scores: of the cache opts ask for, of its quality, of the run. NULL: out of
 * memory. */
json_t *eval_scores_json(const eval_results *r);
int eval_print_json(const eval_results *results);

#endif
