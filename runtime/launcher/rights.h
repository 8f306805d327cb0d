/* Descriptors in messages between processes of one user (unix(7), SCM_RIGHTS). */
#ifndef SDEE_RIGHTS_H
#define SDEE_RIGHTS_H

#include <stdbool.h>
#include <stddef.h>

enum { RIGHTS_MOST = 8 };

/* Send a message with `count` descriptors, at most RIGHTS_MOST. False with errno. */
bool rights_send(int socket, const void *message, size_t size, const int *fds, unsigned count);

/* Receive a message of `size` bytes with `count` descriptors, which are closed at execve(2); `flags` of recvmsg(2). False for any other message,
 * of which no descriptor stays open, and where none came: errno is that of recvmsg(2), or EPROTO. */
bool rights_receive(int socket, void *message, size_t size, int flags, int *fds, unsigned count);

/* One byte with one descriptor; -1 for anything else. */
bool rights_send_one(int socket, int fd);
int rights_receive_one(int socket);

#endif
