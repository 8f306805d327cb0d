#include "lib/notify.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_SPEC_ALLOW
#define SECCOMP_FILTER_FLAG_SPEC_ALLOW (1UL << 2) /* Linux 4.17 */
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) /* Linux 5.19 */
#endif

enum { PAGE = 4096 };

int notify_install(const struct sock_fprog *program)
{
    /* SPEC_ALLOW (Linux 4.17): before 5.16 a filter without it slows down all that the job computes, by barriers against speculative stores.
     * Without WAIT_KILLABLE_RECV (before 5.19) a signal that is caught restarts a waiting call: Go's may do so forever. */
    static const unsigned long tries[] = {SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
                                          SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, SECCOMP_FILTER_FLAG_SPEC_ALLOW, 0};
    int fd = -1;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER | tries[i], program);
        if (fd >= 0 || errno != EINVAL)
            return fd;
    }
    return fd;
}

int notify_ioctl(int listener, unsigned long request, void *argument)
{
    return (int)syscall(SYS_ioctl, listener, request, argument);
}

bool notify_waits(int listener, uint64_t id)
{
    return notify_ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

void notify_continue(int listener, uint64_t id)
{
    struct seccomp_notif_resp go = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    notify_ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &go); /* fails where the process was killed meanwhile */
}

bool notify_read(pid_t pid, uint64_t address, void *buffer, size_t size)
{
    const struct iovec ours = {buffer, size}, theirs = {(void *)(uintptr_t)address, size};
    return process_vm_readv(pid, &ours, 1, &theirs, 1, 0) == (ssize_t)size;
}

bool notify_read_string(pid_t pid, uint64_t address, char *text, size_t size)
{
    for (size_t used = 0; used < size;) { /* a page at a time: the next one may not be mapped */
        size_t piece = PAGE - (address + used) % PAGE;
        if (piece > 256 && used == 0)
            piece = 256; /* most paths are short, and copying costs */
        if (piece > size - used)
            piece = size - used;
        if (!notify_read(pid, address + used, text + used, piece))
            return false;
        if (memchr(text + used, '\0', piece) != NULL)
            return true;
        used += piece;
    }
    return false;
}
