/* Paths that were not there in the trace and that the node has: whiteouts hide them in the merged root. The closed root lacks them anyway.
 *
 * A whiteout is a character device 0:0 (Documentation/filesystems/overlayfs.rst), here in a layer of its own between the closure's and the
 * node's: through an overlay, which a deployed closure is, none can be made. Making one needs no privilege since Linux 5.8; where the kernel
 * refuses it, carry.c takes the closed root instead, or says so when the merged one was asked for. */
#include "launcher/plan/absent.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/plan/plan.h"
#include "lib/paths.h"

/* Is the path itself there, and not by way of a link: what is hidden by one name must not vanish by another. */
static bool is_there(const char *path, struct planner *planner)
{
    struct stat status;
    const char *slash = strrchr(path, '/');
    if (lstat(path, &status) != 0)
        return false;
    const char *parent = slash == path ? "/" : arena_format(planner->plan->arena, "%.*s", (int)(slash - path), path);
    char *real = realpath(parent, NULL);
    const bool same = real != NULL && strcmp(real, parent) == 0;
    free(real);
    return same;
}

/* Does a file or link of the closure stand in its way? Then nothing of the node's shows below it anyway. */
static bool is_covered(struct planner *planner, const char *path)
{
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const uint32_t entry = bundle_find(planner->bundle, arena_format(planner->plan->arena, "%.*s", (int)(slash - path), path));
        if (entry != NO_ENTRY && !S_ISDIR(planner->bundle->entries[entry].mode))
            return true;
    }
    return false;
}

void plan_find_absent(struct planner *planner)
{
    const struct bundle *bundle = planner->bundle;
    for (const char *cursor = NULL, *path; (path = conf_next(bundle, "absent", &cursor)) != NULL;) {
        if (!path_is_normal(path) || !is_there(path, planner)) /* the rest costs more, and mostly there is nothing to hide */
            continue;
        if (bundle_find(bundle, path) != NO_ENTRY || plan_is_kept(bundle, path) || is_covered(planner, path))
            continue;
        planner->absent = reallocate(planner->absent, planner->absent_count + 1, sizeof *planner->absent);
        planner->absent[planner->absent_count++] = path;
    }
}

bool plan_hides(const struct planner *planner, const char *path)
{
    for (size_t i = 0; i < planner->absent_count; i++)
        if (strcmp(planner->absent[i], path) == 0)
            return true;
    return false;
}

bool plan_hides_below(const struct planner *planner, const char *directory)
{
    for (size_t i = 0; i < planner->absent_count; i++)
        if (path_is_below(planner->absent[i], directory))
            return true;
    return false;
}

void plan_hide_below(struct planner *planner, const char *directory)
{
    for (size_t i = 0; i < planner->absent_count; i++)
        if (path_is_below(planner->absent[i], directory))
            plan_add(planner, OP_WHITEOUT, planner->absent[i], "was not there when the job was traced");
}
