#include "launcher/run/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/bundle/rules.h"
#include "lib/namespaces.h"
#include "lib/trusted.h"

static bool same_file(const char *one, const char *other)
{
    struct stat left, right;
    return stat(one, &left) == 0 && stat(other, &right) == 0 && left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

/* Does it read bundles of this format? Asked of itself: it may be older or newer. */
static bool reads_format(void)
{
    char text[32] = "";
    int ends[2], status = 1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    const pid_t pid = fork();
    if (pid == 0) {
        const int nothing = open("/dev/null", O_RDWR);
        dup2(nothing, STDIN_FILENO);
        dup2(nothing, STDERR_FILENO);
        dup2(ends[1], STDOUT_FILENO);
        execl(INSTALLED_LAUNCHER, "sdee-launcher", "--sdee-format", (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t count; pid > 0 && used + 1 < sizeof text && (count = read(ends[0], text + used, sizeof text - used - 1)) > 0;)
        used += (size_t)count;
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    char *rest;
    const unsigned long format = strtoul(text, &rest, 10);
    return pid > 0 && status == 0 && rest != text && strcmp(rest, "\n") == 0 && format >= FORMAT_VERSION;
}

/* The bundle's name: its path, or where it has none any more that it can be opened by. */
static const char *name_of_bundle(void)
{
    static char path[PATH_MAX], name[32];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    if (same_file(path, "/proc/self/exe"))
        return path;
    snprintf(name, sizeof name, "/proc/self/fd/%d", open("/proc/self/exe", O_RDONLY));
    return name;
}

static void execute(const struct inherited *inherited, char **argv, bool in_bundle)
{
    size_t count = 0;
    while (argv[count] != NULL)
        count++;
    const char **words = allocate(count + 3, sizeof *words);
    words[0] = in_bundle || count == 0 ? "sdee-launcher" : argv[0];
    if (in_bundle)
        words[1] = name_of_bundle();
    for (size_t i = 1; i < count; i++)
        words[i + in_bundle] = argv[i];
    inherited_restore(inherited);
    umask(inherited->umask);
    execv(INSTALLED_LAUNCHER, (char **)(uintptr_t)words);
}

void handover(const struct root *root, const struct options *options, const struct inherited *inherited, char **argv, struct error *error)
{
    char why[2 * PATH_MAX];
    bool refused = false;
    for (size_t i = 0; i < root->refused_count; i++)
        refused = refused || root->refused[i].way->kind == WAY_NAMESPACES;
    if (!refused || !namespaces_by_apparmor() || access(INSTALLED_LAUNCHER, F_OK) != 0 || same_file(INSTALLED_LAUNCHER, "/proc/self/exe"))
        return;
    if (!trusted_path(INSTALLED_LAUNCHER, true, why, sizeof why)) {
        tried(error, "%s", why);
        return;
    }
    if (!reads_format()) {
        tried(error, "%s: it reads no bundles of format %u", INSTALLED_LAUNCHER, FORMAT_VERSION);
        return;
    }
    if (options->debug || options->dry_run)
        note("way: handed over to %s: %s", INSTALLED_LAUNCHER, root->refused[0].why);
    execute(inherited, argv, options->bundle == NULL);
    tried(error, "%s: %s", INSTALLED_LAUNCHER, strerror(errno));
}
