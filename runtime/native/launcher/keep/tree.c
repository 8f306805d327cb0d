/* What the job wrote where the bundle's was mounted on the node's: below a tree (plan/live.c), of which it saw the bundle's directory alone, so
 * that a file of the node's may be in the way that it knew nothing of; and in a file on a mount point (points.h). */
#include "launcher/keep/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "launcher/keep/lost.h"
#include "launcher/keep/record.h"
#include "launcher/plan/same.h"
#include "lib/copy.h"

/* Is the node's file the one that the job saw, or what an earlier rank has made of it? */
static bool was_seen(const struct walk *walk, uint32_t index, const struct stat *node)
{
    if (walk->keeping->shared && record_has(walk->path, &node->st_mtim))
        return true;
    if (index == NO_ENTRY)
        return false;
    const struct entry *entry = &walk->bundle->entries[index];
    return S_ISLNK(entry->mode) ? S_ISLNK(node->st_mode) : plan_same_file(walk->bundle, entry, node);
}

static void not_kept(struct walk *walk, int directory, const char *name, const struct stat *status)
{
    const int number = errno;
    if (number != EACCES && number != EPERM && number != EROFS && number != ENOENT) /* not "may not", but "could not" */
        keep_could_not(walk, walk->path, "the node");
    keep_lose(walk, directory, name, status, walk->path);
}

void keep_in_tree(struct walk *walk, int directory, const char *name, const struct stat *status, uint32_t index, struct belongs *node)
{
    struct stat other;
    bool lacks = false; /* a directory of the bundle's: it is not made on a node that has other software there */
    for (struct belongs *above = node; above != NULL && !lacks; above = above->parent)
        lacks = above->bundles && keep_there_on_node(above) < 0;
    if (lacks)
        errno = ENOENT;
    const int to = lacks ? -1 : keep_on_node(node);
    if (to >= 0 && fstatat(to, name, &other, AT_SYMLINK_NOFOLLOW) == 0 && !was_seen(walk, index, &other)) {
        keep_beside(walk, directory, name, status, to, "is on this node, but not in the bundled software that the job saw: what the job wrote");
        return;
    }
    if (to < 0 || !copy_one(directory, name, status, to, name, true)) {
        not_kept(walk, directory, name, status);
        return;
    }
    if (walk->keeping->shared)
        record_add(walk->path, &status->st_mtim);
    node->tree->copied += !walk->in_cache;
}

void keep_tell_tree(const struct walk *walk, const struct belongs *tree)
{
    const size_t count = tree->copied;
    if (count > 0 && !walk->quiet)
        note("%zu file%s that the job wrote below bundled software in %s %s copied to %s on the node", count, count > 1 ? "s" : "", walk->path,
             count > 1 ? "were" : "was", tree->node);
}

void keep_at_point(struct walk *walk, int directory, const char *name, const struct stat *status, const struct op *point)
{
    const struct back back = {point->target, point->back, point->back_is};
    struct belongs parent = {.place = {.fd = -1}};
    const int to = keep_open_on_node(&back, &parent) ? parent.place.fd : -1;
    if (to >= 0 && keep_has_changed(walk, to, name)) {
        keep_beside(walk, directory, name, status, to, "was changed on this node while the job ran: what the job made of it");
    } else if (to >= 0 && copy_one(directory, name, status, to, name, true)) {
        if (walk->keeping->shared)
            record_add(walk->path, &status->st_mtim);
    } else {
        keep_could_not(walk, walk->path, "the node");
        keep_lose(walk, directory, name, status, walk->path);
    }
    if (to >= 0)
        close(to);
}
