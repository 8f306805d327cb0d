/* Descriptors that go from process to process (unix(7), SCM_RIGHTS), and the end of those that should not. */
#ifndef SDEE_LIB_FDS_H
#define SDEE_LIB_FDS_H

#include <stdbool.h>
#include <stddef.h>

enum { FDS_MOST = 3 };

/* One message with `count` descriptors, at most FDS_MOST; none for 0. False with errno. */
bool send_with_fds(int socket, const void *data, size_t size, const int *fds, size_t count);

/* The same: all of it, with as many descriptors; EBADMSG for anything else, and then none stays open. They are closed on execve(2). */
bool receive_with_fds(int socket, void *data, size_t size, int *fds, size_t count);

/* A message of one byte with one descriptor; -1 when none comes. */
bool send_fd(int socket, int fd);
int receive_fd(int socket);

/* Close all descriptors from `first` on; before Linux 5.9 by the list in /proc. */
void close_from(int first);

#endif
