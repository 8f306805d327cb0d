/* Descriptors that go from process to process. */
#ifndef SDEE_LIB_FDS_H
#define SDEE_LIB_FDS_H

#include <stdbool.h>

/* One message of one byte with a descriptor; unix(7), SCM_RIGHTS. */
bool send_fd(int socket, int fd);
int receive_fd(int socket);

#endif
