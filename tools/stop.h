/* stop.h - finds stop strings in text that arrives in pieces.
 * Text that may be the beginning of a stop string is held back until more is known, so nothing of a
 * stop string is ever passed on.
 */
#ifndef KVASS_TOOLS_STOP_H
#define KVASS_TOOLS_STOP_H

#include "tools/cli.h"

#define CLI_MAX_STOPS 16

typedef struct cli_stop {
    const char *strings[CLI_MAX_STOPS]; /* none empty */
    int n;
    cli_bytes held;
    size_t passed; /* of held, given out by the last call */
} cli_stop;

/* Add data[n]. *out[*n_out] is text to pass on, valid until the next call. Returns 1 when a stop
 * string is complete (the text is what came before it), 0 when not, -1 when out of memory. */
int cli_stop_put(cli_stop *stop, const char *data, size_t n, const char **out, size_t *n_out);
/* The text ends here: what was held back. */
void cli_stop_end(cli_stop *stop, const char **out, size_t *n_out);

#endif
