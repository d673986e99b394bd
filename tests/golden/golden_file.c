/* golden_file.c - see golden_file.h. A file is read whole and its parts are pointed into; sizes are
 * compared with the file's own, so that a golden cut short cannot pass. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/golden/golden_file.h"

#define PLAIN(name)                                                                                \
    {                                                                                              \
        name, name, name "/logits.bin", false, false                                               \
    }
#define LLAMA2C(name, file, logits)                                                                \
    {                                                                                              \
        name " " file, name "/" file, name "/" logits, false, false                                \
    }
#define GGUF(name)                                                                                 \
    {                                                                                              \
        name " GGUF", name "/model.gguf", name "/logits.bin", false, false                         \
    }
#define BUNDLED(name)                                                                              \
    {                                                                                              \
        "weights/" name, "../../weights/" name, "weights/" name ".logits.bin", false, false        \
    }

const golden_case golden_cases[GOLDEN_N_CASES] = {
    PLAIN("llama-mha"),
    LLAMA2C("llama-mha", "v2-g32.bin", "v2-g32.logits.bin"),
    PLAIN("llama-gqa"),
    LLAMA2C("llama-gqa", "v1.bin", "logits.bin"),
    PLAIN("llama-bias"),
    PLAIN("llama-untied"),
    LLAMA2C("llama-untied", "v0.bin", "logits.bin"),
    PLAIN("llama-theta"),
    PLAIN("llama-theta-old"),
    PLAIN("llama-rope3"),
    PLAIN("llama-rope3-old"),
    PLAIN("llama-linear"),
    PLAIN("llama-head-dim"),
    PLAIN("llama-bf16"),
    PLAIN("llama-f16"),
    PLAIN("llama-sharded"),
    LLAMA2C("llama-sharded", "model.safetensors.index.json", "logits.bin"),
    LLAMA2C("llama-q8", "v2-g64.bin", "v2-g64.logits.bin"),
    PLAIN("gpt2"),
    PLAIN("gpt2-odd"),
    PLAIN("kvass"),
    PLAIN("families/gpt_neo"),
    PLAIN("families/gpt_neox"),
    PLAIN("families/gpt_neox-serial"),
    PLAIN("families/opt"),
    PLAIN("families/mistral"),
    PLAIN("families/qwen2"),
    PLAIN("families/qwen2-plain"),
    PLAIN("families/qwen3"),
    PLAIN("families/smollm3"),
    PLAIN("families/smollm3-plain"),
    PLAIN("families/granite"),
    PLAIN("families/gemma"),
    PLAIN("families/gemma2"),
    PLAIN("families/gemma2-plain"),
    PLAIN("families/gemma3_text"),
    PLAIN("families/gemma3_text-new"),
    PLAIN("families/phi"),
    PLAIN("families/phi-plain"),
    PLAIN("families/phi3"),
    PLAIN("families/phi3-short"),
    PLAIN("families/stablelm"),
    PLAIN("families/stablelm-serial"),
    PLAIN("families/olmo2"),
    PLAIN("families/starcoder2"),
    PLAIN("families/nanogpt"),
    PLAIN("families/mingpt"),
    {"torch views", "torch/views", "llama-gqa/logits.bin", false, false},
    {"torch sharded", "torch/sharded", "llama-gqa/logits.bin", false, false},
    {"torch llama2.c", "torch/llama2c.pt", "llama-gqa/logits.bin", false, false},
    {"torch nanoGPT", "torch/ckpt.pt", "families/nanogpt/logits.bin", false, false},
    GGUF("gpt2-odd"),
    GGUF("llama-rope3"),
    GGUF("llama-linear"),
    GGUF("llama-bias"),
    GGUF("families/gemma"),
    GGUF("families/gemma2-plain"),
    GGUF("families/gemma3_text"),
    GGUF("families/gpt_neox"),
    GGUF("families/gpt_neox-serial"),
    GGUF("families/granite"),
    GGUF("families/mistral"),
    GGUF("families/olmo2"),
    GGUF("families/phi-plain"),
    GGUF("families/phi3"),
    GGUF("families/qwen2-plain"),
    GGUF("families/qwen3"),
    GGUF("families/smollm3-plain"),
    GGUF("families/stablelm-serial"),
    GGUF("families/starcoder2"),
    BUNDLED("tiny"),
    BUNDLED("tiny-lean"),
    BUNDLED("tiny-gpt2"),
    {"gpt2-chains", "models/gpt2-chains", "shared/gpt2-chains.logits.bin", true, false},
    {"stories260K", "models/stories260K/stories260K.bin", "shared/stories260K.logits.bin", true,
     true},
    {"stories260K v1", "models/stories260K/stories260K_v1.bin", "shared/stories260K.logits.bin",
     true, true},
};

bool golden_find(const golden_case *c, char model[GOLDEN_PATH_BYTES],
                 char logits[GOLDEN_PATH_BYTES])
{
    const char *root = getenv("KVASS_SOURCE_ROOT");
    const char *shared = getenv("KVASS_SHARED");
    root = root != NULL ? root : ".";
    int n;

    snprintf(logits, GOLDEN_PATH_BYTES, "%s/tests/golden/%s", root, c->logits);
    if (!c->shared) {
        n = snprintf(model, GOLDEN_PATH_BYTES, "%s/tests/golden/%s", root, c->model);
    } else if (shared != NULL) {
        n = snprintf(model, GOLDEN_PATH_BYTES, "%s/%s", shared, c->model);
    } else {
        n = snprintf(model, GOLDEN_PATH_BYTES, "%s/../shared/%s", root, c->model);
    }
    assert_in_range(n, 1, GOLDEN_PATH_BYTES - 1);
    return !c->shared || access(model, R_OK) == 0;
}

void golden_read(golden *g, const char *path)
{
    FILE *f = fopen(path, "rb");
    int32_t head[6];
    char magic[8];

    if (f == NULL) {
        fail_msg("%s: cannot be opened", path);
    }
    assert_int_equal(fread(magic, 1, sizeof magic, f), sizeof magic);
    assert_memory_equal(magic, "KVGOLD1\n", sizeof magic);
    assert_int_equal(fread(head, sizeof head, 1, f), 1);
    *g = (golden){.n_tokens = head[0],
                  .n_vocab = head[1],
                  .n_cols = head[2],
                  .n_layers = head[3],
                  .dim = head[4],
                  .n_marks = head[5]};
    for (size_t i = 0; i < 6; i++) {
        assert_in_range(head[i], 1, 4096);
    }
    const size_t n_ids = (size_t)(g->n_tokens + g->n_marks);
    const size_t n_logits = (size_t)g->n_tokens * (size_t)g->n_cols;
    const size_t n_residual = (size_t)g->n_layers * (size_t)g->n_marks * (size_t)g->dim;
    const size_t n_bytes = 4 * (n_ids + n_logits + n_residual);

    g->data = malloc(n_bytes);
    assert_non_null(g->data);
    assert_int_equal(fread(g->data, 1, n_bytes, f), n_bytes);
    assert_int_equal(fgetc(f), EOF);
    fclose(f);
    g->ids = g->data;
    g->marks = g->ids + g->n_tokens;
    g->logits = (float *)(g->marks + g->n_marks);
    g->residual = g->logits + n_logits;
}

void golden_free(golden *g)
{
    free(g->data);
    *g = (golden){0};
}

double golden_distance(const float *got, int32_t stride, const float *want, int32_t n)
{
    double sum = 0, squares = 0, worst = 0;

    for (int32_t i = 0; i < n; i++) {
        sum += (double)want[i];
    }
    for (int32_t i = 0; i < n; i++) {
        const double diff = fabs((double)got[(size_t)i * (size_t)stride] - (double)want[i]);
        const double off = (double)want[i] - sum / n;
        squares += off * off;
        if (!(diff <= worst)) {
            worst = isnan(diff) ? INFINITY : diff;
        }
    }
    return worst / sqrt(squares / n);
}
