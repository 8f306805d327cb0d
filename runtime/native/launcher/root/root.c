#include "launcher/root/root.h"

#include <stdio.h>

#include "launcher/layout.h"
#include "lib/attempt.h"
#include "lib/namespaces.h"

void root_order(const struct root_way *ways[ROOT_WAYS])
{
    const bool admin = namespaces_admin(); /* what root does needs no user namespace, and leaves it all its rights */
    ways[0] = admin ? &ROOT_PRIVILEGED : &ROOT_NAMESPACES;
    ways[1] = admin ? &ROOT_NAMESPACES : &ROOT_PRIVILEGED;
    ways[2] = &ROOT_JOIN;
    ways[3] = &ROOT_HELPER;
}

static const struct root_way *way_of(enum way_kind kind)
{
    const struct root_way *ways[ROOT_WAYS];
    size_t i = 0;
    root_order(ways);
    while (i + 1 < ROOT_WAYS && ways[i]->kind != kind)
        i++;
    return ways[i];
}

static bool is_usable(const void *argument, struct error *error)
{
    const struct root_way *way = argument;
    return way->usable(way, error);
}

bool root_try(const struct root_way *way, struct refusal *refusal)
{
    struct error error = {.code = EXIT_INTERNAL};
    const bool good = attempt(is_usable, way, &error);
    *refusal = (struct refusal){.way = way};
    snprintf(refusal->why, sizeof refusal->why, "%.1000s", error.message);
    snprintf(refusal->remedy, sizeof refusal->remedy, "%.1000s", error.hint);
    return good;
}

static void remember(struct root *root, const struct refusal *refusal)
{
    if (root->refused_count < ROOT_WAYS)
        root->refused[root->refused_count++] = *refusal;
}

/* The first usable one from `from` on. False where there is none: the first refusal is what an administrator can change. */
static bool choose_from(struct root *root, size_t from, struct error *error)
{
    const struct root_way *ways[ROOT_WAYS];
    struct refusal refusal;
    root_order(ways);
    root->way = ways[0]; /* for a plan that is only shown */
    for (size_t i = from; i < ROOT_WAYS; i++) {
        if (root_try(ways[i], &refusal)) {
            root->way = ways[i];
            return true;
        }
        remember(root, &refusal);
    }
    size_t first = 0;
    while (first + 1 < root->refused_count && root->refused[first].way->kind != WAY_NAMESPACES)
        first++;
    fail(error, EXIT_KERNEL, root->refused[first].remedy, "%s", root->refused[first].why);
    for (size_t i = 0; i < root->refused_count; i++)
        if (i != first)
            tried(error, "--way %s: %.900s", way_name(root->refused[i].way->kind), root->refused[i].why);
    return false;
}

bool root_choose(struct root *root, const struct options *options, struct error *error)
{
    const struct root_way *ways[ROOT_WAYS];
    if (options->way != WAY_AUTO) {
        root->way = way_of(options->way);
        return true;
    }
    if (options->dry_run || namespaces_doubtful())
        return choose_from(root, 0, error);
    root_order(ways);
    root->way = ways[0];
    return true;
}

bool root_next(struct root *root, const struct options *options, struct error *error)
{
    struct refusal refusal = {.way = root->way};
    if (options->way != WAY_AUTO || root->left || error->code != EXIT_KERNEL || root->refused_count > 0)
        return false; /* what was probed and fails nevertheless is no matter of the way */
    snprintf(refusal.why, sizeof refusal.why, "%.1000s", error->message);
    snprintf(refusal.remedy, sizeof refusal.remedy, "%.1000s", error->hint);
    remember(root, &refusal);
    *error = (struct error){.code = EXIT_INTERNAL};
    return choose_from(root, 1, error);
}

const char *root_seen(const struct root *root)
{
    return root->seen != NULL ? root->seen : NEWROOT;
}

void root_print(const struct root *root, const struct options *options)
{
    if (root->refused_count < ROOT_WAYS)
        note("way: %s%s", way_name(root->way->kind), options->way != WAY_AUTO ? ", as asked for" : "");
    for (size_t i = 0; i < root->refused_count; i++)
        note("way: not %s: %s", way_name(root->refused[i].way->kind), root->refused[i].why);
}
