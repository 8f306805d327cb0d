#include "env/stand_ins.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/error.h"
#include "lib/facts.h"

#define DIVERTED "/usr/lib/sdee"
#define FRONT COMMANDS_DIRECTORY "/sdee-front"

/* The first that submit are sdee's own: runtime/native/front/main.c. */
static const char *const COMMANDS[] = {SLURM_COMMANDS};

enum { PREFIXES = 8 };
static char *prefixes[PREFIXES];

static bool find(const char *name, char found[PATH_MAX])
{
    const char *path = getenv("PATH");
    char directories[8192], file[PATH_MAX], *rest = NULL;
    snprintf(directories, sizeof directories, "%s:/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin", path != NULL ? path : "");
    for (char *at = strtok_r(directories, ":", &rest); at != NULL; at = strtok_r(NULL, ":", &rest)) {
        snprintf(file, sizeof file, "%s/%s", at, name);
        if (at[0] == '/' && access(file, X_OK) == 0 && realpath(file, found) != NULL)
            return true;
    }
    return false;
}

/* Where `program`'s installation prefix (/usr, /opt/slurm) is shown once more, without our mounts. All of it and not the
 * program alone: libraries by $ORIGIN/../lib are found from there too. */
static bool show_prefix(const char *program, char shown[PATH_MAX])
{
    char prefix[PATH_MAX];
    snprintf(prefix, sizeof prefix, "%s", program);
    for (int up = 0; up < 2; up++) {
        char *slash = strrchr(prefix, '/');
        if (slash == prefix)
            return false;
        *slash = '\0';
    }
    int which = 0;
    while (which < PREFIXES && prefixes[which] != NULL && strcmp(prefixes[which], prefix) != 0)
        which++;
    if (which == PREFIXES)
        return false;
    char target[64];
    snprintf(target, sizeof target, COMMANDS_DIRECTORY "/prefix/%d", which);
    if (prefixes[which] == NULL) {
        mkdir(target, 0755);
        /* What is mounted below it comes along only where the kernel insists: mount_namespaces(7), locked mounts */
        if (mount(prefix, target, NULL, MS_BIND, NULL) != 0 && mount(prefix, target, NULL, MS_BIND | MS_REC, NULL) != 0)
            return false;
        prefixes[which] = strdup(prefix);
    }
    snprintf(shown, PATH_MAX, "%s%s", target, program + strlen(prefix));
    return true;
}

/* The flags that a mount has already are locked: mount_namespaces(7). */
static void make_read_only(const char *path)
{
    static const unsigned long flags[][2] = {
        {ST_NOSUID, MS_NOSUID}, {ST_NODEV, MS_NODEV}, {ST_NOEXEC, MS_NOEXEC}, {ST_NOATIME, MS_NOATIME}, {ST_RELATIME, MS_RELATIME}};
    unsigned long wanted = MS_REMOUNT | MS_BIND | MS_RDONLY;
    struct statvfs state;
    if (statvfs(path, &state) != 0)
        return;
    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++)
        wanted |= (state.f_flag & flags[i][0]) != 0 ? flags[i][1] : 0;
    if (mount(NULL, path, NULL, wanted, NULL) != 0 && errno != EINVAL) /* EINVAL: it is no mount */
        note("%s stays writable: %s", path, strerror(errno));
}

void fronts_mount(void)
{
    char program[PATH_MAX], shown[PATH_MAX], link[PATH_MAX];
    make_read_only(COMMANDS_DIRECTORY "/layers"); /* what was changed */
    make_read_only(COMMANDS_DIRECTORY "/host");   /* the host's own programs */
    if (access(FRONT, X_OK) != 0)
        return;
    mount("sdee", COMMANDS_DIRECTORY "/prefix", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k");
    mount("sdee", COMMANDS_DIRECTORY "/real", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k");
    for (unsigned i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        snprintf(link, sizeof link, COMMANDS_DIRECTORY "/real/%s", COMMANDS[i]);
        snprintf(program, sizeof program, DIVERTED "/%s", COMMANDS[i]);
        struct stat status;
        if (lstat(program, &status) == 0) { /* of a package: sdee-front has its place already (stand_ins.py) */
            if (symlink(program, link) != 0)
                note("cannot find %s: %s", program, strerror(errno));
            continue;
        }
        /* Of a package that was removed in the environment only sdee-front is left */
        if (!find(COMMANDS[i], program) || (access(DIVERTED, F_OK) == 0 && strncmp(program, "/usr/bin/", 9) == 0))
            continue;
        if (!show_prefix(program, shown) || symlink(shown, link) != 0 || mount(FRONT, program, NULL, MS_BIND, NULL) != 0)
            note("%s shows the host's file: %s", program, strerror(errno));
    }
}
