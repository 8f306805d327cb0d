/* Mount points in the node's own directories, for what the bundle has there and the node lacks: the directory stays real.
 *
 * A mount point that is removed takes the mount of every namespace with it (since Linux 3.18, and over NFS). So each has a file with a fixed
 * text, on which every run holds a shared lock as long as its namespaces live; the one that gets it exclusively at the end removes the mount
 * point. The text marks what a killed run left, which the next run uses and removes. A directory has the file in it, where the mount
 * covers it; a file is it. Locks are those of open file descriptions (fcntl(2)), which reach other nodes where the storage passes them on. */
#ifndef SDEE_LAUNCHER_ROOT_POINTS_H
#define SDEE_LAUNCHER_ROOT_POINTS_H

#include "launcher/plan/plan.h"

struct point {
    const char *path; /* on the node */
    bool directory;
    int fd; /* of the file with the text: the lock */
};

struct points {
    int root; /* the node's root directory; -1 before the first */
    bool joined; /* others are in these namespaces, too */
    struct point *items;
    size_t count;
    struct unfit *unfit; /* directories in which no mount point can be made */
    size_t unfit_count;
};

/* Make and lock what a plan needs and is not held yet. False when something cannot be: its directory is then in `unfit`. */
bool points_hold(struct points *points, const struct plan *plan);

/* The same for a rank that joins others: they are there. `root`: the node's. */
void points_join(struct points *points, const struct plan *plan, const char *root);

/* At the end. `last`: nobody else is in these namespaces; remove what no other run holds and no process has mounted. */
void points_release(struct points *points, bool last);

/* Between these a signal that ends the launcher removes them first. */
void points_guard(struct points *points);
void points_unguard(void);

#endif
