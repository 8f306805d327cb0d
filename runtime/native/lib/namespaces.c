#include "lib/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/groups.h"
#include "lib/mounts.h"
#include "lib/sys.h"
#include "lib/unshare.h"

/* Is our root surely not the root of our mount namespace? In a chroot mountinfo mostly has no mount on "/" that is its file
 * system's own top. A chroot into a mount point cannot be told: mountinfo looks the same there. */
static bool in_chroot(void)
{
    struct stat ours, init;
    if (stat("/proc/1/root/.", &init) == 0 && stat("/", &ours) == 0)
        return ours.st_dev != init.st_dev || ours.st_ino != init.st_ino;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char line[4096];
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL)
        found = strstr(line, " / / ") != NULL;
    if (file != NULL)
        fclose(file);
    return !found;
}

/* The AppArmor profile that this process is confined by; false for none. */
static bool confined_by(char *profile, size_t size)
{
    static const char *const files[] = {"/proc/self/attr/apparmor/current", "/proc/self/attr/current"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        const int fd = open(files[i], O_RDONLY | O_CLOEXEC);
        const ssize_t length = fd >= 0 ? read(fd, profile, size - 1) : -1;
        if (fd >= 0)
            close(fd);
        if (length > 0) {
            profile[length] = '\0';
            profile[strcspn(profile, "\n")] = '\0';
            return strstr(profile, " (enforce)") != NULL; /* SELinux' labels have no such end */
        }
    }
    return false;
}

static bool under_filter(void)
{
    return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) > 0;
}

bool namespaces_by_apparmor(void)
{
    return sysctl_value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") > 0;
}

bool namespaces_doubtful(void)
{
    char profile[256];
    return under_filter() || namespaces_by_apparmor() || confined_by(profile, sizeof profile);
}

#define NO_NETWORK "; sdee makes no network namespace, so that user.max_net_namespaces=0 may stay"

static bool refused(struct error *error, const char *what, int number)
{
    static const char no_namespaces[] = "this node does not allow user namespaces";
    char profile[256];
    if (sysctl_value("/proc/sys/user/max_user_namespaces") == 0)
        return fail(error, EXIT_KERNEL, "ask the administrator for: sysctl user.max_user_namespaces=15000" NO_NETWORK,
                    "%s: %s: %s (user.max_user_namespaces is 0)", no_namespaces, what, strerror(number));
    if (number == ENOSPC)
        return fail_to_unshare(error, "a user namespace and a mount namespace", CLONE_NEWUSER | CLONE_NEWNS, NULL);
    if (sysctl_value("/proc/sys/kernel/unprivileged_userns_clone") == 0)
        return fail(error, EXIT_KERNEL, "ask the administrator for: sysctl kernel.unprivileged_userns_clone=1" NO_NETWORK,
                    "%s: %s: %s (kernel.unprivileged_userns_clone is 0)", no_namespaces, what, strerror(number));
    if (namespaces_by_apparmor())
        return fail(error, EXIT_KERNEL,
                    "ask the administrator for sdee-launcher in /usr/bin with the AppArmor profile that `sdee doctor --apparmor` prints, or for: sysctl "
                    "kernel.apparmor_restrict_unprivileged_userns=0" NO_NETWORK,
                    "%s: %s: %s (kernel.apparmor_restrict_unprivileged_userns is on)", no_namespaces, what, strerror(number));
    if (number == EINVAL)
        return fail(error, EXIT_KERNEL, "the kernel needs CONFIG_USER_NS=y", "%s: %s: %s", no_namespaces, what, strerror(number));
    if (number == EPERM && in_chroot())
        return fail(error, EXIT_KERNEL, "enter the directory by pivot_root or a container instead of chroot",
                    "this process is in a chroot, where the kernel refuses user namespaces: %s: %s", what, strerror(number));
    if (confined_by(profile, sizeof profile))
        return fail(error, EXIT_KERNEL, "the profile must allow userns, mount and pivot_root: ask whoever runs the container" NO_NETWORK,
                    "%s: %s: %s (this process is confined by the AppArmor profile %s)", no_namespaces, what, strerror(number), profile);
    if (under_filter())
        return fail(error, EXIT_KERNEL,
                    "the seccomp profile of the container must allow unshare(CLONE_NEWUSER), mount, umount2, pivot_root and setns: ask whoever runs it"
                    NO_NETWORK, "%s: %s: %s (this process is under a seccomp filter)", no_namespaces, what, strerror(number));
    return fail(error, EXIT_KERNEL,
                "a security module may forbid it, and in a chroot the kernel does: enter by pivot_root or a container",
                "%s: %s: %s", no_namespaces, what, strerror(number));
}

bool namespaces_admin(void)
{
    struct capabilities capabilities;
    return sys_capabilities(&capabilities) && (capabilities.effective >> CAP_SYS_ADMIN & 1) != 0;
}

bool namespaces_user(const struct between *between, bool *left, struct error *error)
{
    const unsigned uid = geteuid(), gid = getegid();
    char what[64];
    struct groups groups;
    groups_begin(&groups);
    unshare_may(CLONE_NEWUSER | CLONE_NEWNS);
    if (unshare_namespaces(CLONE_NEWUSER | (between == NULL ? CLONE_NEWNS : 0)) != 0) {
        const int number = errno;
        groups_end(&groups);
        return refused(error, "unshare(CLONE_NEWUSER)", number);
    }
    *left = true;
    const struct id_pair group = {gid, gid};
    const char *failed = idmap_write(0, (struct id_pair){uid, uid}, groups_map(&groups) ? NULL : &group);
    if (failed != NULL) {
        const int number = errno;
        snprintf(what, sizeof what, "writing /proc/self/%s", failed);
        return refused(error, what, number);
    }
    if (between != NULL && !between->call(between->argument, error))
        return false;
    if (between != NULL && unshare_namespaces(CLONE_NEWNS) != 0)
        return fail_to_unshare(error, "a mount namespace", CLONE_NEWNS, NULL);
    return sys_make_slave() == 0 || refused(error, "making mounts private", errno);
}

bool namespaces_mount(const struct between *between, bool *left, struct error *error)
{
    if (!namespaces_admin())
        return fail(error, EXIT_KERNEL, NULL, "this process lacks CAP_SYS_ADMIN");
    if (between != NULL && !between->call(between->argument, error))
        return false;
    if (unshare_namespaces(CLONE_NEWNS) != 0)
        return fail_to_unshare(error, "a mount namespace", CLONE_NEWNS, "the profile of the container must allow unshare(CLONE_NEWNS): ask whoever runs it");
    *left = true;
    return sys_make_slave() == 0 || fail(error, EXIT_KERNEL, "the profile of the container must allow mount: ask whoever runs it",
                                         "cannot make mounts private: %s", strerror(errno));
}

bool namespaces_join(int fd, bool *left, struct error *error)
{
    if (setns(fd, CLONE_NEWUSER) != 0)
        return fail(error, EXIT_KERNEL, NULL, "cannot enter the user namespace: setns: %s", strerror(errno));
    *left = true;
    if (unshare_namespaces(CLONE_NEWNS) != 0)
        return fail_to_unshare(error, "a mount namespace in it", CLONE_NEWNS, NULL);
    return sys_make_slave() == 0 || fail(error, EXIT_KERNEL, NULL, "cannot make mounts private: %s", strerror(errno));
}
