/* The skeleton: every directory of a host tree, empty, in the upper layer.
 *
 * In overlayfs a merged directory takes its attributes from the topmost layer that has it. So each directory of the merged
 * tree belongs to the user, who may make, remove and replace entries at the kernel's own speed, while all content stays in
 * the host's. Done again after the host has changed, it adds what is missing. */
#include "skeleton.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "owner.h"

enum { COMMON = 0755 }; /* what nearly all directories have: one call less */

struct skeleton {
    bool mask;       /* hide files that the user may not read by empty ones, which root can use */
    bool emulate;
    uid_t uid;
    gid_t gid;
    FILE *list;
    const char *but; /* left out of the top directory, whose path has the length `top` */
    size_t top;
    char path[4096]; /* below the tree's root */
    size_t length;
};

/* Mode, times and, where it is not root's, owner. `fd`: the directory or file in the upper layer. */
static void attributes(const struct skeleton *skeleton, int fd, const struct stat *host, mode_t made_with)
{
    const uint32_t uid = host->st_uid == skeleton->uid ? 0 : host->st_uid, gid = host->st_gid == skeleton->gid ? 0 : host->st_gid;
    if (skeleton->emulate && (uid != 0 || gid != 0)) {
        char value[32];
        const int length = snprintf(value, sizeof value, "%u %u", uid, gid);
        fsetxattr(fd, OWNER_ATTRIBUTE, value, (size_t)length, 0);
    }
    const struct timespec times[2] = {host->st_atim, host->st_mtim};
    if ((host->st_mode & 07777) != made_with)
        fchmod(fd, host->st_mode & 07777);
    futimens(fd, times);
}

static void mask(const struct skeleton *skeleton, int host, int upper, const char *name)
{
    struct stat file;
    if (faccessat(host, name, R_OK, AT_EACCESS) == 0 || errno != EACCES || fstatat(host, name, &file, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    const int fd = openat(upper, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return; /* the environment has one already */
    attributes(skeleton, fd, &file, 0600);
    close(fd);
}

static bool walk(struct skeleton *skeleton, int host, int upper, dev_t device, struct error *error);

static bool child(struct skeleton *skeleton, int host, int upper, const char *name, dev_t device, struct error *error)
{
    struct stat directory;
    if (fstatat(host, name, &directory, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(directory.st_mode) || directory.st_dev != device)
        return true; /* what is mounted there overlayfs does not show either */
    const bool made = mkdirat(upper, name, COMMON) == 0;
    if (!made && errno != EEXIST)
        return fail(error, EXIT_OUTPUT, "free some space or inodes, or set SDEE_ENV_DIR to another file system", "cannot make a directory for %s: %s",
                    skeleton->path, strerror(errno));
    const int above = openat(upper, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (above < 0)
        return true; /* a file, a link or a whiteout: what the user put in its place counts */
    const size_t length = skeleton->length;
    const int more = snprintf(skeleton->path + length, sizeof skeleton->path - length, "/%s", name);
    if (more < 0 || (size_t)more >= sizeof skeleton->path - length) {
        close(above);
        return true; /* deeper than PATH_MAX: reachable by no path */
    }
    skeleton->length += (size_t)more;
    if (made && skeleton->list != NULL)
        fprintf(skeleton->list, "%s%c", skeleton->path, '\0');
    bool good = true;
    const bool opaque = !made && fgetxattr(above, "user.overlay.opaque", NULL, 0) > 0; /* its content is the user's alone */
    const int below = opaque ? -1 : openat(host, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below >= 0)
        good = walk(skeleton, below, above, device, error);
    else if (made && errno == EACCES)
        fsetxattr(above, "user.overlay.opaque", "y", 1, 0); /* or root would be refused what it owns */
    if (made)
        attributes(skeleton, above, &directory, COMMON);
    close(above);
    skeleton->length = length;
    skeleton->path[length] = '\0';
    return good;
}

/* Closes `host`. */
static bool walk(struct skeleton *skeleton, int host, int upper, dev_t device, struct error *error)
{
    DIR *entries = fdopendir(host);
    if (entries == NULL)
        return fail(error, EXIT_RESOURCES, NULL, "cannot list %s: %s", skeleton->path, strerror(errno));
    const struct dirent *entry;
    bool good = true;
    while (good && (entry = readdir(entries)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (skeleton->but != NULL && skeleton->length == skeleton->top && strcmp(entry->d_name, skeleton->but) == 0)
            continue;
        if (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)
            good = child(skeleton, host, upper, entry->d_name, device, error);
        else if (entry->d_type == DT_REG && skeleton->mask)
            mask(skeleton, host, upper, entry->d_name);
    }
    closedir(entries);
    return good;
}

bool skeleton_make(const char *host, const char *upper, const char *list, const char *prefix, const struct skeleton_options *options,
                   struct error *error)
{
    static struct skeleton skeleton;
    skeleton = (struct skeleton){.mask = options->mask_files, .emulate = options->emulate, .but = options->but, .top = strlen(prefix), .uid = geteuid(), .gid = getegid()};
    umask(0);
    skeleton.length = (size_t)snprintf(skeleton.path, sizeof skeleton.path, "%s", prefix);
    skeleton.list = fopen(list, "ae");
    struct stat top;
    const bool made = mkdir(upper, COMMON) == 0 || options->fresh;
    const int below = open(host, O_RDONLY | O_DIRECTORY | O_CLOEXEC), above = open(upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool unreadable = below < 0 && errno == EACCES;
    if (above < 0 || skeleton.list == NULL || stat(host, &top) != 0 || (below < 0 && !unreadable))
        return fail(error, EXIT_OUTPUT, NULL, "cannot make the skeleton of %s in %s: %s", host, upper, strerror(errno));
    bool good = true;
    if (unreadable)
        fsetxattr(above, "user.overlay.opaque", "y", 1, 0);
    else
        good = walk(&skeleton, below, above, top.st_dev, error);
    if (made)
        attributes(&skeleton, above, &top, COMMON);
    close(above);
    if (fclose(skeleton.list) != 0 && good)
        good = fail(error, EXIT_OUTPUT, "is the disk full?", "cannot write %s: %s", list, strerror(errno));
    return good;
}
