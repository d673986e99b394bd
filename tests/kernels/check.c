/* check.c - guarded buffers, fills and cases of the kernel tests; see check.h. */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOT_BYTES ((size_t)2 << 20)
#define CANARY     64
#define MARK       0xff /* as a float, NaN: a read outside that matters shows */

static const int32_t lengths[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,  12,
                                  13, 14, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 4101};
#define N_LENGTHS ((int32_t)(sizeof lengths / sizeof lengths[0]))

static void give_up(const char *what)
{
    perror(what);
    abort();
}

void check_open(check *c, uint64_t seed)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    memset(c, 0, sizeof *c);
    c->seed = seed;
    c->n_places = N_PLACES;
    for (int32_t i = 0; i < N_SLOTS; i++) {
        unsigned char *p = mmap(NULL, SLOT_BYTES + 2 * page, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) != 0 ||
            mprotect(p + page + SLOT_BYTES, page, PROT_NONE) != 0) {
            give_up("mmap");
        }
        c->slots[i].pages = p + page;
        c->slots[i].copy = malloc(SLOT_BYTES);
        if (!c->slots[i].copy) {
            give_up("malloc");
        }
    }
    check_reset(c);
}

void check_close(check *c)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (int32_t i = 0; i < N_SLOTS; i++) {
        munmap(c->slots[i].pages - page, SLOT_BYTES + 2 * page);
        free(c->slots[i].copy);
    }
}

void check_reset(check *c)
{
    c->state = c->seed;
    c->failed = false;
    c->message[0] = '\0';
    c->diff = c->norm = 0.0;
    for (int32_t i = 0; i < N_SLOTS; i++) {
        c->slots[i].in_use = false;
    }
}

void check_fail(check *c, const char *format, ...)
{
    if (!c->failed) {
        va_list args;
        va_start(args, format);
        vsnprintf(c->message, sizeof c->message, format, args);
        va_end(args);
    }
    c->failed = true;
}

void *check_take(check *c, int32_t i, size_t n, size_t element_bytes, int32_t place)
{
    slot *s = &c->slots[i];
    s->n_bytes = n * element_bytes;
    if (s->n_bytes + 2 * CANARY + 4 * element_bytes > SLOT_BYTES) {
        fprintf(stderr, "check_take: %zu bytes are more than a slot has\n", s->n_bytes);
        abort();
    }
    if (place == PLACE_PAGE_END) {
        s->data = s->pages + SLOT_BYTES - s->n_bytes;
    } else {
        s->data = s->pages + CANARY + (size_t)place * element_bytes;
        memset(s->data + s->n_bytes, MARK, CANARY);
    }
    memset(s->data - CANARY, MARK, CANARY);
    s->in_use = true;
    s->frozen = false;
    return s->data;
}

void check_freeze(check *c, int32_t i)
{
    slot *s = &c->slots[i];
    memcpy(s->copy, s->data, s->n_bytes);
    s->frozen = true;
}

static bool is_marked(const unsigned char *p)
{
    for (int32_t i = 0; i < CANARY; i++) {
        if (p[i] != MARK) {
            return false;
        }
    }
    return true;
}

void check_guards(check *c, const char *what, int32_t n)
{
    for (int32_t i = 0; i < N_SLOTS; i++) {
        slot *s = &c->slots[i];
        if (!s->in_use) {
            continue;
        }
        bool at_end = s->data + s->n_bytes == s->pages + SLOT_BYTES;
        if (!is_marked(s->data - CANARY)) {
            check_fail(c, "%s: n = %d: wrote in front of buffer %d", what, (int)n, (int)i);
        }
        if (!at_end && !is_marked(s->data + s->n_bytes)) {
            check_fail(c, "%s: n = %d: wrote past buffer %d", what, (int)n, (int)i);
        }
        if (s->frozen && memcmp(s->copy, s->data, s->n_bytes) != 0) {
            check_fail(c, "%s: n = %d: changed its input, buffer %d", what, (int)n, (int)i);
        }
        s->in_use = false;
    }
}

/* splitmix64 */
uint64_t check_random(check *c)
{
    uint64_t z = c->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Box and Muller */
double check_normal(check *c)
{
    double u = ((double)(check_random(c) >> 11) + 1.0) * 0x1p-53;
    double v = (double)(check_random(c) >> 11) * 0x1p-53;
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

float check_fill_value(check *c, fill f, int32_t i, double huge)
{
    switch (f) {
    case FILL_NORMAL:
        return (float)check_normal(c);
    case FILL_HUGE:
        return (float)(i % 2 == 0 ? huge : -huge);
    case FILL_DENORMAL:
        return (float)((i % 3 == 0 ? -1e-40 : 1e-41) * (double)(1 + i % 5));
    case FILL_EQUAL:
        return 0.37f;
    default:
        return 0.0f;
    }
}

void check_fill_floats(check *c, fill f, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = check_fill_value(c, f, (int32_t)i, 1e17);
    }
}

float *check_take_floats(check *c, int32_t i, size_t n, int32_t place, fill f)
{
    float *x = check_take(c, i, n, sizeof *x, place);
    check_fill_floats(c, f, x, n);
    return x;
}

bool check_same(const float *a, const float *b, int32_t n)
{
    return n == 0 || memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

void check_close_to(check *c, const char *what, int32_t n, int32_t i, double value, double expected,
                    double bound)
{
    bool same = value == expected || (isnan(value) && isnan(expected));
    if (!same && !(fabs(value - expected) <= bound)) {
        check_fail(c, "%s: n = %d: element %d is %.9g, expected %.9g within %.3g", what, (int)n,
                   (int)i, value, expected, bound);
    }
}

void check_agree(check *c, double value, double reference)
{
    c->diff += (value - reference) * (value - reference);
    c->norm += reference * reference;
}

void check_agree_end(check *c, const char *what)
{
    if (!(c->diff <= MAX_NMSE * c->norm)) {
        check_fail(c, "%s: NMSE against scalar %.3g, at most %.0e allowed", what, c->diff / c->norm,
                   MAX_NMSE);
    }
    c->diff = c->norm = 0.0;
}

bool check_next(const check *c, check_case *t)
{
    if (c->failed) {
        return false; /* the first complaint is the verdict */
    }
    if (!t->started) {
        t->started = 1;
    } else if ((t->fill = (fill)(t->fill + 1)) == N_FILLS) {
        t->fill = FILL_NORMAL;
        if (++t->place == c->n_places) {
            t->place = 0;
            t->i_length++;
        }
    }
    if (t->i_length == N_LENGTHS) {
        return false;
    }
    t->n = lengths[t->i_length];
    return true;
}

double check_f16_value(uint16_t h)
{
    int exponent = h >> 10 & 31;
    double fraction = h & 0x3ff;
    double value;
    if (exponent == 31) {
        value = fraction != 0.0 ? (double)NAN : (double)INFINITY;
    } else if (exponent == 0) {
        value = ldexp(fraction, -24);
    } else {
        value = ldexp(1024.0 + fraction, exponent - 25);
    }
    return h & 0x8000 ? -value : value;
}

double check_bf16_value(uint16_t h)
{
    int exponent = h >> 7 & 255;
    double fraction = h & 0x7f;
    double value;
    if (exponent == 255) {
        value = fraction != 0.0 ? (double)NAN : (double)INFINITY;
    } else if (exponent == 0) {
        value = ldexp(fraction, -133);
    } else {
        value = ldexp(128.0 + fraction, exponent - 134);
    }
    return h & 0x8000 ? -value : value;
}
