#include "launcher/plan/make.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/plan/absent.h"
#include "launcher/plan/accounts.h"
#include "launcher/plan/fate.h"
#include "launcher/plan/libraries.h"
#include "launcher/plan/live.h"
#include "launcher/plan/overlay.h"
#include "launcher/plan/owned.h"
#include "launcher/plan/same.h"
#include "lib/paths.h"

/* A top-level entry that the node has. */
static void place_top(struct planner *planner, const char *top)
{
    const struct bundle *bundle = planner->bundle;
    const uint32_t entry = bundle_find(bundle, top);
    const bool merged = planner->plan->root == ROOT_MERGED;
    struct stat link, status;
    if (lstat(top, &link) != 0 || stat(top, &status) != 0)
        memset(&status, 0, sizeof status);
    if (entry != NO_ENTRY && (!S_ISDIR(bundle->entries[entry].mode) || !S_ISDIR(status.st_mode)))
        return; /* the closure's link, file or directory is there already and wins */
    if (entry != NO_ENTRY) {
        char *real = realpath(top, NULL);
        const char *node_path = arena_format(planner->plan->arena, "%s", real != NULL ? real : top);
        free(real);
        if (!plan_is_system(planner, top) && conf_lists(bundle, "tree", top) && !plan_is_nodes_tree(planner, entry, node_path))
            plan_tree(planner, entry, node_path);
        else if (!plan_is_system(planner, top))
            plan_live(planner, top, node_path, entry, GROUND_OURS);
        else if (merged)
            plan_overlay(planner, node_path, top, "closure over the node's system");
        return;
    }
    if (plan_is_system(planner, top) && !merged)
        return;
    if (plan_is_system(planner, top) && plan_hides(planner, top))
        return;
    if (plan_is_system(planner, top) && S_ISDIR(link.st_mode) && plan_hides_below(planner, top)) {
        plan_add(planner, OP_DIRECTORY, top, "mount point")->mode = link.st_mode & 0777;
        plan_overlay(planner, top, top, "the node's system without what was not there");
        return;
    }
    if (S_ISLNK(link.st_mode)) {
        char text[PATH_MAX];
        const ssize_t size = readlink(top, text, sizeof text - 1);
        if (size > 0)
            plan_add(planner, OP_SYMLINK, top, "the node's own link")->data = arena_format(planner->plan->arena, "%.*s", (int)size, text);
        return;
    }
    plan_add(planner, S_ISDIR(link.st_mode) ? OP_DIRECTORY : OP_FILE, top, "mount point")->mode = link.st_mode & 0777;
    plan_bind(planner, top, top, true, "the node's own, live");
}

/* Below a system directory: one path that must be the node's own, from CONF live or host. */
static void keep_nodes(struct planner *planner, const char *path, const char *why)
{
    const struct bundle *bundle = planner->bundle;
    const bool merged = planner->plan->root == ROOT_MERGED;
    char *real = realpath(path, NULL);
    const char *target = plan_resolve(planner, path);
    struct stat status;
    if (real == NULL || target == NULL || strcmp(real, "/") == 0 || stat(real, &status) != 0 || !plan_is_system(planner, target) ||
        (merged && strcmp(real, path) != 0)) { /* merged: the links that the node follows are there as well */
        free(real);
        return;
    }
    const char *node_path = arena_format(planner->plan->arena, "%s", real);
    free(real);
    const uint32_t entry = bundle_find(bundle, target);
    const bool ours = !merged || bundle_find(bundle, plan_top_of(planner, target)) == NO_ENTRY; /* not on an overlay */
    if (merged && ours)
        return; /* the node's whole top-level directory is there */
    if (entry != NO_ENTRY && S_ISDIR(bundle->entries[entry].mode) && S_ISDIR(status.st_mode)) {
        if (merged) /* on an overlay, which is neither ours nor the node's: cover it with the node's first */
            plan_bind(planner, node_path, target, false, why);
        plan_live(planner, target, node_path, entry, merged ? GROUND_NODES : GROUND_OURS);
        return;
    }
    if (entry != NO_ENTRY && S_ISDIR(bundle->entries[entry].mode) != S_ISDIR(status.st_mode))
        return; /* a file cannot be mounted on a directory, nor the reverse: the closure's stays */
    if (ours && entry == NO_ENTRY) {
        plan_add_parents(planner, target);
        plan_add(planner, S_ISDIR(status.st_mode) ? OP_DIRECTORY : OP_FILE, target, "mount point")->mode = status.st_mode & 0777;
    }
    plan_bind(planner, node_path, target, true, why);
}

static void keep_listed(struct planner *planner)
{
    /* where this step's server of PMIx has its sockets and shared memory: the site's choice (PMIx's specification, environment) */
    static const char *const pmix[] = {"PMIX_SERVER_TMPDIR", "PMIX_SYSTEM_TMPDIR", "PMIX_NSDIR"};
    const struct bundle *bundle = planner->bundle;
    for (size_t i = 0; i < sizeof pmix / sizeof *pmix; i++) {
        const char *path = getenv(pmix[i]);
        if (path != NULL && path_is_normal(path) && !plan_is_kept(bundle, path) && !conf_lists(bundle, "host", path))
            keep_nodes(planner, arena_format(planner->plan->arena, "%s", path), "PMIx of this step");
    }
    keep_nodes(planner, "/var/tmp", "temporary files are live");
    for (const char *cursor = NULL, *path; (path = conf_next(bundle, "live", &cursor)) != NULL;)
        if (strcmp(path, "/") != 0 && strcmp(path, "/var/tmp") != 0 && !plan_is_kept(bundle, path))
            keep_nodes(planner, path, "live directory of the job");
    for (const char *cursor = NULL, *path; (path = conf_next(bundle, "host", &cursor)) != NULL;)
        if (strcmp(path, "/") != 0 && strcmp(path, "/etc/passwd") != 0 && strcmp(path, "/etc/group") != 0 && !plan_is_kept(bundle, path))
            keep_nodes(planner, path, "the node provides it");
}

/* The closed root's user database: the node's, with a line for this user when there is none (users of LDAP, sssd). The node's
 * NSS modules cannot serve the closure's libc, so `files` must know the user. */
static void add_accounts(struct planner *planner)
{
    static const struct {
        const char *path, *what;
    } files[] = {{"/etc/passwd", "user"}, {"/etc/group", "group"}};
    for (size_t i = 0; i < 2; i++) {
        const char *text = i == 0 ? passwd_with_user(planner->plan->arena) : group_with_user(planner->plan->arena);
        if (text == NULL) {
            keep_nodes(planner, files[i].path, "the node's accounts");
            continue;
        }
        plan_add_parents(planner, files[i].path);
        plan_add(planner, OP_WRITE, files[i].path, arena_format(planner->plan->arena, "the node's %s lacks this %s", files[i].path, files[i].what))
            ->data = text;
    }
    if (bundle_find(planner->bundle, "/etc/nsswitch.conf") == NO_ENTRY) {
        plan_add_parents(planner, "/etc/nsswitch.conf");
        plan_add(planner, OP_WRITE, "/etc/nsswitch.conf", "the closure has none")->data =
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n";
    }
}

static void planner_free(struct planner *planner)
{
    free(planner->fallback);
    free(planner->absent);
    free(planner->left_out);
    free(planner->unused);
    free(planner->added);
}

bool plan_make(struct plan *plan, enum root_kind root, const struct bundle *bundle, const struct node *node,
               const struct host_libraries *libraries, struct error *error)
{
    struct planner planner = {.plan = plan, .bundle = bundle, .node = node, .libraries = libraries};
    planner.fallback = allocate(bundle->entry_count, sizeof *planner.fallback);
    for (const char *cursor = NULL, *path; (path = conf_next(bundle, "fallback", &cursor)) != NULL;) {
        const uint32_t index = bundle_find(bundle, path);
        if (index != NO_ENTRY)
            planner.fallback[index] = true;
    }
    plan_find_left_out(&planner);
    plan->root = root;
    plan->count = plan->synthetic_count = plan->held_count = 0;
    free(plan->nodes_own);
    free(plan->wanted);
    plan->nodes_own = allocate(bundle->entry_count, sizeof *plan->nodes_own);
    plan->wanted = allocate(bundle->entry_count, sizeof *plan->wanted);
    memset(plan->wanted, true, bundle->entry_count);
    plan_add(&planner, OP_BASE, "/", "private memory file system: nothing is written on the node")->data =
        "/tmp:/dev/shm:/run:/var/tmp:/mnt:/home:/opt:/srv:/media:/var:/usr:/etc:/dev";
    plan_add(&planner, OP_UNPACK, "/", plan->deployed != NULL ? "closure, as it is deployed" : "closure")->source =
        plan->deployed != NULL ? plan->deployed : bundle->name;
    if (root == ROOT_MERGED) {
        plan_find_absent(&planner);
        plan_link_libraries(&planner);
    }
    DIR *stream = opendir("/");
    if (stream == NULL) {
        planner_free(&planner);
        return fail(error, EXIT_NODE, NULL, "cannot list /: %s", strerror(errno));
    }
    for (const struct dirent *item; (item = readdir(stream)) != NULL;)
        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
            place_top(&planner, join(&planner, "/", item->d_name));
    closedir(stream);
    keep_listed(&planner);
    if (root == ROOT_CLOSED)
        add_accounts(&planner);
    plan_bind_libraries(&planner);
    if (root == ROOT_MERGED)
        plan_own_files(&planner);
    plan_add(&planner, OP_ENTER, "/", "in the job's process");
    planner_free(&planner);
    return true;
}
