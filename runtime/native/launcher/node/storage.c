#include "launcher/node/storage.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

/* Magic numbers: linux/magic.h and the file systems' own sources. FUSE: sshfs, DAOS and others. `good`, `bad`: mount options that say that
 * locks do, or do not, reach other nodes (nfs(5), mount.lustre(8)); neither: they always do. BeeGFS, FUSE, CIFS and the rest keep them on the
 * node unless configured otherwise, which cannot be seen here. */
static const struct kind {
    uint32_t magic;
    bool locks;
    const char *good, *bad;
} KINDS[] = {
    {0x6969 /* NFS */, true, "local_lock=none", NULL},
    {0x0bd00bd0 /* Lustre */, true, NULL, "localflock"},
    {0x47504653 /* GPFS */, true, NULL, NULL},
    {0x00c36400 /* Ceph */, true, NULL, NULL},
    {0x7461636f /* OCFS2 */, true, NULL, NULL},
    {0x01161970 /* GFS2 */, true, NULL, NULL},
    {0x19830326 /* BeeGFS */, false, NULL, NULL},
    {0x65735546 /* FUSE */, false, NULL, NULL},
    {0xff534d42 /* CIFS */, false, NULL, NULL},
    {0xfe534d42 /* SMB2 */, false, NULL, NULL},
    {0x5346414f /* AFS */, false, NULL, NULL},
    {0x01021997 /* 9P */, false, NULL, NULL},
    {0xaad7aaea /* PanFS */, false, NULL, NULL},
    {0x20030528 /* OrangeFS */, false, NULL, NULL},
};

static const struct kind *kind_of(const char *path)
{
    struct statfs status;
    if (statfs(path, &status) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if ((uint32_t)status.f_type == KINDS[i].magic)
            return &KINDS[i];
    return NULL;
}

bool storage_is_far(const char *path)
{
    return kind_of(path) != NULL;
}

/* Is a word among the options of the mount that a path lies on? By the device's number, proc_pid_mountinfo(5). */
static bool has_option(const char *path, const char *word)
{
    struct stat status;
    unsigned major_number, minor_number;
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    FILE *file = stat(path, &status) == 0 ? fopen("/proc/self/mountinfo", "re") : NULL;
    while (file != NULL && !found && getline(&line, &size, file) > 0)
        found = sscanf(line, "%*s %*s %u:%u", &major_number, &minor_number) == 2 && major_number == major(status.st_dev) &&
                minor_number == minor(status.st_dev) && strstr(line, word) != NULL;
    free(line);
    if (file != NULL)
        fclose(file);
    return found;
}

bool storage_locks_reach(const char *path)
{
    const struct kind *kind = kind_of(path);
    if (kind == NULL)
        return true;
    return kind->locks && (kind->good == NULL || has_option(path, kind->good)) && (kind->bad == NULL || !has_option(path, kind->bad));
}
