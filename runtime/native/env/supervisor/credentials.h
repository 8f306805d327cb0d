/* Emulated credentials of processes: what set*id and setgroups to ids that are not mapped would have made.
 *
 * A process carries the number of its credentials in its timer slack, (default + number) nanoseconds: the one value of a
 * thread that we can set and read from outside (/proc/PID/timerslack_ns, Linux 4.6) and that the kernel itself hands on by
 * fork(2) and keeps over execve(2). So no fork has to be watched, and no parent found that has already gone. */
#ifndef SDEE_ENV_SUPERVISOR_CREDENTIALS_H
#define SDEE_ENV_SUPERVISOR_CREDENTIALS_H

#include "env/supervisor/session.h"

enum { CREDS_GROUPS = 64 };

struct creds {
    uint32_t uid[4], gid[4]; /* real, effective, saved, file system */
    uint32_t groups[CREDS_GROUPS];
    int group_count; /* -1: the user's own */
    uint32_t keep_capabilities; /* prctl(PR_SET_KEEPCAPS) */
    uint32_t permitted, effective; /* has it CAP_SETUID and CAP_SETGID? The kernel's own sets stay full */
};

enum { REAL, EFFECTIVE, SAVED, FILESYSTEM };

/* Has any process other credentials than root's? */
bool creds_used(void);

/* CREDS_ROOT is what the kernel says as well; CREDS_GONE: the thread waits no more, and nothing may be done for it. */
enum creds_kind { CREDS_GONE, CREDS_ROOT, CREDS_OTHERS };
enum creds_kind creds_of(const struct stop *stop, struct creds *creds);

/* Of any process, about whom nothing is decided by this; false: not known. */
bool creds_of_process(pid_t pid, struct creds *creds);

/* 0 or -errno. */
int creds_set(const struct stop *stop, const struct creds *creds);

#endif
