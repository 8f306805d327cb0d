#include "lib/groups.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/arena.h"

enum { MOST = 64 /* groups; the kernel takes 340 (Linux 4.15) */, DIGITS = 24 };

static bool is_named(const char *name)
{
    const struct passwd *user = getpwuid(geteuid()); /* of /etc/passwd: users of LDAP are asked from the environment; newgidmap(1) judges */
    const char *names[] = {user != NULL ? user->pw_name : NULL, getenv("USER"), getenv("LOGNAME")};
    char uid[DIGITS];
    snprintf(uid, sizeof uid, "%u", (unsigned)geteuid());
    bool same = strcmp(name, uid) == 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        same = same || (names[i] != NULL && strcmp(names[i], name) == 0);
    return same;
}

/* subgid(5): NAME:FIRST:COUNT */
static bool is_allowed(FILE *file, gid_t gid)
{
    char line[512], name[256];
    unsigned long first, count;
    bool allowed = false;
    rewind(file);
    while (!allowed && fgets(line, sizeof line, file) != NULL)
        allowed = sscanf(line, "%255[^:]:%lu:%lu", name, &first, &count) == 3 && gid >= first && gid - first < count && is_named(name);
    return allowed;
}

/* This user's supplementary groups that may be mapped. */
static int find(gid_t found[MOST])
{
    const int room = getgroups(0, NULL); /* up to 65536 (getgroups(2)), NGROUPS_MAX of musl is 32 */
    gid_t *all = allocate(room > 0 ? (size_t)room : 1, sizeof *all);
    const int count = getgroups(room, all);
    FILE *file = count > 0 ? fopen("/etc/subgid", "re") : NULL;
    int used = 0;
    for (int i = 0; file != NULL && i < count && used < MOST; i++) {
        bool known = all[i] == getegid() || !is_allowed(file, all[i]);
        for (int k = 0; k < used && !known; k++)
            known = found[k] == all[i];
        if (!known)
            found[used++] = all[i];
    }
    if (file != NULL)
        fclose(file);
    free(all);
    return used;
}

/* Each to itself, three words a group. Ends the process. */
static void run_newgidmap(pid_t pid, const gid_t *more, int count)
{
    static char words[1 + MOST][DIGITS], target[DIGITS];
    static char *arguments[2 + 3 * (1 + MOST) + 1] = {(char *)(uintptr_t)"newgidmap", target};
    static char one[] = "1";
    snprintf(target, sizeof target, "%d", (int)pid);
    for (int i = 0; i <= count; i++) {
        snprintf(words[i], sizeof words[i], "%u", (unsigned)(i == 0 ? getegid() : more[i - 1]));
        arguments[2 + 3 * i] = arguments[3 + 3 * i] = words[i];
        arguments[4 + 3 * i] = one;
    }
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++)
        dup2(null, fd); /* if it refuses, the job has its primary group, as everywhere else */
    execvp(arguments[0], arguments);
    _exit(127);
}

void groups_begin(struct groups *groups)
{
    gid_t more[MOST];
    int ends[2];
    char byte;
    *groups = (struct groups){0, -1};
    const int count = geteuid() != 0 ? find(more) : 0;
    const pid_t launcher = getpid();
    if (count == 0 || pipe2(ends, O_CLOEXEC) != 0)
        return;
    groups->helper = fork();
    if (groups->helper == 0) {
        close(ends[1]);
        if (read(ends[0], &byte, 1) == 1)
            run_newgidmap(launcher, more, count);
        _exit(1);
    }
    close(ends[0]);
    groups->go = ends[1];
    if (groups->helper < 0) {
        groups->helper = 0;
        close(groups->go);
    }
}

static bool wait_for(struct groups *groups)
{
    int status = 1;
    close(groups->go);
    while (waitpid(groups->helper, &status, 0) < 0 && errno == EINTR)
        ;
    groups->helper = 0;
    return status == 0;
}

bool groups_map(struct groups *groups)
{
    if (groups->helper == 0)
        return false;
    const bool told = write(groups->go, "g", 1) == 1;
    return wait_for(groups) && told;
}

void groups_end(struct groups *groups)
{
    if (groups->helper != 0)
        wait_for(groups);
}
