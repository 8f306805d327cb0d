/* Can a closure be read lazily on this node? */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/lazy/lazy.h"
#include "lib/mounts.h"
#include "lib/namespaces.h"

/* In this process, which is where the file system then is. */
static bool try(struct error *error)
{
    static const char *const places[] = {"/tmp", "/dev/shm", "/run", "/var/tmp", "/mnt"};
    static const bool none[1];
    static const struct bundle empty = {.name = "an empty closure", .fd = -1, .first_top = NO_ENTRY};
    bool left;
    struct lazy *lazy = lazy_make(&empty, none, error);
    if (lazy == NULL)
        return false;
    namespaces_between(lazy_start, lazy);
    if (!(namespaces_admin() ? namespaces_mount : namespaces_user)(&left, error))
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
    struct error found = {.code = EXIT_INTERNAL};
    int ends[2], status = 1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(error, EXIT_RESOURCES, "raise `ulimit -n`", "cannot make a pipe: %s", strerror(errno));
    const pid_t pid = fork();
    if (pid == 0) {
        const bool good = try(&found);
        (void)!write(ends[1], &found, sizeof found);
        _exit(good ? 0 : 1);
    }
    close(ends[1]);
    size_t size = 0;
    for (ssize_t count; pid > 0 && size < sizeof found && (count = read(ends[0], (char *)&found + size, sizeof found - size)) > 0;)
        size += (size_t)count;
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid > 0 && status == 0)
        return true;
    if (pid < 0 || size < sizeof found)
        fail(&found, EXIT_KERNEL, NULL, "the attempt to mount FUSE died");
    *error = found;
    return false;
}
