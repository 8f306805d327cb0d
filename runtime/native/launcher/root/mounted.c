#include "launcher/root/mounted.h"

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
#include "lib/mounts.h"
#include "lib/namespaces.h"
#include "lib/unshare.h"

bool mounted_usable(const struct root_way *way, struct error *error)
{
    static const char *const places[] = {"/tmp", "/dev/shm", "/run", "/var/tmp", "/mnt", "/home"};
    static const char hint[] = "a security module or filter forbids mounts, or the root is an initramfs: ask the administrator";
    struct root root = {.way = way};
    if (!way->apart(&root, error))
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (sys_mount_tmpfs(places[i], "mode=0755") == 0 && chdir(places[i]) == 0)
            return (mkdir("old", 0755) == 0 && sys_pivot_root(".", "old") == 0) || fail(error, EXIT_KERNEL, hint, "pivot_root: %s", strerror(errno));
    return fail(error, EXIT_KERNEL, hint, "cannot mount a tmpfs: %s", strerror(errno));
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

bool mounted_make(struct root *root, struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options, struct error *error)
{
    keep_begin(plan);
    keep_begin(closed);
    const struct between between = {lazy_start, plan->lazy};
    root->between = plan->lazy != NULL ? &between : NULL;
    const bool good = root->way->apart(root, error);
    root->between = NULL;
    if (!good)
        return false;
    if (root->other_ids && !options->quiet)
        note("warning: the job sees you as root (user 0), without root's rights: so it is in the user namespace that it joins");
    return build(plan, closed, bundle, options, error);
}

/* Its own mount namespace: ours stays the base, which those who join enter. */
bool mounted_enter(const struct root *root, struct error *error)
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

bool mounted_share(const struct root *root, int fds[ROOT_FDS])
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
bool mounted_join(const struct root *root, const int fds[ROOT_FDS], bool *inside)
{
    bool good = !root->in_user_namespace || setns(fds[1], CLONE_NEWUSER) == 0;
    *inside = root->in_user_namespace && good;
    good = good && setns(fds[0], CLONE_NEWNS) == 0;
    *inside = *inside || good;
    return good && chdir("/") == 0;
}
