/* bind.c - from checked tensors to the views the engine runs; see plan.h.
 * Called by model.c. The slots are walked twice by the same code: once to count the bytes of the
 * block that the model will own, once to place and read. With the file mapped, a tensor that needs
 * no re-laying is viewed where it is. Norms and biases end up as f32.
 */
#include <stdlib.h>

#include "engine/base/checked.h"
#include "engine/base/half.h"
#include "engine/base/packed.h"
#include "model/plan.h"
#include "model/relay.h"

enum { ALIGNMENT = 64, MAX_PARTS = 8 };

typedef struct binder {
    kvass_model *model;
    unsigned char *block; /* NULL while counting */
    size_t used;          /* bytes of the block */
    size_t viewed;        /* bytes of weights that stay in the map */
    bool overflow;
    void *scratch;
    size_t n_scratch;
} binder;

static void *carve(binder *b, size_t n_bytes)
{
    size_t end;
    if (!kvass_round_up_size(n_bytes, ALIGNMENT, &n_bytes) ||
        !kvass_add_size(b->used, n_bytes, &end)) {
        b->overflow = true;
        return NULL;
    }
    void *taken = b->block ? b->block + b->used : NULL;
    b->used = end;
    return taken;
}

static void want_scratch(binder *b, size_t n_row, size_t head_bytes)
{
    size_t n = kvass_relay_scratch(n_row, head_bytes);
    b->n_scratch = n > b->n_scratch ? n : b->n_scratch;
}

static kvass_relay relay_of(const binder *b, const kvass_tensor *t)
{
    return (kvass_relay){.file = &b->model->ckpt->files[t->file],
                         .tensor = t,
                         .scratch = b->scratch,
                         .n_scratch = b->n_scratch,
                         .q8_group = b->model->ckpt->q8_group};
}

/* The tensor's bytes from `skip` on in the mapped file, or NULL when it is not mapped or its
 * elements would lie unaligned. */
static const void *mapped(const binder *b, const kvass_tensor *t, size_t skip)
{
    const kvass_file *file = &b->model->ckpt->files[t->file];
    size_t align = t->dtype == KVASS_DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
    if (!file->map || t->offset % align != 0) {
        return NULL;
    }
    return (const unsigned char *)file->map + t->offset + skip;
}

/* Where a part's rows (or the elements of its bias) lie in a tensor: runs of `run`, the first at
 * `first`, `stride` apart. */
typedef struct row_runs {
    int32_t first, run, stride;
} row_runs;

/* `row` is where the part would start if its rows lay together. */
static row_runs runs_of(const binder *b, const kvass_slot *slot, int32_t part, int32_t row,
                        int32_t n_out)
{
    int32_t head_dim = b->model->config.head_dim;
    if (slot->layout == KVASS_LAYOUT_INTERLEAVED) {
        return (row_runs){part * head_dim, head_dim, slot->n_parts * head_dim};
    }
    return (row_runs){row, n_out, n_out};
}

/* n elements from `first` on as f32; *out stays NULL while only counting. */
static kvass_status bind_floats(binder *b, const kvass_tensor *t, int32_t first, int32_t n,
                                const float **out, kvass_error *err)
{
    size_t n_bytes = (size_t)n * sizeof(float);
    if (t->dtype == KVASS_DTYPE_F32) {
        *out = mapped(b, t, (size_t)first * sizeof(float));
        if (*out) {
            b->viewed += n_bytes;
            return KVASS_OK;
        }
    }
    float *place = carve(b, n_bytes);
    *out = place;
    kvass_relay r = relay_of(b, t);
    return place ? kvass_relay_floats(&r, first, n, place, err) : KVASS_OK;
}

/* Whether rows of this part are for rotating neighbours and must be brought to halves. */
static bool is_paired(const kvass_model *model, const kvass_tensor_name *part)
{
    return model->ckpt->rope_pairs && (part->role == KVASS_ROLE_WQ || part->role == KVASS_ROLE_WK);
}

static void reorder(const binder *b, const kvass_slot *slot, const kvass_tensor_name *part,
                    void *rows, int32_t n_rows, size_t row_bytes)
{
    if (rows && is_paired(b->model, part)) {
        int32_t n_rot = b->model->layers[slot->layer].spec.rope.n_rot;
        kvass_relay_halves(rows, n_rows, row_bytes, b->model->config.head_dim, n_rot, b->scratch);
    }
}

/* Rows in this model's own block are interleaved; what is viewed in a map stays as it is. */
static void pack(const binder *b, kvass_weight *w, void *place)
{
    w->packed = kvass_dtype_is_integer(w->dtype);
    if (w->packed) {
        kvass_pack_rows(w->dtype, place, w->row_bytes, w->n_out, b->scratch);
    }
}

/* One part of a tensor that lies in rows; `row` is where the part starts. */
static kvass_status bind_rows(binder *b, const kvass_slot *slot, int32_t part, int32_t row,
                              kvass_weight *w, kvass_error *err)
{
    const kvass_tensor *t = slot->weight;
    bool grouped = t->dtype == KVASS_DTYPE_Q8_F32 && b->model->ckpt->q8_group > 0;
    bool paired = is_paired(b->model, &slot->parts[part]);
    row_runs runs = runs_of(b, slot, part, row, w->n_out);
    size_t n_bytes = (size_t)w->n_out * w->row_bytes;
    if (!grouped && !paired && runs.run == w->n_out) {
        w->data = mapped(b, t, (size_t)row * w->row_bytes);
        if (w->data) {
            b->viewed += n_bytes;
            return KVASS_OK;
        }
    }
    unsigned char *place = carve(b, n_bytes);
    w->data = place;
    want_scratch(b, (size_t)w->n_in, (size_t)b->model->config.head_dim * w->row_bytes);
    want_scratch(b, 0, KVASS_PACK_ROWS * w->row_bytes);
    if (!place) {
        return KVASS_OK;
    }
    kvass_relay r = relay_of(b, t);
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i * runs.run < w->n_out && status == KVASS_OK; i++) {
        void *to = place + (size_t)i * (size_t)runs.run * w->row_bytes;
        int32_t from = runs.first + i * runs.stride;
        status = grouped ? kvass_relay_q8(&r, from, runs.run, w->n_in, to, err)
                         : kvass_relay_rows(&r, from, runs.run, w->row_bytes, to, err);
    }
    if (status == KVASS_OK) {
        reorder(b, slot, &slot->parts[part], place, w->n_out, w->row_bytes);
        pack(b, w, place);
    }
    return status;
}

/* Where the role's weight, bias or norm stands in the model. */
static void *field_of(const binder *b, const kvass_slot *slot, int32_t part)
{
    const kvass_role_traits *role = kvass_role_get(slot->parts[part].role);
    char *base = role->per_layer ? (char *)&b->model->layers[slot->layer] : (char *)b->model;
    return base + role->field;
}

/* One vector of a norm, which may be the piece of one head; `offset` is added to it. */
static kvass_status bind_norm_part(binder *b, const kvass_slot *slot, const kvass_tensor *t,
                                   float offset, const float **out, kvass_error *err)
{
    const kvass_config *config = &b->model->config;
    int32_t n = kvass_slot_n_out(config, slot);
    int32_t n_all = kvass_size_of(config, kvass_role_get(slot->parts->role)->n_out);
    if (offset == 0 && n == n_all) {
        return bind_floats(b, t, 0, n, out, err);
    }
    if (slot->head == 0) {
        *out = carve(b, (size_t)n_all * sizeof(float));
    }
    if (!b->block) {
        return KVASS_OK;
    }
    /* the piece lies in this model's own block */
    float *place = (float *)(uintptr_t)*out + (size_t)slot->head * (size_t)n;
    kvass_relay r = relay_of(b, t);
    kvass_status status = kvass_relay_floats(&r, 0, n, place, err);
    for (int32_t i = 0; i < n && status == KVASS_OK; i++) {
        place[i] += offset;
    }
    return status;
}

static kvass_status bind_norm(binder *b, const kvass_slot *slot, kvass_error *err)
{
    kvass_norm *norm = field_of(b, slot, 0);
    float offset = b->model->ckpt->laid_out ? 0 : b->model->config.norm_offset;
    kvass_status status = bind_norm_part(b, slot, slot->weight, offset, &norm->w, err);
    if (status == KVASS_OK && slot->bias) {
        status = bind_norm_part(b, slot, slot->bias, 0, &norm->b, err);
    }
    return status;
}

/* A part's bias. It is reordered as its rows are, for which it must not be a view. */
static kvass_status bind_bias(binder *b, const kvass_slot *slot, int32_t part, int32_t row,
                              int32_t n_out, kvass_error *err)
{
    kvass_linear *linear = field_of(b, slot, part);
    row_runs runs = runs_of(b, slot, part, row, n_out);
    if (!is_paired(b->model, &slot->parts[part]) && runs.run == n_out) {
        return bind_floats(b, slot->bias, row, n_out, &linear->b, err);
    }
    float *place = carve(b, (size_t)n_out * sizeof(float));
    linear->b = place;
    kvass_relay r = relay_of(b, slot->bias);
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; place && i * runs.run < n_out && status == KVASS_OK; i++) {
        status = kvass_relay_floats(&r, runs.first + i * runs.stride, runs.run,
                                    place + (size_t)i * (size_t)runs.run, err);
    }
    if (status == KVASS_OK) {
        reorder(b, slot, &slot->parts[part], place, n_out, sizeof(float));
    }
    return status;
}

static kvass_status bind_slot(binder *b, const kvass_slot *slot, kvass_error *err)
{
    const kvass_config *config = &b->model->config;
    const kvass_role_traits *first = kvass_role_get(slot->parts->role);
    if (first->kind == KVASS_KIND_NORM) {
        return bind_norm(b, slot, err);
    }
    bool transposed = slot->layout == KVASS_LAYOUT_TRANSPOSED;
    kvass_relay_part columns[MAX_PARTS];
    int32_t n_in = kvass_size_of(config, first->n_in), row = 0;
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < slot->n_parts && status == KVASS_OK; i++) {
        /* a kvass_linear starts with its weight */
        kvass_weight *w = field_of(b, slot, i);
        *w = (kvass_weight){.dtype = (kvass_dtype)slot->weight->dtype,
                            .n_out =
                                kvass_size_of(config, kvass_role_get(slot->parts[i].role)->n_out),
                            .n_in = n_in};
        (void)kvass_dtype_row_bytes(w->dtype, n_in, &w->row_bytes);
        if (transposed) {
            w->data = columns[i].out = carve(b, (size_t)w->n_out * w->row_bytes);
            columns[i].column = row;
            columns[i].n_out = w->n_out;
        } else {
            status = bind_rows(b, slot, i, row, w, err);
        }
        if (status == KVASS_OK && slot->bias) {
            status = bind_bias(b, slot, i, row, w->n_out, err);
        }
        row += w->n_out;
    }
    if (status == KVASS_OK && transposed) {
        want_scratch(b, (size_t)row, 0);
        if (b->block) {
            kvass_relay r = relay_of(b, slot->weight);
            status = kvass_relay_transposed(&r, n_in, row, columns, slot->n_parts, err);
        }
    }
    return status;
}

static kvass_status walk(binder *b, const kvass_plan *plan, kvass_error *err)
{
    b->used = 0;
    b->viewed = 0;
    want_scratch(b, 0, 0);
    for (int32_t i = 0; i < plan->n_slots; i++) {
        kvass_status status = bind_slot(b, &plan->slots[i], err);
        if (status != KVASS_OK) {
            return status;
        }
    }
    return KVASS_OK;
}

static void count_params(kvass_model *model, const kvass_plan *plan)
{
    model->n_params = 0;
    for (int32_t i = 0; i < plan->n_slots; i++) {
        const kvass_tensor *pair[] = {plan->slots[i].weight, plan->slots[i].bias};
        for (size_t p = 0; p < 2 && pair[p]; p++) {
            int64_t n = 1;
            for (int32_t d = 0; d < pair[p]->n_dims; d++) {
                n *= pair[p]->shape[d];
            }
            model->n_params += n;
        }
    }
}

/* Gemma multiplies by a factor that has the embedding's own type. */
static void round_embed_scale(kvass_model *model)
{
    kvass_config *config = &model->config;
    if (!config->embed_scale_stored) {
        return;
    }
    if (model->tok_embed.dtype == KVASS_DTYPE_BF16) {
        config->embed_scale = kvass_bf16_to_f32(kvass_f32_to_bf16(config->embed_scale));
    } else if (model->tok_embed.dtype == KVASS_DTYPE_F16) {
        config->embed_scale = kvass_f16_to_f32(kvass_f32_to_f16(config->embed_scale));
    }
}

kvass_status kvass_bind(kvass_model *model, const kvass_plan *plan, bool use_mmap, kvass_error *err)
{
    binder b = {.model = model};
    kvass_status status = KVASS_OK;
    for (int32_t i = 0; i < model->ckpt->n_files && use_mmap && !model->header_only; i++) {
        status = kvass_file_map(&model->ckpt->files[i], err);
        if (status != KVASS_OK) {
            return status;
        }
    }
    status = walk(&b, plan, err);
    if (status == KVASS_OK && b.overflow) {
        status = kvass_fail(err, KVASS_FORMAT, "OVERFLOW", "%s: the weights do not fit memory",
                            model->ckpt->path);
    }
    if (status != KVASS_OK) {
        return status;
    }
    model->weight_bytes = b.used + b.viewed;
    count_params(model, plan);
    if (!model->header_only && b.used > 0) {
        b.scratch = malloc(b.n_scratch);
        model->block = aligned_alloc(ALIGNMENT, b.used);
        b.block = model->block;
        status = b.scratch && b.block ? walk(&b, plan, err)
                                      : kvass_fail_nomem(err, b.used, "the weights");
        free(b.scratch);
    }
    if (model->config.tied) {
        model->lm_head = (kvass_linear){.w = model->tok_embed};
    }
    round_embed_scale(model);
    return status;
}
