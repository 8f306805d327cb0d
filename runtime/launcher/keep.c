#include "keep_walk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int by_target(const void *left, const void *right)
{
    const struct op *a = *(const struct op *const *)left, *b = *(const struct op *const *)right;
    const int order = strcmp(a->target, b->target);
    return order != 0 ? order : (a > b) - (a < b);
}

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
    return op->kind == OP_OVERLAY || (op->kind == OP_BIND && strncmp(op->source, "/oldroot", 8) == 0);
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

/* Is /closure's `path` covered by something else, so that the job cannot have written there? */
static bool is_hidden(const struct walk *walk, const char *path)
{
    bool covered = is_on_node(walk, path);
    const size_t length = strlen(path);
    for (size_t i = 0; covered && i < walk->plan->count; i++) { /* unless our own shows again below it */
        const struct op *op = &walk->plan->ops[i];
        if (strncmp(op->target, path, length) == 0 && (op->target[length] == '/' || op->target[length] == '\0') &&
            op->kind == OP_BIND && strncmp(op->source, "/closure", 8) == 0)
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
        if (strcmp(path, tree) == 0 || plan_is_below(path, tree))
            return true;
    return false;
}

void keep_could_not(struct walk *walk, const char *path, const char *where)
{
    if (walk->in_cache)
        return;
    if (!walk->failed)
        fail(walk->error, EXIT_OUTPUT, "free space there, or write to a directory that the node has", "cannot copy %s to %s: %s", path, where,
             strerror(errno));
    walk->failed = true;
}

/* The mode that the job gave the directory with the path's first `length` bytes: what it closed to others stays closed. */
static mode_t mode_of(const struct walk *walk, size_t length)
{
    for (size_t i = walk->depth; i-- > 0 && walk->levels[i]->length >= length;)
        if (walk->levels[i]->length == length)
            return walk->levels[i]->mode;
    return 0777;
}

/* A directory of another user serves when it is no more open than the job's. */
static int make_saved(int parent, const char *name, mode_t mode, mode_t mask)
{
    struct stat status;
    const bool made = mkdirat(parent, name, (mode | 0700) & ~mask) == 0;
    const int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (made || fd < 0 || (fstat(fd, &status) == 0 && (status.st_uid == geteuid() || (status.st_mode & ~mode & 055) == 0)))
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

void keep_save(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path)
{
    int at = dup(walk->keeping->save);
    for (const char *rest = path + 1; at >= 0; rest += strcspn(rest, "/") + 1) {
        char component[NAME_MAX + 1];
        const size_t length = strcspn(rest, "/");
        if (rest[length] == '\0')
            break;
        snprintf(component, sizeof component, "%.*s", (int)length, rest);
        const int next = make_saved(at, component, mode_of(walk, (size_t)(rest - path) + length) & 0777, walk->keeping->umask);
        close(at);
        at = next;
    }
    if (at < 0 || !copy_one(directory, name, status, at, strrchr(path, '/') + 1, false))
        keep_could_not(walk, path, "the directory of --save");
    if (at >= 0)
        close(at);
}

void keep_lose(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path)
{
    if (!walk->in_cache && walk->lost++ < NAMES)
        snprintf(walk->names[walk->lost - 1], PATH_MAX, "%s", path);
    if (walk->keeping->save >= 0)
        keep_save(walk, directory, name, status, path);
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

static bool is_later(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec > other->tv_sec || (one->tv_sec == other->tv_sec && one->tv_nsec > other->tv_nsec);
}

bool keep_has_changed(const struct walk *walk, int directory, const char *name)
{
    struct stat other;
    if (walk->begun.tv_sec == 0 || fstatat(directory, name, &other, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(other.st_mode))
        return false;
    /* mtime is its owner's to set. By ctime one tells what another user has put there, and what got this name besides its own. */
    const bool planted = (other.st_uid != geteuid() || other.st_nlink > 1) && is_later(&other.st_ctim, &walk->begun);
    return (planted || is_later(&other.st_mtim, &walk->begun)) && !(walk->keeping->shared && record_has(walk->path, &other.st_mtim));
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

void keep_tell_beside(struct walk *walk, const char *beside, const char *why)
{
    const char *name = strrchr(walk->path, '/') + 1;
    if (!walk->failed)
        fail(walk->error, EXIT_OUTPUT, "compare the two", "%s %s is in %.*s%s", walk->path, why, (int)(name - walk->path), walk->path, beside);
    walk->failed = true;
}

void keep_beside(struct walk *walk, int directory, const char *name, const struct stat *status, int to, const char *why)
{
    char beside[BESIDE];
    if (walk->in_cache)
        return; /* the newer one serves */
    keep_name_beside(to, name, beside);
    if (!copy_one(directory, name, status, to, beside, false)) {
        keep_could_not(walk, walk->path, "the node");
        keep_lose(walk, directory, name, status, walk->path);
        return;
    }
    keep_tell_beside(walk, beside, why);
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

static void walk_upper(struct walk *walk, const struct op *op)
{
    char upper[PATH_MAX];
    const struct back back = {op->target, op->back, op->back_is};
    snprintf(upper, sizeof upper, "%s/u", op->data);
    keep_walk(walk, upper, op->target, op->back != NULL ? &back : NULL, op->back != NULL);
}

static void report(const struct walk *walk, const struct options *options)
{
    char text[7000] = "";
    size_t used = 0;
    for (size_t i = 0; i < walk->lost && i < NAMES && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? ", " : "", walk->names[i]);
    if (walk->lost > NAMES && used < sizeof text)
        snprintf(text + used, sizeof text - used, " and %zu more", walk->lost - NAMES);
    if (walk->lost > 0 && walk->keeping->save >= 0)
        note("%zu file%s written outside live directories: %s; saved in %s", walk->lost, walk->lost > 1 ? "s" : "", text, options->save);
    else if (walk->lost > 0 && !options->quiet)
        note("%zu file%s written outside live directories and gone with the job: %s; keep them with --save DIR (SDEE_SAVE=DIR)", walk->lost,
             walk->lost > 1 ? "s" : "", text);
}

static bool has_back(const struct plan *plan)
{
    bool found = plan->synthetic_count > 0;
    for (size_t i = FIRST_ROOT_OP; i < plan->count; i++)
        found = found || plan->ops[i].back != NULL || plan->ops[i].kind == OP_POINT;
    return found;
}

bool keep(const struct plan *plan, const struct bundle *bundle, const struct options *options, const struct keeping *keeping, struct error *error)
{
    if (!keeping->last && keeping->save < 0 && !has_back(plan))
        return true;
    struct walk *walk = allocate(1, sizeof *walk);
    struct timespec now, steady;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &steady);
    *walk = (struct walk){.plan = plan, .bundle = bundle, .keeping = keeping, .error = error, .quiet = options->quiet};
    walk->begun = keep_begun(plan->begun, plan->steady, now, steady);
    walk->places = allocate(plan->count, sizeof *walk->places);
    for (size_t i = FIRST_ROOT_OP; i < plan->count; i++)
        if (plan->ops[i].kind != OP_ENTER)
            walk->places[walk->place_count++] = &plan->ops[i];
    qsort(walk->places, walk->place_count, sizeof *walk->places, by_target);
    struct rlimit files; /* some for each of the last levels: keep_place.c */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    keep_walk(walk, "/closure", "", NULL, false);
    for (size_t i = FIRST_ROOT_OP; i < plan->count; i++)
        if (plan->ops[i].kind == OP_OVERLAY)
            walk_upper(walk, &plan->ops[i]);
    if (keeping->last)
        report(walk, options);
    const bool good = !walk->failed;
    free(walk->places);
    free(walk->levels);
    free(walk->path);
    free(walk);
    return good;
}

bool keep_open(const char *directory, mode_t mask, int *save, struct error *error)
{
    struct stat status;
    if (mkdir(directory, 0777 & ~mask) != 0 && errno != EEXIST)
        return fail(error, EXIT_OUTPUT, NULL, "the directory of --save, %s, cannot be made: %s", directory, strerror(errno));
    if (lstat(directory, &status) == 0 && S_ISLNK(status.st_mode) && status.st_uid != geteuid() && status.st_uid != 0)
        return fail(error, EXIT_OUTPUT, "name a directory of your own", "the directory of --save, %s, is not used: it is a link of another user", directory);
    *save = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*save < 0 || faccessat(*save, ".", W_OK | X_OK, 0) != 0)
        return fail(error, EXIT_OUTPUT, "name a directory that you may write to", "the directory of --save, %s, cannot be written: %s", directory,
                    strerror(errno));
    return true;
}
