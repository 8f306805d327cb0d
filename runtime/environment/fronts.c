#include "fronts.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "error.h"

#define DIRECTORY "/run/sdee"
#define FRONT DIRECTORY "/sdee-front"

/* Slurm's commands that say to the controller who calls. The first three submit: see runtime/front/main.c. */
static const char *const COMMANDS[] = {"salloc", "sbatch", "srun",   "sacct",  "sacctmgr", "sattach", "sbcast", "scancel", "scontrol",
                                       "sdiag",  "sinfo",  "sprio",  "squeue", "sreport",  "sshare",  "sstat",  "strigger"};

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
    snprintf(target, sizeof target, DIRECTORY "/prefix/%d", which);
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

void fronts_mount(void)
{
    char program[PATH_MAX], shown[PATH_MAX], link[PATH_MAX];
    struct statvfs layers;
    if (statvfs(DIRECTORY "/layers", &layers) == 0) /* what was changed, to be read: the flags that it has are locked */
        mount(NULL, DIRECTORY "/layers", NULL,
              MS_REMOUNT | MS_BIND | MS_RDONLY | ((layers.f_flag & ST_NOSUID) ? MS_NOSUID : 0) | ((layers.f_flag & ST_NODEV) ? MS_NODEV : 0) |
                  ((layers.f_flag & ST_NOEXEC) ? MS_NOEXEC : 0) | ((layers.f_flag & ST_NOATIME) ? MS_NOATIME : 0) |
                  ((layers.f_flag & ST_RELATIME) ? MS_RELATIME : 0),
              NULL);
    if (access(FRONT, X_OK) != 0)
        return;
    mount("sdee", DIRECTORY "/prefix", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k");
    mount("sdee", DIRECTORY "/real", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k");
    for (unsigned i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        if (!find(COMMANDS[i], program))
            continue;
        snprintf(link, sizeof link, DIRECTORY "/real/%s", COMMANDS[i]);
        if (!show_prefix(program, shown) || symlink(shown, link) != 0 || mount(FRONT, program, NULL, MS_BIND, NULL) != 0)
            note("%s stays the host's own: %s", program, strerror(errno));
    }
}
