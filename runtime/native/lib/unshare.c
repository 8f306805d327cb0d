#include "lib/unshare.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* One setting of /proc/sys/user for each kind of namespace (namespaces(7)). A user namespace comes first: the others are made in it. */
static const struct {
    int flag;
    const char *name;
} LIMITS[] = {{CLONE_NEWUSER, "max_user_namespaces"}, {CLONE_NEWNS, "max_mnt_namespaces"},  {CLONE_NEWPID, "max_pid_namespaces"},
              {CLONE_NEWIPC, "max_ipc_namespaces"},   {CLONE_NEWUTS, "max_uts_namespaces"}, {CLONE_NEWNET, "max_net_namespaces"}};
enum { KINDS = sizeof LIMITS / sizeof *LIMITS };

long sysctl_value(const char *path)
{
    long value = -1;
    FILE *file = fopen(path, "re");
    if (file != NULL && fscanf(file, "%ld", &value) != 1)
        value = -1;
    if (file != NULL)
        fclose(file);
    return value;
}

/* As seen at first: a new user namespace has limits of its own, which say nothing, and /proc may be out of reach there. */
static long limit_of(int kind)
{
    static struct {
        bool known;
        long limit;
    } seen[KINDS];
    char path[64];
    if (!seen[kind].known) {
        snprintf(path, sizeof path, "/proc/sys/user/%s", LIMITS[kind].name);
        seen[kind].limit = sysctl_value(path);
        seen[kind].known = true;
    }
    return seen[kind].limit;
}

/* Also a look before the first namespace is made, at all of them. */
static bool allows_none(int flags)
{
    bool none = false;
    for (int kind = 0; kind < KINDS; kind++)
        none = ((flags & LIMITS[kind].flag) != 0 && limit_of(kind) == 0) || none;
    return none;
}

/* The kernel frees a namespace some milliseconds after its last process has ended (a work queue, kernel/user_namespace.c), and until then
 * it counts; on a node whose processors are all busy that took over 2 s. Waits of 1, 2, 4, ... 512 ms, and of 512 ms until 10 s are over.
 * A limit of 0 is a decision and not waited for. */
static bool wait_for_room(int flags, int *waited_ms)
{
    enum { LONGEST_MS = 512, ALL_MS = 10000 };
    if (allows_none(flags) || *waited_ms >= ALL_MS)
        return false;
    const int milliseconds = *waited_ms < LONGEST_MS ? *waited_ms + 1 : LONGEST_MS; /* 1, 2, 4: always one more than all before */
    const struct timespec pause = {0, milliseconds * 1000000L};
    *waited_ms += milliseconds;
    nanosleep(&pause, NULL);
    return true;
}

bool unshare_may(int flags)
{
    return !allows_none(flags);
}

int unshare_namespaces(int flags)
{
    int waited_ms = 0;
    allows_none(flags);
    while (unshare(flags) != 0) {
        if (errno != ENOSPC)
            return -1;
        if (!wait_for_room(flags, &waited_ms)) {
            errno = ENOSPC;
            return -1;
        }
    }
    return 0;
}

pid_t clone_into_namespaces(int flags)
{
    int waited_ms = 0;
    for (;;) {
        const pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
        if (pid >= 0 || errno != ENOSPC)
            return pid;
        if (!wait_for_room(flags, &waited_ms)) {
            errno = ENOSPC;
            return -1;
        }
    }
}

/* Which kind is it that there is no room for? Tried one by one in a child, since the error number is the same. */
static int exhausted_kind(int flags)
{
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0) {
        for (int kind = 0; kind < KINDS; kind++)
            if ((flags & LIMITS[kind].flag) != 0 && unshare(LIMITS[kind].flag) != 0 && errno == ENOSPC)
                _exit(kind + 1);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) - 1 : -1;
}

bool fail_to_unshare(struct error *error, const char *what, int flags, const char *hint)
{
    char text[512];
    if (errno != ENOSPC)
        return fail(error, EXIT_KERNEL, hint, "cannot make %s: %s", what, strerror(errno));
    const int kind = exhausted_kind(flags);
    if (kind < 0) /* there is room by now */
        return fail(error, EXIT_KERNEL, "run it again", "cannot make %s: for 10 s there was no room for more (limits: /proc/sys/user)", what);
    const long limit = limit_of(kind);
    char value[32] = "";
    if (limit > 0)
        snprintf(value, sizeof value, " is %ld", limit);
    snprintf(text, sizeof text, "%sask the administrator for: sysctl user.%s=15000 (in a container: on its host as well)",
             limit == 0 ? "" : "start fewer jobs at a time on this node, or ", LIMITS[kind].name);
    return fail(error, EXIT_KERNEL, text, "cannot make %s: %s (the limit user.%s%s)", what,
                limit == 0 ? "the kernel allows you none" : "you have as many on this node as the kernel allows", LIMITS[kind].name,
                limit == 0 ? " is 0" : value);
}

/* By one write(2). */
static bool write_to(pid_t pid, const char *name, const char *text)
{
    char path[64];
    if (pid != 0)
        snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    else
        snprintf(path, sizeof path, "/proc/self/%s", name);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    const int number = errno;
    if (fd >= 0)
        close(fd);
    errno = number;
    return good;
}

static bool write_pair(pid_t pid, const char *name, struct id_pair pair)
{
    char text[64];
    snprintf(text, sizeof text, "%u %u 1", pair.inside, pair.outside);
    return write_to(pid, name, text);
}

const char *idmap_write(pid_t pid, struct id_pair user, const struct id_pair *group)
{
    if (!write_pair(pid, "uid_map", user))
        return "uid_map";
    if (group == NULL)
        return NULL;
    if (!write_to(pid, "setgroups", "deny") && errno != ENOENT) /* ENOENT: before Linux 3.19 */
        return "setgroups";
    return write_pair(pid, "gid_map", *group) ? NULL : "gid_map";
}
