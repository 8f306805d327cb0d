#include "rights.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr header; /* for its alignment */
    char room[CMSG_SPACE(RIGHTS_MOST * sizeof(int))];
};

bool rights_send(int socket, const void *message, size_t size, const int *fds, unsigned count)
{
    union control control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = (socklen_t)CMSG_LEN(count * sizeof(int))}};
    struct iovec content = {(void *)(uintptr_t)message, size};
    struct msghdr whole = {.msg_iov = &content, .msg_iovlen = 1};
    memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
    if (count > 0) {
        whole.msg_control = &control;
        whole.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof(int)); /* musl's type; glibc's is wider */
    }
    return sendmsg(socket, &whole, MSG_NOSIGNAL) == (ssize_t)size;
}

/* All that came, as far as there was room; the kernel drops the others. Nobody asks for other control messages here (unix(7)). */
static unsigned take_all(struct msghdr *message, int *fds)
{
    const struct cmsghdr *head = CMSG_FIRSTHDR(message);
    if (head == NULL || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
        return 0;
    const unsigned count = (unsigned)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(head), count * sizeof(int));
    return count;
}

bool rights_receive(int socket, void *message, size_t size, int flags, int *fds, unsigned count)
{
    union control control;
    int all[sizeof control / sizeof(int)];
    struct iovec content = {message, size};
    struct msghdr whole = {.msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    const ssize_t received = recvmsg(socket, &whole, MSG_CMSG_CLOEXEC | flags);
    if (received < 0)
        return false;
    const unsigned found = take_all(&whole, all);
    if (received == (ssize_t)size && found == count && (whole.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0) {
        memcpy(fds, all, count * sizeof(int));
        return true;
    }
    for (unsigned i = 0; i < found; i++)
        close(all[i]);
    errno = EPROTO;
    return false;
}

bool rights_send_one(int socket, int fd)
{
    return rights_send(socket, "F", 1, &fd, 1);
}

int rights_receive_one(int socket)
{
    char byte;
    int fd;
    return rights_receive(socket, &byte, 1, 0, &fd, 1) ? fd : -1;
}
