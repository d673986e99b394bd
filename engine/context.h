/* context.h - the inside of a context: one model's page pool, sequences and scratch.
 * Everything is carved from one arena at open; the page pool is reserved address space beside it.
 * Nothing below allocates afterwards.
 */
#ifndef KVASS_ENGINE_CONTEXT_H
#define KVASS_ENGINE_CONTEXT_H

#include "engine/cache/kv.h"
#include "engine/kernels/kernels.h"
#include "engine/team.h"
#include "model/model.h"

enum { KVASS_SEGMENT_ROWS = 256 }; /* attention is reduced in segments of this many positions */

struct kvass_seq {
    kvass_context *ctx;
    bool open;
    int32_t n_tokens;
    int32_t *tokens; /* tokens[n_ctx] */
    kv_seq kv;       /* unused where nothing is retained */
    float *logits;   /* logits[n_vocab] of its last row that wanted them */
    bool has_logits;
    bool in_call; /* already seen among the rows of the call being checked */
};

/* A norm or an activation chosen once, when the context opens. */
typedef void (*kvass_norm_fn)(const kvass_kernels *k, const kvass_norm *norm, const float *x,
                              int32_t n, float eps, float *y);
typedef void (*kvass_act_fn)(float *x, int32_t n);

/* A norm of dim values and what computes it; where the network has none, a function that leaves
 * y = x. */
typedef struct kvass_norm_op {
    kvass_norm_fn fn;
    const kvass_norm *norm;
} kvass_norm_op;

struct kvass_block;
typedef void (*kvass_join_fn)(kvass_context *ctx, int32_t member, const struct kvass_block *block);

/* What a layer runs: its weights and the functions its spec named. */
typedef struct kvass_block {
    const kvass_layer *layer;
    kvass_norm_op attn_norm, attn_post_norm, mlp_norm, mlp_post_norm;
    kvass_norm_fn qk_norm; /* NULL: none */
    kvass_join_fn join;    /* from attention's result to the MLP's input */
    kvass_act_fn act;
    int32_t rope;      /* index into the context's rope tables, -1 = none */
    int32_t owner;     /* the pool's index of the layer whose rows it reads */
    bool writes_cache; /* it is its own owner */
    float *k, *v;      /* [n_batch, kv_dim]: where its owner leaves the running chunk's rows */
    kv_policy policy;  /* what its queries see */
    const kv_retain_ops *retain;
    const kv_select_ops *select; /* which of it a decode row reads */
    /* positions in the cache: a query further on looks at pinned keys from here; -1 = off */
    int32_t pinned_index;
    float *pinned_cos, *pinned_sin; /* [n_rot/2] at pinned_index */
} kvass_block;

/* One distinct rope spec and its tables for the rows of the running chunk. */
typedef struct kvass_rope_table {
    kvass_rope_spec spec;
    double *freqs;    /* freqs[n_rot/2] */
    float *cos, *sin; /* [n_batch, n_rot/2] */
} kvass_rope_table;

/* K and V of the running chunk in a layer whose rows other layers read, too, and read exactly. */
typedef struct kvass_kept_rows {
    float *k, *v; /* [n_batch, kv_dim]; NULL where nobody does */
} kvass_kept_rows;

/* Rows of one sequence in the running chunk: rows first_row .. first_row+n_rows-1 stand at
 * positions pos .. pos+n_rows-1. */
typedef struct kvass_run {
    kvass_seq *seq;
    kv_seq *kv;
    int32_t first_row, n_rows, pos;
    kvass_phase phase;
} kvass_run;

/* One thread's private buffers. */
typedef struct kvass_thread_scratch {
    float *widened;       /* [tile rows, n_in]: a weight tile in f32 */
    kvass_acts acts;      /* [KVASS_OWN_ACTS, n_in]: the input of a product, rounded */
    kv_span *spans;       /* [kv_max_spans] */
    kv_reader *reader;    /* of pages in a file; NULL where there is none */
    kv_pick_scratch pick; /* empty where everything is read, but for the first thread */
    float *scores;        /* [max(n_group, 64), 256]; 64 query rows are a prefill block */
    float *keys, *values; /* [256, head_dim]: a segment in f32 */
    float *out;           /* [n_group, 64, head_dim] */
    float *part;          /* [max(n_group, 64), head_dim] */
    float *max, *sum;     /* [n_group + 1, 64] */
    int64_t pages_read;   /* by decode rows since the context was opened */
} kvass_thread_scratch;

/* A closed sequence whose pages wait for one that begins alike. */
typedef struct kvass_retired {
    kv_seq kv;
    int32_t n_pages;   /* full pages; 0 = nothing is here */
    int32_t n_matched; /* of them, equal to the text being looked for */
    int32_t *tokens;   /* tokens[n_ctx] */
    uint64_t *hashes;  /* hashes[n_pages]: of each page and all before it */
    int64_t last_use;
} kvass_retired;

struct kvass_context {
    const kvass_model *model;
    kvass_kernels kernels;
    kvass_retain retain;
    kvass_positions positions;
    const kv_select_ops *select;
    size_t kv_budget;         /* 0 = none */
    int32_t n_topk, n_recent; /* pages, and newest positions, that a decode row reads */
    bool keeps_rows;          /* false: retain none */
    bool deterministic;
    int32_t n_ctx, n_batch, n_seqs, n_logits, n_threads;
    int32_t n_group; /* query heads per KV head */
    bool (*cancel)(void *user);
    void *cancel_user;

    int32_t n_meta, n_prefix; /* rows before any text, tokens before any of the caller's */

    kvass_arena arena;
    kv_owner *owners; /* owners[n_owners] of the pool */
    kv_pool pool;
    kv_seq prefix;          /* meta tokens and prefix: what every sequence begins with */
    int32_t *prefix_tokens; /* prefix_tokens[n_prefix] */
    kvass_seq *seqs;        /* seqs[n_seqs] */
    kvass_retired *retired; /* retired[n_reuse] */
    int32_t n_reuse;
    int64_t reuse_clock;
    uint64_t (*reuse_hash)(uint64_t parent, const int32_t *tokens, int32_t n); /* for tests */
    kv_seq transient;        /* the rows of the sequence being recomputed, where nothing is kept */
    kvass_block *blocks;     /* blocks[n_layers] */
    kvass_rope_table *ropes; /* ropes[n_ropes] */
    int32_t n_ropes;

    /* the running chunk */
    kvass_team team;
    kvass_run *runs; /* runs[n_batch] */
    int32_t n_runs, n_rows;
    int32_t *run_of_row; /* run_of_row[n_batch] */
    int32_t *tokens;     /* tokens[n_batch] */
    int32_t *pos;        /* pos[n_batch] */
    int32_t *wanted;     /* wanted[n_batch]: rows whose logits are asked for */
    int32_t n_wanted;
    bool cancelled;     /* written by member 0 between barriers */
    int64_t n_products; /* weight products begun, for tests */

    /* activations */
    float *x, *xn, *y;        /* [n_batch, dim]: residual, normed, a branch's result */
    float *q, *ao;            /* [n_batch, q_dim] */
    float *q_pinned;          /* [n_batch, q_dim]: q as pinned keys see it; NULL when the same */
    float *k, *v;             /* [n_batch, kv_dim] */
    kvass_kept_rows *kept;    /* kept[n_owners]: in place of k and v where later layers need them */
    float *h, *h_gate;        /* [n_batch, ffn_dim] */
    kvass_acts acts;          /* [n_batch, n_in]: the input of a product, rounded */
    float *logits;            /* [n_logits, n_vocab]: of the last call, in row order */
    int32_t n_logits_out;     /* rows of logits that are valid */
    const float *lone_logits; /* where the only wanted row went, else NULL */
    float *partials;          /* decode attention split over segments; see attn_decode.c */
    int32_t n_segments;       /* segments that the widest view can touch */
    kvass_thread_scratch *scratch; /* scratch[n_threads] */
    struct kvass_watch *watch;     /* whose attention is written down, and where; NULL: nobody's */

    /* the running call: its rows grouped by sequence */
    kvass_run *call_runs; /* call_runs[n_seqs]; pos = tokens before the call */
    int32_t n_call_runs;
    kv_seq **call_kv;     /* call_kv[n_seqs] */
    int32_t *call_counts; /* call_counts[n_seqs] */
    int64_t recomputed_tokens, evicted_tokens, reused_tokens;
    size_t transient_bytes;
    size_t full_bytes; /* of a cache that holds n_seqs sequences of n_ctx: without a budget */
};

/* context_plan.c: options checked and defaults filled in; what each layer keeps and whose rows it
 * reads; the pool's pages. Allocates ctx->owners only. */
kvass_status kvass_context_plan(kvass_context *ctx, const kvass_model *model,
                                const kvass_context_options *given, kvass_context_options *o,
                                kvass_error *err);
/* Bytes of the exact tails of all its sequences. */
size_t kvass_context_tail_bytes(const kvass_context *ctx);
/* The layer whose K and V layer l reads, and what its queries see, under these options. */
int32_t kvass_context_owner(const kvass_model *model, const kvass_context_options *o, int32_t l);
kv_policy kvass_context_policy(const kvass_model *model, const kvass_context_options *o, int32_t l);

/* context_carve.c: everything that lives in the arena, counted or carved. */
void kvass_context_carve(kvass_context *ctx, kvass_arena *arena);

/* call.c: run the meta tokens and prefix_tokens into ctx->prefix. */
kvass_status kvass_context_run_prefix(kvass_context *ctx, kvass_error *err);
/* call.c: fill seq, which holds the prefix alone, from its own tokens[n_tokens] again. */
kvass_status kvass_context_refill(kvass_seq *seq, int32_t n_tokens, kvass_error *err);

/* Dimensions derived from the model. */
static inline int32_t kvass_q_dim(const kvass_config *c)
{
    return c->n_heads * c->head_dim;
}

static inline int32_t kvass_kv_dim(const kvass_config *c)
{
    return c->n_kv_heads * c->head_dim;
}

#endif
