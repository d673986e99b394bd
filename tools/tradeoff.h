/* tradeoff.h - the parts of `kvass tradeoff`: which caches, one run of one of them, the file of
 * runs, the table. A run reads the first n_ctx tokens of a text: one half by a prefill, the other
 * token by token through the cache, each of which predicts the next token. Runs take turns: all
 * caches once, then all again.
 *
 * The file has one JSON object a line, one for each run, appended when it is finished; these lines
 * are all there is to resume from. Members:
 *   schema_version 1, kind "tradeoff"
 *   what ran where, the same in all lines of a file:
 *     model (path), model_fingerprint, family, dtype, n_params, weight_bytes, n_layers, n_kv_heads,
 *     head_dim, n_meta, trained_ctx, text_fingerprint, cpu, isa, threads, batch, deterministic
 *   load_average (when the command began; null: unknown), version, commit
 *   which run (n_ctx, flags and trial are its key):
 *     n_ctx     tokens read; above trained_ctx the network is where it was not trained to be
 *     cache     "full", "f16", "q8", "q4", "window:sqrt", "window:N", "sinks:sqrt", "sinks:N",
 *               "stream:sqrt", "stream:N", "topk:N", "pairs", "none"; null with status "left out"
 *     flags     what other commands call this cache: "--kv-type f32 --window 8 --sinks 4"
 *     trial     0, 1, ...; null when the line stands for several
 *     trials    how many it stands for; its times are medians over them
 *     status    "ok"; "refused": the model cannot have this cache; "left out": nothing of this
 *               length can be run
 *     reason    why not, as a sentence; null when ok
 * and only when ok:
 *     exactness "exact", "rounding" (f16), or "approximate"
 *     policy ("full", "window", "none"), select ("all", "topk"), k_type, v_type, path ("both"),
 *     window, sinks, topk_pages (0: no such choice), positions ("original", "cache"), share
 *     ("model", "pairs"), budget (null), n_owners (layers that keep keys and values of their own)
 *     tokens_prefilled, tokens_decoded (where nothing is kept fewer than tokens_scored: they stand
 *     at even distances), tokens_scored, bytes_scored, tokens_seen
 *     cache_bytes = bytes_used + index_bytes + tail_bytes: held at the end
 *     cache_bytes_peak = bytes_touched + tail_bytes: ever written to, with what a prefill needs
 *     bytes_reserved, bytes_used, bytes_touched, bytes_per_token, bytes_transient, index_bytes,
 *     tail_bytes, cold_bytes
 *     bits_per_byte, ppl, ppl_ratio, kld_mean, kld_p99, kld_max, kld_floor (null), same_top (0 to
 *     1): of the scored tokens, against the full f32 cache; needle_kept (null)
 *     prefill_ms_per_token, prefill_tok_s, decode_ms_per_token, decode_tok_s (means over the run),
 *     decode_p50_ms, decode_p99_ms
 *     prefill_ms_trials, decode_ms_trials: milliseconds per token of each trial
 *     recomputed_tokens (in decoding tokens_decoded), recomputed_per_token, evicted_tokens,
 *     pages_touched, pages_read, seed (null)
 */
#ifndef KVASS_TOOLS_TRADEOFF_H
#define KVASS_TOOLS_TRADEOFF_H

#include "tools/eval.h"

enum { TRADEOFF_MAX_LENGTHS = 32, TRADEOFF_MAX_CACHES = 64, TRADEOFF_MAX_FILES = 32 };

/* ---- caches --------------------------------------------------------------------------------- */

typedef enum tradeoff_kind {
    TRADEOFF_FULL,
    TRADEOFF_F16,
    TRADEOFF_Q8,
    TRADEOFF_Q4,
    TRADEOFF_WINDOW,
    TRADEOFF_SINKS,  /* a window behind 4 sinks */
    TRADEOFF_STREAM, /* the same, positions in the cache */
    TRADEOFF_TOPK,
    TRADEOFF_PAIRS,
    TRADEOFF_NONE
} tradeoff_kind;

typedef struct tradeoff_cache {
    tradeoff_kind kind;
    int32_t n; /* of window:N and topk:N; 0: 4 * sqrt(n_ctx) */
    char name[32];
} tradeoff_cache;

/* false: `text` names none */
bool tradeoff_cache_parse(const char *text, tradeoff_cache *cache);
/* base with this cache and n_ctx positions */
kvass_context_options tradeoff_cache_options(const tradeoff_cache *cache,
                                             const kvass_context_options *base, int32_t n_ctx);
/* The flags that choose the cache of *opt, into flags[n]. */
void tradeoff_cache_flags(const kvass_context_options *opt, char *flags, size_t n);
/* "exact", "rounding" or "approximate" */
const char *tradeoff_exactness(const kvass_model *model, const kvass_context_options *opt);

/* ---- runs ----------------------------------------------------------------------------------- */

typedef enum tradeoff_format { TRADEOFF_MD, TRADEOFF_CSV, TRADEOFF_JSONL } tradeoff_format;

typedef struct tradeoff_args {
    cli_options opts; /* first: see cli_share_state; the cache's flags are those of "full" */
    cli_prompt source;
    int32_t lengths[TRADEOFF_MAX_LENGTHS];
    int n_lengths; /* 0: the default ones */
    tradeoff_cache caches[TRADEOFF_MAX_CACHES];
    int n_caches; /* 0: the default ones */
    int trials;
    const char *out; /* -o: the file of runs; NULL: none */
    const char *from[TRADEOFF_MAX_FILES];
    int n_from;
    tradeoff_format format;
} tradeoff_args;

/* The tokens of one length: ids[n_ctx] are read, ids[n_ctx] is predicted by the last. */
typedef struct tradeoff_text {
    const int32_t *ids;
    int32_t n_ctx;
    int64_t n_bytes; /* of the text that the scored tokens stand for */
} tradeoff_text;

/* The full f32 cache of one length, and room for logits. */
typedef struct tradeoff_oracle {
    eval_side side;
    int32_t n_ctx;          /* that it is open for; 0: it is not */
    float *kept, *expected; /* [n_chunk, n_vocab] */
    double *kld;            /* kld[n_ctx] */
} tradeoff_oracle;

void tradeoff_oracle_close(tradeoff_oracle *oracle);

/* One run of the cache of *opt. With an oracle predictions are scored; without, only the times, the
 * usage and the context in *scores mean anything. */
kvass_status tradeoff_run(const kvass_model *model, const kvass_context_options *opt,
                          const tradeoff_text *text, tradeoff_oracle *oracle, eval_scores *scores,
                          int64_t *n_recomputed, kvass_error *err);

/* The members of a finished run, but for what and which it was. quality: a line of the same run in
 * an earlier trial, whose scores are taken over; NULL: they are in *scores. NULL: out of memory. */
json_t *tradeoff_run_json(const kvass_model *model, const kvass_context_options *opt,
                          const eval_scores *scores, int64_t n_recomputed, const json_t *quality);

/* ---- the file ------------------------------------------------------------------------------- */

/* Lines, as a JSON array, and the file that they are appended to. */
typedef struct tradeoff_file {
    const char *path; /* NULL: kept in memory only */
    int fd;
    json_t *lines;
} tradeoff_file;

/* Open path (NULL: none) for appending, read the runs it has, drop an unfinished last line. Refuses
 * a file that is something else, or whose runs are not of *setup. Returns an exit code. */
int tradeoff_file_open(tradeoff_file *file, const char *path, const json_t *setup,
                       const cli_options *opts);
void tradeoff_file_close(tradeoff_file *file);
/* Append a line and keep it; drops it on failure. Returns an exit code. */
int tradeoff_file_add(tradeoff_file *file, json_t *line);
/* Add the lines of a file of runs to an array. Returns an exit code. */
int tradeoff_file_read(const char *path, json_t *lines);
/* The line of this run; trial -1: of any of its trials. NULL: none. */
const json_t *tradeoff_file_find(const tradeoff_file *file, int32_t n_ctx, const char *flags,
                                 int trial);

/* ---- results -------------------------------------------------------------------------------- */

/* The lines with one for all trials of a run, in order of appearance; NULL: out of memory. */
json_t *tradeoff_merge(const json_t *lines);
/* Print lines, merged: with --from those that --ctx and --policies name, else all. Returns an exit
 * code. */
int tradeoff_print(const tradeoff_args *args, json_t *lines);

#endif
