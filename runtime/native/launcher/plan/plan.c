#include "launcher/plan/plan.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/layout.h"
#include "lib/facts.h"
#include "lib/paths.h"

/* Top-level directories that are the system itself: from the closure, over the node's own in the merged root. All others are live. */
static const char *const SYSTEM[] = {MERGED_DIRECTORIES};

const char *join(struct planner *planner, const char *directory, const char *name)
{
    return arena_format(planner->plan->arena, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name);
}

struct op *plan_add(struct planner *planner, enum op_kind kind, const char *target, const char *why)
{
    struct plan *plan = planner->plan;
    if (plan->count % 64 == 0)
        plan->ops = reallocate(plan->ops, plan->count + 64, sizeof *plan->ops);
    plan->ops[plan->count] = (struct op){.kind = kind, .target = target, .mode = 0755, .why = why};
    return &plan->ops[plan->count++];
}

void plan_bind(struct planner *planner, const char *node_path, const char *target, bool optional, const char *why)
{
    struct op *op = plan_add(planner, OP_BIND, target, why);
    op->source = arena_format(planner->plan->arena, OLDROOT "%s", node_path);
    op->optional = optional;
}

static bool is_system(const char *top)
{
    for (size_t i = 0; i < sizeof SYSTEM / sizeof *SYSTEM; i++)
        if (strcmp(top, SYSTEM[i]) == 0)
            return true;
    return false;
}

const char *plan_top_of(struct planner *planner, const char *path)
{
    return arena_format(planner->plan->arena, "/%.*s", (int)strcspn(path + 1, "/"), path + 1);
}

bool plan_is_system(struct planner *planner, const char *path)
{
    return is_system(plan_top_of(planner, path));
}

/* Where a path leads when the closure's symbolic links are followed; NULL when they form a cycle. */
const char *plan_resolve(struct planner *planner, const char *path)
{
    const struct bundle *bundle = planner->bundle;
    struct arena *arena = planner->plan->arena;
    const char *done = "/", *rest = path;
    for (int hops = 0; *rest != '\0';) {
        while (*rest == '/')
            rest++;
        const size_t length = strcspn(rest, "/");
        if (length == 0)
            break;
        const char *name = arena_format(arena, "%.*s", (int)length, rest);
        rest += length;
        if (strcmp(name, ".") == 0)
            continue;
        if (strcmp(name, "..") == 0) {
            const size_t parent = (size_t)(strrchr(done, '/') - done);
            done = arena_format(arena, "%.*s", parent > 0 ? (int)parent : 1, done);
            continue;
        }
        const char *next = join(planner, done, name);
        const uint32_t index = bundle_find(bundle, next);
        if (index == NO_ENTRY || !S_ISLNK(bundle->entries[index].mode)) {
            done = next;
            continue;
        }
        const char *link = bundle->entries[index].link;
        if (++hops > 40 || strlen(link) + strlen(rest) >= PATH_MAX) /* as the kernel: ELOOP, ENAMETOOLONG */
            return NULL;
        if (link[0] == '/')
            done = "/";
        rest = arena_format(arena, "%s%s", link, rest);
    }
    return path_is_normal(done) ? done : NULL;
}

void plan_show_nodes_own(struct planner *planner, const char *path, const char *node_path)
{
    static const char why[] = "the node's own entry of a directory that also holds closure";
    struct stat status;
    if (lstat(node_path, &status) != 0)
        return;
    if (S_ISLNK(status.st_mode)) {
        char text[PATH_MAX];
        const ssize_t size = readlink(node_path, text, sizeof text - 1);
        if (size > 0)
            plan_add(planner, OP_SYMLINK, path, why)->data = arena_format(planner->plan->arena, "%.*s", (int)size, text);
        return;
    }
    plan_add(planner, S_ISDIR(status.st_mode) ? OP_DIRECTORY : OP_FILE, path, "mount point")->mode = status.st_mode & 0777;
    plan_bind(planner, node_path, path, !S_ISREG(status.st_mode), why); /* an empty file in its place would pass for the node's */
}

/* Missing parent directories of a mount point on our tmpfs. */
void plan_add_parents(struct planner *planner, const char *path)
{
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const char *parent = arena_format(planner->plan->arena, "%.*s", (int)(slash - path), path);
        if (bundle_find(planner->bundle, parent) == NO_ENTRY)
            plan_add(planner, OP_DIRECTORY, parent, "parent of a mount point");
    }
}

void plan_add_layer_parents(struct planner *planner, const char *path)
{
    struct stat status;
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const char *parent = arena_format(planner->plan->arena, "%.*s", (int)(slash - path), path);
        plan_add(planner, OP_DIRECTORY, parent, "parent in the closure's layer")->mode =
            stat(parent, &status) == 0 ? status.st_mode & 01777 : 0755;
    }
}

bool plan_is_kept(const struct bundle *bundle, const char *path)
{
    for (const char *cursor = NULL, *live; (live = conf_next(bundle, "live", &cursor)) != NULL;)
        if (strcmp(live, "/") != 0 && path_is_below(path, live))
            return true;
    return path_is_below(path, "/var/tmp");
}

void plan_print(const struct plan *plan)
{
    static const char *const names[] = {"base", "unpack", "directory", "file", "symlink", "whiteout", "write", "point", "bind", "overlay", "own", "enter"};
    note("root: %s: %s", root_name(plan->root), plan->root_why);
    for (size_t i = 0; i < plan->count; i++) {
        const struct op *op = &plan->ops[i];
        const bool shows_data = op->kind != OP_WRITE && op->data != NULL;
        note("plan: %-9s %s%s%s%s%s  # %s", names[op->kind], op->source != NULL ? op->source : "", op->source != NULL ? " -> " : "",
             op->target, shows_data ? " " : "", shows_data ? op->data : "", op->why);
    }
}
