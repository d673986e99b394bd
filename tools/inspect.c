/* inspect.c - `kvass inspect`: what a checkpoint is and what it costs, from its header alone.
 * Only --check reads weights (inspect_check.c). Of a large tokenizer beside it only kind and size
 * are told.
 */
#include "tools/inspect.h"
#include "tools/help.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_TENSORS = CLI_KEY_OWN, KEY_CHECK, KEY_JSON };

#define MIB   (1024.0 * 1024.0)
#define QUICK ((size_t)512 << 10) /* a larger tokenizer takes too long for a look */
#define FEW   16384               /* and so do more tokens in a GGUF file */

typedef struct inspect_args {
    cli_options opts; /* first: see cli_share_state */
    bool tensors, check, json;
} inspect_args;

static const kvass_store stores[] = {KVASS_STORE_F16, KVASS_STORE_F32, KVASS_STORE_Q8,
                                     KVASS_STORE_Q4};
enum { N_STORES = sizeof stores / sizeof stores[0] };

/* Tensors of one element type; the last entry is for types that are not supported. */
typedef struct dtype_total {
    int32_t n_tensors;
    int64_t n_elements;
    size_t n_bytes;
} dtype_total;

typedef struct report {
    kvass_model_info info;
    dtype_total totals[KVASS_N_DTYPES + 1];
    size_t scratch, cache;      /* of the context asked for */
    size_t per_token[N_STORES]; /* bytes that one more position adds to the cache */
    kvass_tokenizer_info tok;   /* kind NULL: none found, or not read */
    char unread[64];            /* the file of a tokenizer that was left alone for its size */
    size_t unread_bytes;
    bool glanced; /* kind and size of that one are known all the same */
    inspect_tokenizer glance;
    inspect_stats *stats;         /* --check: [n_tensors] */
    int64_t n_bad, n_bad_tensors; /* --check: values that are NaN or infinite */
} report;

static const struct argp_child children[] = {
    {&cli_model_argp, 0, NULL, 0}, {&cli_context_argp, 0, NULL, 0}, {0}};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    inspect_args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        cli_share_state(state, children);
        return 0;
    case ARGP_KEY_ARG:
        if (args->opts.model) {
            argp_error(state, "more than one model: '%s'", arg);
        }
        args->opts.model = arg;
        return 0;
    case KEY_TENSORS:
        args->tensors = true;
        return 0;
    case KEY_CHECK:
        args->check = true;
        return 0;
    case KEY_JSON:
        args->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"tensors", KEY_TENSORS, NULL, 0, "list every tensor", 0},
    {"check", KEY_CHECK, NULL, 0, "read all weights: NaN, infinity, statistics per tensor", 0},
    {"json", KEY_JSON, NULL, 0, "one JSON document", 0},
    {0},
};
static const char *dtype_name(int dtype)
{
    return dtype < KVASS_N_DTYPES ? kvass_dtype_name((kvass_dtype)dtype) : "unsupported";
}

/* ---- gathering ------------------------------------------------------------------------------ */

/* what the last page of a full context adds, by position; a window's pages come back instead */
static kvass_status bytes_per_token(const kvass_model *model, int32_t n_ctx, kvass_store store,
                                    size_t *n_bytes, kvass_error *err)
{
    enum { PAGE_ROWS = 32 };
    size_t scratch, all, before = 0;
    kvass_context_options o = kvass_context_options_default();
    o.store = store;
    o.n_ctx = n_ctx < PAGE_ROWS ? n_ctx : n_ctx - n_ctx % PAGE_ROWS;
    kvass_status status = kvass_context_bytes(model, &o, &scratch, &all, err);
    o.n_ctx -= PAGE_ROWS;
    if (!status && o.n_ctx > 0) {
        status = kvass_context_bytes(model, &o, &scratch, &before, err);
    }
    *n_bytes = status ? 0 : (all - before) / PAGE_ROWS;
    return status;
}

static int gather(inspect_args *args, const kvass_model *model, report *r)
{
    kvass_error err;
    kvass_model_get_info(model, &r->info);
    for (int32_t i = 0; i < r->info.n_tensors; i++) {
        kvass_tensor_info tensor;
        if (kvass_model_get_tensor(model, i, &tensor, &err) != KVASS_OK) {
            return cli_fail(&err);
        }
        dtype_total *total = &r->totals[tensor.dtype];
        total->n_tensors++;
        total->n_elements += inspect_n_elements(&tensor);
        total->n_bytes += tensor.n_bytes;
    }
    for (int i = 0; i < N_STORES; i++) {
        if (bytes_per_token(model, r->info.n_ctx, stores[i], &r->per_token[i], &err) != KVASS_OK) {
            return cli_fail(&err);
        }
    }
    if (args->opts.context.n_ctx == 0) {
        args->opts.context.n_ctx = r->info.n_ctx;
    }
    if (kvass_context_bytes(model, &args->opts.context, &r->scratch, &r->cache, &err) != KVASS_OK) {
        return cli_fail(&err);
    }
    int code = args->check ? inspect_check(model, &r->stats) : CLI_OK;
    for (int32_t i = 0; code == CLI_OK && r->stats && i < r->info.n_tensors; i++) {
        r->n_bad += r->stats[i].n_bad;
        r->n_bad_tensors += r->stats[i].n_bad > 0;
    }
    return code;
}

static void look_at_tokenizer(const inspect_args *args, const kvass_model *model,
                              kvass_tokenizer **tok, report *r)
{
    char path[4096];
    const char *name;
    size_t n_bytes = args->opts.tokenizer ? 0 : cli_tokenizer_bytes(model, path, sizeof path);
    if (n_bytes > QUICK) {
        name = strrchr(path, '/');
        (void)snprintf(r->unread, sizeof r->unread, "%.63s", name ? name + 1 : path);
        r->unread_bytes = n_bytes;
        r->glanced = inspect_glance(path, &r->glance);
        return;
    }
    bool in_gguf = !args->opts.tokenizer && cli_is_gguf(&r->info);
    if (in_gguf && inspect_glance_gguf(r->info.path, &r->tok) && r->tok.n_vocab > FEW) {
        return;
    }
    r->tok = (kvass_tokenizer_info){0};
    cli_try_tokenizer(&args->opts, model, tok);
    if (*tok) {
        kvass_tokenizer_get_info(*tok, &r->tok);
    }
}

/* ---- printing ------------------------------------------------------------------------------- */

static void print_tensors(const kvass_model *model, const report *r)
{
    for (int32_t i = 0; i < r->info.n_tensors; i++) {
        kvass_tensor_info tensor;
        if (kvass_model_get_tensor(model, i, &tensor, NULL) != KVASS_OK) {
            return;
        }
        (void)printf("%-12s %12zu  ", dtype_name((int)tensor.dtype), tensor.n_bytes);
        cli_put_text(tensor.name, strlen(tensor.name), false);
        (void)printf(" [");
        for (int32_t d = 0; d < tensor.n_dims; d++) {
            (void)printf(d > 0 ? ", %lld" : "%lld", (long long)tensor.shape[d]);
        }
        (void)printf("]\n");
    }
}

static void print_text(const inspect_args *args, const kvass_model *model, const report *r)
{
    const kvass_model_info *info = &r->info;
    (void)printf("family      %s (%s)\n", info->family, info->format);
    (void)printf("layers      %d, dim %d, ffn_dim %d\n", (int)info->n_layers, (int)info->dim,
                 (int)info->ffn_dim);
    (void)printf("heads       %d, kv heads %d, head_dim %d\n", (int)info->n_heads,
                 (int)info->n_kv_heads, (int)info->head_dim);
    (void)printf("vocabulary  %d%s\n", (int)info->n_vocab,
                 info->tied ? ", output tied to the embedding" : "");
    (void)printf("context     %d, positions %s\n", (int)info->n_ctx, info->positions);
    inspect_print_layers(model, info->n_layers);
    (void)printf("parameters  %lld, %.2f MiB in memory\n", (long long)info->n_params,
                 (double)info->weight_bytes / MIB);
    for (int d = 0; d <= KVASS_N_DTYPES; d++) {
        if (r->totals[d].n_tensors > 0) {
            (void)printf("  %-12s %d tensors, %lld elements, %.2f MiB stored\n", dtype_name(d),
                         (int)r->totals[d].n_tensors, (long long)r->totals[d].n_elements,
                         (double)r->totals[d].n_bytes / MIB);
        }
    }
    (void)printf("cache       bytes per token:");
    for (int i = 0; i < N_STORES; i++) {
        (void)printf("%s %zu in %s", i > 0 ? "," : "", r->per_token[i],
                     kvass_store_name(stores[i]));
    }
    (void)printf("\n");
    (void)printf(
        "memory      %.2f MiB at a context of %d: weights %.2f, buffers %.2f, cache %.2f\n",
        ((double)info->weight_bytes + (double)r->scratch + (double)r->cache) / MIB,
        (int)args->opts.context.n_ctx, (double)info->weight_bytes / MIB, (double)r->scratch / MIB,
        (double)r->cache / MIB);
    if (r->tok.kind) {
        (void)printf("tokenizer   %s, %d tokens, bos %d, eos %d\n", r->tok.kind,
                     (int)r->tok.n_vocab, (int)r->tok.bos, (int)r->tok.eos);
    } else if (r->glanced) {
        (void)printf("tokenizer   %s, %lld tokens and %lld added ones (%s, %.1f MiB)\n",
                     r->glance.kind, (long long)r->glance.n_vocab, (long long)r->glance.n_added,
                     r->unread, (double)r->unread_bytes / MIB);
    } else if (r->unread_bytes > 0) {
        (void)printf("tokenizer   %s of %.1f MiB, not read (--tokenizer PATH reads it)\n",
                     r->unread, (double)r->unread_bytes / MIB);
    } else {
        (void)printf("tokenizer   none found beside the model\n");
    }
    (void)printf("fingerprint %016llx\n", (unsigned long long)info->fingerprint);
    if (args->check) {
        (void)printf("check       %lld NaN or infinite values in %lld of %d tensors\n",
                     (long long)r->n_bad, (long long)r->n_bad_tensors, (int)info->n_tensors);
        inspect_print_stats(model, r->stats);
    }
    if (args->tensors) {
        print_tensors(model, r);
    }
}

static json_t *tensor_list(const kvass_model *model, const report *r)
{
    json_t *list = json_array();
    for (int32_t i = 0; list && i < r->info.n_tensors; i++) {
        kvass_tensor_info tensor;
        if (kvass_model_get_tensor(model, i, &tensor, NULL) != KVASS_OK) {
            break;
        }
        json_t *shape = json_array();
        for (int32_t d = 0; shape && d < tensor.n_dims; d++) {
            (void)json_array_append_new(shape, json_integer(tensor.shape[d]));
        }
        (void)json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:I}", "name",
                                                    cli_json_text(tensor.name, strlen(tensor.name)),
                                                    "dtype", dtype_name((int)tensor.dtype), "shape",
                                                    shape, "bytes", (json_int_t)tensor.n_bytes));
    }
    return list;
}

static json_t *dtype_list(const report *r)
{
    json_t *list = json_array();
    for (int d = 0; list && d <= KVASS_N_DTYPES; d++) {
        if (r->totals[d].n_tensors > 0) {
            (void)json_array_append_new(list,
                                        json_pack("{s:s, s:i, s:I, s:I}", "dtype", dtype_name(d),
                                                  "tensors", (int)r->totals[d].n_tensors,
                                                  "elements", (json_int_t)r->totals[d].n_elements,
                                                  "bytes", (json_int_t)r->totals[d].n_bytes));
        }
    }
    return list;
}

static json_t *tokenizer_document(const report *r)
{
    if (r->tok.kind) {
        return json_pack("{s:s, s:i, s:i, s:i}", "kind", r->tok.kind, "n_vocab",
                         (int)r->tok.n_vocab, "bos", (int)r->tok.bos, "eos", (int)r->tok.eos);
    }
    if (r->glanced) {
        return json_pack("{s:s, s:I, s:I, s:s, s:I}", "kind", r->glance.kind, "n_vocab",
                         (json_int_t)r->glance.n_vocab, "n_added", (json_int_t)r->glance.n_added,
                         "file", r->unread, "bytes", (json_int_t)r->unread_bytes);
    }
    return r->unread_bytes > 0 ? json_pack("{s:n, s:s, s:I}", "kind", "unread", r->unread, "bytes",
                                           (json_int_t)r->unread_bytes)
                               : json_null();
}

static int print_document(const inspect_args *args, const kvass_model *model, const report *r)
{
    const kvass_model_info *info = &r->info;
    json_t *root = json_pack(
        "{s:o, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:i, s:o, s:I, s:I, "
        "s:o, s:o}",
        "path", cli_json_text(info->path, strlen(info->path)), "family", info->family, "format",
        info->format, "positions", info->positions, "n_layers", (int)info->n_layers, "dim",
        (int)info->dim, "n_heads", (int)info->n_heads, "n_kv_heads", (int)info->n_kv_heads,
        "head_dim", (int)info->head_dim, "ffn_dim", (int)info->ffn_dim, "n_vocab",
        (int)info->n_vocab, "n_ctx", (int)info->n_ctx, "tied", (int)info->tied, "bos",
        (int)info->bos, "eos", cli_json_ids(info->eos, (size_t)info->n_eos), "n_params",
        (json_int_t)info->n_params, "weight_bytes", (json_int_t)info->weight_bytes, "dtypes",
        dtype_list(r), "fingerprint", cli_json_fingerprint(info->fingerprint));
    json_t *per_token = json_object();
    for (int i = 0; per_token && i < N_STORES; i++) {
        (void)json_object_set_new(per_token, kvass_store_name(stores[i]),
                                  json_integer((json_int_t)r->per_token[i]));
    }
    (void)json_object_set_new(root, "cache_bytes_per_token", per_token);
    (void)json_object_set_new(
        root, "memory",
        json_pack("{s:i, s:I, s:I, s:I}", "n_ctx", (int)args->opts.context.n_ctx, "weight_bytes",
                  (json_int_t)info->weight_bytes, "scratch_bytes", (json_int_t)r->scratch,
                  "cache_bytes", (json_int_t)r->cache));
    (void)json_object_set_new(root, "layers", inspect_json_layers(model, info->n_layers));
    (void)json_object_set_new(root, "tokenizer", tokenizer_document(r));
    if (args->check) {
        (void)json_object_set_new(root, "bad_values", json_integer((json_int_t)r->n_bad));
        (void)json_object_set_new(root, "statistics", inspect_json_stats(model, r->stats));
    }
    if (args->tensors) {
        (void)json_object_set_new(root, "tensors", tensor_list(model, r));
    }
    return cli_print_json(root);
}

static int run_inspect(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, NULL, children, NULL, NULL};
    inspect_args args = {0};
    if (!cli_options_init(&args.opts, &cli_inspect)) {
        return CLI_USAGE;
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &args);
    kvass_model *model = NULL;
    kvass_tokenizer *tok = NULL;
    report r = {0};
    int code = cli_open_model(&args.opts, true, &model);
    if (code == CLI_OK) {
        code = gather(&args, model, &r);
    }
    if (code == CLI_OK) {
        look_at_tokenizer(&args, model, &tok, &r);
        if (args.json) {
            code = print_document(&args, model, &r);
        } else {
            print_text(&args, model, &r);
            code = cli_finish_output();
        }
    }
    if (code == CLI_OK && r.n_bad > 0) {
        code = CLI_BAD_MODEL;
    }
    free(r.stats);
    kvass_tokenizer_close(&tok);
    kvass_model_close(&model);
    return code;
}

const cli_command cli_inspect = {.name = "inspect",
                                 .summary = "show what a checkpoint is and what it costs",
                                 .help = help_inspect,
                                 .run = run_inspect};
