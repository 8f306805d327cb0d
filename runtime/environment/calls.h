/* The system calls that stop, and what is done about each. */
#ifndef SDEE_CALLS_H
#define SDEE_CALLS_H

#include "session.h"

typedef struct answer handler(const struct stop *stop);

struct rule {
    int nr;
    handler *handle;
    signed char argument; /* stops only if this argument ... */
    uint32_t mask;        /* ... has one of these bits; 0: always */
    bool emulation;       /* only where owners and credentials are emulated */
    uint32_t equals;      /* if not 0: stops only if the argument is this */
    uint32_t above;       /* if not 0: stops only if the argument is larger */
};

extern const struct rule RULES[];
extern const unsigned RULE_COUNT;

/* stats.c */
handler on_stat, on_lstat, on_fstat, on_newfstatat, on_statx;

/* identity.c */
handler on_getid, on_getresid, on_getgroups, on_setgroups, on_setid, on_setreid, on_setresid, on_setfsid, on_peercred, on_keepcaps, on_capset;

/* create.c: what a process with other credentials than root's makes belongs to these. `flags` of open(2). */
struct answer create_file(const struct stop *stop, int dirfd, const char *path, uint64_t flags, mode_t mode);
handler on_mkdir, on_mkdirat, on_mknod, on_mknodat, on_symlink, on_symlinkat;

#endif
