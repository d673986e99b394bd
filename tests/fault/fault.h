/* fault.h - memory, reading and writing that fail when a test says so.
 * fault.c defines malloc and its kin, mmap, read, pread, write, fsync and rename for the whole
 * process, the libraries that kvass draws on included, and passes them on. Nothing fails, and
 * nothing is counted but live blocks, outside fault_begin() .. fault_end(). Between the two a test
 * must not assert: a failed assertion jumps.
 */
#ifndef KVASS_TESTS_FAULT_H
#define KVASS_TESTS_FAULT_H

#include <stdbool.h>

typedef enum fault_kind {
    FAULT_MEMORY,       /* malloc, calloc, realloc, aligned_alloc, posix_memalign: ENOMEM */
    FAULT_MAP,          /* mmap: ENOMEM */
    FAULT_READ_ERROR,   /* read, pread: EIO */
    FAULT_READ_END,     /* read, pread: 0, as if the file ended */
    FAULT_READ_SIGNAL,  /* read, pread: EINTR */
    FAULT_READ_SHORT,   /* read, pread: give one byte */
    FAULT_WRITE_ERROR,  /* write: ENOSPC */
    FAULT_WRITE_SIGNAL, /* write: EINTR */
    FAULT_WRITE_SHORT,  /* write: take one byte */
    FAULT_SYNC,         /* fsync: EIO */
    FAULT_RENAME,       /* rename: EACCES */
    FAULT_COUNT         /* nothing fails: count allocations and maps */
} fault_kind;

/* Before the first fault: finds the libraries whose own allocations neither fail nor count (fault.c
 * says why). false: jansson is not there. */
bool fault_prepare(void);

/* Let jansson's memory fail as well, or not. Only with documents whose names, strings and numbers
 * have fewer than 16 bytes: they fit the buffer it begins with. */
void fault_spare_jansson(bool spared);

/* Call number `at` (from 0) of that kind fails, once, or with every later one. */
void fault_begin(fault_kind kind, long at, bool sticky);

/* Back to normal. How many calls were made to fail (FAULT_COUNT: how many there were). */
long fault_end(void);

/* Heap blocks in use. */
long fault_live(void);

#endif
