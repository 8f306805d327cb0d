/* Directories of a chain, of which not all are open. */
#ifndef SDEE_LAUNCHER_KEEP_PLACE_H
#define SDEE_LAUNCHER_KEEP_PLACE_H

#include <stdbool.h>

/* A directory of a chain, of which not all are open at once: a tree may be deeper than there are descriptors. */
struct place {
    struct place *above; /* NULL: it stays open */
    const char *name;    /* in the one above */
    int fd;              /* O_PATH; -1: closed meanwhile */
    bool there;
};

/* The descriptor of a directory, opened again by names without following links; -1 with errno. */
int keep_open_place(struct place *place);

/* It has been opened: close one that is far above it. */
void keep_spare_place(struct place *place);

#endif
