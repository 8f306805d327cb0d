/* Paths as a process means them that waits in a system call. */
#ifndef SDEE_ENV_SUPERVISOR_RESOLVE_H
#define SDEE_ENV_SUPERVISOR_RESOLVE_H

#include "env/supervisor/session.h"

/* What (dirfd, path) means to the process, as an O_PATH descriptor, or -errno. -EXDEV: below /proc, not ours to judge.
 * An empty path with `empty` set is dirfd itself (AT_EMPTY_PATH). */
int resolve(const struct stop *stop, int dirfd, const char *path, bool follow, bool empty);

/* A path of the environment, as its PID 1 sees it; -errno. */
int in_session(const struct session *session, const char *path);

/* The directory of the last component, and where in `path` that begins. */
int resolve_parent(const struct stop *stop, int dirfd, const char *path, const char **name);

/* The path of a descriptor of ours, as seen from the environment's root. */
bool path_of(int fd, char *text, size_t size);

#endif
