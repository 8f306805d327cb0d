/* Can a closure be read lazily on this node? */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/lazy/lazy.h"
#include "lib/attempt.h"
#include "lib/mounts.h"
#include "lib/namespaces.h"

/* In this process, which is where the file system then is. */
static bool try(const void *nothing, struct error *error)
{
    (void)nothing;
    static const char *const places[] = {"/tmp", "/dev/shm", "/run", "/var/tmp", "/mnt"};
    static const bool none[1];
    static const struct bundle empty = {.name = "an empty closure", .fd = -1, .first_top = NO_ENTRY};
    bool left;
    struct lazy *lazy = lazy_make(&empty, none, error);
    if (lazy == NULL)
        return false;
    const struct between between = {lazy_start, lazy};
    if (!(namespaces_admin() ? namespaces_mount : namespaces_user)(&between, &left, error))
        return false;
    size_t i = 0;
    while (i < sizeof places / sizeof *places && (sys_mount_tmpfs(places[i], "mode=0755") != 0 || chdir(places[i]) != 0))
        i++;
    if (i == sizeof places / sizeof *places)
        return fail(error, EXIT_KERNEL, NULL, "no private memory file system can be mounted on this node");
    if (!lazy_mount(lazy, "lazy", "told", error))
        return false;
    if (mkdir("u", 0755) != 0 || mkdir("w", 0755) != 0 || mkdir("m", 0755) != 0 ||
        (sys_mount_overlay("m", "lowerdir=lazy,upperdir=u,workdir=w,userxattr") != 0 && sys_mount_overlay("m", "lowerdir=lazy,upperdir=u,workdir=w") != 0) ||
        mkdir("m/sdee-probe", 0755) != 0)
        return fail(error, EXIT_KERNEL, "--unpack eager (SDEE_UNPACK=eager) needs none", "the kernel refuses an overlay over FUSE: %s", strerror(errno));
    umount2("m", MNT_DETACH);
    umount2("lazy", MNT_DETACH);
    lazy_wait(lazy, 5000);
    return true;
}

bool lazy_is_possible(struct error *error)
{
    return attempt(try, NULL, error);
}
