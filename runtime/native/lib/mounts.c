#include "lib/mounts.h"

#include <limits.h>
#include <stddef.h>
#include <sys/mount.h>
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

const char *overlay_escaped(struct arena *arena, const char *path)
{
    char text[2 * PATH_MAX], *to = text;
    for (const char *from = path; *from != '\0' && to < text + sizeof text - 3; from++) {
        if (*from == ':' || *from == ',' || *from == '\\')
            *to++ = '\\';
        *to++ = *from;
    }
    *to = '\0';
    return arena_format(arena, "%s", text);
}
