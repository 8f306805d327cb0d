#include "launcher/run/misses.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "launcher/bundle/conf.h"
#include "lib/paths.h"

enum { MOST = 20000, RECENT = 512, SHOWN = 12 };

void misses_begin(struct misses *misses, const char *seen)
{
    *misses = (struct misses){.seen = seen, .lock = PTHREAD_MUTEX_INITIALIZER};
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* What a program's loader asks for at each start, and goes on without (ld.so(8), musl's ldso/dynlink.c). */
static bool is_of_loader(const char *path)
{
    return strncmp(path, "/etc/ld.so.", strlen("/etc/ld.so.")) == 0 || strncmp(path, "/etc/ld-musl-", strlen("/etc/ld-musl-")) == 0;
}

/* The loader asks for DIR/libx.so, then for DIR itself, then goes on to the next one; programs with search paths do likewise. */
static void relate(struct misses *misses, size_t from, struct miss *new)
{
    for (size_t i = from; i < misses->count; i++) {
        struct miss *other = &misses->items[i];
        if (other == new || other->pid != new->pid)
            continue;
        if (path_is_below(other->path, new->path))
            new->below = other->path;
        else if (path_is_below(new->path, other->path))
            other->below = new->path;
    }
}

void misses_add(struct misses *misses, pid_t pid, const char *path, const char *program, bool in_directory)
{
    static const char *const kernels[] = {"/proc", "/sys", "/dev"};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (path_is_below(path, kernels[i]))
            return;
    const size_t length = strlen(path);
    if (is_of_loader(path))
        return;
    if (length > 3 && strcmp(path + length - 3, ".mo") == 0)
        return; /* gettext(3) looks for a translation of the very message that tells of the failure */
    pthread_mutex_lock(&misses->lock);
    const size_t from = misses->count > RECENT ? misses->count - RECENT : 0;
    bool known = false;
    for (size_t i = misses->count; i-- > from && !known;) /* a poll of one file must not push out all others */
        known = misses->items[i].pid == pid && strcmp(misses->items[i].path, path) == 0;
    if (!known) {
        if (misses->count == MOST) { /* the older half is the less interesting */
            memmove(misses->items, misses->items + MOST / 2, MOST / 2 * sizeof *misses->items);
            misses->count = MOST / 2;
        }
        if (misses->count % 1024 == 0)
            misses->items = reallocate(misses->items, misses->count + 1024, sizeof *misses->items);
        misses->items[misses->count++] =
            (struct miss){arena_format(&misses->arena, "%s", path), arena_format(&misses->arena, "%s", program), pid, NULL, in_directory, false};
        relate(misses, from < misses->count ? from : 0, &misses->items[misses->count - 1]);
    }
    pthread_mutex_unlock(&misses->lock);
}

/* One thing in two forms: in the same directory, of the same name up to the first dot that is not its first character. */
static bool is_other_form(const char *path, const char *other)
{
    const char *name = name_of(path);
    const size_t length = (size_t)(name - path) + (name[0] != '\0' ? 1 + strcspn(name + 1, ".") : 0);
    return strncmp(path, other, length) == 0 && strchr(path + length, '/') == NULL && other[length] == '.' && path[length] == '.';
}

/* The process has found a file of this name: it searched, and its earlier looks missed nothing. */
static void mark_name(struct misses *misses, size_t from, pid_t pid, const char *name)
{
    for (size_t i = misses->count; i-- > from;)
        if (misses->items[i].pid == pid && strcmp(name_of(misses->items[i].path), name) == 0)
            misses->items[i].found = true;
}

void misses_found(struct misses *misses, pid_t pid, const char *path)
{
    pthread_mutex_lock(&misses->lock);
    const size_t from = misses->count > RECENT ? misses->count - RECENT : 0;
    mark_name(misses, from, pid, name_of(path));
    /* an interpreter's search: x.so, then x.py, which is there. Only what it asked for last: an index that is missed beside its data is a cause */
    for (size_t i = misses->count; i-- > from && (misses->items[i].pid != pid || is_other_form(misses->items[i].path, path));)
        if (misses->items[i].pid == pid)
            mark_name(misses, from, pid, name_of(misses->items[i].path));
    pthread_mutex_unlock(&misses->lock);
}

/* Had the traced run missed it too? Such paths are named by the outermost one that was not there. */
static bool missed_before(const struct bundle *bundle, const char *path)
{
    static const char *const keys[] = {"absent", "looked-for"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (const char *cursor = NULL, *value; (value = conf_next(bundle, keys[i], &cursor)) != NULL;)
            if (strcmp(path, value) == 0 || path_is_below(path, value))
                return true;
    return false;
}

static bool is_there_now(const struct misses *misses, const char *path)
{
    char now[PATH_MAX + 32];
    struct stat status;
    snprintf(now, sizeof now, "%s%s", misses->seen, path);
    return lstat(now, &status) == 0;
}

/* The job has removed the directory since: it was the job's own, for temporary files. */
static bool was_in_own_directory(const struct misses *misses, const struct miss *miss)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s", miss->path);
    char *slash = strrchr(directory, '/');
    if (!miss->in_directory || slash == NULL || slash == directory)
        return false;
    *slash = '\0';
    return !is_there_now(misses, directory);
}

/* One thing that was missed: a name that one process looked for in one or more directories. */
struct group {
    const struct miss *first;
    size_t places;
};

static struct group *grouped(const struct misses *misses, const struct bundle *bundle, size_t *count)
{
    struct group *groups = allocate(misses->count + 1, sizeof *groups);
    *count = 0;
    for (size_t i = 0; i < misses->count; i++) {
        const struct miss *miss = &misses->items[i];
        const bool implied = miss->below != NULL && !missed_before(bundle, miss->below);
        if (miss->found || implied || missed_before(bundle, miss->path) || is_there_now(misses, miss->path) || was_in_own_directory(misses, miss))
            continue;
        size_t k = 0;
        while (k < *count && (strcmp(groups[k].first->program, miss->program) != 0 ||
                              strcmp(name_of(groups[k].first->path), name_of(miss->path)) != 0))
            k++;
        if (k == *count)
            groups[(*count)++] = (struct group){miss, 0};
        groups[k].places += strcmp(groups[k].first->path, miss->path) != 0 || groups[k].places == 0;
    }
    return groups;
}

static void print_group(const struct bundle *bundle, const struct group *group)
{
    const char *path = group->first->path, *program = group->first->program;
    if (group->places > 1)
        note("  %s, wanted by %s, in %zu places, %s first: `sdee bundle --include PATH` packs it from its place on the login node",
             name_of(path), program, group->places, path);
    else if (conf_lists(bundle, "shared", path))
        note("  %s, wanted by %s: input left on shared storage; `sdee bundle --with-data` packs it", path, program);
    else if (conf_is_live(bundle, path))
        note("  %s, wanted by %s: in a directory that is this node's own; copy it there, or `sdee bundle --include %s`", path, program, path);
    else
        note("  %s, wanted by %s: `sdee bundle --include %s` packs it", path, program, path);
}

void misses_print(const struct misses *misses, const struct bundle *bundle, int status)
{
    size_t count;
    char how[64];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "was ended by signal %d", WTERMSIG(status));
    else
        snprintf(how, sizeof how, "ended with status %d", WEXITSTATUS(status));
    if (status == 0) {
        note("diagnosis: the job %s, nothing to explain", how);
        return;
    }
    struct group *groups = grouped(misses, bundle, &count);
    if (count == 0)
        note("diagnosis: the job %s; every file it failed to find was also missing in the traced run", how);
    else
        note("diagnosis: the job %s. Missing here, though not in the traced run (the last one is the likeliest cause):", how);
    for (size_t i = count > SHOWN ? count - SHOWN : 0; i < count; i++)
        print_group(bundle, &groups[i]);
    if (count > 0)
        note("  hint: where this command works, run `sdee trace --append -- COMMAND`, then `sdee bundle`");
    free(groups);
}
