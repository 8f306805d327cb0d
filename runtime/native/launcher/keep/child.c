#include "launcher/keep/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/keep/base.h"
#include "launcher/keep/cache.h"
#include "launcher/keep/lost.h"
#include "launcher/keep/record.h"
#include "launcher/keep/tree.h"
#include "launcher/layout.h"
#include "lib/copy.h"
#include "lib/paths.h"
#include "lib/remove.h"

/* First op with this target, or NULL; the others follow it. */
static const struct op *const *places_of(const struct walk *walk, const char *path)
{
    size_t low = 0, high = walk->place_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(walk->places[middle]->target, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < walk->place_count && strcmp(walk->places[low]->target, path) == 0 ? &walk->places[low] : NULL;
}

static bool is_node_mount(const struct op *op)
{
    return op->kind == OP_OVERLAY || (op->kind == OP_BIND && strncmp(op->source, OLDROOT, sizeof OLDROOT - 1) == 0);
}

bool keep_is_closures(const struct op *op)
{
    return op->kind == OP_BIND && strncmp(op->source, CLOSURE, sizeof CLOSURE - 1) == 0;
}

/* Of the mounts on a path the last one counts. */
static bool ends_in_closures(const struct walk *walk, const char *path, bool otherwise)
{
    const struct op *const *place = places_of(walk, path);
    for (; place != NULL && place < walk->places + walk->place_count && strcmp((*place)->target, path) == 0; place++)
        if ((*place)->kind == OP_BIND)
            otherwise = keep_is_closures(*place);
    return otherwise;
}

/* Is the node's own mounted on it? */
static bool is_on_node(const struct walk *walk, const char *path)
{
    bool mounted = false;
    const struct op *const *place = places_of(walk, path);
    for (; place != NULL && place < walk->places + walk->place_count && strcmp((*place)->target, path) == 0; place++)
        mounted = mounted || is_node_mount(*place);
    return mounted;
}

/* Is CLOSURE's `path` covered by something else, so that the job cannot have written there? */
static bool is_hidden(const struct walk *walk, const char *path)
{
    bool covered = is_on_node(walk, path);
    const size_t length = strlen(path);
    for (size_t i = 0; covered && i < walk->plan->count; i++) { /* unless our own shows again below it */
        const struct op *op = &walk->plan->ops[i];
        if (strncmp(op->target, path, length) == 0 && (op->target[length] == '/' || op->target[length] == '\0') &&
            keep_is_closures(op))
            covered = false;
    }
    return covered;
}

/* The directory on the node that a directory of the new root is copied back to; its `node` is NULL for none. */
static struct back node_directory(const struct walk *walk, const char *path)
{
    for (size_t i = 0; i < walk->plan->synthetic_count; i++)
        if (strcmp(walk->plan->synthetic[i].path, path) == 0)
            return walk->plan->synthetic[i];
    const struct op *const *place = places_of(walk, path);
    for (; place != NULL && place < walk->places + walk->place_count && strcmp((*place)->target, path) == 0; place++)
        if ((*place)->kind == OP_BIND && (*place)->back != NULL)
            return (struct back){path, (*place)->back, (*place)->back_is};
    return (struct back){path, NULL, {0}};
}

/* Is it part of some software that comes from the bundle? What a job leaves there (caches) is not wanted on a node without it. */
static bool is_software(const struct walk *walk, const char *path)
{
    for (const char *cursor = NULL, *tree; (tree = conf_next(walk->bundle, "tree", &cursor)) != NULL;)
        if (strcmp(path, tree) == 0 || path_is_below(path, tree))
            return true;
    return false;
}

static bool same_content(int one, int other)
{
    static char left[1 << 15], right[1 << 15];
    ssize_t size;
    while ((size = read(one, left, sizeof left)) > 0)
        for (ssize_t done = 0; done < size;) {
            const ssize_t count = read(other, right, (size_t)(size - done));
            if (count <= 0 || memcmp(left + done, right, (size_t)count) != 0)
                return false;
            done += count;
        }
    return size == 0;
}

/* Has the node the same file, byte for byte? Size and time alone do not tell: `mv` keeps both. A mode that differs is set: overlayfs
 * copies a file up also when only its mode changes. */
static bool same_as_node(int directory, const char *name, const struct stat *status, struct belongs *node)
{
    struct stat other;
    const int there = keep_there_on_node(node);
    if (there < 0 || fstatat(there, name, &other, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(other.st_mode) ||
        !S_ISREG(status->st_mode) || other.st_size != status->st_size)
        return false;
    const int one = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), two = openat(there, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    const bool same = one >= 0 && two >= 0 && same_content(one, two);
    if (same && (other.st_mode & 07777) != (status->st_mode & 07777))
        (void)!fchmod(two, status->st_mode & 07777);
    if (one >= 0)
        close(one);
    if (two >= 0)
        close(two);
    return same;
}

static bool is_unchanged(const struct walk *walk, uint32_t index, const struct stat *status)
{
    if (index == NO_ENTRY)
        return false;
    const struct entry *entry = &walk->bundle->entries[index];
    if (!S_ISREG(status->st_mode) || !S_ISREG(entry->mode))
        return (status->st_mode & S_IFMT) == (entry->mode & S_IFMT);
    /* Content first written through a mapping changes no size, but the time. */
    return entry_size(walk->bundle, entry) == (uint64_t)status->st_size && entry->mtime == status->st_mtim.tv_sec &&
           entry->nsec == (uint32_t)status->st_mtim.tv_nsec;
}

struct level *keep_enter(struct walk *walk, const char *name)
{
    struct level *above = walk->levels[walk->depth - 1];
    struct stat status;
    const int directory = keep_open_place(&above->place);
    if (directory < 0 || fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) /* other ranks may remove theirs meanwhile */
            keep_could_not(walk, walk->path, "the node (it cannot be opened)");
        return NULL;
    }
    if (!S_ISDIR(status.st_mode) || is_hidden(walk, walk->path))
        return NULL;
    const uint32_t index = bundle_find(walk->bundle, walk->path);
    const struct back back = node_directory(walk, walk->path);
    const bool placed = places_of(walk, walk->path) != NULL;
    struct level *level = allocate(1, sizeof *level);
    char *copy = allocate(strlen(name) + 1, 1);
    strcpy(copy, name);
    level->place = (struct place){.above = &above->place, .name = copy, .fd = -1, .there = true};
    level->mode = status.st_mode;
    level->removals = above->removals;
    level->nodes = keep_base.mounted && !ends_in_closures(walk, walk->path, !(above->nodes || is_on_node(walk, walk->path)));
    level->cache = walk->in_cache = above->cache || keep_is_cache(walk->path, directory, name, true, !is_software(walk, walk->path));
    level->length = walk->length;
    struct belongs *own = &level->own;
    own->place.fd = -1;
    own->mode = status.st_mode;
    own->ours = index != NO_ENTRY || (above->node != NULL && above->node->ours);
    if (back.node != NULL) {
        own->tree = is_software(walk, walk->path) ? own : NULL;
        if (!keep_open_on_node(&back, own) && own->tree == NULL) /* a tree may be replaced meanwhile, unless the job wrote below it */
            keep_could_not(walk, walk->path, "the node");
    } else if (above->node != NULL) {
        own->parent = above->node;
        own->tree = above->node->tree;
        own->place = (struct place){.above = &above->node->place, .name = level->place.name, .fd = -1};
        own->later = true;
        own->bundles = index != NO_ENTRY;
        if (own->tree == NULL || !own->bundles)
            (void)keep_there_on_node(own);
        own->ours = own->ours && !own->place.there;
    }
    const bool anothers = above->node != NULL && index == NO_ENTRY && !placed && own->tree == NULL && keep_is_anothers(own, &status);
    if (anothers && !level->cache) {
        keep_directory_beside(own, level->beside);
        keep_tell_beside(walk, level->beside, "was made on this node by another user while the job ran: what the job made of it");
    }
    const bool live = back.node == NULL && own->tree != NULL && is_on_node(walk, walk->path); /* what it covers was not the job's to see */
    const bool known = back.node != NULL ||
                       (above->node != NULL && !live && (own->later || own->place.there || (!placed && !(index != NO_ENTRY && is_software(walk, walk->path)))));
    const bool made = index == NO_ENTRY && known && !own->place.there && !own->ours && own->tree == NULL; /* by the job, empty or not */
    if (made && keep_on_node(own) < 0)
        keep_could_not(walk, walk->path, "the node");
    level->node = known && !(anothers && level->cache) ? own : NULL;
    return level;
}

/* Is it what the plan put there: a mount point, or the node's own link as it was? */
static bool is_placed(const struct walk *walk, int directory, const char *name, const struct stat *status)
{
    char text[PATH_MAX];
    const struct op *const *place = places_of(walk, walk->path);
    if (place == NULL)
        return false;
    if ((*place)->kind != OP_SYMLINK)
        return (*place)->kind == OP_WRITE || ((*place)->kind == OP_FILE && S_ISREG(status->st_mode));
    const ssize_t size = S_ISLNK(status->st_mode) ? readlinkat(directory, name, text, sizeof text) : -1;
    return size > 0 && (size_t)size == strlen((*place)->data) && memcmp(text, (*place)->data, (size_t)size) == 0;
}

static bool node_has(struct belongs *node, const char *name)
{
    struct stat other;
    const int there = keep_there_on_node(node);
    return there >= 0 && fstatat(there, name, &other, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The mount point on the node of a file that only the bundle has, or NULL. */
static const struct op *point_of(const struct walk *walk)
{
    const struct op *const *place = places_of(walk, walk->path);
    return place != NULL && (*place)->kind == OP_POINT ? *place : NULL;
}

static bool is_link_of(int directory, const char *name, const char *wanted)
{
    char text[PATH_MAX];
    const ssize_t size = readlinkat(directory, name, text, sizeof text);
    return size > 0 && (size_t)size == strlen(wanted) && memcmp(text, wanted, (size_t)size) == 0;
}

bool keep_child(struct walk *walk, int directory, const char *name, const struct level *level)
{
    struct belongs *node = level->node;
    const bool removals = level->removals;
    struct stat status;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (S_ISDIR(status.st_mode))
        return true;
    if (keep_base.mounted && is_on_node(walk, walk->path) && !ends_in_closures(walk, walk->path, false))
        return false; /* the node's own file, which is written at once */
    const uint32_t index = bundle_find(walk->bundle, walk->path);
    if (S_ISCHR(status.st_mode) && status.st_rdev == 0) { /* overlayfs' whiteout: the job removed it */
        const int there = removals ? keep_there_on_node(node) : -1;
        if (there >= 0 && !remove_one(there, name, false))
            keep_could_not(walk, walk->path, "the node (it cannot be removed there)");
        return false;
    }
    const bool link = S_ISLNK(status.st_mode), same_link = link && index != NO_ENTRY && S_ISLNK(walk->bundle->entries[index].mode) &&
                                                           is_link_of(directory, name, walk->bundle->entries[index].link);
    if ((!S_ISREG(status.st_mode) && !link && !S_ISFIFO(status.st_mode)) || is_placed(walk, directory, name, &status) || same_link ||
        (!(link && index != NO_ENTRY) && !(removals && node_has(node, name)) && is_unchanged(walk, index, &status)) ||
        same_as_node(directory, name, &status, node)) /* last: it reads both */
        return false;
    const struct op *point = point_of(walk);
    if (point != NULL) {
        keep_at_point(walk, directory, name, &status, point);
        return false;
    }
    if (node != NULL && node->tree != NULL) {
        keep_in_tree(walk, directory, name, &status, index, node);
        return false;
    }
    const int to = keep_on_node(node);
    if (to >= 0 && keep_has_changed(walk, to, name)) {
        keep_beside(walk, directory, name, &status, to, "was changed on this node while the job ran: what the job made of it");
        return false;
    }
    if (to >= 0 && copy_one(directory, name, &status, to, name, true)) {
        if (walk->keeping->shared)
            record_add(walk->path, &status.st_mtim);
        return false;
    }
    if (node != NULL && !(to < 0 && node->ours))
        keep_could_not(walk, walk->path, "the node");
    keep_lose(walk, directory, name, &status, walk->path);
    return false;
}
