/* Ranks of one step on one node share one set of namespaces and one unpacked closure.
 *
 * The first to bind a name in the abstract namespace of unix(7) leads: it builds the root, then serves. The others connect, wait, get the
 * namespaces' descriptors and enter them by setns(2). The name is the kernel's: it goes with its owner, kill -9 included, and a rank that
 * waits for a leader that dies tries to lead itself. Each member holds a shared flock(2) on a file in the base. Whoever leaves
 * copies back what has been written so far (keep.h), since the others may be killed; the last one out, which gets the lock exclusively,
 * tells what is lost. Rejected: a lock file on the node, which kill -9 leaves there; a daemon.
 *
 * Another user who binds the name gets and gives nothing: peers' user ids are compared (SO_PEERCRED), and then each rank works for itself. With a
 * queue that is full he keeps each rank waiting, for 20 seconds. */
#ifndef SDEE_LAUNCHER_RUN_JOIN_H
#define SDEE_LAUNCHER_RUN_JOIN_H

#include <pthread.h>

#include "launcher/options.h"
#include "launcher/plan/plan.h"
#include "launcher/root/points.h"
#include "launcher/root/root.h"

enum role { ROLE_ALONE, ROLE_LEADS, ROLE_JOINED };

struct join {
    enum role role;
    int listener;   /* of who leads */
    int members;    /* the lock */
    int ending;     /* the lock of who is leaving */
    struct root *root;
    int shared[ROOT_FDS]; /* of who leads: what others join by */
    bool serving;
    pthread_t thread;
};

/* Find out the role; with ROLE_JOINED this process is in the namespaces of the others, its root is the base, and it holds
 * their mount points. Waits while another builds.
 * Errors: EXIT_KERNEL, when this process is in namespaces in which it can do nothing. */
bool join_begin(struct join *join, struct root *root, const struct bundle *bundle, const struct options *options, struct points *points, struct arena *arena,
                struct error *error);

/* Where no root can be shared: say so to ranks. Errors: EXIT_KERNEL where a name was asked for. */
bool join_cannot(const struct options *options, struct error *error);

/* Who leads, when the root is built: be a member, and leave the plan for who is last. */
void join_found(struct join *join, const struct plan *plan);

/* Who leads, when its job has been started: let the others in. */
void join_serve(struct join *join);

/* At the end: `plan` becomes the one that was carried out, to keep what was written by it. `last`: nobody else is left in the namespaces, also for
 * who was alone. Until join_left() nobody else can leave. False when the plan is lost. */
bool join_leave(struct join *join, struct plan *plan, bool *last);
void join_left(struct join *join);

#endif
