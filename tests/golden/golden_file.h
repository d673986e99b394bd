/* golden_file.h - reads what tools/reference wrote: ids, the logits and residuals they must give.
 * Used by test_golden_logits.c and test_golden_layers.c, which also find their data through it.
 */
#ifndef KVASS_TESTS_GOLDEN_FILE_H
#define KVASS_TESTS_GOLDEN_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GOLDEN_PATH_BYTES = 1024 };

/* The largest difference at any position that is let pass, in standard deviations of that
 * position's reference values. */
#define GOLDEN_BOUND 2e-4

typedef struct golden {
    int32_t n_tokens, n_vocab, n_cols, n_layers, dim, n_marks;
    int32_t *ids;    /* ids[n_tokens] */
    int32_t *marks;  /* marks[n_marks]: positions whose residuals are kept */
    float *logits;   /* [n_tokens, n_cols]: column c is vocabulary entry c * (n_vocab / n_cols) */
    float *residual; /* [n_layers, n_marks, dim]: what each layer leaves behind */
    void *data;
} golden;

/* A checkpoint and the file that says what it gives. */
typedef struct golden_case {
    const char *name;
    const char *model, *logits; /* below tests/golden; model below the shared data when shared */
    bool shared;                /* skipped where the shared data is missing */
    bool greedy;                /* each id is the best after those before it */
} golden_case;

enum { GOLDEN_N_CASES = 76 };
extern const golden_case golden_cases[GOLDEN_N_CASES];

/* Paths of the case's checkpoint and of its golden file; false when the checkpoint is shared data
 * that is not there. KVASS_SOURCE_ROOT names the source tree, KVASS_SHARED the shared data (beside
 * the source tree when unset). */
bool golden_find(const golden_case *c, char model[GOLDEN_PATH_BYTES],
                 char logits[GOLDEN_PATH_BYTES]);

/* Fails the test when the file is not as it should be. */
void golden_read(golden *g, const char *path);
void golden_free(golden *g);

/* max |got[i * stride] - want[i]| / standard deviation of want[n]; infinity when anything is NaN.
 */
double golden_distance(const float *got, int32_t stride, const float *want, int32_t n);

#endif
