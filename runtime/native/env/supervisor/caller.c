/* Why not here in the holder: out here the user owns each copy that is root's, so that all inside might change it, and chmod(2) drops the
 * set-group-ID bit, as of a group that the user is not in. Why not by the caller: its descriptor stays the host's file. */
#include "env/supervisor/caller.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/supervisor/waiting.h"

enum { GROUPS_MAX = 1024, STATUS_SIZE = 16384, FILE_SYSTEM_ID = 3 };

/* The numbers of a line of /proc/TID/status (proc(5)); how many there are. */
static int numbers(const char *status, const char *key, uint32_t *found, int most)
{
    const char *at = strstr(status, key);
    int count = 0;
    if (at == NULL)
        return 0;
    for (at += strlen(key); count < most; count++) {
        at += strspn(at, " \t");
        if (*at < '0' || *at > '9')
            break;
        char *end;
        found[count] = (uint32_t)strtoul(at, &end, 10);
        at = end;
    }
    return count;
}

bool caller_is_root(const struct stop *stop)
{
    char status[STATUS_SIZE];
    uint32_t uid[4];
    return text_of(stop, "status", status, sizeof status) && numbers(status, "\nUid:", uid, 4) == 4 && uid[FILE_SYSTEM_ID] == stop->session->uid;
}

/* In the environment's user namespace, where all of the file's numbers are those inside. System calls as they are: the C library's
 * would tell the holder's other threads, which this process does not have. */
static bool become(const struct stop *stop)
{
    static char status[STATUS_SIZE];
    static uint32_t uid[4], gid[4], groups[GROUPS_MAX];
    if (!text_of(stop, "status", status, sizeof status) || numbers(status, "\nUid:", uid, 4) != 4 || numbers(status, "\nGid:", gid, 4) != 4)
        return false;
    const int count = numbers(status, "\nGroups:", groups, GROUPS_MAX);
    const uint32_t user = uid[FILE_SYSTEM_ID], group = gid[FILE_SYSTEM_ID];
    if (user == 0)
        return true;
    return syscall(SYS_setgroups, count, groups) == 0 && syscall(SYS_setresgid, group, group, group) == 0 && syscall(SYS_setresuid, user, user, user) == 0;
}

static bool carry_out(int fd, const struct change *change)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    switch (change->what) {
    case CHANGE_MODE:
        return chmod(name, change->mode & 07777) == 0;
    case CHANGE_OWNER:
        return fchownat(fd, "", change->uid, change->gid, AT_EMPTY_PATH) == 0;
    default:
        return utimensat(AT_FDCWD, name, change->times, 0) == 0;
    }
}

int as_caller(const struct stop *stop, int fd, const struct change *change)
{
    const pid_t child = fork();
    if (child == 0) {
        errno = EPERM;
        const bool good = setns(stop->session->init, CLONE_NEWUSER) == 0 && become(stop) && carry_out(fd, change);
        _exit(good ? 0 : errno & 0xff);
    }
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return child < 0 ? -errno : WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}
