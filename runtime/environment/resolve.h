/* Paths and memory of a process that waits in a system call. */
#ifndef SDEE_RESOLVE_H
#define SDEE_RESOLVE_H

#include "session.h"

/* Copy a string of the process; false when it is not readable or longer than size. */
bool read_string(const struct stop *stop, uint64_t address, char *text, size_t size);
bool read_memory(const struct stop *stop, uint64_t address, void *buffer, size_t size);

/* False when the process has gone meanwhile, or the memory is not writable. */
bool write_memory(const struct stop *stop, uint64_t address, const void *buffer, size_t size);

/* What (dirfd, path) means to the process, as an O_PATH descriptor, or -errno. -EXDEV: below /proc, not ours to judge.
 * An empty path with `empty` set is dirfd itself (AT_EMPTY_PATH). */
int resolve(const struct stop *stop, int dirfd, const char *path, bool follow, bool empty);

/* A path of the environment, as its PID 1 sees it; -errno. */
int in_session(const struct session *session, const char *path);

/* The directory of the last component, and where in `path` that begins. */
int resolve_parent(const struct stop *stop, int dirfd, const char *path, const char **name);

/* Was the descriptor of the process opened with O_PATH? */
bool is_path_only(const struct stop *stop, int number);

/* The path of a descriptor of ours, as seen from the environment's root. */
bool path_of(int fd, char *text, size_t size);

#endif
