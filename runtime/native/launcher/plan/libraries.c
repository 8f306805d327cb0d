/* The node's own libraries (node/host_libraries.h) where the job's loader finds them: in its default directories, under their own names, without
 * LD_LIBRARY_PATH, which the job and its children would see. Rejected: a changed ld.so.cache; programs that read the file itself
 * (ldconfig -p) are not helped, and its format differs between versions of glibc. */
#include "launcher/plan/libraries.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "launcher/plan/plan.h"

static const char *name_of(const char *path)
{
    return strrchr(path, '/') + 1;
}

/* In the closed root: the node's file under one of its names. */
static void bind_as(struct planner *planner, const struct library *library, const char *real, const char *name)
{
    const char *directory = planner->libraries->directories[0];
    const char *target = plan_resolve(planner, join(planner, directory, name));
    if (target == NULL)
        return;
    const uint32_t entry = bundle_find(planner->bundle, target);
    if (entry != NO_ENTRY && S_ISDIR(planner->bundle->entries[entry].mode))
        return;
    if (entry == NO_ENTRY && planner->plan->root == ROOT_MERGED)
        return; /* the overlay shows the node's */
    if (entry == NO_ENTRY) {
        plan_add_parents(planner, target);
        plan_add(planner, OP_FILE, target, "mount point");
    }
    plan_bind(planner, real, target, false, library->mode == FAMILY_NEVER ? "the node's own driver library" : "the node's own library instead of the bundle's");
}

static bool is_default(const struct planner *planner, const char *path)
{
    const size_t length = (size_t)(name_of(path) - path) - 1;
    for (size_t i = 0; i < planner->libraries->directory_count; i++) {
        const char *directory = planner->libraries->directories[i];
        if (strlen(directory) == length && strncmp(directory, path, length) == 0)
            return true;
    }
    return false;
}

/* In the merged root the node's file is there; only its loader's cache may be hidden by the bundle's. */
static void link_to(struct planner *planner, const struct library *library)
{
    const char *target = plan_resolve(planner, join(planner, planner->libraries->directories[0], library->soname));
    if (target == NULL || is_default(planner, library->path) || bundle_find(planner->bundle, target) != NO_ENTRY)
        return;
    planner->added = reallocate(planner->added, planner->added_count + 1, sizeof *planner->added);
    planner->added[planner->added_count++] = target;
    plan_add_layer_parents(planner, target);
    plan_add(planner, OP_SYMLINK, target, "the node's own driver library")->data = library->path;
}

/* A directory or file that belongs to them, whole: plugins of two versions in one directory are of no use to anybody. */
static void bind_path(struct planner *planner, const char *path)
{
    struct stat status;
    char *real = realpath(path, NULL);
    const char *target = plan_resolve(planner, path);
    if (real != NULL && target != NULL && stat(real, &status) == 0) {
        const uint32_t entry = bundle_find(planner->bundle, target);
        if (entry == NO_ENTRY && planner->plan->root == ROOT_CLOSED) {
            plan_add_parents(planner, target);
            plan_add(planner, S_ISDIR(status.st_mode) ? OP_DIRECTORY : OP_FILE, target, "mount point")->mode = status.st_mode & 0777;
        }
        if (entry == NO_ENTRY || S_ISDIR(planner->bundle->entries[entry].mode) == S_ISDIR(status.st_mode))
            plan_bind(planner, arena_format(planner->plan->arena, "%s", real), target, true, "belongs to the node's own libraries");
    }
    free(real);
}

void plan_link_libraries(struct planner *planner)
{
    for (size_t i = 0; i < planner->libraries->count && planner->libraries->directory_count > 0; i++)
        if (planner->libraries->items[i].mode == FAMILY_NEVER && planner->libraries->items[i].unfit == NULL)
            link_to(planner, &planner->libraries->items[i]);
}

void plan_bind_libraries(struct planner *planner)
{
    const struct host_libraries *libraries = planner->libraries;
    const bool merged = planner->plan->root == ROOT_MERGED;
    for (size_t i = 0; i < libraries->count && libraries->directory_count > 0; i++) {
        const struct library *library = &libraries->items[i];
        if (library->unfit != NULL || (merged && library->mode != FAMILY_ASKED))
            continue; /* in the merged root the node's file is there */
        char *real = realpath(library->path, NULL);
        if (real == NULL)
            continue;
        const char *node_path = arena_format(planner->plan->arena, "%s", real);
        free(real);
        bind_as(planner, library, node_path, library->soname);
        if (strcmp(name_of(node_path), library->soname) != 0)
            bind_as(planner, library, node_path, name_of(node_path));
    }
    for (size_t i = 0; i < libraries->path_count && (!merged || libraries->mpi); i++)
        bind_path(planner, libraries->paths[i]);
}
