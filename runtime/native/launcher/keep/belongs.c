/* Directories on the node that what the job wrote goes back to. */
#include "launcher/keep/belongs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "launcher/keep/base.h"

/* The node's directory that what is written goes back to: it must be the one that it was when the job began. Whoever may rename it could have
 * put a link to somewhere else in its place. */
bool keep_open_on_node(const struct back *back, struct belongs *belongs)
{
    char name[PATH_MAX + 16];
    struct stat status;
    struct statfs system;
    snprintf(name, sizeof name, "%s%s", keep_base.node, back->node);
    const int fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fstat(fd, &status) == 0 && back->is.inode != 0 && status.st_dev == back->is.device;
    good = good && (status.st_ino == back->is.inode ||
                    /* FUSE forgets inode numbers */ (status.st_uid == geteuid() && fstatfs(fd, &system) == 0 && system.f_type == FUSE_SUPER_MAGIC));
    belongs->place = (struct place){.fd = good ? fd : -1, .there = good};
    belongs->node = back->node;
    if (fd >= 0 && !good) {
        close(fd);
        errno = ESTALE;
    }
    belongs->error = good ? 0 : errno;
    return good;
}

/* mkdir(2) with the mode that the job gave it: our umask is 0. The set-group-ID bit it does not take; that is added by a descriptor, and
 * nothing else, since by now the name may be another's directory or link. */
static bool make_on_node(struct belongs *node)
{
    struct stat status;
    const int parent = keep_open_place(&node->parent->place);
    if (parent < 0)
        return false;
    const bool made = mkdirat(parent, node->place.name, node->mode & 01777) == 0;
    if (!made && errno != EEXIST)
        return false;
    node->place.there = true;
    if (keep_open_place(&node->place) < 0) {
        node->place.there = false;
        return false;
    }
    if (!made && (fstat(node->place.fd, &status) != 0 || status.st_uid != geteuid())) {
        close(node->place.fd);
        node->place.fd = -1;
        node->place.there = false;
        errno = EEXIST;
        return false;
    }
    const int fd = made && (node->mode & S_ISGID) != 0 ? openat(node->place.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (fstat(fd, &status) == 0)
            (void)!fchmod(fd, (status.st_mode & 07777) | S_ISGID);
        close(fd);
    }
    return true;
}

bool keep_is_anothers(struct belongs *node, const struct stat *made)
{
    struct stat status;
    const int fd = keep_there_on_node(node);
    return fd >= 0 && fstat(fd, &status) == 0 && status.st_uid != made->st_uid;
}

void keep_name_beside(int directory, const char *name, char beside[BESIDE])
{
    struct stat status;
    unsigned random = 0;
    snprintf(beside, BESIDE, "%s.sdee-%d", name, (int)getpid());
    if (fstatat(directory, beside, &status, AT_SYMLINK_NOFOLLOW) == 0 && getrandom(&random, sizeof random, 0) == sizeof random)
        snprintf(beside, BESIDE, "%s.sdee-%d-%08x", name, (int)getpid(), random); /* somebody has guessed it */
}

void keep_directory_beside(struct belongs *node, char beside[BESIDE])
{
    keep_name_beside(keep_open_place(&node->parent->place), node->place.name, beside);
    close(node->place.fd);
    node->place = (struct place){.above = node->place.above, .name = beside, .fd = -1};
}

/* Is it there? Each directory is asked for once, from the uppermost on: how deep they are is the job's to say. */
static void look_for(struct belongs *node)
{
    while (node->later) {
        struct belongs *upper = node;
        while (upper->parent != NULL && upper->parent->later)
            upper = upper->parent;
        upper->later = false;
        upper->place.there = upper->parent != NULL && upper->parent->place.there;
        upper->place.there = upper->place.there && keep_open_place(&upper->place) >= 0;
    }
}

int keep_on_node(struct belongs *node)
{
    if (node != NULL)
        look_for(node);
    while (node != NULL && !node->place.there) {
        struct belongs *missing = node;
        while (missing->parent != NULL && !missing->parent->place.there)
            missing = missing->parent;
        if (missing->parent == NULL) {
            errno = missing->error;
            return -1;
        }
        if (!make_on_node(missing))
            return -1;
    }
    return node != NULL ? keep_open_place(&node->place) : -1;
}

int keep_there_on_node(struct belongs *node)
{
    if (node != NULL)
        look_for(node);
    return node != NULL && node->place.there ? keep_open_place(&node->place) : -1;
}
