/* The ways to make the job's root: the interface between the plan and a way to carry it out.
 *
 * A new way is a file in this folder with one `struct root_way`, and its line in root.c. */
#ifndef SDEE_LAUNCHER_ROOT_ROOT_H
#define SDEE_LAUNCHER_ROOT_ROOT_H

#include <stdbool.h>

#include "launcher/keep/keeping.h"
#include "launcher/plan/plan.h"

enum { ROOT_FDS = 2 /* by which another process joins */ };

struct root {
    const struct root_way *way;
    bool in_user_namespace; /* our capabilities are those of a new user namespace, and the job must not get them */
};

struct root_way {
    const char *name;

    /* Can it be done on this node, and `how`? Asked in a process of its own, which is gone afterwards. Errors: EXIT_KERNEL, with the remedy. */
    bool (*usable)(const char **how, struct error *error);

    /* Carry out `plan`, or `closed` where the kernel refuses an overlay and either will do: `plan` is then the one that was carried out.
     * Errors: EXIT_KERNEL, EXIT_RESOURCES, and unpack()'s. */
    bool (*make)(struct root *root, struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options,
                 struct error *error);

    /* In the job's process: have it as root directory. Errors: EXIT_KERNEL. */
    bool (*enter)(const struct root *root, struct error *error);

    /* What other processes of this user join by, descriptors that are theirs to close; false where they would not get here. */
    bool (*share)(const struct root *root, int fds[ROOT_FDS]);

    /* In such a process; `root` is as it was sent. `inside`: it cannot go back, whether this succeeds or not. False with errno. */
    bool (*join)(const struct root *root, const int fds[ROOT_FDS], bool *inside);

    /* After the job: what it wrote goes back to the node, or the launcher names it as lost. Errors: EXIT_OUTPUT. */
    bool (*collect)(const struct plan *plan, const struct bundle *bundle, const struct options *options, const struct keeping *keeping,
                    struct error *error);
};

extern const struct root_way ROOT_NAMESPACES; /* namespaces.c */

/* Return the first way that is usable here. The last one is not tested: the attempt to make it tells why it fails. */
const struct root_way *root_choose(void);

#endif
