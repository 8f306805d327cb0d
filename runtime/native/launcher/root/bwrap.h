/* bwrap (bubblewrap), an installed program that may make namespaces where this process may not: set-user-ID, or allowed by its AppArmor profile. */
#ifndef SDEE_LAUNCHER_ROOT_BWRAP_H
#define SDEE_LAUNCHER_ROOT_BWRAP_H

#include <sys/types.h>

#include "launcher/plan/plan.h"

/* bwrap in a root that it made: what runs there is this program again (run/inside.h), which waits. */
enum { BWRAP_CHILDREN = 64 };

struct bwrap {
    pid_t pid;  /* it waits for what it started */
    int socket; /* to what it started */
    int top;    /* the root: O_PATH */
    pid_t before[BWRAP_CHILDREN]; /* children of this process that are not bwrap's */
    size_t before_count;
    int mounts; /* its mount namespace: when no process is in that any more, its mounts still are */
};

#define INSIDE_VARIABLE "SDEE_INSIDE" /* for what it starts: two descriptors, the socket and standard error */

/* The program: the first in PATH, or in /usr/bin, that nobody but root and this user can change. Errors: EXIT_KERNEL. */
bool bwrap_find(char path[], size_t size, struct error *error);

/* Its arguments: one word each, ended by NUL. A file of a descriptor without a name; -1 with errno. `plan` may be NULL: only /proc. */
int bwrap_arguments(const struct plan *plan, const struct bundle *bundle, struct error *error);

/* Start it and wait until its root is there. Errors: EXIT_KERNEL, with what it says. */
bool bwrap_start(struct bwrap *bwrap, const char *program, int arguments, struct error *error);

/* End it, and all that it made. */
void bwrap_stop(struct bwrap *bwrap);

#endif
