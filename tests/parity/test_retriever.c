/* test_retriever.c - a network whose weights are set by hand so that it looks things up exactly.
 * Layer 0 copies the previous token to each position; layer 1 looks for the place whose previous
 * token is the current one and says what stands there. So behind a word that was read once it
 * repeats what followed, however far back, out of the cache alone: every cache that is exact, or
 * that keeps or finds the right page, must be right at any depth, and one that has dropped the page
 * must be wrong. Nothing is trained and nothing is a matter of degree.
 */
#include <math.h>

#include "tests/unit/model_files.h"

enum {
    N_VOCAB = 48,
    DIM = 160,
    HEAD_DIM = 128,
    N_HEADS = 2, /* over one KV head; the second looks everywhere and says nothing */
    FFN_DIM = 8,
    HALF = HEAD_DIM / 2,
    /* where in the residual stream the token, the previous token and the answer are, one-hot, and
     * a one */
    TOKEN = 0,
    PREVIOUS = N_VOCAB,
    ANSWER = 2 * N_VOCAB,
    ONE = 3 * N_VOCAB,
    N_FAST = 32, /* rotating pairs that tell one step back from any other distance */
    SLOW = 40,   /* the first of the pairs that hardly rotate: these hold tokens */
    BOS = 0,
    WORD = 1, /* the passkey follows it */
    DIGIT = 2,
    FILLER = 12,
    N_DIGITS = 5,
    N_TEXT = 700,
    FIRST = 10, /* where depth 0 is */
    SEED = 5
};

#define THETA 1e8
#define SHARP 25.0 /* of queries and of keys: a match outweighs all else by some 50 nats */

static kvass_model *model;
static kvass_context *context;

/* ---- weights -------------------------------------------------------------------------------- */

typedef struct writer {
    char header[8192];
    size_t n_header, n_data;
    float *data;
} writer;

/* a tensor of zeros, w[n_out, n_in] or w[n_out], to be filled in */
static float *add_matrix(writer *w, const char *layer, const char *name, size_t n_out, size_t n_in)
{
    size_t n = n_out * (n_in > 0 ? n_in : 1), begin = w->n_data * sizeof(float);
    char shape[64];
    (void)snprintf(shape, sizeof shape, n_in > 0 ? "%zu,%zu" : "%zu", n_out, n_in);
    w->n_header += (size_t)snprintf(
        w->header + w->n_header, sizeof w->header - w->n_header,
        "%s\"%s%s.weight\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
        w->n_header > 0 ? "," : "{", layer, name, shape, begin, begin + n * sizeof(float));
    assert_true(w->n_header < sizeof w->header - 2);
    float *data = w->data + w->n_data;
    w->n_data += n;
    return data;
}

static void add_ones(writer *w, const char *layer, const char *name)
{
    float *norm = add_matrix(w, layer, name, DIM, 0);
    for (int i = 0; i < DIM; i++) {
        norm[i] = 1.0f;
    }
}

/* where a token stands among the slow pairs of a head */
static int slow_place(int token)
{
    int n = HALF - SLOW;
    return token < n ? SLOW + token : HALF + SLOW + (token - n);
}

/* Norms divide by the root of the mean square, which is known: n_ones ones among DIM zeros. */
static double norm_of(int n_ones)
{
    return sqrt((double)n_ones / DIM);
}

/* layer 0: look one step back; PREVIOUS = the TOKEN there */
static void add_previous_token_head(float *q, float *k, float *v, float *o)
{
    double unit = norm_of(2);
    for (int i = 0; i < N_FAST; i++) {
        double frequency = pow(THETA, -(double)i / HALF);
        q[i * DIM + ONE] = (float)(SHARP * unit);
        k[i * DIM + ONE] = (float)(SHARP * unit * cos(frequency)); /* turned by one step */
        k[(i + HALF) * DIM + ONE] = (float)(SHARP * unit * sin(frequency));
    }
    for (int t = 0; t < N_VOCAB; t++) {
        v[t * DIM + TOKEN + t] = (float)unit;
        o[(PREVIOUS + t) * N_HEADS * HEAD_DIM + t] = 1.0f;
    }
}

/* layer 1: look where PREVIOUS is the TOKEN here; ANSWER = the TOKEN there */
static void add_induction_head(float *q, float *k, float *v, float *o)
{
    double unit = norm_of(3);
    for (int t = 0; t < N_VOCAB; t++) {
        q[slow_place(t) * DIM + TOKEN + t] = (float)(SHARP * unit);
        k[slow_place(t) * DIM + PREVIOUS + t] = (float)(SHARP * unit);
        v[t * DIM + TOKEN + t] = (float)unit;
        o[(ANSWER + t) * N_HEADS * HEAD_DIM + t] = 1.0f;
    }
}

static void write_retriever(const folder *f)
{
    writer *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->data = calloc(1 << 19, sizeof *w->data);
    assert_non_null(w->data);
    float *embed = add_matrix(w, "", "model.embed_tokens", N_VOCAB, DIM);
    float *head = add_matrix(w, "", "lm_head", N_VOCAB, DIM);
    for (int t = 0; t < N_VOCAB; t++) {
        embed[t * DIM + TOKEN + t] = embed[t * DIM + ONE] = 1.0f;
        head[t * DIM + ANSWER + t] = 3.0f;
    }
    add_ones(w, "", "model.norm");
    for (int l = 0; l < 2; l++) {
        const char *layer = l == 0 ? "model.layers.0." : "model.layers.1.";
        add_ones(w, layer, "input_layernorm");
        add_ones(w, layer, "post_attention_layernorm");
        float *q = add_matrix(w, layer, "self_attn.q_proj", N_HEADS * HEAD_DIM, DIM);
        float *k = add_matrix(w, layer, "self_attn.k_proj", HEAD_DIM, DIM);
        float *v = add_matrix(w, layer, "self_attn.v_proj", HEAD_DIM, DIM);
        float *o = add_matrix(w, layer, "self_attn.o_proj", DIM, N_HEADS * HEAD_DIM);
        (void)add_matrix(w, layer, "mlp.gate_proj", FFN_DIM, DIM);
        (void)add_matrix(w, layer, "mlp.up_proj", FFN_DIM, DIM);
        (void)add_matrix(w, layer, "mlp.down_proj", DIM, FFN_DIM);
        if (l == 0) {
            add_previous_token_head(q, k, v, o);
        } else {
            add_induction_head(q, k, v, o);
        }
    }
    assert_true(w->n_data <= 1 << 19);
    w->header[w->n_header++] = '}';
    write_raw(in_folder(f, "model.safetensors"), w->header, w->n_header, w->data,
              w->n_data * sizeof(float));
    write_text(f, "config.json",
               "{\"model_type\":\"llama\",\"vocab_size\":48,\"hidden_size\":160,"
               "\"num_hidden_layers\":2,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
               "\"head_dim\":128,\"intermediate_size\":8,\"max_position_embeddings\":1024,"
               "\"rms_norm_eps\":1e-9,\"hidden_act\":\"silu\",\"rope_theta\":1e8,"
               "\"tie_word_embeddings\":false,\"bos_token_id\":0,\"eos_token_id\":0}");
    free(w->data);
    free(w);
}

/* ---- passkeys ------------------------------------------------------------------------------- */

static void check(kvass_status status, const kvass_error *err)
{
    if (status != KVASS_OK) {
        fail_msg("%s (%s): %s", kvass_status_text(status), err->rule, err->message);
    }
}

static int32_t likeliest(const float *logits)
{
    int32_t top = 0;
    for (int32_t i = 1; i < N_VOCAB; i++) {
        top = logits[i] > logits[top] ? i : top;
    }
    return top;
}

/* how many digits of a passkey at `depth` per cent of the text come back; all are different */
static int digits_found(kvass_seq *seq, int depth, uint64_t *state)
{
    kvass_error err;
    int32_t text[N_TEXT], key[N_DIGITS];
    int at = FIRST + (N_TEXT - FIRST - (N_DIGITS + 1)) * depth / 100, n_found = 0;
    for (int i = 0; i < N_TEXT; i++) {
        text[i] = FILLER + (int32_t)(unit_random(state) % (N_VOCAB - FILLER));
    }
    text[0] = BOS;
    text[at] = WORD;
    for (int i = 0; i < N_DIGITS; i++) {
        key[i] = text[at + 1 + i] = DIGIT + (i * 3 + depth) % 10;
    }
    kvass_seq_reset(seq);
    check(kvass_prefill(seq, text, N_TEXT, &err), &err);
    int32_t token = WORD;
    for (int i = 0; i < N_DIGITS; i++) {
        check(kvass_decode(seq, token, &err), &err);
        token = key[i];
        n_found += likeliest(kvass_seq_logits(seq)) == token;
    }
    return n_found;
}

/* A cache, and the depths at which it still has the page: from..to per cent. */
typedef struct cache_case {
    const char *name;
    int from, to;
    kvass_context_options options; /* only what differs from the defaults; store always */
} cache_case;

static kvass_seq *open_cache(const kvass_context_options *choices)
{
    kvass_error err;
    kvass_context *ctx;
    kvass_seq *seq;
    kvass_context_options o = *choices, defaults = kvass_context_options_default();
    o.struct_size = defaults.struct_size;
    o.n_ctx = N_TEXT + N_DIGITS;
    o.n_batch = defaults.n_batch;
    o.n_seqs = 1;
    o.n_threads = 1;
    o.isa = defaults.isa;
    check(kvass_context_open(&ctx, model, &o, &err), &err);
    check(kvass_seq_open(&seq, ctx, &err), &err);
    context = ctx;
    return seq;
}

static void ask_at_every_depth(const cache_case *cases, size_t n_cases)
{
    for (size_t i = 0; i < n_cases; i++) {
        const cache_case *c = &cases[i];
        uint64_t state = SEED;
        kvass_seq *seq = open_cache(&c->options);
        for (int depth = 0; depth <= 100; depth += 20) {
            int n = digits_found(seq, depth, &state);
            bool holds = depth >= c->from && depth <= c->to;
            if (n != (holds ? N_DIGITS : 0)) {
                fail_msg("%s: %d of %d digits at depth %d %%, expected %s", c->name, n, N_DIGITS,
                         depth, holds ? "all" : "none");
            }
        }
        kvass_context_close(&context);
    }
}

#define N_OF(cases) (sizeof(cases) / sizeof *(cases))

/* what keeps or finds everything is right everywhere */
static void caches_that_keep_everything_find_the_passkey(void **unused)
{
    (void)unused;
    static const cache_case cases[] = {
        {"full f32", 0, 100, {.store = KVASS_STORE_F32}},
        {"full f16", 0, 100, {.store = KVASS_STORE_F16}},
        {"full f16, deterministic", 0, 100, {.store = KVASS_STORE_F16, .deterministic = true}},
        {"full q8", 0, 100, {.store = KVASS_STORE_Q8}},
        {"full q4", 0, 100, {.store = KVASS_STORE_Q4}},
        {"topk 4 pages",
         0,
         100,
         {.store = KVASS_STORE_F16, .select = KVASS_SELECT_TOPK, .n_topk = 4}},
        {"topk 4 pages of q4",
         0,
         100,
         {.store = KVASS_STORE_Q4, .select = KVASS_SELECT_TOPK, .n_topk = 4}},
        {"none", 0, 100, {.retain = KVASS_RETAIN_NONE, .store = KVASS_STORE_F32}},
        {"window of everything", 0, 100, {.retain = KVASS_RETAIN_WINDOW, .window = 1000}},
    };
    ask_at_every_depth(cases, N_OF(cases));
}

/* what has dropped the place is wrong, and right where it has not: no layer can know what is gone
 */
static void windows_lose_the_passkey(void **unused)
{
    (void)unused;
    static const cache_case cases[] = {
        {"window 64", 100, 100, {.retain = KVASS_RETAIN_WINDOW, .window = 64}},
        {"window 64, 4 sinks",
         100,
         100,
         {.retain = KVASS_RETAIN_WINDOW, .window = 64, .n_sinks = 4}},
        {"window 64, 4 sinks, positions in the cache",
         100,
         100,
         {.retain = KVASS_RETAIN_WINDOW,
          .window = 64,
          .n_sinks = 4,
          .positions = KVASS_POSITIONS_CACHE}},
        {"window 200", 80, 100, {.retain = KVASS_RETAIN_WINDOW, .window = 200}},
    };
    ask_at_every_depth(cases, N_OF(cases));
}

/* sinks that reach over it keep it; nothing between them and the window is found */
static void sinks_keep_a_passkey_at_the_beginning(void **unused)
{
    (void)unused;
    uint64_t state = SEED;
    kvass_context_options o = {
        .retain = KVASS_RETAIN_WINDOW, .store = KVASS_STORE_F16, .window = 32, .n_sinks = 20};
    kvass_seq *seq = open_cache(&o);
    assert_int_equal(digits_found(seq, 0, &state), N_DIGITS);
    assert_int_equal(digits_found(seq, 50, &state), 0);
    assert_int_equal(digits_found(seq, 100, &state), N_DIGITS);
    kvass_context_close(&context);
}

int main(void)
{
    folder f;
    unit_folder(f.path);
    write_retriever(&f);
    kvass_error err;
    if (kvass_model_open(&model, f.path, NULL, &err) != KVASS_OK) {
        (void)fprintf(stderr, "%s: %s\n", err.rule, err.message);
        return 2;
    }
    print_message("filler of seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caches_that_keep_everything_find_the_passkey),
        cmocka_unit_test(windows_lose_the_passkey),
        cmocka_unit_test(sinks_keep_a_passkey_at_the_beginning),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kvass_model_close(&model);
    folder_empty(&f);
    (void)rmdir(f.path);
    return failed;
}
