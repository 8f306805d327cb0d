/* A mount namespace of our own, with the capabilities of a new user namespace where we have none: nothing on the node changes, and the kernel
 * removes all of it with the last process. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/keep/keep.h"
#include "launcher/layout.h"
#include "launcher/lazy/lazy.h"
#include "launcher/root/carry.h"
#include "launcher/root/root.h"
#include "lib/mounts.h"
#include "lib/namespaces.h"
#include "lib/unshare.h"

static bool usable(const char **how, struct error *error)
{
    bool user;
    if (!namespaces_enter(&user, error))
        return false;
    *how = user ? "as an ordinary user, by a user namespace" : "as root";
    return true;
}

/* Carry out the plan, the closed one when auto chose merged and the kernel refuses overlayfs. */
static bool build(struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options, struct error *error)
{
    bool refused;
    if (!carry_out(plan, 0, FIRST_ROOT_OP, bundle, options, &refused, error))
        return false;
    if (carry_out(plan, FIRST_ROOT_OP, plan->count, bundle, options, &refused, error))
        return true;
    if (!refused || options->root != ROOT_AUTO)
        return false;
    if (!carry_reset(plan, closed, bundle, options, error))
        return false;
    snprintf(closed->root_why, sizeof closed->root_why, "the kernel refuses overlayfs here: %.2000s", error->message);
    *plan = *closed;
    if (options->debug)
        plan_print(plan);
    return carry_out(plan, FIRST_ROOT_OP, plan->count, bundle, options, &refused, error);
}

static bool make_root(struct root *root, struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options,
                 struct error *error)
{
    keep_begin(plan);
    keep_begin(closed);
    const bool entered = plan->lazy == NULL ? namespaces_enter(&root->in_user_namespace, error)
                                            : namespaces_enter_by(&root->in_user_namespace, lazy_start, plan->lazy, error);
    return entered && build(plan, closed, bundle, options, error);
}

/* Its own mount namespace: ours stays the base, which those who join enter. */
static bool enter_root(const struct root *root, struct error *error)
{
    (void)root;
    if (unshare_namespaces(CLONE_NEWNS) != 0)
        return fail_to_unshare(error, "a mount namespace for the job", CLONE_NEWNS, NULL);
    return sys_enter_root(NEWROOT) == 0 || fail(error, EXIT_KERNEL, NULL, "cannot enter the new root: pivot_root: %s", strerror(errno));
}

/* Does setns(2) lead to the base? Not in a chroot, whose root is not that of its mount namespace. */
static bool leads_here(int namespace)
{
    struct stat here, there;
    int status = 1;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(stat("/", &here) != 0 || setns(namespace, CLONE_NEWNS) != 0 || stat("/", &there) != 0 || here.st_dev != there.st_dev ||
              here.st_ino != there.st_ino);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static bool share_root(const struct root *root, int fds[ROOT_FDS])
{
    (void)root;
    fds[0] = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    fds[1] = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    if (fds[0] >= 0 && fds[1] >= 0 && leads_here(fds[0]))
        return true;
    for (int i = 0; i < ROOT_FDS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return false;
}

/* setns(2): the user namespace first, which gives the right to enter the mount namespace; root and directory are the base's then. */
static bool join_root(const struct root *root, const int fds[ROOT_FDS], bool *inside)
{
    bool good = !root->in_user_namespace || setns(fds[1], CLONE_NEWUSER) == 0;
    *inside = root->in_user_namespace && good;
    good = good && setns(fds[0], CLONE_NEWNS) == 0;
    *inside = *inside || good;
    return good && chdir("/") == 0;
}

const struct root_way ROOT_NAMESPACES = {"user and mount namespaces", usable, make_root, enter_root, share_root, join_root, keep};
