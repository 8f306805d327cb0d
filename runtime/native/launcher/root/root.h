/* The ways to make the job's root: the interface between the plan and a way to carry it out.
 *
 * A new way is a file in this folder with one `struct root_way`, and its line in root.c. */
#ifndef SDEE_LAUNCHER_ROOT_ROOT_H
#define SDEE_LAUNCHER_ROOT_ROOT_H

#include <stdbool.h>
#include <sys/types.h>

#include "launcher/keep/keeping.h"
#include "launcher/plan/plan.h"

enum { ROOT_FDS = 2 /* by which another process joins */, ROOT_WAYS = WAY_KINDS - 1 };

/* Why a way cannot be taken. */
struct refusal {
    const struct root_way *way;
    char why[1024], remedy[1024];
};

struct root {
    const struct root_way *way;
    const struct between *between; /* what the way does before its mount namespace is the new one, or NULL */
    bool in_user_namespace; /* our capabilities are those of another user namespace, and the job must not get them */
    bool other_ids;         /* the user is root in it, and not this user */
    bool left;              /* this process is not where it was: no other way can be tried in it */
    pid_t helper;           /* the program that made it and waits for what runs inside, or 0 */
    const char *seen;       /* it, as this process sees it; NULL: NEWROOT of the base */
    int inside;             /* the socket to that, which becomes the job (run/inside.h) */
    struct refusal refused[ROOT_WAYS]; /* the ways before this one */
    size_t refused_count;
};

struct root_way {
    enum way_kind kind;
    const char *how; /* in words, for the doctor */

    /* In a process of its own, or when nothing else is to be done in this one: go to where the root's mounts can be made; NULL where there is no
     * such place. Errors: EXIT_KERNEL, with the remedy. */
    bool (*apart)(struct root *root, struct error *error);

    /* Can it be done on this node? Asked in a process of its own, which is gone afterwards. Errors: EXIT_KERNEL, with the remedy. */
    bool (*usable)(const struct root_way *way, struct error *error);

    /* Carry out `plan`, or `closed` where the kernel refuses an overlay and either will do: `plan` is then the one that was carried out.
     * Errors: EXIT_KERNEL, EXIT_RESOURCES, and unpack()'s. */
    bool (*make)(struct root *root, struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options,
                 struct error *error);

    /* In the job's process: have it as root directory. Errors: EXIT_KERNEL. */
    bool (*enter)(const struct root *root, struct error *error);

    /* What other processes of this user join by, descriptors that are theirs to close; false where they would not get here. NULL: nobody can. */
    bool (*share)(const struct root *root, int fds[ROOT_FDS]);

    /* In such a process; `root` is as it was sent. `inside`: it cannot go back, whether this succeeds or not. False with errno. */
    bool (*join)(const struct root *root, const int fds[ROOT_FDS], bool *inside);

    /* After the job: what it wrote goes back to the node, or the launcher names it as lost. Errors: EXIT_OUTPUT. */
    bool (*collect)(const struct plan *plan, const struct bundle *bundle, const struct options *options, const struct keeping *keeping,
                    struct error *error);
};

extern const struct root_way ROOT_NAMESPACES, ROOT_PRIVILEGED, ROOT_JOIN, ROOT_HELPER; /* a file each */

/* Take a way: the one that was asked for, else the first that is usable. The first of all is not tried beforehand, unless the node gives reason to
 * doubt or the plan is only to be shown: making it tells. Errors: EXIT_KERNEL. */
bool root_choose(struct root *root, const struct options *options, struct error *error);

/* After make() has failed with `error`: take the next one that is usable. False where nothing else can be tried; `error` then says all. */
bool root_next(struct root *root, const struct options *options, struct error *error);

/* The job's root, as this process sees it. */
const char *root_seen(const struct root *root);

/* Ask in a child whether a way is usable. False with `refusal` filled in. */
bool root_try(const struct root_way *way, struct refusal *refusal);

/* The ways in the order of preference here, which depends on what this process may do. */
void root_order(const struct root_way *ways[ROOT_WAYS]);

/* Notes: the way that was taken, and why not those before it. */
void root_print(const struct root *root, const struct options *options);

#endif
