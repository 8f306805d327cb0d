/* A root that an installed helper makes, bwrap: set-user-ID, or allowed by its own AppArmor profile. It binds the node's own and mounts empty
 * memory where the closure's will be; the launcher, outside, fills that by the root's descriptor, and what was written is collected by it. So
 * the closure is in memory as in our own root, where noexec of /tmp and /dev/shm does not matter, and it goes with the last process. bwrap 0.8
 * mounts no overlay: the root is closed, and directories of which both have something are of binds. */
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "launcher/keep/base.h"
#include "launcher/keep/keep.h"
#include "launcher/root/bwrap.h"
#include "launcher/root/fill.h"
#include "launcher/root/root.h"

static bool usable(const struct root_way *way, struct error *error)
{
    char program[PATH_MAX];
    struct bwrap bwrap;
    (void)way;
    if (!bwrap_find(program, sizeof program, error))
        return false;
    const int arguments = bwrap_arguments(NULL, NULL, error);
    const bool good = arguments >= 0 && bwrap_start(&bwrap, program, arguments, error);
    if (arguments >= 0)
        close(arguments);
    if (good)
        bwrap_stop(&bwrap);
    return good;
}

static bool make_root(struct root *root, struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options,
                      struct error *error)
{
    static char top[32];
    char program[PATH_MAX];
    struct bwrap bwrap = {.socket = -1, .top = -1, .mounts = -1};
    (void)closed;
    keep_begin(plan);
    if (!bwrap_find(program, sizeof program, error))
        return false;
    const int arguments = bwrap_arguments(plan, bundle, error);
    bool good = arguments >= 0 && bwrap_start(&bwrap, program, arguments, error);
    if (arguments >= 0)
        close(arguments);
    if (good && !fill(bwrap.top, plan, bundle, options, error)) {
        bwrap_stop(&bwrap);
        good = false;
    }
    root->left = true;
    root->helper = bwrap.pid;
    root->inside = bwrap.socket;
    snprintf(top, sizeof top, "/proc/self/fd/%d/.", bwrap.top);
    root->seen = top;
    keep_base = (struct keep_base){.closure = top, .node = "", .mounted = true};
    return good;
}

/* What runs is in it already. */
static bool enter_root(const struct root *root, struct error *error)
{
    (void)root;
    (void)error;
    return true;
}

const struct root_way ROOT_HELPER = {WAY_HELPER, "bwrap makes it, an installed helper", NULL, usable, make_root, enter_root, NULL, NULL, keep};
