/* Closure entries over a directory that the node has as well: one overlay or, where the node has mounts below, several. */
#include "launcher/plan/overlay.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/layout.h"
#include "launcher/plan/absent.h"
#include "launcher/plan/plan.h"
#include "launcher/plan/same.h"
#include "lib/mounts.h"
#include "lib/facts.h"
#include "lib/paths.h"

/* A layer must not have mounts below it: in a user namespace these are locked, and overlayfs refuses the layer (EINVAL), since it
 * would show what they hide. */
static bool has_mounts_below(const struct node *node, const char *path)
{
    for (size_t i = 0; i < node->mount_count; i++)
        if (path_is_below(node->mounts[i], path))
            return true;
    return false;
}

/* Must something be hidden or added below a directory, beside the closure's own? */
static bool adds_below(const struct planner *planner, const char *directory)
{
    for (size_t i = 0; i < planner->added_count; i++)
        if (path_is_below(planner->added[i], directory))
            return true;
    return plan_hides_below(planner, directory);
}

/* The node's directory cannot be a layer: what only one of both has stands there as it is, what both have is overlaid one by one. */
static void split(struct planner *planner, const char *node_path, const char *target)
{
    const struct bundle *bundle = planner->bundle;
    struct stat status;
    DIR *stream = opendir(node_path);
    if (stream == NULL)
        return; /* not for this user: the closure's entries alone */
    plan_add(planner, OP_DIRECTORY, target, "the node has mounts below: entry by entry")->mode =
        stat(node_path, &status) == 0 ? status.st_mode & 01777 : 0755;
    for (const struct dirent *item; (item = readdir(stream)) != NULL;) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        const char *child = join(planner, target, item->d_name), *node_child = join(planner, node_path, item->d_name);
        const uint32_t index = bundle_find(bundle, child);
        if (plan_hides(planner, child))
            continue;
        if (index == NO_ENTRY && !adds_below(planner, child))
            plan_show_nodes_own(planner, child, node_child);
        else if (index == NO_ENTRY)
            plan_overlay(planner, node_child, child, "the node's system and what belongs to it");
        else if (!S_ISDIR(bundle->entries[index].mode) || lstat(node_child, &status) != 0 || !S_ISDIR(status.st_mode))
            continue; /* as in an overlay: the closure's entry hides the node's */
        else if (bundle_children(bundle, index) == NO_ENTRY && !adds_below(planner, child))
            plan_bind(planner, node_child, child, true, "the node's own: the closure has nothing in it");
        else
            plan_overlay(planner, node_child, child, "closure over the node's system");
    }
    closedir(stream);
}

/* Has the node all that the closure has here? Then its own directory serves, without a layer over it: a look-up costs what it
 * costs outside (measured: 200,000 stats of /usr take 3.8 times as long through an overlay, which begins with empty caches). Only
 * where an ordinary user writes nothing: elsewhere a layer must catch what the job writes. */
static bool is_nodes_own(const struct planner *planner, const char *target)
{
    static const char *const top[] = {QUIET_DIRECTORIES};
    bool quiet = false;
    for (size_t i = 0; i < sizeof top / sizeof *top && geteuid() != 0; i++)
        quiet = quiet || strcmp(target, top[i]) == 0 || path_is_below(target, top[i]);
    const uint32_t directory = bundle_find(planner->bundle, target);
    if (adds_below(planner, target))
        return false;
    if (directory == NO_ENTRY)
        return true;
    for (uint32_t i = bundle_children(planner->bundle, directory); quiet && i != NO_ENTRY; i = planner->bundle->entries[i].next_sibling)
        quiet = !planner->plan->wanted[i];
    return quiet;
}

void plan_overlay(struct planner *planner, const char *node_path, const char *target, const char *why)
{
    struct arena *arena = planner->plan->arena;
    if (has_mounts_below(planner->node, node_path)) {
        split(planner, node_path, target);
        return;
    }
    const uint32_t directory = bundle_find(planner->bundle, target);
    if (directory != NO_ENTRY)
        plan_skip_same(planner, node_path, directory);
    if (is_nodes_own(planner, target)) {
        plan_bind(planner, node_path, target, false, "the node has all that the closure has here");
        return;
    }
    const bool hides = plan_hides_below(planner, target);
    if (hides)
        plan_hide_below(planner, target);
    struct op *op = plan_add(planner, OP_OVERLAY, target, why);
    op->source = arena_format(arena, CLOSURE "%s:%s%s%s" OLDROOT "%s", overlay_escaped(arena, target), hides ? HIDDEN : "",
                              hides ? overlay_escaped(arena, target) : "", hides ? ":" : "", overlay_escaped(arena, node_path));
    op->data = arena_format(arena, UPPER "/%zu", planner->plan->count);
}

static bool try_overlay(const struct plan *plan, const char *lower)
{
    static const char *const places[] = {"/tmp", "/dev/shm", "/run", "/var/tmp", "/mnt"};
    struct error error = {0};
    char options[200];
    if (!plan->apart(plan->maker, &error))
        return false;
    const int fd = open(lower, O_PATH | O_DIRECTORY | O_CLOEXEC); /* the tmpfs may cover its path */
    if (fd < 0)
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (sys_mount_tmpfs(places[i], "mode=0755") != 0 || chdir(places[i]) != 0)
            continue;
        snprintf(options, sizeof options, "lowerdir=/proc/self/fd/%d,upperdir=u,workdir=w,userxattr", fd);
        return mkdir("u", 0755) == 0 && mkdir("w", 0755) == 0 && mkdir("m", 0755) == 0 && sys_mount_overlay("m", options) == 0 &&
               mkdir("m/sdee-probe", 0755) == 0;
    }
    return false;
}

/* Can `lower` be the lower layer of a writable overlay whose upper is on a tmpfs? Not on Lustre or GPFS, nor before Linux 6.6.
 * Tried in a child, which is gone afterwards. */
static bool can_be_layer(const struct plan *plan, const char *lower)
{
    int status = 1;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(try_overlay(plan, lower) ? 0 : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool plan_overlay_live(struct planner *planner, const char *node_path, const char *target)
{
    struct arena *arena = planner->plan->arena;
    struct stat status;
    if (planner->plan->apart == NULL || has_mounts_below(planner->node, node_path) || stat(node_path, &status) != 0 ||
        !can_be_layer(planner->plan, node_path))
        return false;
    struct op *op = plan_add(planner, OP_OVERLAY, target, "the node's directory lacks entries that the closure has here");
    op->source = arena_format(arena, CLOSURE "%s:" OLDROOT "%s", overlay_escaped(arena, target), overlay_escaped(arena, node_path));
    op->data = arena_format(arena, UPPER "/%zu", planner->plan->count);
    op->back = node_path;
    op->mode = status.st_mode & 07777;
    return true;
}
