/* --diagnose: which files the job looked for that are neither in the bundle nor on this node. A light trace of its own: a seccomp filter
 * notifies of path calls (seccomp_unotify(2), Linux 5.5), each goes on at once, and what is not there is noted. */
#ifndef SDEE_LAUNCHER_RUN_DIAGNOSE_H
#define SDEE_LAUNCHER_RUN_DIAGNOSE_H

#include <stdbool.h>
#include <sys/types.h>

#include "launcher/bundle/table.h"

struct diagnosis;

/* Before the fork. NULL, after a note, when there can be none. */
struct diagnosis *diagnose_begin(void);

/* In the job's process, last before execve(2): no call of ours after it. Without a filter the job runs undiagnosed, after a note. */
void diagnose_install(struct diagnosis *diagnosis);

/* Where the job's process is no child: the descriptor that it gets, and what it makes of it. */
int diagnose_socket(const struct diagnosis *diagnosis);
struct diagnosis *diagnose_inside(int socket);

/* In the launcher after the fork: a thread answers from now on. `seen`: the job's root, as the launcher sees it. */
void diagnose_watch(struct diagnosis *diagnosis, const char *seen);

/* When the job has ended with this status (waitpid(2)): say what it missed. */
void diagnose_report(struct diagnosis *diagnosis, const struct bundle *bundle, int status);

#endif
