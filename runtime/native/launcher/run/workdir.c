#include "launcher/run/workdir.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/bundle.h"
#include "launcher/bundle/conf.h"
#include "launcher/node/mark.h"
#include "launcher/run/ranks.h"
#include "lib/paths.h"

static bool is_directory(const char *path, struct stat *status)
{
    return stat(path, status) == 0 && S_ISDIR(status->st_mode);
}

static bool same_directory(const char *one, const char *other)
{
    struct stat left, right;
    return is_directory(one, &left) && is_directory(other, &right) && left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

static bool make_absolute(struct options *options, struct arena *arena, struct error *error)
{
    char directory[PATH_MAX];
    if (options->chdir == NULL || options->chdir[0] == '/')
        return true;
    if (getcwd(directory, sizeof directory) == NULL)
        return fail(error, EXIT_NODE, "give an absolute path", "--chdir %s: the current directory is unknown: %s", options->chdir, strerror(errno));
    options->chdir = strcmp(options->chdir, ".") == 0 ? arena_format(arena, "%s", directory) : arena_format(arena, "%s/%s", directory, options->chdir);
    return true;
}

struct list {
    struct entry *entries;
    uint32_t count;
};

static struct entry *add(struct list *list, const char *path, uint32_t mode)
{
    if (list->count % 64 == 0)
        list->entries = reallocate(list->entries, list->count + 64, sizeof *list->entries);
    struct entry *entry = &list->entries[list->count++];
    *entry = (struct entry){.path = path, .link = "", .mode = mode, .target = NO_ENTRY};
    return entry;
}

/* A directory and those above it, as far as the bundle lacks them; false where it has something else on the way. */
static bool add_directory(struct list *list, const struct bundle *bundle, struct arena *arena, const char *path)
{
    for (const char *end = strchr(path + 1, '/');; end = strchr(end + 1, '/')) {
        const char *above = end != NULL ? arena_format(arena, "%.*s", (int)(end - path), path) : path;
        const uint32_t index = bundle_find(bundle, above);
        if (index != NO_ENTRY && !S_ISDIR(bundle->entries[index].mode))
            return false;
        if (index == NO_ENTRY)
            add(list, above, S_IFDIR | 0755)->needed = end == NULL;
        else if (end == NULL)
            bundle->entries[index].needed = true;
        if (end == NULL)
            return true;
    }
}

/* Has the directory one of its own? Then that one counts, of software with all that is in it. What a run mounts there is none. */
static bool has_own(const struct bundle *bundle, const struct entry *entry, const char *path)
{
    struct stat status;
    if (lstat(path, &status) != 0 || point_at(path) != POINT_NONE)
        return false;
    return !S_ISDIR(entry->mode) || !S_ISDIR(status.st_mode) || conf_lists(bundle, "tree", entry->path);
}

/* The regular file that an entry names; `path`: where the entry will be. A link to a file beside it counts as that file, unless the other
 * directory has one of its own: a link would need a mount point there. */
static uint32_t file_of(const struct bundle *bundle, struct arena *arena, uint32_t index, const char *path)
{
    const struct entry *entry = &bundle->entries[index];
    if (S_ISLNK(entry->mode)) {
        const int length = (int)(strrchr(entry->path, '/') - entry->path), there = (int)(strrchr(path, '/') - path);
        index = bundle_find(bundle, arena_format(arena, "%.*s/%s", length, entry->path, entry->link));
        if (index == NO_ENTRY || has_own(bundle, &bundle->entries[index], arena_format(arena, "%.*s/%s", there, path, entry->link)))
            return NO_ENTRY;
        entry = &bundle->entries[index];
    }
    return !S_ISREG(entry->mode) ? NO_ENTRY : entry->target != NO_ENTRY ? entry->target : index;
}

/* What lies in the traced directory lies in the other one, too: the same files by further names. */
static void add_below(struct list *list, const struct bundle *bundle, struct arena *arena, const char *from, const char *to)
{
    bool *placed = allocate(bundle->entry_count, sizeof *placed);
    const uint32_t top = bundle_find(bundle, from);
    for (uint32_t i = top != NO_ENTRY ? top + 1 : bundle->entry_count; i < bundle->entry_count; i++) {
        const struct entry *entry = &bundle->entries[i];
        if (strncmp(entry->path, from, strlen(from)) != 0)
            break;
        if (entry->parent == NO_ENTRY || (entry->parent != top && !placed[entry->parent]) || strcmp(entry->path, to) == 0)
            continue;
        const char *path = arena_format(arena, "%s%s", to, entry->path + strlen(from));
        if (!path_is_normal(path) || bundle_find(bundle, path) != NO_ENTRY || has_own(bundle, entry, path))
            continue;
        placed[i] = true;
        const uint32_t file = file_of(bundle, arena, i, path);
        const struct entry *like = file != NO_ENTRY ? &bundle->entries[file] : entry;
        struct entry *other = add(list, path, like->mode);
        other->mtime = like->mtime;
        other->nsec = like->nsec;
        other->link = file != NO_ENTRY ? like->path : entry->link;
        other->target = file;
    }
    free(placed);
}

/* CONF with the same said of what was added. Its owner is the arena. */
static void add_conf(struct bundle *bundle, struct arena *arena, const char *from, const char *to)
{
    static const char *const keys[] = {"tree", "left-out", "unused"};
    char *room = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&room, &size);
    if (file == NULL)
        return;
    fwrite(bundle->conf, bundle->conf_size, 1, file);
    fprintf(file, "live%c%s%c", '\0', to, '\0');
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (const char *cursor = NULL, *path; (path = conf_next(bundle, keys[i], &cursor)) != NULL;)
            if (path_is_below(path, from) && (i > 0 || bundle_find(bundle, arena_format(arena, "%s%s", to, path + strlen(from))) != NO_ENTRY))
                fprintf(file, "%s%c%s%s%c", keys[i], '\0', to, path + strlen(from), '\0');
    if (fclose(file) == 0 && size <= INT_MAX) {
        char *kept = arena_format(arena, "%*s", (int)size, "");
        memcpy(kept, room, size);
        bundle->conf = kept;
        bundle->conf_size = size;
    }
    free(room);
}

static const char *real_path(const char *path, struct arena *arena)
{
    char *real = realpath(path, NULL);
    const char *kept = real != NULL ? arena_format(arena, "%s", real) : NULL;
    free(real);
    return kept;
}

/* Is it within software of the bundle? */
static bool is_software(const struct bundle *bundle, const char *path)
{
    for (const char *cursor = NULL, *tree; (tree = conf_next(bundle, "tree", &cursor)) != NULL;)
        if (strcmp(path, tree) == 0 || path_is_below(path, tree))
            return true;
    return false;
}

/* The recorded command in another directory: what it calls by relative names must be there, too. Of --command all is the caller's. */
static bool is_moved(const struct bundle *bundle, const struct options *options)
{
    return options->chdir != NULL && options->command == NULL && !options->shell && !same_directory(options->chdir, conf_get(bundle, "cwd"));
}

bool workdir_find(struct workdir *workdir, struct bundle *bundle, struct options *options, struct arena *arena, struct error *error)
{
    const char *traced = conf_get(bundle, "cwd");
    struct list list = {0};
    struct stat status;
    if (!make_absolute(options, arena, error))
        return false;
    *workdir = (struct workdir){.path = options->chdir != NULL ? options->chdir : traced};
    workdir->absent = options->chdir == NULL && path_is_normal(traced) && (!is_directory(traced, &status) || point_at(traced) != POINT_NONE);
    const char *to = is_moved(bundle, options) ? real_path(options->chdir, arena) : NULL;
    if (to != NULL && (!path_is_normal(to) || !path_is_normal(traced) || is_software(bundle, to)))
        to = NULL;
    if ((workdir->absent || to != NULL) && !bundle_read_entries(bundle, error))
        return false;
    if (workdir->absent)
        workdir->added = add_directory(&list, bundle, arena, traced);
    else if (to != NULL && (workdir->added = add_directory(&list, bundle, arena, to)))
        add_below(&list, bundle, arena, traced, to);
    if (workdir->added)
        table_add(bundle, list.entries, list.count);
    if (workdir->added && to != NULL) {
        add_conf(bundle, arena, traced, to);
        options->moved = to;
    }
    free(list.entries);
    return true;
}

static const char *option_for(const struct options *options)
{
    return options->bundle != NULL ? "--chdir ." : "SDEE_CHDIR=.";
}

/* An argument that names a file of this directory, and none of the one where the job runs. */
static const char *file_of_here(const struct options *options, const char *there)
{
    char path[2 * PATH_MAX];
    struct stat status;
    for (int i = 0; i < options->argument_count; i++) {
        const char *argument = options->arguments[i];
        snprintf(path, sizeof path, "%s/%s", there, argument);
        if (argument[0] != '/' && argument[0] != '\0' && lstat(argument, &status) == 0 && lstat(path, &status) != 0)
            return argument;
    }
    return NULL;
}

/* Can results be copied to the node: may the user write in the last directory that it has of these? */
static bool can_be_kept(const char *path, struct arena *arena)
{
    struct stat status;
    while (!is_directory(path, &status)) {
        const char *slash = strrchr(path, '/');
        path = slash > path ? arena_format(arena, "%.*s", (int)(slash - path), path) : "/";
    }
    return strcmp(path, "/") != 0 && access(path, W_OK) == 0;
}

void workdir_say(const struct workdir *workdir, const struct options *options, struct arena *arena)
{
    char here[PATH_MAX];
    if (options->quiet || options->chdir != NULL || !ranks_is_first() || getcwd(here, sizeof here) == NULL)
        return;
    const char *file = file_of_here(options, workdir->path);
    if (workdir->absent)
        note("this node lacks %s, where the job was traced: running in a directory of that name in memory; what it writes there %s; %s runs it in %s",
             workdir->path, options->save == NULL && !can_be_kept(workdir->path, arena) ? "is gone at the end, --save DIR (SDEE_SAVE=DIR) keeps it"
                                                                                     : "is copied to the node at the end", option_for(options), here);
    else if (same_directory(here, workdir->path))
        return;
    else if (file != NULL)
        note("warning: %s is in %s; running in %s, where it was traced; %s runs it here", file, here, workdir->path, option_for(options));
    else
        note("running in %s, where it was traced, not in %s; %s runs it here", workdir->path, here, option_for(options));
}
