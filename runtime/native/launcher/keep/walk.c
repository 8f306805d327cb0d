/* The order of the walk: what is in a directory first, then the directories in it, by a stack on the heap. */
#include "launcher/keep/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/keep/cache.h"
#include "launcher/keep/child.h"
#include "launcher/keep/lost.h"
#include "launcher/keep/tree.h"
#include "lib/remove.h"

/* What is walked now is `name` in the last directory. */
static void set_name(struct walk *walk, const char *name)
{
    const size_t length = walk->levels[walk->depth - 1]->length, more = strlen(name);
    if (length + more + 2 > walk->room) {
        walk->room = (length + more + 2) * 2;
        walk->path = reallocate(walk->path, walk->room, 1);
    }
    walk->path[length] = '/';
    memcpy(walk->path + length + 1, name, more + 1);
    walk->length = length + 1 + more;
}

static void push(struct walk *walk, struct level *level)
{
    if (walk->depth % 64 == 0)
        walk->levels = reallocate(walk->levels, walk->depth + 64, sizeof *walk->levels);
    walk->levels[walk->depth++] = level;
    keep_spare_place(&level->place);
    if (level->node != NULL)
        keep_spare_place(&level->node->place);
}

static void pop(struct walk *walk)
{
    struct level *level = walk->levels[--walk->depth];
    walk->length = level->length;
    walk->path[walk->length] = '\0';
    if (level->own.tree == &level->own)
        keep_tell_tree(walk, &level->own);
    if (level->place.above != NULL)
        free((char *)(uintptr_t)level->place.name);
    if (level->place.fd >= 0)
        close(level->place.fd);
    if (level->own.place.fd >= 0)
        close(level->own.place.fd);
    free(level->names);
    free(level);
}

static void remember_directory(struct level *level, const char *name)
{
    const size_t size = strlen(name) + 1;
    if (level->size + size > level->room) {
        level->room = (level->size + size) * 2;
        level->names = reallocate(level->names, level->room, 1);
    }
    memcpy(level->names + level->size, name, size);
    level->size += size;
}

static bool is_remembered(const struct level *level, const char *name)
{
    bool found = false;
    for (size_t at = 0; !found && at < level->size; at += strlen(level->names + at) + 1)
        found = strcmp(level->names + at, name) == 0;
    return found;
}

static DIR *list(struct walk *walk, struct level *level)
{
    const int at = keep_open_place(&level->place), flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    int fd = at >= 0 ? openat(at, ".", flags) : -1;
    if (fd < 0 && at >= 0 && errno == EACCES && walk->keeping->last && let_owner_in(at)) /* ours, and nobody uses it any more */
        fd = openat(at, ".", flags);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (stream == NULL && fd >= 0)
        close(fd);
    return stream;
}

/* In a directory of the node's: what leads to a mount of ours below it. */
static void keep_mounts(struct walk *walk)
{
    struct level *level = walk->levels[walk->depth - 1];
    const int directory = keep_open_place(&level->place);
    char name[NAME_MAX + 1], last[NAME_MAX + 1] = "";
    for (size_t i = 0; directory >= 0 && i < walk->place_count; i++) { /* sorted by target: one name's follow each other, as far as it matters */
        const struct op *op = walk->places[i];
        if (!keep_is_closures(op) || strncmp(op->target, walk->path, level->length) != 0 || op->target[level->length] != '/')
            continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(op->target + level->length + 1, "/"), op->target + level->length + 1);
        if (strcmp(name, last) == 0 || is_remembered(level, name))
            continue;
        strcpy(last, name);
        set_name(walk, name);
        if (keep_child(walk, directory, name, level))
            remember_directory(level, name);
        walk->length = level->length;
        walk->path[walk->length] = '\0';
    }
}

/* What is in the last directory but directories, which are noted. */
static void keep_children(struct walk *walk)
{
    struct level *level = walk->levels[walk->depth - 1];
    walk->in_cache = level->cache;
    if (level->nodes) {
        keep_mounts(walk);
        return;
    }
    DIR *stream = list(walk, level);
    if (stream == NULL) {
        keep_could_not(walk, walk->path, "the node (it cannot be listed)");
        return;
    }
    for (const struct dirent *item; (item = readdir(stream)) != NULL;) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        set_name(walk, item->d_name);
        walk->in_cache = level->cache || keep_is_cache(walk->path, dirfd(stream), item->d_name, false, false);
        if (keep_child(walk, dirfd(stream), item->d_name, level))
            remember_directory(level, item->d_name);
    }
    closedir(stream);
    walk->length = level->length;
    walk->path[walk->length] = '\0';
}

/* The name of the next directory in this one, or NULL. It stays until the next call. */
static const char *next_directory(struct level *level)
{
    if (level->size == 0)
        return NULL;
    size_t at = level->size - 1;
    while (at > 0 && level->names[at - 1] != '\0')
        at--;
    level->size = at;
    return level->names + at;
}

void keep_walk(struct walk *walk, const char *directory, const char *target, const struct back *back, bool removals)
{
    struct level *level = allocate(1, sizeof *level);
    struct stat status;
    level->place = (struct place){.fd = open(directory, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), .there = true};
    level->mode = level->place.fd >= 0 && fstat(level->place.fd, &status) == 0 ? status.st_mode : 0777;
    level->removals = removals;
    level->cache = walk->in_cache = keep_is_in_cache(target);
    level->length = walk->length = strlen(target);
    level->own.place.fd = -1;
    walk->room = level->length + 256;
    walk->path = reallocate(walk->path, walk->room, 1);
    memcpy(walk->path, target, level->length + 1);
    if (back != NULL) {
        level->node = &level->own;
        if (!keep_open_on_node(back, &level->own))
            keep_could_not(walk, walk->path, "the node");
    }
    push(walk, level);
    keep_children(walk);
    while (walk->depth > 0) {
        const char *name = next_directory(walk->levels[walk->depth - 1]);
        if (name == NULL) {
            pop(walk);
            continue;
        }
        set_name(walk, name);
        level = keep_enter(walk, name);
        if (level == NULL)
            continue;
        push(walk, level);
        keep_children(walk);
    }
}
