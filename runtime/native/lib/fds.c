#include "lib/fds.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

union control {
    struct cmsghdr header; /* aligns the room */
    char room[CMSG_SPACE(FDS_MOST * sizeof(int))];
};

bool send_with_fds(int socket, const void *data, size_t size, const int *fds, size_t count)
{
    union control control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = (socklen_t)CMSG_LEN(count * sizeof *fds)}};
    struct iovec content = {(void *)(uintptr_t)data, size};
    const struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof *fds)};
    memcpy(CMSG_DATA(&control.header), fds, count * sizeof *fds);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == (ssize_t)size;
}

bool receive_with_fds(int socket, void *data, size_t size, int *fds, size_t count)
{
    union control control; /* the kernel closes what has no room here, and says so in msg_flags */
    struct iovec content = {data, size};
    int received[FDS_MOST];
    struct msghdr message = {.msg_iov = &content, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof received)};
    size_t came = 0;
    const ssize_t length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
    if (length < 0)
        return false;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        came = (header->cmsg_len - CMSG_LEN(0)) / sizeof *fds;
        memcpy(received, CMSG_DATA(header), came * sizeof *fds);
    }
    if (length == (ssize_t)size && came == count && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0) {
        memcpy(fds, received, count * sizeof *fds);
        return true;
    }
    while (came > 0)
        close(received[--came]);
    errno = EBADMSG;
    return false;
}

bool send_fd(int socket, int fd)
{
    return send_with_fds(socket, "F", 1, &fd, 1);
}

int receive_fd(int socket)
{
    char byte;
    int fd;
    return receive_with_fds(socket, &byte, 1, &fd, 1) ? fd : -1;
}

void close_from(int first)
{
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0U) == 0)
        return;
    DIR *stream = opendir("/proc/self/fd");
    for (const struct dirent *item; stream != NULL && (item = readdir(stream)) != NULL;) {
        const int fd = atoi(item->d_name);
        if (fd >= first && fd != dirfd(stream))
            close(fd);
    }
    if (stream != NULL)
        closedir(stream);
}
