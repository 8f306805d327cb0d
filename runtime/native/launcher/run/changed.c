#include "launcher/run/changed.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/node/mark.h"
#include "launcher/node/storage.h"
#include "launcher/run/ranks.h"

enum { NEAR = 256, FAR = 16 }; /* files that are looked at, also on storage that many nodes share */

struct found {
    const char *path; /* the first */
    bool newer;
    size_t count;
};

/* Compiled code that an interpreter makes again when it is old. */
static bool is_made_again(const char *path)
{
    return strstr(path, "/__pycache__/") != NULL;
}

static void compare(const struct bundle *bundle, const struct entry *entry, struct found *found)
{
    struct stat status;
    if (is_made_again(entry->path) || lstat(entry->path, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    const bool same_time = status.st_mtim.tv_sec == entry->mtime && (uint32_t)status.st_mtim.tv_nsec == entry->nsec;
    if ((same_time && (uint64_t)status.st_size == entry_size(bundle, entry)) || conf_lists(bundle, "fallback", entry->path) ||
        point_at(entry->path) != POINT_NONE || found->count++ > 0)
        return;
    found->path = entry->path;
    found->newer = status.st_mtim.tv_sec > entry->mtime || (status.st_mtim.tv_sec == entry->mtime && (uint32_t)status.st_mtim.tv_nsec > entry->nsec);
}

/* A directory's files, then those of the directories in it, and so on. */
static struct found search(const struct bundle *bundle, uint32_t top, int limit)
{
    struct found found = {0};
    uint32_t *queue = allocate(bundle->entry_count, sizeof *queue), end = 0;
    queue[end++] = top;
    for (uint32_t at = 0; at < end && limit > 0; at++)
        for (uint32_t i = bundle_children(bundle, queue[at]); i != NO_ENTRY && limit > 0; i = bundle->entries[i].next_sibling)
            if (S_ISDIR(bundle->entries[i].mode))
                queue[end++] = i;
            else if (S_ISREG(bundle->entries[i].mode) && limit-- > 0)
                compare(bundle, &bundle->entries[i], &found);
    free(queue);
    return found;
}

void changed_say(const struct workdir *workdir, const struct bundle *bundle, const struct options *options)
{
    char real[PATH_MAX], here[PATH_MAX];
    if (options->quiet || options->moved != NULL || workdir->absent || !ranks_is_first() || realpath(workdir->path, real) == NULL)
        return;
    const uint32_t top = bundle_find(bundle, real);
    if (top == NO_ENTRY || !S_ISDIR(bundle->entries[top].mode))
        return;
    const struct found found = search(bundle, top, storage_is_far(real) ? FAR : NEAR);
    if (found.count == 0)
        return;
    const bool is_here = getcwd(here, sizeof here) != NULL && strcmp(here, real) == 0;
    const char *name = is_here ? found.path + strlen(real) + 1 : found.path, *where = is_here ? " here" : "";
    if (found.count == 1)
        note("%s%s %s the bundle's; the job uses the bundle's; `sdee bundle` packs the new one", name, where, found.newer ? "is newer than" : "differs from");
    else
        note("%s and %zu more file%s%s differ from the bundle's; the job uses the bundle's; `sdee bundle` packs the new ones", name, found.count - 1,
             found.count > 2 ? "s" : "", where);
}
