/* kvass.h - the one public header of libkvass.
 *
 * kvass reads a small GPT-style checkpoint, and generates text from it out of a KV cache.
 *
 *   kvass_model      a checkpoint bound into layer blocks; immutable, shareable between threads
 *   kvass_tokenizer  text <-> token ids; immutable, shareable between threads
 *   kvass_context    page pool + scratch memory for one model; one thread at a time
 *   kvass_seq        one timeline of tokens inside a context
 *   kvass_sampler    logits -> token id; one thread at a time
 *   kvass_cache      the paged cache alone, for people who bring their own attention
 *
 * Manners. Every call that can fail for more than one reason returns a kvass_status and takes a
 * caller-owned kvass_error (NULL is allowed) as its last argument. Constructors set *out = NULL
 * first; every other output is written only on success. close() accepts NULL and a pointer to
 * NULL, and sets the caller's pointer to NULL. The library never prints, exits, aborts, reads the
 * environment or touches signals. Shapes are written slowest dimension first: x[n_rows, dim].
 */
#ifndef KVASS_H
#define KVASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define KVASS_API               __attribute__((visibility("default")))
#define KVASS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define KVASS_API
#define KVASS_PRINTF(fmt, args)
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define KVASS_VERSION_MAJOR 0
#define KVASS_VERSION_MINOR 1
#define KVASS_VERSION_PATCH 0

/* ---- status and errors ---------------------------------------------------------------------- */

#define KVASS_STATUS_MAP(X)                                                                        \
    X(OK, 0, "ok")                                                                                 \
    X(INVALID, -1, "invalid argument")                                                             \
    X(NOMEM, -2, "out of memory")                                                                  \
    X(IO, -3, "cannot read file")                                                                  \
    X(FORMAT, -4, "malformed file")                                                                \
    X(UNSUPPORTED, -5, "not supported")                                                            \
    X(CONTEXT_FULL, -6, "context is full")                                                         \
    X(CANCELLED, -7, "stopped by the caller")                                                      \
    X(NAN_LOGITS, -8, "the network produced NaN")                                                  \
    X(BUDGET, -9, "does not fit the budget")

typedef enum kvass_status {
#define X(name, value, text) KVASS_##name = value,
    KVASS_STATUS_MAP(X)
#undef X
} kvass_status;

/* What went wrong. `rule` is a stable upper-case name such as "HEADER_SIZE" (static storage);
 * `message` names the file, the place, what was expected and what was found. */
typedef struct kvass_error {
    kvass_status code;
    const char *rule;
    char message[512];
} kvass_error;

/* A static English phrase for `status`; never NULL. */
KVASS_API const char *kvass_status_text(kvass_status status);

/* "0.1.0"; static storage. */
KVASS_API const char *kvass_version(void);

/* ---- element types --------------------------------------------------------------------------- */

/* X(NAME, "name", elements per block, bytes per block)
 * q8_0    GGUF's block: f16 scale d, then 32 int8; value = d * q
 * q8_f32  the same with an f32 scale, so that llama2.c's Q8_0 groups load without rounding
 * the others are GGUF's blocks, as engine/kernels/quants.c describes them */
#define KVASS_DTYPE_MAP(X)                                                                         \
    X(F32, "f32", 1, 4)                                                                            \
    X(F16, "f16", 1, 2)                                                                            \
    X(BF16, "bf16", 1, 2)                                                                          \
    X(Q8_0, "q8_0", 32, 34)                                                                        \
    X(Q8_F32, "q8_f32", 32, 36)                                                                    \
    X(Q4_0, "q4_0", 32, 18)                                                                        \
    X(Q4_1, "q4_1", 32, 20)                                                                        \
    X(Q5_0, "q5_0", 32, 22)                                                                        \
    X(Q5_1, "q5_1", 32, 24)                                                                        \
    X(Q2_K, "q2_k", 256, 84)                                                                       \
    X(Q3_K, "q3_k", 256, 110)                                                                      \
    X(Q4_K, "q4_k", 256, 144)                                                                      \
    X(Q5_K, "q5_k", 256, 176)                                                                      \
    X(Q6_K, "q6_k", 256, 210)

typedef enum kvass_dtype {
#define X(name, text, n_block, n_bytes) KVASS_DTYPE_##name,
    KVASS_DTYPE_MAP(X)
#undef X
        KVASS_N_DTYPES
} kvass_dtype;

/* "f32", "q8_0", ...; "?" for a value outside the enum. */
KVASS_API const char *kvass_dtype_name(kvass_dtype dtype);

/* ---- model ----------------------------------------------------------------------------------- */

typedef struct kvass_model kvass_model;

typedef struct kvass_model_options {
    size_t struct_size; /* set by kvass_model_options_default() */
    bool use_mmap;      /* map weight files instead of reading them; a file shortened meanwhile
                         * then raises SIGBUS in the process */
    bool header_only;   /* bind and validate everything, read no weight; such a model can be
                         * inspected but not run */
} kvass_model_options;

KVASS_API kvass_model_options kvass_model_options_default(void);

/* Open a checkpoint: a Hugging Face folder, a .safetensors file (config.json beside it), a sharded
 * model.safetensors.index.json, a .gguf (of a split one the first part; or the folder that it alone
 * is in), a PyTorch file or its index, or a llama2.c .bin (v0, v1, v2). opt may be NULL for
 * defaults.
 * The caller owns *out and closes it after every context made from it.
 * IO, FORMAT, UNSUPPORTED, NOMEM, INVALID. */
KVASS_API kvass_status kvass_model_open(kvass_model **out, const char *path,
                                        const kvass_model_options *opt, kvass_error *err);
KVASS_API void kvass_model_close(kvass_model **model);

typedef struct kvass_model_info {
    const char *family;    /* "llama", "gpt2", ...; owned by the model, like every string here */
    const char *format;    /* "safetensors", "llama2.c v0", ... */
    const char *path;      /* as given to kvass_model_open */
    const char *positions; /* "rope", "learned", "none" */
    int32_t n_layers, dim, n_heads, n_kv_heads, head_dim, ffn_dim, n_vocab;
    int32_t n_ctx;         /* trained context length */
    int32_t bos;           /* begin-of-text id, -1 if the checkpoint names none */
    int32_t eos[8], n_eos; /* ids that end a text */
    int32_t n_meta;        /* learned vectors before every text; each takes a row of the cache */
    bool tied;             /* the output matrix is the token embedding */
    int64_t n_params;      /* tied matrices counted once */
    size_t weight_bytes;   /* bytes the weights take in memory */
    int32_t n_tensors;     /* tensors in the checkpoint's directory */
    int32_t n_warnings;    /* kvass_model_warning(model, 0 .. n_warnings - 1) */
    uint64_t fingerprint;  /* of configuration, tensor names, shapes and sampled weight bytes */
} kvass_model_info;

/* *info is filled; its strings live as long as the model. */
KVASS_API void kvass_model_get_info(const kvass_model *model, kvass_model_info *info);

/* What one layer sees and whose keys and values it reads, as trained. */
typedef struct kvass_layer_info {
    int32_t window; /* keys a query sees besides meta tokens, its own included; 0 = all */
    int32_t owner;  /* the layer whose K and V it reads; itself unless shared */
} kvass_layer_info;
/* INVALID when layer is out of range. */
KVASS_API kvass_status kvass_model_get_layer(const kvass_model *model, int32_t layer,
                                             kvass_layer_info *info, kvass_error *err);

/* Something odd but harmless found while opening, as a sentence; NULL when i is out of range. */
KVASS_API const char *kvass_model_warning(const kvass_model *model, int32_t i);

typedef struct kvass_tensor_info {
    const char *name;
    kvass_dtype dtype;
    int32_t n_dims;
    int64_t shape[8]; /* slowest dimension first */
    size_t n_bytes;   /* as stored in the file */
    const void *data; /* as stored, or NULL when it is not kept in memory in that form */
} kvass_tensor_info;

/* The i-th tensor of the checkpoint's directory, sorted by name. INVALID when i is out of range. */
KVASS_API kvass_status kvass_model_get_tensor(const kvass_model *model, int32_t i,
                                              kvass_tensor_info *info, kvass_error *err);

/* Bytes [offset, offset + n_bytes) of the i-th tensor as its file stores them, into buf[n_bytes];
 * works for a header_only model, too. INVALID when i or the range is out of bounds, IO, FORMAT. */
KVASS_API kvass_status kvass_model_read_tensor(const kvass_model *model, int32_t i, size_t offset,
                                               void *buf, size_t n_bytes, kvass_error *err);

/* Elements [first, first + n) of the i-th tensor, in the order its file stores them, as floats into
 * out[n]; works for a header_only model, too. first is a multiple of 256, and so is n unless it
 * reaches the end. INVALID, UNSUPPORTED when the type is not one of kvass_dtype, IO, FORMAT,
 * NOMEM. */
KVASS_API kvass_status kvass_model_read_values(const kvass_model *model, int32_t i, int64_t first,
                                               float *out, int64_t n, kvass_error *err);

/* ---- context --------------------------------------------------------------------------------- */

typedef struct kvass_context kvass_context;
typedef struct kvass_seq kvass_seq;

typedef enum kvass_retain {
    KVASS_RETAIN_FULL,  /* as trained: every position stays, save where a layer has a window */
    KVASS_RETAIN_NONE,  /* keep token ids only; K and V are recomputed in every forward */
    KVASS_RETAIN_WINDOW /* the first n_sinks positions and the newest `window` ones, in every layer
                         * whose own window is not narrower: approximate unless trained so */
} kvass_retain;

typedef enum kvass_positions {
    KVASS_POSITIONS_ORIGINAL, /* a key is as far away as it is in the text */
    KVASS_POSITIONS_CACHE     /* pinned keys are as far away as they are in the cache: for streams
                               * beyond the trained context. Rotary positions only */
} kvass_positions;

typedef enum kvass_share {
    KVASS_SHARE_MODEL, /* layers share K and V as the network was trained to */
    KVASS_SHARE_PAIRS  /* layer 2i+1 reads layer 2i's: approximate unless trained so */
} kvass_share;

typedef enum kvass_store {
    KVASS_STORE_F32, /* the oracle */
    KVASS_STORE_F16, /* the default */
    KVASS_STORE_Q8,  /* 8.5 bits a value: blocks of 32 along a row share a scale. Approximate */
    KVASS_STORE_Q4   /* 5 bits a value: keys share minimum and step per channel of a page, values
                      * per block of 32 along a row. Approximate.
                      * (4-bit keys with a scale per row are not offered: they lose the text.)
                      * q8 and q4 quantize full pages of 32 positions; a query reads at least the
                      * newest 32 positions exactly, out of 128 rows that each sequence keeps in
                      * f32. What it reads depends on positions alone, so every path agrees */
} kvass_store;

/* "f32", "f16", "q8", "q4"; "?" for a value outside the enum. */
KVASS_API const char *kvass_store_name(kvass_store store);

typedef enum kvass_select {
    KVASS_SELECT_ALL, /* a query reads every retained position it may see */
    KVASS_SELECT_TOPK /* a decoded token reads, per KV head, the n_topk pages of 32 positions that
                       * bounds of their keys rank highest, in layers trained to see everything;
                       * approximate unless that is all of them. Prefill reads every position */
} kvass_select;

typedef enum kvass_isa {
    KVASS_ISA_SCALAR = 0,     /* portable C, always there */
    KVASS_ISA_AVX2 = 1 << 0,  /* AVX2 + FMA + F16C */
    KVASS_ISA_AVX512 = 1 << 1 /* AVX-512 F, BW and VNNI, on top of AVX2 */
} kvass_isa;

/* Name of the kernel table that a context with this mask would use on this CPU: "scalar",
 * "avx2" or "avx512". */
KVASS_API const char *kvass_isa_name(uint32_t isa);

typedef struct kvass_context_options {
    size_t struct_size; /* set by kvass_context_options_default() */
    int32_t n_ctx;      /* positions a sequence can hold; 0 = the model's trained context */
    int32_t n_batch;    /* rows that one pass over the layers takes; longer calls are cut into
                         * chunks of this size. Default 512 */
    int32_t n_seqs;     /* sequences that can be open at once. Default 1 */
    int32_t n_logits;   /* rows that may ask for logits in one kvass_forward; 0 = n_seqs */
    int32_t n_threads;  /* 0 = kvass_default_threads() */
    kvass_retain retain;
    kvass_store store;
    kvass_select select;
    bool deterministic; /* same bits on every path: prefill, decode, any chunking, any batch */
    uint32_t isa;       /* mask of kvass_isa allowed; default ~0u = whatever the CPU has */
    size_t kv_budget;   /* bytes the cache may reserve; 0 = what n_seqs * n_ctx needs */
    uint64_t page_seed; /* not 0: hand out pages in a random order (for tests) */
    int32_t window;     /* retain window: keys a query sees, its own included; >= 1 */
    int32_t n_sinks;    /* retain window: leading positions that always stay */
    kvass_positions positions;
    kvass_share share;
    const int32_t *prefix; /* prefix[n_prefix]: tokens that every sequence begins with, such as a
                            * system prompt: run once when the context opens, shared, never
                            * evicted. Read during the call only */
    int32_t n_prefix;
    int32_t n_reuse;          /* closed sequences whose pages are remembered for kvass_seq_reuse.
                               * Without a budget each gets pages of its own. Default 0 */
    int32_t n_topk;           /* select topk: pages read, the token's own and the newest ones
                               * included, those of pinned positions aside; 0 = 16 */
    int32_t n_dense_layers;   /* select topk: the first layers, which read everything */
    int32_t n_recent;         /* newest positions that select topk always reads, and that do not
                               * leave memory for the offload file */
    const char *offload_path; /* a file to create for pages that kv_budget has no room for: the
                               * oldest full ones of a sequence. It must not exist, is for the
                               * owner alone, and has no name once it is open: nothing is left
                               * behind. NULL: none. Read during the call only */
} kvass_context_options;

KVASS_API kvass_context_options kvass_context_options_default(void);

/* min(CPUs this process may run on, the whole CPUs its cgroup quota grants), at least 1. */
KVASS_API int32_t kvass_default_threads(void);

/* Bytes that kvass_context_open would take: *scratch for buffers, *cache reserved for pages.
 * INVALID, UNSUPPORTED, BUDGET. opt may be NULL. */
KVASS_API kvass_status kvass_context_bytes(const kvass_model *model,
                                           const kvass_context_options *opt, size_t *scratch,
                                           size_t *cache, kvass_error *err);

/* All memory is taken here; nothing later allocates. The context borrows the model: close the
 * context first. opt may be NULL. INVALID, UNSUPPORTED, NOMEM, BUDGET. */
KVASS_API kvass_status kvass_context_open(kvass_context **out, const kvass_model *model,
                                          const kvass_context_options *opt, kvass_error *err);
/* Closes the sequences that are still open, too: their handles become invalid. */
KVASS_API void kvass_context_close(kvass_context **ctx);

/* `cancel(user)` is polled once per layer; when it returns true the running call stops with
 * CANCELLED and the sequences stand at their last completed chunk. NULL removes it. */
KVASS_API void kvass_context_set_cancel(kvass_context *ctx, bool (*cancel)(void *user), void *user);

typedef struct kvass_context_info {
    int32_t n_ctx, n_batch, n_seqs, n_logits, n_threads;
    const char *isa;                     /* kernel table in use: "scalar", "avx2" */
    const char *retain, *store, *select; /* names of the cache's choices */
    bool deterministic;
    size_t scratch_bytes; /* buffers, taken at open */
} kvass_context_info;
KVASS_API void kvass_context_get_info(const kvass_context *ctx, kvass_context_info *info);

/* What the cache holds. Bytes count K and V over all owner layers and KV heads. */
typedef struct kvass_cache_usage {
    size_t bytes_reserved;     /* address space taken at open */
    size_t bytes_used;         /* pages that some sequence holds now, each counted once */
    size_t bytes_shared;       /* of those, pages that more than one sequence holds */
    size_t bytes_resident;     /* of those, pages that lie in memory */
    size_t bytes_touched;      /* pages ever written since open: what the process really occupies,
                                * but for the rounding of a system with huge pages */
    size_t bytes_per_token;    /* of one more position in one sequence, its windows being full */
    size_t bytes_transient;    /* retain none: the scratch pages used and emptied every step */
    int32_t n_pages;           /* pages of all owner layers together */
    int32_t n_pages_used;      /* summed over owner layers */
    int32_t n_pages_touched;   /* likewise */
    int32_t page_rows;         /* positions per page: 32 */
    int64_t recomputed_tokens; /* retain none: tokens run again only because nothing was kept */
    int64_t evicted_tokens;    /* positions that some layer no longer holds, over all sequences */
    int64_t reused_tokens;     /* taken over from closed sequences instead of being run */
    size_t index_bytes;        /* of bytes_reserved: bounds of keys, by which pages are chosen */
    size_t cold_bytes;         /* of bytes_used, pages that lie in the offload file instead */
    int64_t cold_pages_read;   /* of one KV head, read out of that file */
    int64_t pages_read;        /* pages that decoded tokens read, summed over layers and KV heads */
    size_t tail_bytes; /* q8, q4: rows kept exactly beside the pages, of all sequences that can
                        * be open. They count against kv_budget, not in bytes_reserved */
} kvass_cache_usage;
KVASS_API void kvass_context_get_usage(const kvass_context *ctx, kvass_cache_usage *usage);

/* ---- sequences ------------------------------------------------------------------------------- */

/* A new sequence out of the context's n_seqs: empty, or holding the context's prefix. INVALID when
 * all are open. */
KVASS_API kvass_status kvass_seq_open(kvass_seq **out, kvass_context *ctx, kvass_error *err);
/* Its pages go home to the pool, or wait there for kvass_seq_reuse. */
KVASS_API void kvass_seq_close(kvass_seq **seq);

/* A second timeline with the same past: pages are shared, the first write copies the open page.
 * The last logits are copied. INVALID when all n_seqs are open. */
KVASS_API kvass_status kvass_seq_fork(kvass_seq **out, const kvass_seq *seq, kvass_error *err);

/* Forget every position >= n_tokens. INVALID when n_tokens is negative, beyond the end, or below
 * kvass_seq_can_truncate(). The logits become unavailable. */
KVASS_API kvass_status kvass_seq_truncate(kvass_seq *seq, int32_t n_tokens, kvass_error *err);
/* The lowest n_tokens that kvass_seq_truncate accepts. */
KVASS_API int32_t kvass_seq_can_truncate(const kvass_seq *seq);
/* Keep bounds of the keys of all full pages that seq has now, by which kvass_seq_search ranks them.
 * With select topk they are kept from the start and this does nothing. Otherwise the first call on
 * a context takes the memory for it (counted by kv_budget); pages that fill later are indexed by
 * the next call. NOMEM, BUDGET, INVALID, IO. */
KVASS_API kvass_status kvass_seq_build_index(kvass_seq *seq, kvass_error *err);
/* The top_k full pages of seq whose keys can score highest in a layer, the best first, the earlier
 * one among equals: pages[i] = n stands for positions 32n to 32n+31. q holds rotated queries:
 * [n_heads / n_kv_heads, head_dim] of the group of kv_head, or [n_heads, head_dim] of all with
 * kv_head -1; a page's score is its highest for any of them. A score is an upper bound of q . k for
 * every key of the page; pages without an index are read. *n_pages <= top_k is how many there are.
 * INVALID, IO. */
KVASS_API kvass_status kvass_seq_search(const kvass_seq *seq, int32_t layer, int32_t kv_head,
                                        const float *q, int32_t top_k, int32_t *pages,
                                        int32_t *n_pages, kvass_error *err);
/* Move all pages of seq that may leave memory to the offload file now: full ones, neither pinned
 * nor recent, in layers without a window. They are read from there when they are needed. INVALID
 * without an offload file, IO. */
KVASS_API kvass_status kvass_seq_offload(kvass_seq *seq, kvass_error *err);

/* Back to what kvass_seq_open gave; always possible. */
KVASS_API void kvass_seq_reset(kvass_seq *seq);

KVASS_API int32_t kvass_seq_n_tokens(const kvass_seq *seq);
/* tokens[n_tokens]: owned by the sequence, valid until its next call. */
KVASS_API const int32_t *kvass_seq_tokens(const kvass_seq *seq);

/* Begin as a closed sequence did: whole pages of tokens[n_tokens], which the caller is about to
 * append to a new sequence, are shared with it instead of being run again. The first *n_reused of
 * them are then part of seq; the others, at least one, are still to be appended. None are reused
 * when no remembered sequence begins with them, or when its window, or the exact tail of a
 * quantized store, has let go what is needed. The rows are those of the closed sequence: with
 * select topk a row that was decoded there is as decoding made it.
 * Needs n_reuse > 0. INVALID when seq holds more than the context's prefix, CONTEXT_FULL. */
KVASS_API kvass_status kvass_seq_reuse(kvass_seq *seq, const int32_t *tokens, int32_t n_tokens,
                                       int32_t *n_reused, kvass_error *err);

/* Write the sequence to a file: its tokens, its last logits, every row the cache holds of it. The
 * file appears under its name when all of it is on the disk; whatever goes wrong, a file that had
 * the name is untouched and no other is left. INVALID, IO. */
KVASS_API kvass_status kvass_seq_save(const kvass_seq *seq, const char *path, kvass_error *err);
/* Become what was saved; what seq held is dropped. The next decode gives the very bits it would
 * have given then. *n_restored (may be NULL) is the number of tokens, the context's prefix
 * included. Refused, with seq as it was: what is no such file or is damaged (FORMAT), another
 * model, cache, prefix, byte order or version (UNSUPPORTED), more tokens than n_ctx (CONTEXT_FULL),
 * too few free pages (BUDGET), IO. When the file fails after it was found good, seq stands as
 * after kvass_seq_reset. */
KVASS_API kvass_status kvass_seq_load(kvass_seq *seq, const char *path, int32_t *n_restored,
                                      kvass_error *err);

/* ---- running the network --------------------------------------------------------------------- */

typedef enum kvass_phase {
    KVASS_PREFILL, /* attention takes the full-sequence path */
    KVASS_DECODE   /* attention takes the cached single-token path */
} kvass_phase;

/* One token of a ragged batch. Rows of one sequence follow each other in order of position and
 * share one phase; rows of different sequences may be in any order of sequence. */
typedef struct kvass_row {
    kvass_seq *seq;
    int32_t token;
    kvass_phase phase;
    bool want_logits;
} kvass_row;

/* Run any mix of prefill and decode rows: rows[n_rows]. Each row is appended to its sequence.
 * Checked for the whole call before anything changes: ids in [0, n_vocab), rows grouped by
 * sequence, wanted logits <= n_logits, positions <= n_ctx (CONTEXT_FULL), pages (BUDGET).
 * INVALID, CONTEXT_FULL, BUDGET leave every sequence as it was; after CANCELLED, or IO when the
 * offload file fails, each sequence stands at its last completed chunk. NaN logits are not an
 * error here but in the sampler. */
KVASS_API kvass_status kvass_forward(kvass_context *ctx, const kvass_row *rows, int32_t n_rows,
                                     kvass_error *err);

/* logits[n_vocab] of the i-th row of the last kvass_forward that wanted them, in row order;
 * NULL when i is out of range. Valid until the next call on the context. */
KVASS_API const float *kvass_context_logits(const kvass_context *ctx, int32_t i);

/* Append tokens[n_tokens] by the full-sequence path; logits of the last one are kept. */
KVASS_API kvass_status kvass_prefill(kvass_seq *seq, const int32_t *tokens, int32_t n_tokens,
                                     kvass_error *err);
/* Append one token by the cached path and keep its logits. */
KVASS_API kvass_status kvass_decode(kvass_seq *seq, int32_t token, kvass_error *err);
/* One token for each of seqs[n_seqs] (all different, of one context): one forward.
 * logits of each are kept. n_seqs <= n_logits. */
KVASS_API kvass_status kvass_decode_batch(kvass_seq *const *seqs, const int32_t *tokens,
                                          int32_t n_seqs, kvass_error *err);

/* logits[n_vocab] of the last row of seq that wanted them, valid until the next call that
 * changes seq; NULL when there are none. */
KVASS_API const float *kvass_seq_logits(const kvass_seq *seq);

/* ---- looking at attention -------------------------------------------------------------------- */

/* Why a query read a key, or did not. X(NAME, "name") */
#define KVASS_KEY_MAP(X)                                                                           \
    X(FUTURE, "future")   /* comes after the query */                                              \
    X(META, "meta")       /* read: a meta token, or of the context's prefix */                     \
    X(SINK, "sink")       /* read: one of the first positions, which always stay */                \
    X(WINDOW, "window")   /* read: in the window, or the layer has none; of select topk, newest */ \
    X(PAGE, "page")       /* read: in a page that select topk chose */                             \
    X(SKIPPED, "skipped") /* kept, but in a page that select topk did not choose */                \
    X(EVICTED, "evicted") /* behind the window */

typedef enum kvass_key {
#define X(name, text) KVASS_KEY_##name,
    KVASS_KEY_MAP(X)
#undef X
    KVASS_N_KEYS
} kvass_key;

/* "future", "sink", ...; "?" for a value outside the enum. */
KVASS_API const char *kvass_key_name(kvass_key key);

/* What one query head of one layer gives to every key. Positions count rows of the cache: meta
 * tokens first, then the prefix, then text. The arrays are the caller's. */
typedef struct kvass_attention_map {
    int32_t layer, head;
    int32_t n;            /* positions from 0 that there is room for; later ones are left out */
    float *weights;       /* [n, n]: row q, column k; the rows of a query sum to 1 */
    unsigned char *keys;  /* [n, n] of kvass_key */
} kvass_attention_map;

/* From here on every row that seq runs through the network is also written into maps[n_maps], as
 * attention computes it; all of them begin as zeros. Meta tokens and a prefix were run before: they
 * have no rows of their own, unless nothing is retained. The arrays must last until the sequence
 * is closed or watched anew; n_maps 0 ends it. A context watches one sequence at a time, the last
 * one. The network's results stay what they are. INVALID, NOMEM. */
KVASS_API kvass_status kvass_seq_watch(kvass_seq *seq, const kvass_attention_map *maps,
                                       int32_t n_maps, kvass_error *err);

/* ---- sampler --------------------------------------------------------------------------------- */

typedef struct kvass_sampler kvass_sampler;

typedef struct kvass_sampler_options {
    size_t struct_size;   /* set by kvass_sampler_options_default() */
    float temperature;    /* >= 0; 0 = greedy. Default 0.8 */
    int32_t top_k;        /* 0 = off. Default 40 */
    float top_p;          /* (0, 1]; 1 = off. Default 0.95 */
    float min_p;          /* [0, 1); 0 = off. Default 0.05 */
    float repeat_penalty; /* > 0; 1 = off. Default 1 */
    int32_t repeat_last;  /* how many newest tokens the penalty looks at. Default 64 */
    uint64_t seed;
} kvass_sampler_options;
KVASS_API kvass_sampler_options kvass_sampler_options_default(void);
/* Change in *opt what the model's generation_config.json sets: temperature, top_k, top_p, min_p,
 * repetition_penalty, where it says "do_sample": true. */
KVASS_API void kvass_model_get_sampling(const kvass_model *model, kvass_sampler_options *opt);

/* n_vocab: length of the logits it will see. opt may be NULL. INVALID names the parameter that is
 * out of range or not finite; NOMEM. */
KVASS_API kvass_status kvass_sampler_open(kvass_sampler **out, int32_t n_vocab,
                                          const kvass_sampler_options *opt, kvass_error *err);
KVASS_API void kvass_sampler_close(kvass_sampler **sampler);

/* Choose an id from logits[n_vocab]; recent[n_recent] are the tokens so far, oldest first (for the
 * repetition penalty; may be NULL when n_recent is 0). Greedy takes the lowest id among equals.
 * Any NaN, or no finite logit at all: NAN_LOGITS, and the generator does not advance. */
KVASS_API kvass_status kvass_sampler_pick(kvass_sampler *sampler, const float *logits,
                                          const int32_t *recent, int32_t n_recent, int32_t *token,
                                          kvass_error *err);

/* ---- tokenizer ------------------------------------------------------------------------------- */

typedef struct kvass_tokenizer kvass_tokenizer;
typedef struct kvass_stream kvass_stream;

/* Open tokenizer.json, vocab.json with merges.txt beside it, a SentencePiece model, a .gguf, a
 * llama2.c tokenizer.bin, tiktoken's ranks, a map of characters (nanoGPT's meta.pkl, or JSON), or a
 * folder with one of them. n_vocab: the model's vocabulary size, or 0 if unknown; it is only
 * compared with what the file says. IO, FORMAT, UNSUPPORTED, NOMEM. */
KVASS_API kvass_status kvass_tokenizer_open(kvass_tokenizer **out, const char *path,
                                            int32_t n_vocab, kvass_error *err);

typedef struct kvass_tokenizer_options {
    size_t struct_size;  /* set by kvass_tokenizer_options_default() */
    int32_t n_vocab;     /* as for kvass_tokenizer_open */
    const char *pattern; /* how tiktoken's ranks cut text, where the file's name and size do not
                          * tell: "gpt2" (the same as "r50k"), "p50k", "cl100k", "o200k", "llama3";
                          * NULL: they must. Read during the call only */
} kvass_tokenizer_options;
KVASS_API kvass_tokenizer_options kvass_tokenizer_options_default(void);

/* The same with options; opt may be NULL. INVALID for an unknown pattern. */
KVASS_API kvass_status kvass_tokenizer_open_as(kvass_tokenizer **out, const char *path,
                                               const kvass_tokenizer_options *opt,
                                               kvass_error *err);
KVASS_API void kvass_tokenizer_close(kvass_tokenizer **tok);

typedef struct kvass_tokenizer_info {
    const char *kind; /* "bpe", "llama2.c", ... */
    int32_t n_vocab;  /* highest id + 1 */
    int32_t bos, eos; /* -1 if it names none */
    bool adds_bos;    /* encoding with add_special puts BOS first */
} kvass_tokenizer_info;
KVASS_API void kvass_tokenizer_get_info(const kvass_tokenizer *tok, kvass_tokenizer_info *info);

typedef struct kvass_encode_options {
    size_t struct_size; /* set by kvass_encode_options_default() */
    bool add_special;   /* put BOS (and what the tokenizer's template says) around the text */
    bool parse_special; /* text such as "<|endoftext|>" becomes its id instead of plain text */
    bool strict_utf8;   /* refuse invalid UTF-8 instead of keeping bytes or using U+FFFD */
} kvass_encode_options;
KVASS_API kvass_encode_options kvass_encode_options_default(void);

/* Encode text[n_bytes] (any bytes, NUL included). On success *n_ids is the number of ids; at most
 * cap of them are written to ids[cap]. Call with cap 0 to learn the number. opt may be NULL
 * (nothing added, nothing parsed). INVALID; NOMEM; FORMAT for refused UTF-8 and for bytes that the
 * vocabulary has no token for; UNSUPPORTED when the tokenizer's expressions give up on the text. */
KVASS_API kvass_status kvass_tokenizer_encode(const kvass_tokenizer *tok, const char *text,
                                              size_t n_bytes, const kvass_encode_options *opt,
                                              int32_t *ids, size_t cap, size_t *n_ids,
                                              kvass_error *err);

/* The bytes of one id as decoding in the middle of a text gives them; *n_bytes is set. NULL when id
 * is out of range. Owned by the tokenizer. */
KVASS_API const char *kvass_tokenizer_piece(const kvass_tokenizer *tok, int32_t id,
                                            size_t *n_bytes);
/* Whether id is a special (control) token; its text is left out of decoded streams. */
KVASS_API bool kvass_tokenizer_is_special(const kvass_tokenizer *tok, int32_t id);
/* The id whose text is name[n_bytes], or -1. */
KVASS_API int32_t kvass_tokenizer_find(const kvass_tokenizer *tok, const char *name,
                                       size_t n_bytes);

/* A stream turns ids into UTF-8: bytes of an incomplete character are held back until the rest
 * arrives. with_special also writes the text of special tokens. The stream borrows tok. A stream
 * begins a text: to write on from ids that came before, put those first and drop their bytes. */
KVASS_API kvass_status kvass_stream_open(kvass_stream **out, const kvass_tokenizer *tok,
                                         bool with_special, kvass_error *err);
KVASS_API void kvass_stream_close(kvass_stream **stream);
/* Add one id. *bytes[*n_bytes] is text that is now complete (maybe none), owned by the stream and
 * valid until its next call. INVALID when id is out of range; NOMEM. */
KVASS_API kvass_status kvass_stream_put(kvass_stream *stream, int32_t id, const char **bytes,
                                        size_t *n_bytes, kvass_error *err);
/* Whatever is still held back, as it is; the stream then starts a new text. */
KVASS_API void kvass_stream_end(kvass_stream *stream, const char **bytes, size_t *n_bytes);

/* ---- converting ------------------------------------------------------------------------------ */

/* Keys and values for the front of a GGUF file. */
typedef struct kvass_metadata kvass_metadata;

/* What a GGUF file says of this tokenizer, for a model of n_vocab rows (those without a token are
 * named as unused). The caller closes *out. UNSUPPORTED (CONVERT_TOKENIZER) when GGUF has no word
 * for some part of it, NOMEM. *lost is NULL, or a sentence (static storage) about what is left out
 * although it may change tokens. */
KVASS_API kvass_status kvass_tokenizer_describe(const kvass_tokenizer *tok, int32_t n_vocab,
                                                kvass_metadata **out, const char **lost,
                                                kvass_error *err);
/* The same for a folder with safetensors: tokenizer.json, and tokenizer_config.json with the names
 * of BOS and EOS. For tokenizers out of GGUF files; UNSUPPORTED (CONVERT_TOKENIZER) when
 * tokenizer.json has no word for some part of it, NOMEM. */
KVASS_API kvass_status kvass_tokenizer_describe_json(const kvass_tokenizer *tok,
                                                     kvass_metadata **out, kvass_error *err);
/* The text of tokenizer.json, of *n_bytes, in what that gave; NULL in what is meant for GGUF. */
KVASS_API const char *kvass_metadata_json(const kvass_metadata *metadata, size_t *n_bytes);
KVASS_API void kvass_metadata_close(kvass_metadata **metadata);

typedef enum kvass_container {
    KVASS_CONTAINER_GGUF,       /* one file: everything */
    KVASS_CONTAINER_SAFETENSORS /* a folder: model.safetensors, config.json, and the tokenizer's
                                 * files, as they lie beside the model or as described */
} kvass_container;

typedef struct kvass_convert_options {
    size_t struct_size; /* set by kvass_convert_options_default() */
    kvass_container container;
    kvass_dtype type; /* of matrices: f32, f16, bf16; GGUF also q8_0, q4_0, q4_1 (a row that is no
                       * multiple of 32 becomes f16; with 4 bits embedding and output matrix q8_0).
                       * KVASS_N_DTYPES, the default: each as it is stored, where the container
                       * holds that type, else f32. Norms, biases and positions in a GGUF file are
                       * f32 */
    bool replace;     /* what is there already, file by file */
    const kvass_metadata *tokenizer; /* put in; NULL: GGUF none, safetensors files that are there */
    const char *tokenizer_path; /* safetensors without `tokenizer`: the tokenizer's file, or a
                                 * folder with its files; NULL: the model's own folder */
    bool (*progress)(void *user, uint64_t done, uint64_t total); /* bytes; false: stop (CANCELLED);
                                                                  * NULL: none */
    void *user;
} kvass_convert_options;

KVASS_API kvass_convert_options kvass_convert_options_default(void);

/* Write a model, opened with its weights, to `path`. Each file appears under its name only when it
 * is whole, on the disk, and reads back as this model; after a failure no part of it is left. opt
 * may be NULL. UNSUPPORTED (CONVERT_FAMILY: GGUF has no such network; CONVERT_LOSS: nor this
 * configuration of it; CONVERT_TYPE; CONVERT_RANGE: a weight that the type cannot hold), IO
 * (CONVERT_EXISTS, and those of writing), INVALID, NOMEM, CANCELLED. */
KVASS_API kvass_status kvass_model_convert(const kvass_model *model, const char *path,
                                           const kvass_convert_options *opt, kvass_error *err);

/* ---- the cache alone ------------------------------------------------------------------------- */

typedef struct kvass_cache kvass_cache;

typedef struct kvass_cache_dims {
    size_t struct_size; /* set by kvass_cache_dims_default() */
    int32_t n_layers, n_kv_heads, head_dim;
    int32_t n_ctx; /* positions it can hold */
    kvass_store store;
} kvass_cache_dims;
KVASS_API kvass_cache_dims kvass_cache_dims_default(void);

/* One timeline of keys and values, page by page. INVALID, NOMEM; UNSUPPORTED for q8 and q4, where
 * what is read depends on the query's position. */
KVASS_API kvass_status kvass_cache_open(kvass_cache **out, const kvass_cache_dims *dims,
                                        kvass_error *err);
KVASS_API void kvass_cache_close(kvass_cache **cache);

/* Write k[n_rows, n_kv_heads, head_dim] and v of the same shape after this layer's rows. They can
 * be read at once, so that a token sees itself; kvass_cache_advance makes them last.
 * CONTEXT_FULL when they do not fit: nothing is written. */
KVASS_API kvass_status kvass_cache_append(kvass_cache *cache, int32_t layer, const float *k,
                                          const float *v, int32_t n_rows, kvass_error *err);
/* Rows that kvass_cache_read would give for this layer: kept + appended. */
KVASS_API int32_t kvass_cache_n_rows(const kvass_cache *cache, int32_t layer);
/* Copy out k[n_rows, n_kv_heads, head_dim] and v, n_rows = kvass_cache_n_rows(cache, layer).
 * Either may be NULL. INVALID. */
KVASS_API kvass_status kvass_cache_read(const kvass_cache *cache, int32_t layer, float *k, float *v,
                                        kvass_error *err);
/* Keep what was appended. Every layer must have appended the same number of rows: else INVALID. */
KVASS_API kvass_status kvass_cache_advance(kvass_cache *cache, kvass_error *err);
/* Forget everything; the memory stays reserved. */
KVASS_API void kvass_cache_reset(kvass_cache *cache);
KVASS_API void kvass_cache_get_usage(const kvass_cache *cache, kvass_cache_usage *usage);

#ifdef __cplusplus
}
#endif

#endif
