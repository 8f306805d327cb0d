#include "keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES 10 /* so many lost files are named */

struct walk {
    const struct plan *plan;
    const struct bundle *bundle;
    const struct op **places; /* of the plan, sorted by target: what the launcher made itself */
    size_t place_count;
    int save;
    size_t lost;
    char names[NAMES][PATH_MAX];
    bool failed;
    struct error *error;
};

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
    return (op->kind == OP_OVERLAY && op->fallback == NULL) || (op->kind == OP_BIND && strncmp(op->source, "/oldroot", 8) == 0);
}

/* Is /closure's `path` covered by something else, so that the job cannot have written there? */
static bool is_hidden(const struct walk *walk, const char *path)
{
    bool covered = false;
    const struct op *const *place = places_of(walk, path);
    for (; place != NULL && place < walk->places + walk->place_count && strcmp((*place)->target, path) == 0; place++)
        covered = covered || is_node_mount(*place);
    const size_t length = strlen(path);
    for (size_t i = 0; covered && i < walk->plan->count; i++) { /* unless our own shows again below it */
        const struct op *op = &walk->plan->ops[i];
        if (strncmp(op->target, path, length) == 0 && (op->target[length] == '/' || op->target[length] == '\0') &&
            (op->fallback != NULL || (op->kind == OP_BIND && strncmp(op->source, "/closure", 8) == 0)))
            covered = false;
    }
    return covered;
}

/* The directory on the node that a directory of the new root is copied back to, or NULL. */
static const char *node_directory(const struct walk *walk, const char *path)
{
    for (size_t i = 0; i < walk->plan->synthetic_count; i++)
        if (strcmp(walk->plan->synthetic[i].path, path) == 0)
            return walk->plan->synthetic[i].node;
    const struct op *const *place = places_of(walk, path);
    for (; place != NULL && place < walk->places + walk->place_count && strcmp((*place)->target, path) == 0; place++)
        if ((*place)->fallback != NULL)
            return strstr((*place)->source, ":/oldroot") + strlen(":/oldroot");
    return NULL;
}

static bool copy_content(int from, int to)
{
    static char buffer[1 << 17];
    for (ssize_t size; (size = read(from, buffer, sizeof buffer)) != 0;) {
        if (size < 0)
            return false;
        for (ssize_t done = 0; done < size;) {
            const ssize_t count = write(to, buffer + done, (size_t)(size - done));
            if (count <= 0)
                return false;
            done += count;
        }
    }
    return true;
}

/* Copy one file or link. What stands there already and is no regular file is not replaced. */
static bool copy_one(int from_directory, const char *name, const struct stat *status, int to_directory, const char *to)
{
    if (S_ISLNK(status->st_mode)) {
        char text[PATH_MAX];
        const ssize_t size = readlinkat(from_directory, name, text, sizeof text - 1);
        text[size > 0 ? size : 0] = '\0';
        return size > 0 && (symlinkat(text, to_directory, to) == 0 || errno == EEXIST);
    }
    const int from = openat(from_directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    const int out = from < 0 ? -1 : openat(to_directory, to, O_CREAT | O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, status->st_mode & 0777);
    bool good = out >= 0 && copy_content(from, out);
    const struct timespec times[2] = {status->st_atim, status->st_mtim};
    good = good && (futimens(out, times), true); /* as cp -p: nice to have */
    const int number = errno;
    if (out >= 0 && close(out) != 0) /* NFS tells a full disk here */
        good = false;
    if (from >= 0)
        close(from);
    errno = good ? 0 : number;
    return good;
}

static void could_not(struct walk *walk, const char *path, const char *where)
{
    if (!walk->failed)
        fail(walk->error, EXIT_OUTPUT, "free space there, or write to a directory that the node has", "cannot copy %s to %s: %s", path, where,
             strerror(errno));
    walk->failed = true;
}

static void save_one(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path)
{
    int at = dup(walk->save);
    for (const char *rest = path + 1; at >= 0; rest += strcspn(rest, "/") + 1) {
        char component[NAME_MAX + 1];
        const size_t length = strcspn(rest, "/");
        if (rest[length] == '\0')
            break;
        snprintf(component, sizeof component, "%.*s", (int)length, rest);
        mkdirat(at, component, 0777);
        const int next = openat(at, component, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(at);
        at = next;
    }
    if (at < 0 || !copy_one(directory, name, status, at, strrchr(path, '/') + 1))
        could_not(walk, path, "the directory of --save");
    if (at >= 0)
        close(at);
}

static void lose(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path)
{
    if (walk->lost < NAMES)
        snprintf(walk->names[walk->lost], PATH_MAX, "%s", path);
    walk->lost++;
    if (walk->save >= 0)
        save_one(walk, directory, name, status, path);
}

static bool same_as_node(const char *path, const struct stat *status)
{
    char node[PATH_MAX + 16];
    struct stat other;
    snprintf(node, sizeof node, "/oldroot%s", path);
    return lstat(node, &other) == 0 && other.st_size == status->st_size && other.st_mtim.tv_sec == status->st_mtim.tv_sec &&
           other.st_mtim.tv_nsec == status->st_mtim.tv_nsec;
}

static bool is_unchanged(const struct walk *walk, const char *path, uint32_t index, const struct stat *status)
{
    if (index == NO_ENTRY)
        return same_as_node(path, status); /* an overlay's copy of a file whose mode or owner changed */
    const struct entry *entry = &walk->bundle->entries[index];
    if (!S_ISREG(status->st_mode) || !S_ISREG(entry->mode))
        return (status->st_mode & S_IFMT) == (entry->mode & S_IFMT);
    /* Content first written through a mapping changes no size, but the time. */
    return entry_size(walk->bundle, entry) == (uint64_t)status->st_size && entry->mtime == status->st_mtim.tv_sec &&
           entry->nsec == (uint32_t)status->st_mtim.tv_nsec;
}

static void walk_directory(struct walk *walk, int parent, const char *name, const char *path, const char *node);

static void walk_child(struct walk *walk, int directory, const char *name, const char *path, const char *node)
{
    struct stat status;
    char back[PATH_MAX + 16];
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    const uint32_t index = bundle_find(walk->bundle, path);
    const struct op *const *place = places_of(walk, path);
    if (node != NULL && snprintf(back, sizeof back, "/oldroot%s/%s", strcmp(node, "/") == 0 ? "" : node, name) >= PATH_MAX)
        return;
    if (S_ISDIR(status.st_mode)) {
        struct stat other;
        const char *own = node_directory(walk, path);
        const bool exists = node != NULL && stat(back, &other) == 0 && S_ISDIR(other.st_mode);
        if (is_hidden(walk, path))
            return;
        if (own == NULL && node != NULL && (exists || index == NO_ENTRY)) { /* a directory that the job made, or the node has */
            if (!exists && place == NULL && mkdir(back, status.st_mode & 0777) != 0)
                could_not(walk, path, "the node");
            own = back + strlen("/oldroot");
        }
        walk_directory(walk, directory, name, path, own);
        return;
    }
    if ((!S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode)) || (place != NULL && index == NO_ENTRY) ||
        is_unchanged(walk, path, index, &status))
        return;
    if (node != NULL && copy_one(directory, name, &status, AT_FDCWD, back))
        return;
    if (node != NULL)
        could_not(walk, path, "the node");
    lose(walk, directory, name, &status, path);
}

static void walk_directory(struct walk *walk, int parent, const char *name, const char *path, const char *node)
{
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL && fd >= 0)
        close(fd);
    if (stream == NULL)
        return;
    for (const struct dirent *item; (item = readdir(stream)) != NULL;) {
        char child[PATH_MAX];
        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0 &&
            snprintf(child, sizeof child, "%s/%s", path, item->d_name) < (int)sizeof child)
            walk_child(walk, fd, item->d_name, child, node);
    }
    closedir(stream);
}

static void walk_upper(struct walk *walk, const struct op *op)
{
    char upper[PATH_MAX];
    const char *node = op->fallback != NULL ? strstr(op->source, ":/oldroot") + strlen(":/oldroot") : NULL;
    snprintf(upper, sizeof upper, "%s/u", op->data);
    walk_directory(walk, AT_FDCWD, upper, op->target, node);
}

static void report(const struct walk *walk, const struct options *options)
{
    char text[7000] = "";
    size_t used = 0;
    for (size_t i = 0; i < walk->lost && i < NAMES && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? ", " : "", walk->names[i]);
    if (walk->lost > NAMES && used < sizeof text)
        snprintf(text + used, sizeof text - used, " and %zu more", walk->lost - NAMES);
    if (walk->lost > 0 && walk->save >= 0)
        note("%zu file%s written outside live directories: %s; saved in %s", walk->lost, walk->lost > 1 ? "s" : "", text, options->save);
    else if (walk->lost > 0 && !options->quiet)
        note("%zu file%s written outside live directories and gone with the job: %s; keep them with --save DIR (SDEE_SAVE=DIR)", walk->lost,
             walk->lost > 1 ? "s" : "", text);
}

bool keep(const struct plan *plan, const struct bundle *bundle, const struct options *options, int save, struct error *error)
{
    struct walk *walk = allocate(1, sizeof *walk);
    *walk = (struct walk){.plan = plan, .bundle = bundle, .save = save, .error = error};
    walk->places = allocate(plan->count, sizeof *walk->places);
    for (size_t i = FIRST_ROOT_OP; i < plan->count; i++)
        if (plan->ops[i].kind != OP_ENTER)
            walk->places[walk->place_count++] = &plan->ops[i];
    qsort(walk->places, walk->place_count, sizeof *walk->places, by_target);
    walk_directory(walk, AT_FDCWD, "/closure", "", NULL);
    for (size_t i = FIRST_ROOT_OP; i < plan->count; i++)
        if (plan->ops[i].kind == OP_OVERLAY)
            walk_upper(walk, &plan->ops[i]);
    report(walk, options);
    const bool good = !walk->failed;
    free(walk->places);
    free(walk);
    return good;
}

bool keep_open(const char *directory, int *save, struct error *error)
{
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return fail(error, EXIT_OUTPUT, NULL, "the directory of --save, %s, cannot be made: %s", directory, strerror(errno));
    *save = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*save < 0 || access(directory, W_OK | X_OK) != 0)
        return fail(error, EXIT_OUTPUT, "name a directory that you may write to", "the directory of --save, %s, cannot be written: %s", directory,
                    strerror(errno));
    return true;
}
