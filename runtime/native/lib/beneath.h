/* Opening what is below a directory, whatever links are there (openat2(2)). */
#ifndef SDEE_LIB_BENEATH_H
#define SDEE_LIB_BENEATH_H

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* openat2(2) with O_PATH: a descriptor or -errno. RESOLVE_IN_ROOT may meet a rename by others and say EAGAIN. */
static inline int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_PATH | O_CLOEXEC, .resolve = resolve};
    for (int again = 0; again < 8; again++) {
        const int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
        if (fd >= 0)
            return fd;
        if (errno != EAGAIN)
            break;
    }
    return -errno;
}

/* `path` as a process sees it whose root is `root`. */
static inline int in_root(int root, const char *path, bool follow)
{
    return sys_openat2(root, path, follow ? 0 : O_NOFOLLOW, RESOLVE_IN_ROOT);
}

#endif
