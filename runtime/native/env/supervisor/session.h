/* What the holder of an environment knows; read by all its threads, written before they start unless a comment says otherwise. */
#ifndef SDEE_ENV_SUPERVISOR_SESSION_H
#define SDEE_ENV_SUPERVISOR_SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "env/supervisor/steps.h"

struct session {
    struct steps steps;
    int root;              /* O_PATH: the environment's root, seen from outside its namespaces */
    int init;              /* pidfd of its PID 1 */
    uid_t uid;             /* the user's own ids, which are 0 inside */
    gid_t gid;
    bool emulate;          /* owners and credentials are emulated: only one id is mapped */
    atomic_bool views_vary; /* some process may have another root than `root` (chroot, unshare, mount) */
    atomic_bool serves_itself; /* some process may have mounted a file system by FUSE, and be served by another one */
    gid_t groups[256];     /* the user's supplementary groups, host ids */
    int group_count;
};

/* One system call that the kernel asks about. */
struct stop {
    struct session *session;
    int listener;
    uint64_t id;
    pid_t tid; /* in the holder's PID namespace */
    int nr;
    uint64_t arg[6];
};

/* What to tell the kernel: go on with the call, or its result (>= 0, or -errno). */
struct answer {
    bool go_on;
    bool sent; /* the answer has gone already, with a descriptor */
    long value;
};

#define GO_ON ((struct answer){.go_on = true})
#define RESULT(number) ((struct answer){.value = (number)})

/* What is done about one system call. */
typedef struct answer handler(const struct stop *stop);

#endif
