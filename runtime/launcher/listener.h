/* A listener of seccomp's user notifications (seccomp_unotify(2)). */
#ifndef SDEE_LISTENER_H
#define SDEE_LISTENER_H

#include <sys/syscall.h>
#include <unistd.h>

/* ioctl(2): of the C libraries' functions one takes an int, the other an unsigned long, and the requests' numbers fit the latter. */
static inline int listener_ioctl(int listener, unsigned long request, void *argument)
{
    return (int)syscall(SYS_ioctl, listener, request, argument);
}

#endif
