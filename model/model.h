/* model.h - a checkpoint bound into layer blocks: what the engine runs.
 * Pure data: dimensions, a spec per layer, views of weights. Immutable after kvass_model_open and
 * shared by any number of contexts. The engine reads it and never learns which family it was.
 *
 * Dimensions: q_dim = n_heads * head_dim, kv_dim = n_kv_heads * head_dim.
 */
#ifndef KVASS_MODEL_MODEL_H
#define KVASS_MODEL_MODEL_H

#include "engine/base/tensor.h"
#include "model/checkpoint.h"

#define KVASS_MAX_EOS 8

typedef enum kvass_norm_kind { KVASS_NORM_RMS, KVASS_NORM_LAYER } kvass_norm_kind;

/* How a block joins its two branches to the residual x:
 *   pre         x += attn(norm1 x);          x += mlp(norm2 x)
 *   parallel    x += attn(norm1 x) + mlp(norm2 x)
 *   one norm    x += attn(norm1 x) + mlp(norm1 x)
 *   post        x += post1(attn x);          x += post2(mlp x)
 *   sandwich    x += post1(attn(norm1 x));   x += post2(mlp(norm2 x))
 * norm1 is attn_norm, norm2 mlp_norm, post1 attn_post_norm, post2 mlp_post_norm. */
typedef enum kvass_block_kind {
    KVASS_BLOCK_PRE, KVASS_BLOCK_PARALLEL, KVASS_BLOCK_ONE_NORM, KVASS_BLOCK_POST,
    KVASS_BLOCK_SANDWICH
} kvass_block_kind;

/* What is normed of the queries and of the keys, before they are rotated, each by the layer's kind
 * of norm: every head by the same weights, every head by its own, or all heads as one vector. */
typedef enum kvass_qk_norm_kind {
    KVASS_QK_NORM_NONE, KVASS_QK_NORM_HEAD, KVASS_QK_NORM_OWN_HEAD, KVASS_QK_NORM_ROW
} kvass_qk_norm_kind;

/* plain: w_down(act(w_up x));  gated: w_down(act(w_gate x) * w_up x) */
typedef enum kvass_mlp_kind { KVASS_MLP_PLAIN, KVASS_MLP_GATED } kvass_mlp_kind;

typedef enum kvass_act_kind {
    KVASS_ACT_SILU, KVASS_ACT_GELU_TANH, KVASS_ACT_GELU_ERF, KVASS_ACT_RELU, KVASS_N_ACTS
} kvass_act_kind;

typedef enum kvass_position_kind {
    KVASS_POSITION_NONE, KVASS_POSITION_LEARNED, KVASS_POSITION_ROPE
} kvass_position_kind;

typedef enum kvass_rope_scaling {
    KVASS_ROPE_PLAIN,  /* theta^(-2i/n_rot) */
    KVASS_ROPE_LINEAR, /* divided by factor */
    KVASS_ROPE_LLAMA3, /* long wavelengths divided by factor, a smooth blend between */
    KVASS_ROPE_YARN,   /* the same with a linear blend, over pairs; and cos and sin scaled */
    KVASS_ROPE_LONG    /* each divided by a factor of its own; cos and sin scaled */
} kvass_rope_scaling;

/* What rotates a layer's queries and keys; engine/rope.c turns it into frequencies. n_rot 0:
 * nothing. */
typedef struct kvass_rope_spec {
    int32_t n_rot;        /* leading values of each head that turn; even */
    double theta;
    kvass_rope_scaling scaling;
    double factor;        /* linear, llama3, yarn */
    double low_freq_factor, high_freq_factor; /* llama3 */
    int32_t original_ctx; /* llama3, yarn, long */
    double attn_factor;   /* of cos and sin: yarn, long */
    double blend_low, blend_high; /* yarn: the pairs that the blend starts and ends with */
    /* long: n_rot/2 numbers each, for contexts up to original_ctx and for those beyond; the
     * checkpoint's */
    const kvass_json *short_factors, *long_factors;
} kvass_rope_spec;

typedef struct kvass_layer_spec {
    kvass_norm_kind norm;
    kvass_block_kind block;
    kvass_mlp_kind mlp;
    kvass_act_kind act;
    kvass_rope_spec rope;
    float attn_scale;   /* of q.k; usually 1/sqrt(head_dim) */
    float attn_cap;     /* not 0: scores become cap * tanh(score / cap) */
    int32_t window;     /* keys a query sees, itself included; 0 = all */
    int32_t owner;      /* the layer whose K and V this one reads; itself unless shared */
} kvass_layer_spec;

/* How the checkpoint's authors sample from it. */
typedef struct kvass_sampling {
    float temperature, top_p, min_p, repeat_penalty;
    int32_t top_k;
    bool has_temperature, has_top_p, has_min_p, has_repeat_penalty, has_top_k;
} kvass_sampling;

typedef struct kvass_config {
    int32_t n_layers, dim, n_heads, n_kv_heads, head_dim, ffn_dim, n_vocab;
    int32_t n_ctx;         /* trained context, in tokens of text */
    bool ctx_bound;        /* what lies beyond n_ctx cannot be computed */
    int32_t pos_offset;    /* the row of pos_embed that position 0 takes */
    int32_t n_meta;        /* learned vectors before every text, at positions 0 .. n_meta-1 */
    float norm_eps;
    kvass_norm_kind final_norm;
    float norm_offset;     /* added to every norm's weights when they are read */
    kvass_qk_norm_kind qk_norm;
    kvass_position_kind position;
    float embed_scale, residual_scale, logit_scale; /* 1 unless the family says so */
    bool embed_scale_stored; /* it is rounded to the type that the embedding is stored in */
    float logit_cap;       /* not 0: logits become cap * tanh(logit / cap) */
    bool tied;             /* lm_head is the token embedding */
    uint32_t biases;       /* 1 << kvass_role for each weight and norm that has a bias (family.h) */
    int32_t bos;           /* -1 = none */
    int32_t eos[KVASS_MAX_EOS], n_eos;
    kvass_sampling sampling;
} kvass_config;

/* w[n], b[n] in f32; b NULL when absent, w NULL when the norm itself is absent */
typedef struct kvass_norm {
    const float *w, *b;
} kvass_norm;

/* y[n_out] = w . x[n_in] + b; b NULL when absent */
typedef struct kvass_linear {
    kvass_weight w;
    const float *b;
} kvass_linear;

typedef struct kvass_layer {
    kvass_layer_spec spec;
    kvass_norm attn_norm;         /* [dim]; this and the other norms: absent unless spec.block
                                   * names them */
    kvass_linear wq;              /* [q_dim, dim] */
    kvass_linear wk, wv;          /* [kv_dim, dim]; absent when spec.owner is another layer */
    kvass_norm q_norm;            /* [head_dim], or [q_dim] for OWN_HEAD and ROW; or absent */
    kvass_norm k_norm;            /* [head_dim] or [kv_dim]; absent with wk */
    kvass_linear wo;              /* [dim, q_dim] */
    kvass_norm attn_post_norm;    /* [dim] */
    kvass_norm mlp_norm;          /* [dim] */
    kvass_linear w_gate, w_up;    /* [ffn_dim, dim]; w_gate absent for plain */
    kvass_linear w_down;          /* [dim, ffn_dim] */
    kvass_norm mlp_post_norm;     /* [dim] */
} kvass_layer;

struct kvass_model {
    kvass_config config;
    kvass_layer *layers;          /* layers[n_layers] */
    kvass_weight tok_embed;       /* [n_vocab, dim] */
    kvass_weight meta_embed;      /* [n_meta, dim]; absent without meta tokens */
    kvass_weight pos_embed;       /* [pos_offset + n_ctx, dim]; absent unless position is learned */
    kvass_norm final_norm;        /* [dim] */
    kvass_linear lm_head;         /* [n_vocab, dim]; tok_embed again when tied */
    const struct kvass_family *family;
    struct kvass_plan *plan;      /* which tensor of ckpt each of them came from (plan.h) */
    kvass_checkpoint *ckpt;       /* directory, configuration, warnings */
    bool header_only;             /* no weight was read: data pointers are NULL */
    int64_t n_params;
    size_t weight_bytes;
    uint64_t fingerprint;
    void *block;                  /* the weights this model owns; freed at close */
};

#endif
