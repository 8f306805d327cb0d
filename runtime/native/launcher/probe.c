#include "launcher/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/mounts.h"
#include "lib/namespaces.h"

static bool try_overlay(const char *lower)
{
    static const char *const places[] = {"/tmp", "/dev/shm", "/run", "/var/tmp", "/mnt"};
    struct error error = {0};
    char options[200];
    bool inside;
    if (!namespaces_enter(&inside, &error))
        return false;
    const int fd = open(lower, O_PATH | O_DIRECTORY | O_CLOEXEC); /* the tmpfs may cover its path */
    if (fd < 0)
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (sys_mount_tmpfs(places[i], "mode=0755") != 0 || chdir(places[i]) != 0)
            continue;
        snprintf(options, sizeof options, "lowerdir=/proc/self/fd/%d,upperdir=u,workdir=w,userxattr", fd);
        return mkdir("u", 0755) == 0 && mkdir("w", 0755) == 0 && mkdir("m", 0755) == 0 && sys_mount_overlay("m", options) == 0 &&
               mkdir("m/sdee-probe", 0755) == 0;
    }
    return false;
}

bool probe_overlay(const char *lower)
{
    int status = 1;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(try_overlay(lower) ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
