/* pickle.c - pickle.h: one pass over the instructions with a stack of values. Values are 24 bytes
 * in one growing array, as many at most as the text has bytes; items of containers are linked in
 * it.
 */
#include "engine/base/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/pickle_cell.h"
#include "engine/base/reader.h"

#define MAX_NODES (1u << 23)

/* The machine while it runs. */
typedef struct machine {
    kvass_pickle *p;
    kvass_reader r;
    uint32_t *stack, *memo; /* memo[n_memo]: 0 where nothing was put */
    size_t n_stack, cap_stack, n_memo, cap_memo;
    const char *const *functions;
    const char *path;
    size_t at; /* of the instruction */
    kvass_error *err;
} machine;

/* ---- memory ---------------------------------------------------------------------------------- */

static kvass_status fail_at(const machine *m, const char *what)
{
    return kvass_fail(m->err, KVASS_FORMAT, "PICKLE", "%s: pickle, byte %zu: %s", m->path, m->at,
                      what);
}

static kvass_status add_node(machine *m, cell value, uint32_t *out)
{
    kvass_pickle *p = m->p;
    if (p->n_nodes == p->cap_nodes) {
        uint32_t cap = p->cap_nodes + p->cap_nodes / 2 + 256;
        cell *grown = cap <= MAX_NODES ? realloc(p->nodes, cap * sizeof *grown) : NULL;
        if (!grown) {
            return cap > MAX_NODES ? fail_at(m, "too many values")
                                   : kvass_fail_nomem(m->err, cap * sizeof *grown, "a pickle");
        }
        p->nodes = grown;
        p->cap_nodes = cap;
    }
    p->nodes[p->n_nodes] = value;
    *out = p->n_nodes++;
    return KVASS_OK;
}

static bool grow(uint32_t **list, size_t *cap, size_t need)
{
    if (need <= *cap) {
        return true;
    }
    size_t more = need + need / 2 + 64;
    uint32_t *grown = realloc(*list, more * sizeof *grown);
    if (!grown) {
        return false;
    }
    memset(grown + *cap, 0, (more - *cap) * sizeof *grown);
    *list = grown;
    *cap = more;
    return true;
}

/* ---- the stack ------------------------------------------------------------------------------- */

static kvass_status push(machine *m, uint32_t value)
{
    if (!grow(&m->stack, &m->cap_stack, m->n_stack + 1)) {
        return kvass_fail_nomem(m->err, m->n_stack * sizeof value, "a pickle");
    }
    m->stack[m->n_stack++] = value;
    return KVASS_OK;
}

static kvass_status push_node(machine *m, cell value)
{
    uint32_t at = 0;
    kvass_status status = add_node(m, value, &at);
    return status == KVASS_OK ? push(m, at) : status;
}

static kvass_status push_int(machine *m, int64_t i)
{
    return push_node(m, (cell){.kind = KVASS_PICKLE_INT, .value.i = i});
}

static uint32_t kind_at(const machine *m, size_t depth)
{
    return depth < m->n_stack ? m->p->nodes[m->stack[m->n_stack - 1 - depth]].kind : MARK;
}

/* Append an item to the container `to`, which is no mark. */
static kvass_status append(machine *m, uint32_t to, uint32_t value, uint32_t key)
{
    uint32_t item = 0;
    kvass_status status = add_node(m, (cell){.kind = ITEM, .a = value, .b = key, .next = 0}, &item);
    if (status != KVASS_OK) {
        return status;
    }
    cell *container = &m->p->nodes[to];
    if (container->a == 0) {
        container->a = item;
    } else {
        m->p->nodes[container->b].next = item;
    }
    container->b = item;
    return KVASS_OK;
}

/* Values above the last mark: *first is the place of the lowest; the mark lies below it. */
static bool above_mark(const machine *m, size_t *first)
{
    size_t i = m->n_stack;
    while (i > 0 && m->p->nodes[m->stack[i - 1]].kind != MARK) {
        i--;
    }
    *first = i;
    return i > 0;
}

/* The values stack[first .. n_stack) leave the stack and become a tuple on it. */
static kvass_status make_tuple(machine *m, size_t first, size_t end)
{
    uint32_t tuple = 0;
    kvass_status status = add_node(m, (cell){.kind = KVASS_PICKLE_TUPLE}, &tuple);
    for (size_t i = first; status == KVASS_OK && i < m->n_stack; i++) {
        status = append(m, tuple, m->stack[i], 0);
    }
    m->n_stack = end;
    return status == KVASS_OK ? push(m, tuple) : status;
}

/* The values above the mark go into the container below it, one by one or as keys and values. */
static kvass_status put_items(machine *m, uint32_t kind, bool pairs)
{
    size_t first;
    if (!above_mark(m, &first) || first < 2 || (pairs && (m->n_stack - first) % 2 != 0) ||
        m->p->nodes[m->stack[first - 2]].kind != kind) {
        return fail_at(m, "items for no container");
    }
    uint32_t to = m->stack[first - 2];
    kvass_status status = KVASS_OK;
    for (size_t i = first; status == KVASS_OK && i < m->n_stack; i += pairs ? 2 : 1) {
        status = append(m, to, m->stack[i + (pairs ? 1 : 0)], pairs ? m->stack[i] : 0);
    }
    m->n_stack = first - 1;
    return status;
}

static kvass_status put_item(machine *m, uint32_t kind, bool pair)
{
    size_t n = pair ? 2 : 1;
    if (m->n_stack < n + 1 || kind_at(m, n) != kind || kind_at(m, 0) == MARK ||
        kind_at(m, n - 1) == MARK) {
        return fail_at(m, "an item for no container");
    }
    uint32_t *top = &m->stack[m->n_stack - n];
    kvass_status status = append(m, top[-1], top[n - 1], pair ? top[0] : 0);
    m->n_stack -= n;
    return status;
}

/* ---- instructions ---------------------------------------------------------------------------- */

/* An unsigned number of n bytes. */
static bool take_number(machine *m, size_t n, uint64_t *out)
{
    const unsigned char *bytes = kvass_reader_take(&m->r, n);
    *out = 0;
    for (size_t i = 0; bytes && i < n; i++) {
        *out |= (uint64_t)bytes[i] << (8 * i);
    }
    return bytes != NULL;
}

static kvass_status push_string(machine *m, size_t n_length)
{
    uint64_t n;
    if (!take_number(m, n_length, &n) || n > kvass_reader_left(&m->r) || n > UINT32_MAX ||
        m->r.at > UINT32_MAX) {
        return fail_at(m, "a string beyond the end");
    }
    cell value = {.kind = KVASS_PICKLE_STRING, .a = (uint32_t)m->r.at, .b = (uint32_t)n};
    (void)kvass_reader_take(&m->r, (size_t)n);
    return push_node(m, value);
}

/* A whole number of n bytes in two's complement, up to 8 of them. */
static kvass_status push_long(machine *m)
{
    uint64_t n, bits;
    if (!take_number(m, 1, &n) || n > 8 || !take_number(m, (size_t)n, &bits)) {
        return fail_at(m, "a whole number of more than 64 bits, or beyond the end");
    }
    if (n > 0 && n < 8 && bits >> (8 * n - 1)) {
        bits |= UINT64_MAX << (8 * n);
    }
    int64_t i;
    memcpy(&i, &bits, sizeof i);
    return push_int(m, i);
}

static kvass_status push_unsigned(machine *m, size_t n)
{
    uint64_t value;
    if (!take_number(m, n, &value)) {
        return fail_at(m, "a number beyond the end");
    }
    return push_int(m, n == 4 ? (int32_t)(uint32_t)value : (int64_t)value);
}

static kvass_status push_real(machine *m)
{
    const unsigned char *bytes = kvass_reader_take(&m->r, 8);
    if (!bytes) {
        return fail_at(m, "a number beyond the end");
    }
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) {
        bits = bits << 8 | bytes[i]; /* the one number that is written big-endian */
    }
    cell value = {.kind = KVASS_PICKLE_REAL};
    memcpy(&value.value.d, &bits, sizeof bits);
    return push_node(m, value);
}

static kvass_status check_function(const machine *m, const char *module, size_t n_module,
                                   const char *name, size_t n_name)
{
    for (const char *const *f = m->functions; f && *f; f++) {
        if (strlen(*f) == n_module + 1 + n_name && memcmp(*f, module, n_module) == 0 &&
            (*f)[n_module] == ' ' && memcmp(*f + n_module + 1, name, n_name) == 0) {
            return KVASS_OK;
        }
    }
    return kvass_fail(m->err, KVASS_UNSUPPORTED, "PICKLE_FUNCTION",
                      "%s: pickle, byte %zu: it asks for \"%.*s.%.*s\", which is not supported "
                      "(nothing in a pickle is run)",
                      m->path, m->at, (int)(n_module < 60 ? n_module : 60), module,
                      (int)(n_name < 60 ? n_name : 60), name);
}

/* "module\nname\n" */
static kvass_status push_function(machine *m)
{
    const char *module = m->p->text + m->r.at;
    size_t left = kvass_reader_left(&m->r);
    const char *end = memchr(module, '\n', left);
    size_t n_module = end ? (size_t)(end - module) : 0;
    const char *name = end ? end + 1 : NULL;
    end = name ? memchr(name, '\n', left - n_module - 1) : NULL;
    if (!end || m->r.at > UINT32_MAX || left > UINT32_MAX) {
        return fail_at(m, "a function's name beyond the end");
    }
    size_t n_name = (size_t)(end - name);
    kvass_status status = check_function(m, module, n_module, name, n_name);
    if (status != KVASS_OK) {
        return status;
    }
    cell value = {.kind = KVASS_PICKLE_FUNCTION,
                  .a = (uint32_t)m->r.at,
                  .b = (uint32_t)(n_module + 1 + n_name)};
    (void)kvass_reader_take(&m->r, n_module + n_name + 2);
    return push_node(m, value);
}

static kvass_status call(machine *m)
{
    if (kind_at(m, 0) != KVASS_PICKLE_TUPLE || kind_at(m, 1) != KVASS_PICKLE_FUNCTION) {
        return fail_at(m, "a call without a function and arguments");
    }
    uint32_t arguments = m->stack[--m->n_stack], function = m->stack[--m->n_stack];
    cell value = {.kind = KVASS_PICKLE_CALL, .a = function, .b = arguments};
    if (kvass_pickle_is(m->p, function, "collections OrderedDict")) {
        if (m->p->nodes[arguments].a != 0) {
            return fail_at(m, "an OrderedDict with arguments");
        }
        value = (cell){.kind = KVASS_PICKLE_DICT};
    }
    return push_node(m, value);
}

static kvass_status remember(machine *m, uint64_t place)
{
    if (kind_at(m, 0) == MARK || place > m->r.size) {
        return fail_at(m, "nothing to remember, or a place beyond reason");
    }
    if (!grow(&m->memo, &m->cap_memo, (size_t)place + 1)) {
        return kvass_fail_nomem(m->err, (size_t)place * sizeof *m->memo, "a pickle");
    }
    m->memo[place] = m->stack[m->n_stack - 1];
    m->n_memo = place + 1 > m->n_memo ? (size_t)place + 1 : m->n_memo;
    return KVASS_OK;
}

static kvass_status recall(machine *m, uint64_t place)
{
    if (place >= m->n_memo || m->memo[place] == 0) {
        return fail_at(m, "it recalls what it did not remember");
    }
    return push(m, m->memo[place]);
}

/* The last n values become a tuple. */
static kvass_status small_tuple(machine *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (kind_at(m, i) == MARK) {
            return fail_at(m, "too few values for a tuple");
        }
    }
    return make_tuple(m, m->n_stack - n, m->n_stack - n);
}

/* State for an object: dictionaries keep what they have, and nothing else takes state. */
static kvass_status drop_state(machine *m)
{
    if (kind_at(m, 0) == MARK || kind_at(m, 1) != KVASS_PICKLE_DICT) {
        return fail_at(m, "state for something that has none");
    }
    m->n_stack--;
    return KVASS_OK;
}

static kvass_status persistent(machine *m)
{
    if (kind_at(m, 0) != KVASS_PICKLE_TUPLE) {
        return fail_at(m, "a name of something outside that is no tuple");
    }
    uint32_t name = m->stack[--m->n_stack];
    return push_node(m, (cell){.kind = KVASS_PICKLE_PERSISTENT, .b = name});
}

static kvass_status mark_tuple(machine *m)
{
    size_t first;
    return above_mark(m, &first) ? make_tuple(m, first, first - 1)
                                 : fail_at(m, "a tuple without a mark");
}

/* Numbers after the instruction, then what is done with them. */
static kvass_status with_number(machine *m, size_t n,
                                kvass_status (*then)(machine *m, uint64_t number))
{
    uint64_t number;
    return take_number(m, n, &number) ? then(m, number) : fail_at(m, "a number beyond the end");
}

static kvass_status ignore(machine *m, uint64_t number)
{
    (void)m;
    (void)number;
    return KVASS_OK;
}

static kvass_status check_protocol(machine *m, uint64_t number)
{
    return number <= 5 ? KVASS_OK : fail_at(m, "a protocol above 5");
}

static kvass_status push_plain(machine *m, kvass_pickle_kind kind, int64_t i)
{
    return push_node(m, (cell){.kind = kind, .value.i = i});
}

/* One instruction; names as in Python's pickletools. */
static kvass_status step(machine *m, unsigned char opcode)
{
    switch (opcode) {
    case 0x80: /* PROTO */
        return with_number(m, 1, check_protocol);
    case 0x95: /* FRAME */
        return with_number(m, 8, ignore);
    case '(': /* MARK */
        return push_node(m, (cell){.kind = MARK});
    case 'N': /* NONE */
        return push_plain(m, KVASS_PICKLE_NONE, 0);
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
        return push_plain(m, KVASS_PICKLE_BOOL, opcode == 0x88);
    case 'J': /* BININT */
        return push_unsigned(m, 4);
    case 'K': /* BININT1 */
        return push_unsigned(m, 1);
    case 'M': /* BININT2 */
        return push_unsigned(m, 2);
    case 0x8a: /* LONG1 */
        return push_long(m);
    case 'G': /* BINFLOAT */
        return push_real(m);
    case 'X': /* BINUNICODE */
        return push_string(m, 4);
    case 0x8c: /* SHORT_BINUNICODE */
        return push_string(m, 1);
    case '}': /* EMPTY_DICT */
        return push_plain(m, KVASS_PICKLE_DICT, 0);
    case ']': /* EMPTY_LIST */
        return push_plain(m, KVASS_PICKLE_LIST, 0);
    case ')': /* EMPTY_TUPLE */
        return push_plain(m, KVASS_PICKLE_TUPLE, 0);
    case 't': /* TUPLE */
        return mark_tuple(m);
    case 0x85: /* TUPLE1 */
    case 0x86: /* TUPLE2 */
    case 0x87: /* TUPLE3 */
        return small_tuple(m, opcode - 0x84u);
    case 'u': /* SETITEMS */
        return put_items(m, KVASS_PICKLE_DICT, true);
    case 's': /* SETITEM */
        return put_item(m, KVASS_PICKLE_DICT, true);
    case 'e': /* APPENDS */
        return put_items(m, KVASS_PICKLE_LIST, false);
    case 'a': /* APPEND */
        return put_item(m, KVASS_PICKLE_LIST, false);
    case 'q': /* BINPUT */
        return with_number(m, 1, remember);
    case 'r': /* LONG_BINPUT */
        return with_number(m, 4, remember);
    case 0x94: /* MEMOIZE */
        return remember(m, m->n_memo);
    case 'h': /* BINGET */
        return with_number(m, 1, recall);
    case 'j': /* LONG_BINGET */
        return with_number(m, 4, recall);
    case 'c': /* GLOBAL */
        return push_function(m);
    case 'R': /* REDUCE */
        return call(m);
    case 'b': /* BUILD */
        return drop_state(m);
    case 'Q': /* BINPERSID */
        return persistent(m);
    default:
        return kvass_fail(m->err, KVASS_UNSUPPORTED, "PICKLE_OPCODE",
                          "%s: pickle, byte %zu: instruction 0x%02x is not supported", m->path,
                          m->at, (unsigned)opcode);
    }
}

static kvass_status run(machine *m)
{
    for (;;) {
        m->at = m->r.at;
        const unsigned char *opcode = kvass_reader_take(&m->r, 1);
        if (!opcode) {
            return fail_at(m, "it ends without a STOP");
        }
        if (*opcode == '.') {
            break;
        }
        kvass_status status = step(m, *opcode);
        if (status != KVASS_OK) {
            return status;
        }
    }
    if (m->n_stack != 1 || kind_at(m, 0) == MARK) {
        return fail_at(m, "it does not end with one value");
    }
    m->p->root = m->stack[0];
    return KVASS_OK;
}

kvass_status kvass_pickle_read(kvass_pickle **out, const char *text, size_t n_bytes,
                               const char *const *functions, const char *path, kvass_error *err)
{
    *out = NULL;
    kvass_pickle *p = calloc(1, sizeof *p);
    if (!p) {
        return kvass_fail_nomem(err, sizeof *p, "a pickle");
    }
    p->text = text;
    machine m = {.p = p, .functions = functions, .path = path, .err = err};
    m.r = (kvass_reader){(const unsigned char *)text, n_bytes, 0};
    uint32_t none;
    kvass_status status = add_node(&m, (cell){.kind = KVASS_PICKLE_ABSENT}, &none);
    if (status == KVASS_OK) {
        status = run(&m);
    }
    free(m.stack);
    free(m.memo);
    if (status != KVASS_OK) {
        kvass_pickle_close(&p);
    }
    *out = p;
    return status;
}

void kvass_pickle_close(kvass_pickle **pickle)
{
    if (pickle && *pickle) {
        free((*pickle)->nodes);
        free(*pickle);
        *pickle = NULL;
    }
}
