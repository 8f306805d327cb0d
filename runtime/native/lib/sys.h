/* One thin function for each system call that musl does not wrap. */
#ifndef SDEE_LIB_SYS_H
#define SDEE_LIB_SYS_H

#include <linux/stat.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x00001000U
#endif

/* capget(2): the capabilities of this process; false when unknown. */
struct capabilities {
    uint64_t effective, permitted, inheritable;
};
bool sys_capabilities(struct capabilities *capabilities);

/* capset(2): inheritable and ambient capabilities none. */
void sys_drop_inheritable(void);

/* capset(2): none at all. */
void sys_drop_all(void);

/* statx(2), the kernel's own struct: musl before 1.2.4 has none. */
static inline int sys_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *buffer)
{
    return (int)syscall(SYS_statx, dirfd, path, flags, mask, buffer);
}

#endif
