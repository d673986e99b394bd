/* table.c - table.h: open addressing, one slot after the other. A slot's place follows from the
 * bits it holds, so the table grows without asking for any key.
 */
#include "engine/base/table.h"

#include <stdlib.h>

/* slots at first: enough for any vocabulary in use; a hostile count gets no more for its claim */
enum { MIN_SLOTS = 64, MAX_FIRST_SLOTS = 1 << 19 };

static void put(kvass_table *table, uint64_t slot)
{
    size_t at = (size_t)(slot >> 32) & table->mask;
    while (table->slots[at] != 0) {
        at = (at + 1) & table->mask;
    }
    table->slots[at] = slot;
}

kvass_status kvass_table_open(kvass_table *table, size_t n, kvass_error *err)
{
    size_t n_slots = MIN_SLOTS;
    while (n_slots / 3 * 2 < n && n_slots < MAX_FIRST_SLOTS) {
        n_slots *= 2;
    }
    uint64_t seed = (uint64_t)(uintptr_t)table * UINT64_C(0x9e3779b97f4a7c15);
    *table = (kvass_table){.mask = n_slots - 1, .seed = seed ^ seed >> 29};
    table->slots = calloc(n_slots, sizeof *table->slots);
    return table->slots ? KVASS_OK
                        : kvass_fail_nomem(err, n_slots * sizeof *table->slots, "a table");
}

void kvass_table_close(kvass_table *table)
{
    free(table->slots);
    *table = (kvass_table){0};
}

static bool grow(kvass_table *table)
{
    kvass_table larger = *table;
    size_t n_slots = 2 * (table->mask + 1); /* n is an int32: no overflow */
    larger.mask = n_slots - 1;
    larger.slots = calloc(n_slots, sizeof *larger.slots);
    if (!larger.slots) {
        return false;
    }
    for (size_t i = 0; i <= table->mask; i++) {
        if (table->slots[i] != 0) {
            put(&larger, table->slots[i]);
        }
    }
    free(table->slots);
    *table = larger;
    return true;
}

kvass_status kvass_table_add(kvass_table *table, uint32_t hash, int32_t number, kvass_error *err)
{
    if (table->n >= (table->mask + 1) / 3 * 2 && !grow(table)) {
        return kvass_fail_nomem(err, table->mask * 16, "a table");
    }
    put(table, (uint64_t)hash << 32 | ((uint32_t)number + 1));
    table->n++;
    return KVASS_OK;
}
