/* fault.c - see fault.h. A program's own definitions come before those of any shared library, so
 * every caller in the process lands here. Passed on to glibc, or to the address sanitizer when that
 * is built in. All state is atomic: threads of a team may come here together.
 */
#undef _FILE_OFFSET_BITS /* it would give mmap and pread the names of their 64-bit twins */
#include "tests/fault/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_bool armed;
static fault_kind armed_kind;
static long fail_at;
static bool fail_later;
static atomic_long n_calls, n_failed, n_live;
static _Thread_local bool is_arming; /* the thread that called fault_begin() */

void fault_begin(fault_kind kind, long at, bool sticky)
{
    is_arming = true;
    armed_kind = kind;
    fail_at = at;
    fail_later = sticky;
    atomic_store(&n_calls, 0);
    atomic_store(&n_failed, 0);
    atomic_store(&armed, true);
}

long fault_end(void)
{
    atomic_store(&armed, false);
    return atomic_load(&n_failed);
}

long fault_live(void)
{
    return atomic_load(&n_live);
}

/* ---- who is spared --------------------------------------------------------------------------- */

/* Libraries whose own allocations do not fail. jansson's lexer does not notice when the
 * text of a token cannot grow: it loses a character, or the closing quote and with it the end of
 * the text; what it does report is tried by fault_spare_jansson(false). OpenMP takes a block for
 * each thread that speaks to it, and ends the process when there is none; OpenBLAS takes a buffer
 * when more threads than ever before multiply at once; libzip loses the source of an entry when it
 * finds no memory for the one laid over it. */
static struct {
    const char *name;
    uintptr_t begin, end; /* its code; empty when it is not loaded */
} spared[] = {{"libjansson", 0, 0},
              {"libgomp", 0, 0},
              {"libomp", 0, 0},
              {"libopenblas", 0, 0},
              {"libzip", 0, 0}};

enum { JANSSON, N_SPARED = 5 };

static int find_code(struct dl_phdr_info *info, size_t n_bytes, void *unused)
{
    (void)n_bytes;
    (void)unused;
    for (int i = 0; i < N_SPARED; i++) {
        for (int p = 0; strstr(info->dlpi_name, spared[i].name) && p < info->dlpi_phnum; p++) {
            const ElfW(Phdr) *part = &info->dlpi_phdr[p];
            if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
                spared[i].begin = info->dlpi_addr + part->p_vaddr;
                spared[i].end = spared[i].begin + part->p_memsz;
            }
        }
    }
    return 0;
}

bool fault_prepare(void)
{
    (void)dl_iterate_phdr(find_code, NULL);
    return spared[JANSSON].begin < spared[JANSSON].end;
}

static bool spares_jansson = true;

void fault_spare_jansson(bool is_spared)
{
    spares_jansson = is_spared;
}

static bool is_spared(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    for (int i = spares_jansson ? 0 : 1; i < N_SPARED; i++) {
        if (at >= spared[i].begin && at < spared[i].end) {
            return true;
        }
    }
    return false;
}

/* ---- what fails ------------------------------------------------------------------------------ */

/* Whether this call of `kind` is one that fails. */
static bool strikes(fault_kind kind)
{
    if (!atomic_load(&armed)) {
        return false;
    }
    if (armed_kind == FAULT_COUNT && kind <= FAULT_MAP) {
        atomic_fetch_add(&n_failed, 1);
        return false;
    }
    if (armed_kind != kind) {
        return false;
    }
    long call = atomic_fetch_add(&n_calls, 1);
    if (call == fail_at || (fail_later && call > fail_at)) {
        atomic_fetch_add(&n_failed, 1);
        return true;
    }
    return false;
}

/* ---- memory ---------------------------------------------------------------------------------- */

#ifdef FAULT_OVER_ASAN
#define NEXT(name) __interceptor_##name
#else
#define NEXT(name) __libc_##name
#endif

extern void *NEXT(malloc)(size_t n_bytes);
extern void *NEXT(calloc)(size_t n, size_t n_bytes);
extern void *NEXT(realloc)(void *old, size_t n_bytes);
extern void *NEXT(memalign)(size_t alignment, size_t n_bytes);
extern void NEXT(free)(void *block);

static void *count(void *block)
{
    if (block) {
        atomic_fetch_add(&n_live, 1);
    }
    return block;
}

/* On the arming thread alone: a sanitizer needs memory for each thread that begins. Members of a
 * team take none, which FAULT_COUNT sees to on every thread. */
static bool memory_fails(const void *caller)
{
    bool may_strike = is_arming || armed_kind == FAULT_COUNT;
    if (may_strike && !is_spared(caller) && strikes(FAULT_MEMORY)) {
        errno = ENOMEM;
        return true;
    }
    return false;
}

void *malloc(size_t n_bytes)
{
    return memory_fails(__builtin_return_address(0)) ? NULL : count(NEXT(malloc)(n_bytes));
}

void *calloc(size_t n, size_t n_bytes)
{
    return memory_fails(__builtin_return_address(0)) ? NULL : count(NEXT(calloc)(n, n_bytes));
}

void *realloc(void *old, size_t n_bytes)
{
    if (memory_fails(__builtin_return_address(0))) {
        return NULL;
    }
    void *block = NEXT(realloc)(old, n_bytes);
    if (!old) {
        return count(block);
    }
    if (!block && n_bytes == 0) { /* freed */
        atomic_fetch_sub(&n_live, 1);
    }
    return block;
}

void *memalign(size_t alignment, size_t n_bytes)
{
    return memory_fails(__builtin_return_address(0)) ? NULL
                                                     : count(NEXT(memalign)(alignment, n_bytes));
}

void *aligned_alloc(size_t alignment, size_t n_bytes)
{
    return memory_fails(__builtin_return_address(0)) ? NULL
                                                     : count(NEXT(memalign)(alignment, n_bytes));
}

int posix_memalign(void **out, size_t alignment, size_t n_bytes)
{
    void *block = memory_fails(__builtin_return_address(0))
                      ? NULL
                      : count(NEXT(memalign)(alignment, n_bytes));
    if (!block) {
        return ENOMEM;
    }
    *out = block;
    return 0;
}

/* a sanitizer's own strdup would not come by malloc */
char *strdup(const char *text)
{
    size_t n_bytes = strlen(text) + 1;
    char *copy = memory_fails(__builtin_return_address(0)) ? NULL : count(NEXT(malloc)(n_bytes));
    return copy ? memcpy(copy, text, n_bytes) : NULL;
}

void free(void *block)
{
    if (block) {
        atomic_fetch_sub(&n_live, 1);
    }
    NEXT(free)(block);
}

static bool map_fails(const void *caller)
{
    if (!is_spared(caller) && strikes(FAULT_MAP)) {
        errno = ENOMEM;
        return true;
    }
    return false;
}

void *mmap(void *at, size_t n_bytes, int protection, int flags, int fd, off_t offset)
{
    return map_fails(__builtin_return_address(0))
               ? MAP_FAILED
               : (void *)syscall(SYS_mmap, at, n_bytes, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t n_bytes, int protection, int flags, int fd, off_t offset)
{
    return map_fails(__builtin_return_address(0))
               ? MAP_FAILED
               : (void *)syscall(SYS_mmap, at, n_bytes, protection, flags, fd, offset);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What a read of n_bytes does: *n_bytes made smaller, or true with the answer in *answer. */
static bool read_strikes(size_t *n_bytes, ssize_t *answer)
{
    *answer = -1;
    if (strikes(FAULT_READ_ERROR)) {
        errno = EIO;
        return true;
    }
    if (strikes(FAULT_READ_SIGNAL)) {
        errno = EINTR;
        return true;
    }
    if (strikes(FAULT_READ_END)) {
        *answer = 0;
        return true;
    }
    if (*n_bytes > 1 && strikes(FAULT_READ_SHORT)) {
        *n_bytes = 1;
    }
    return false;
}

ssize_t read(int fd, void *buf, size_t n_bytes)
{
    ssize_t answer;
    return read_strikes(&n_bytes, &answer) ? answer : syscall(SYS_read, fd, buf, n_bytes);
}

ssize_t pread(int fd, void *buf, size_t n_bytes, off_t offset)
{
    ssize_t answer;
    return read_strikes(&n_bytes, &answer) ? answer
                                           : syscall(SYS_pread64, fd, buf, n_bytes, offset);
}

ssize_t pread64(int fd, void *buf, size_t n_bytes, off_t offset)
{
    return pread(fd, buf, n_bytes, offset);
}

/* ---- writing --------------------------------------------------------------------------------- */

ssize_t write(int fd, const void *buf, size_t n_bytes)
{
    if (strikes(FAULT_WRITE_ERROR)) {
        errno = ENOSPC;
        return -1;
    }
    if (strikes(FAULT_WRITE_SIGNAL)) {
        errno = EINTR;
        return -1;
    }
    if (n_bytes > 1 && strikes(FAULT_WRITE_SHORT)) {
        n_bytes = 1;
    }
    return syscall(SYS_write, fd, buf, n_bytes);
}

int fsync(int fd)
{
    if (strikes(FAULT_SYNC)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
    if (strikes(FAULT_RENAME)) {
        errno = EACCES;
        return -1;
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
