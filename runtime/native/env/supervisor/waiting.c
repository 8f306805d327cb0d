#include "env/supervisor/waiting.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/notify.h"

bool still_waits(const struct stop *stop)
{
    return notify_waits(stop->listener, stop->id);
}

bool read_memory(const struct stop *stop, uint64_t address, void *buffer, size_t size)
{
    return notify_read(stop->tid, address, buffer, size) && still_waits(stop);
}

bool read_string(const struct stop *stop, uint64_t address, char *text, size_t size)
{
    return notify_read_string(stop->tid, address, text, size) && still_waits(stop);
}

/* By /proc/TID/mem, which stays the memory that it was when it was opened (seccomp_unotify(2)): process_vm_writev(2) looks the number up again,
 * and could write what one process chooses, where it chooses, into another. The kernel lets a debugger write by it what the process itself may
 * not, so that what cannot even be read is left out first. */
static bool write_to_opened(const struct stop *stop, uint64_t address, const void *buffer, size_t size)
{
    char name[64], there[256];
    snprintf(name, sizeof name, "/proc/%d/mem", (int)stop->tid);
    const int memory = open(name, O_RDWR | O_CLOEXEC);
    bool good = memory >= 0 && read_memory(stop, address, there, size < sizeof there ? size : sizeof there);
    good = good && pwrite(memory, buffer, size, (off_t)address) == (ssize_t)size;
    if (memory >= 0)
        close(memory);
    return good;
}

bool write_memory(const struct stop *stop, uint64_t address, const void *buffer, size_t size)
{
    if (!stop->session->emulate)
        return write_to_opened(stop, address, buffer, size);
    /* One id alone: all processes have the same rights, and this costs half as much. */
    const struct iovec ours = {(void *)(uintptr_t)buffer, size}, theirs = {(void *)(uintptr_t)address, size};
    return still_waits(stop) && process_vm_writev(stop->tid, &ours, 1, &theirs, 1, 0) == (ssize_t)size;
}

int open_of(const struct stop *stop, const char *what, int flags)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/%s", (int)stop->tid, what);
    const int fd = open(name, flags | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (still_waits(stop))
        return fd;
    close(fd);
    return -ESRCH;
}

bool text_of(const struct stop *stop, const char *what, char *text, size_t size)
{
    size_t used = 0;
    ssize_t got = 0;
    const int file = open_of(stop, what, O_RDONLY);
    if (file < 0)
        return false;
    while (used < size - 1 && ((got = read(file, text + used, size - 1 - used)) > 0 || (got < 0 && errno == EINTR)))
        used += got > 0 ? (size_t)got : 0;
    close(file);
    text[used] = '\0';
    return got >= 0 && used > 0 && still_waits(stop); /* proc(5) looks the process up at each read(2), too */
}

void descriptor_name(const struct stop *stop, int number, char name[DESCRIPTOR_NAME])
{
    snprintf(name, DESCRIPTOR_NAME, "/proc/%d/fd/%d", (int)stop->tid, number);
}

bool is_path_only(const struct stop *stop, int number)
{
    char what[32], text[1024];
    unsigned flags = 0;
    snprintf(what, sizeof what, "fdinfo/%d", number);
    const char *line = text_of(stop, what, text, sizeof text) ? strstr(text, "flags:") : NULL;
    return line != NULL && sscanf(line, "flags: %o", &flags) == 1 && (flags & O_PATH) != 0;
}

int copy_of_descriptor(const struct stop *stop, int number)
{
    const int process = (int)syscall(SYS_pidfd_open, stop->tid, 0);
    if (process < 0)
        return -errno;
    int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
    if (fd < 0)
        fd = -errno;
    close(process);
    if (fd < 0 || still_waits(stop))
        return fd;
    close(fd);
    return -ESRCH;
}
