/* Calls that make something. */
#ifndef SDEE_ENV_SUPERVISOR_CALLS_CREATE_H
#define SDEE_ENV_SUPERVISOR_CALLS_CREATE_H

#include <stdint.h>
#include <sys/types.h>

#include "env/supervisor/session.h"

/* What a process with other credentials than root's makes belongs to these. `flags` of open(2). */
struct answer create_file(const struct stop *stop, int dirfd, const char *path, uint64_t flags, mode_t mode);

handler on_mkdir, on_mkdirat, on_mknod, on_mknodat, on_symlink, on_symlinkat;

#endif
