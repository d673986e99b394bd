/* oracle.c - see oracle.h. */
#include "tests/parity/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/half.h"

typedef struct oracle {
    const kvass_model *m;
    const oracle_rules *rules;
    int32_t n, dim, q_dim, kv_dim;
    double *x, *xn, *y, *q, *k, *v, *ao, *h, *gate; /* [n, ...] */
    double *kq, *vq; /* [n, kv_dim]: rotated keys, and values, as quantized pages give them */
    double *scores;  /* [n] */
    double *row;     /* [n]: where the running query's weights go; NULL: nowhere */
    bool *read;      /* [n]: whether position j is read at all */
    double closest;  /* least relative distance between a page chosen and one that was not */
} oracle;

static double weight_at(const kvass_weight *w, int32_t row, int32_t column)
{
    const unsigned char *bytes = (const unsigned char *)w->data + (size_t)row * w->row_bytes;
    float f;
    uint16_t h;
    switch (w->dtype) {
    case KVASS_DTYPE_F32:
        memcpy(&f, bytes + (size_t)column * 4, 4);
        return f;
    case KVASS_DTYPE_F16:
        memcpy(&h, bytes + (size_t)column * 2, 2);
        return kvass_f16_to_f32(h);
    case KVASS_DTYPE_BF16:
        memcpy(&h, bytes + (size_t)column * 2, 2);
        return kvass_bf16_to_f32(h);
    default:
        return NAN;
    }
}

/* y[n, n_out] = x[n, n_in] . w^T + b */
static void linear(const kvass_linear *l, const double *x, int32_t n, double *y)
{
    for (int32_t r = 0; r < l->w.n_out; r++) {
        for (int32_t t = 0; t < n; t++) {
            y[(size_t)t * (size_t)l->w.n_out + (size_t)r] = l->b ? l->b[r] : 0.0;
        }
        for (int32_t c = 0; c < l->w.n_in; c++) {
            double w = weight_at(&l->w, r, c);
            for (int32_t t = 0; t < n; t++) {
                y[(size_t)t * (size_t)l->w.n_out + (size_t)r] +=
                    w * x[(size_t)t * (size_t)l->w.n_in + (size_t)c];
            }
        }
    }
}

static void norm(const oracle *o, kvass_norm_kind kind, const kvass_norm *weights, const double *x,
                 double *y)
{
    for (int32_t t = 0; t < o->n; t++, x += o->dim, y += o->dim) {
        double mean = 0, square = 0;
        for (int32_t i = 0; i < o->dim && kind == KVASS_NORM_LAYER; i++) {
            mean += x[i] / o->dim;
        }
        for (int32_t i = 0; i < o->dim; i++) {
            square += (x[i] - mean) * (x[i] - mean) / o->dim;
        }
        for (int32_t i = 0; i < o->dim; i++) {
            y[i] = (x[i] - mean) / sqrt(square + (double)o->m->config.norm_eps) * weights->w[i] +
                   (weights->b ? weights->b[i] : 0.0);
        }
    }
}

/* out = head rotated at pos; plain frequencies only */
static void rotate(const kvass_rope_spec *rope, const double *head, int32_t head_dim, int32_t pos,
                   double *out)
{
    int32_t half = rope->n_rot / 2;
    memcpy(out, head, (size_t)head_dim * sizeof *out);
    for (int32_t i = 0; i < half; i++) {
        double angle = pos * pow(rope->theta, -2.0 * i / rope->n_rot);
        out[i] = head[i] * cos(angle) - head[i + half] * sin(angle);
        out[i + half] = head[i + half] * cos(angle) + head[i] * sin(angle);
    }
}

static double activate(kvass_act_kind act, double x)
{
    switch (act) {
    case KVASS_ACT_SILU:
        return x / (1.0 + exp(-x));
    case KVASS_ACT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    default:
        return NAN;
    }
}

/* how high a page's keys can score for the group's queries at p, by the least and the greatest
 * value of each channel */
static double page_score(const oracle *o, const kvass_layer *l, int32_t p, int32_t kv_head,
                         int32_t page)
{
    const kvass_config *c = &o->m->config;
    int32_t head_dim = c->head_dim, n_group = c->n_heads / c->n_kv_heads;
    double least[512], greatest[512], rotated[512], best = -INFINITY;
    for (int32_t j = page * 32; j < page * 32 + 32; j++) {
        rotate(&l->spec.rope, o->k + (size_t)j * (size_t)o->kv_dim + (size_t)(kv_head * head_dim),
               head_dim, j, rotated);
        for (int32_t d = 0; d < head_dim; d++) {
            least[d] = j == page * 32 ? rotated[d] : fmin(least[d], rotated[d]);
            greatest[d] = j == page * 32 ? rotated[d] : fmax(greatest[d], rotated[d]);
        }
    }
    for (int32_t head = kv_head * n_group; head < (kv_head + 1) * n_group; head++) {
        double score = 0;
        rotate(&l->spec.rope, o->q + (size_t)p * (size_t)o->q_dim + (size_t)(head * head_dim),
               head_dim, p, rotated);
        for (int32_t d = 0; d < head_dim; d++) {
            score += fmax(rotated[d] * least[d], rotated[d] * greatest[d]);
        }
        best = fmax(best, score);
    }
    return best;
}

/* o->read[0 .. p] for one KV head: everything, or the chosen pages and those that always are */
static void choose_pages(oracle *o, const kvass_layer *l, int32_t index, int32_t p, int32_t kv_head)
{
    enum { MOST_PAGES = 64 };
    const oracle_rules *r = o->rules;
    double scores[MOST_PAGES];
    bool dense = r->n_topk == 0 || index < r->n_dense || p < r->n_prefill;
    int32_t lo = r->window > 0 && p - r->window + 1 > r->n_sinks ? p - r->window + 1 : 0;
    int32_t recent = p + 1 - r->n_recent < 0 ? 0 : p + 1 - r->n_recent;
    int32_t newest = (recent < p ? recent : p) / 32, sink_pages = (r->n_sinks + 31) / 32;
    int32_t begin = lo / 32 > sink_pages ? lo / 32 : sink_pages;
    for (int32_t j = 0; j <= p; j++) {
        o->read[j] = dense || j / 32 < sink_pages || j / 32 >= newest;
    }
    for (int32_t page = begin; page < newest && !dense; page++) {
        scores[page] = page_score(o, l, p, kv_head, page);
    }
    int32_t left = r->n_topk - (p / 32 - newest + 1);
    double last = NAN;
    for (; left > 0 && !dense; left--) {
        int32_t best = -1;
        for (int32_t page = begin; page < newest; page++) {
            if (!o->read[page * 32] && (best < 0 || scores[page] > scores[best])) {
                best = page;
            }
        }
        for (int32_t j = best * 32; best >= 0 && j < best * 32 + 32; j++) {
            o->read[j] = true;
        }
        last = best >= 0 ? scores[best] : NAN;
    }
    for (int32_t page = begin; page < newest; page++) {
        if (!o->read[page * 32]) {
            o->closest = fmin(o->closest, (last - scores[page]) / fabs(last));
        }
    }
}

static double as_half(double x)
{
    return kvass_f16_to_f32(kvass_f32_to_f16((float)x));
}

/* x[n] `stride` apart -> the nearest of 255 values around zero that share a scale */
static void quantize_8(double *x, int32_t n)
{
    double most = 0;
    for (int32_t i = 0; i < n; i++) {
        most = fmax(most, fabs(x[i]));
    }
    double scale = as_half(most / 127);
    for (int32_t i = 0; i < n; i++) {
        x[i] = scale > 0 ? scale * fmax(-127, fmin(127, nearbyint(x[i] / scale))) : 0;
    }
}

/* x[n] `stride` apart -> the nearest of 16 values from the least to the greatest */
static void quantize_4(double *x, int32_t n, int32_t stride)
{
    double lo = x[0], hi = x[0];
    for (int32_t i = 1; i < n; i++) {
        lo = fmin(lo, x[i * stride]);
        hi = fmax(hi, x[i * stride]);
    }
    lo = as_half(lo);
    double step = as_half((hi - lo) / 15);
    for (int32_t i = 0; i < n; i++) {
        double level = step > 0 ? nearbyint((x[i * stride] - lo) / step) : 0;
        x[i * stride] = lo + step * fmax(0, fmin(15, level));
    }
}

/* every row of x[n, kv_dim] in blocks of 32 along a head, the last or only one shorter */
static void quantize_rows(const oracle *o, double *x)
{
    int32_t head_dim = o->m->config.head_dim;
    for (int32_t at = 0; at < o->n * o->kv_dim; at += head_dim) {
        for (int32_t d = 0; d < head_dim; d += 32) {
            int32_t n = head_dim - d < 32 ? head_dim - d : 32;
            if (o->rules->store == KVASS_STORE_Q8) {
                quantize_8(x + at + d, n);
            } else {
                quantize_4(x + at + d, n, 1);
            }
        }
    }
}

/* what pages of this layer's keys and values would hold */
static void quantize_pages(oracle *o, const kvass_layer *l)
{
    int32_t head_dim = o->m->config.head_dim;
    for (int32_t j = 0; j < o->n; j++) {
        for (int32_t at = j * o->kv_dim; at < (j + 1) * o->kv_dim; at += head_dim) {
            rotate(&l->spec.rope, o->k + at, head_dim, j, o->kq + at);
        }
    }
    memcpy(o->vq, o->v, (size_t)(o->n * o->kv_dim) * sizeof *o->vq);
    quantize_rows(o, o->vq);
    if (o->rules->store == KVASS_STORE_Q8) {
        quantize_rows(o, o->kq);
        return;
    }
    for (int32_t page = 0; page + 32 <= o->n; page += 32) { /* per channel of a page */
        for (int32_t d = 0; d < o->kv_dim; d++) {
            quantize_4(o->kq + page * o->kv_dim + d, 32, o->kv_dim);
        }
    }
}

/* positions before this are read quantized by a query at p */
static int32_t quantized_end(const oracle *o, int32_t p)
{
    bool quantized = o->rules->store == KVASS_STORE_Q8 || o->rules->store == KVASS_STORE_Q4;
    return quantized && p + 1 >= 32 ? (p + 1 - 32) / 32 * 32 : 0;
}

/* one head of one query over all it may see; k, v hold raw keys and values of every position */
static void attend(const oracle *o, const kvass_layer *l, const double *q, int32_t p,
                   int32_t kv_head, double *out)
{
    int32_t head_dim = o->m->config.head_dim, n_sinks = o->rules->n_sinks;
    int32_t lo = o->rules->window > 0 ? p - o->rules->window + 1 : 0;
    lo = lo < n_sinks ? (lo < 0 ? 0 : lo) : lo;
    bool gap = o->rules->window > 0 && p - o->rules->window + 1 > n_sinks;
    int32_t q_index = gap && o->rules->cache_positions ? n_sinks + o->rules->window - 1 : p;
    double q_rotated[512], k_rotated[512], max = -INFINITY, sum = 0;
    rotate(&l->spec.rope, q, head_dim, q_index, q_rotated);
    for (int32_t j = 0; j <= p; j++) {
        o->scores[j] = -INFINITY;
        if (!o->read[j] || (gap && j >= n_sinks && j < lo)) {
            continue;
        }
        int32_t k_index = gap && o->rules->cache_positions && j >= n_sinks ? n_sinks + j - lo : j;
        rotate(&l->spec.rope, o->k + (size_t)j * (size_t)o->kv_dim + (size_t)(kv_head * head_dim),
               head_dim, k_index, k_rotated);
        const double *head = o->kq + (size_t)j * (size_t)o->kv_dim + (size_t)(kv_head * head_dim);
        const double *key = j < quantized_end(o, p) ? head : k_rotated;
        double score = 0;
        for (int32_t d = 0; d < head_dim; d++) {
            score += q_rotated[d] * key[d];
        }
        o->scores[j] = score * (double)l->spec.attn_scale;
        max = o->scores[j] > max ? o->scores[j] : max;
    }
    memset(out, 0, (size_t)head_dim * sizeof *out);
    for (int32_t j = 0; j <= p; j++) {
        double weight = exp(o->scores[j] - max);
        const double *values = j < quantized_end(o, p) ? o->vq : o->v;
        values += (size_t)j * (size_t)o->kv_dim + (size_t)(kv_head * head_dim);
        sum += weight;
        for (int32_t d = 0; d < head_dim && weight > 0; d++) {
            out[d] += weight * values[d];
        }
    }
    for (int32_t d = 0; d < head_dim; d++) {
        out[d] /= sum;
    }
    for (int32_t j = 0; j < o->n && o->row; j++) {
        o->row[j] = j <= p ? exp(o->scores[j] - max) / sum : 0;
    }
}

static void run_layer(oracle *o, int32_t index)
{
    const kvass_config *c = &o->m->config;
    const kvass_layer *l = &o->m->layers[index];
    size_t dim_floats = (size_t)o->n * (size_t)o->dim,
           ffn_floats = (size_t)o->n * (size_t)c->ffn_dim;
    norm(o, l->spec.norm, &l->attn_norm, o->x, o->xn);
    linear(&l->wq, o->xn, o->n, o->q);
    if (!o->rules->pairs || index % 2 == 0) {
        linear(&l->wk, o->xn, o->n, o->k);
        linear(&l->wv, o->xn, o->n, o->v);
        quantize_pages(o, l);
    }
    for (int32_t p = 0; p < o->n; p++) {
        for (int32_t head = 0, n_group = c->n_heads / c->n_kv_heads; head < c->n_heads; head++) {
            size_t at = (size_t)p * (size_t)o->q_dim + (size_t)(head * c->head_dim);
            if (head % n_group == 0) {
                choose_pages(o, l, index, p, head / n_group);
            }
            if (o->rules->weights) {
                size_t map = (size_t)(index * c->n_heads + head);
                o->row = o->rules->weights + (map * (size_t)o->n + (size_t)p) * (size_t)o->n;
            }
            attend(o, l, o->q + at, p, head / n_group, o->ao + at);
        }
    }
    linear(&l->wo, o->ao, o->n, o->y);
    for (size_t i = 0; i < dim_floats; i++) {
        o->x[i] += o->y[i];
    }
    norm(o, l->spec.norm, &l->mlp_norm, o->x, o->xn);
    linear(&l->w_up, o->xn, o->n, o->h);
    if (l->spec.mlp == KVASS_MLP_GATED) {
        linear(&l->w_gate, o->xn, o->n, o->gate);
    }
    for (size_t i = 0; i < ffn_floats; i++) {
        o->h[i] = l->spec.mlp == KVASS_MLP_GATED ? activate(l->spec.act, o->gate[i]) * o->h[i]
                                                 : activate(l->spec.act, o->h[i]);
    }
    linear(&l->w_down, o->h, o->n, o->y);
    for (size_t i = 0; i < dim_floats; i++) {
        o->x[i] += o->y[i];
    }
}

static double *doubles(int32_t rows, int32_t columns)
{
    return calloc((size_t)rows * (size_t)columns, sizeof(double));
}

bool oracle_run(const kvass_model *model, const oracle_rules *rules, const int32_t *tokens,
                int32_t n_tokens, double *logits, double *closest)
{
    const kvass_config *c = &model->config;
    int32_t n = n_tokens, q_dim = c->n_heads * c->head_dim, kv_dim = c->n_kv_heads * c->head_dim;
    oracle o = {
        .m = model,
        .rules = rules,
        .n = n,
        .dim = c->dim,
        .q_dim = q_dim,
        .kv_dim = kv_dim,
        .x = doubles(n, c->dim),
        .xn = doubles(n, c->dim),
        .y = doubles(n, c->dim),
        .q = doubles(n, q_dim),
        .k = doubles(n, kv_dim),
        .v = doubles(n, kv_dim),
        .kq = doubles(n, kv_dim),
        .vq = doubles(n, kv_dim),
        .ao = doubles(n, q_dim),
        .h = doubles(n, c->ffn_dim),
        .gate = doubles(n, c->ffn_dim),
        .scores = doubles(1, n),
        .read = calloc((size_t)n, sizeof(bool)),
        .closest = INFINITY,
    };
    bool ok = o.x && o.xn && o.y && o.q && o.k && o.v && o.kq && o.vq && o.ao && o.h && o.gate &&
              o.scores && o.read;
    for (int32_t t = 0; ok && t < n; t++) {
        for (int32_t i = 0; i < c->dim; i++) {
            o.x[t * c->dim + i] = weight_at(&model->tok_embed, tokens[t], i);
            if (c->position == KVASS_POSITION_LEARNED) {
                o.x[t * c->dim + i] += weight_at(&model->pos_embed, t, i);
            }
        }
    }
    for (int32_t l = 0; ok && l < c->n_layers; l++) {
        run_layer(&o, l);
    }
    if (ok) {
        norm(&o, c->final_norm, &model->final_norm, o.x, o.xn);
        linear(&model->lm_head, o.xn, n, logits);
    }
    double *all[] = {o.x, o.xn, o.y, o.q, o.k, o.v, o.kq, o.vq, o.ao, o.h, o.gate, o.scores};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
    free(o.read);
    if (closest) {
        *closest = o.closest;
    }
    return ok;
}
