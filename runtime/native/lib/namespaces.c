#include "lib/namespaces.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
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

static bool refused(struct error *error, const char *what, int number)
{
    static const char no_namespaces[] = "this node does not allow user namespaces";
    if (sysctl_value("/proc/sys/user/max_user_namespaces") == 0)
        return fail(error, EXIT_KERNEL, "ask the administrator for: sysctl user.max_user_namespaces=15000",
                    "%s: %s: %s (user.max_user_namespaces is 0)", no_namespaces, what, strerror(number));
    if (number == ENOSPC)
        return fail_to_unshare(error, "a user namespace and a mount namespace", CLONE_NEWUSER | CLONE_NEWNS, NULL);
    if (sysctl_value("/proc/sys/kernel/unprivileged_userns_clone") == 0)
        return fail(error, EXIT_KERNEL, "ask the administrator for: sysctl kernel.unprivileged_userns_clone=1",
                    "%s: %s: %s (kernel.unprivileged_userns_clone is 0)", no_namespaces, what, strerror(number));
    if (sysctl_value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") > 0)
        return fail(error, EXIT_KERNEL,
                    "ask the administrator for: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,`",
                    "%s: %s: %s (kernel.apparmor_restrict_unprivileged_userns is on)", no_namespaces, what, strerror(number));
    if (number == EINVAL)
        return fail(error, EXIT_KERNEL, "the kernel needs CONFIG_USER_NS=y", "%s: %s: %s", no_namespaces, what, strerror(number));
    if (number == EPERM && in_chroot())
        return fail(error, EXIT_KERNEL, "enter the directory by pivot_root or a container instead of chroot",
                    "this process is in a chroot, where the kernel refuses user namespaces: %s: %s", what, strerror(number));
    return fail(error, EXIT_KERNEL,
                "a seccomp filter or security module may forbid it, and in a chroot the kernel does: enter by pivot_root or a container",
                "%s: %s: %s", no_namespaces, what, strerror(number));
}

static bool nothing_between(void *argument, struct error *error)
{
    (void)argument, (void)error;
    return true;
}

/* A user namespace that maps this user and group to themselves, with `flags` at once. */
static bool enter_user_namespace(int flags, struct error *error)
{
    const unsigned uid = geteuid(), gid = getegid();
    struct groups groups;
    char what[64];
    groups_begin(&groups);
    if (unshare_namespaces(CLONE_NEWUSER | flags) != 0) {
        const int number = errno;
        groups_end(&groups);
        return refused(error, "unshare(CLONE_NEWUSER)", number);
    }
    const struct id_pair group = {gid, gid};
    const char *failed = idmap_write(0, (struct id_pair){uid, uid}, groups_map(&groups) ? NULL : &group);
    if (failed == NULL)
        return true;
    const int number = errno;
    snprintf(what, sizeof what, "writing /proc/self/%s", failed);
    return refused(error, what, number);
}

bool namespaces_enter(bool *in_user_namespace, struct error *error)
{
    return namespaces_enter_by(in_user_namespace, NULL, NULL, error);
}

bool namespaces_enter_by(bool *in_user_namespace, bool (*between)(void *argument, struct error *error), void *argument, struct error *error)
{
    struct capabilities capabilities;
    const int at_once = between == NULL ? CLONE_NEWNS : 0;
    if (between == NULL)
        between = nothing_between;
    *in_user_namespace = !(sys_capabilities(&capabilities) && (capabilities.effective >> CAP_SYS_ADMIN & 1) != 0);
    if (!*in_user_namespace) {
        if (!between(argument, error))
            return false;
        if (unshare_namespaces(CLONE_NEWNS) == 0)
            return sys_make_slave() == 0 || fail(error, EXIT_KERNEL, NULL, "cannot make mounts private: %s", strerror(errno));
        if (errno == ENOSPC) /* a user namespace would count as well */
            return fail_to_unshare(error, "a mount namespace", CLONE_NEWNS, NULL);
        tried(error, "a mount namespace as root: %s", strerror(errno));
        *in_user_namespace = true;
    }
    unshare_may(CLONE_NEWUSER | CLONE_NEWNS);
    if (!enter_user_namespace(at_once, error) || !between(argument, error))
        return false;
    if (at_once == 0 && unshare_namespaces(CLONE_NEWNS) != 0)
        return fail_to_unshare(error, "a mount namespace", CLONE_NEWNS, NULL);
    return sys_make_slave() == 0 || fail(error, EXIT_KERNEL, NULL, "cannot make mounts private: %s", strerror(errno));
}
