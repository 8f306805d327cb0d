#include "launcher/sys.h"

#include <linux/capability.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int sys_bind(const char *source, const char *target)
{
    return mount(source, target, NULL, MS_BIND | MS_REC, NULL);
}

int sys_make_slave(void)
{
    return mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL);
}

int sys_mount_tmpfs(const char *target, const char *options)
{
    return mount("sdee", target, "tmpfs", MS_NOSUID | MS_NODEV, options);
}

int sys_mount_overlay(const char *target, const char *options)
{
    return mount("sdee", target, "overlay", MS_NOSUID | MS_NODEV, options);
}

int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

int sys_enter_root(const char *new_root)
{
    if (chdir(new_root) != 0 || sys_pivot_root(".", ".") != 0)
        return -1;
    return umount2(".", MNT_DETACH) != 0 ? -1 : chdir("/");
}

bool sys_capabilities(struct capabilities *capabilities)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        return false;
    capabilities->effective = data[0].effective | (uint64_t)data[1].effective << 32;
    capabilities->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    capabilities->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    return true;
}

void sys_drop_inheritable(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) != 0)
        return;
    data[0].inheritable = data[1].inheritable = 0;
    syscall(SYS_capset, &header, data);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}
