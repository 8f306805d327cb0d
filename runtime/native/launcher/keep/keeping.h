/* How what the job wrote is kept. */
#ifndef SDEE_LAUNCHER_KEEP_KEEPING_H
#define SDEE_LAUNCHER_KEEP_KEEPING_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/error.h"

/* How: where to, and who else is there. */
struct keeping {
    int save;    /* the directory of --save, or -1 */
    mode_t umask; /* of whoever started us, for directories below it */
    bool shared; /* other ranks have been, or are, in these namespaces: what each copies back is noted in the base */
    bool last;   /* nobody else is there: what is not kept is gone */
};

/* Open the directory of --save, made when missing with `mask` as umask, and prove that it can be written. Errors: EXIT_OUTPUT. */
bool keep_open(const char *directory, mode_t mask, int *save, struct error *error);

#endif
