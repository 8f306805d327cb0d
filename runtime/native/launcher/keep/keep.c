#include "launcher/keep/keep.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "launcher/keep/base.h"
#include "launcher/keep/clock.h"
#include "launcher/keep/walk.h"
#include "launcher/layout.h"

struct keep_base keep_base = {CLOSURE, OLDROOT, false};

static int by_target(const void *left, const void *right)
{
    const struct op *a = *(const struct op *const *)left, *b = *(const struct op *const *)right;
    const int order = strcmp(a->target, b->target);
    return order != 0 ? order : (a > b) - (a < b);
}

static void identify(const char *node, struct identity *identity)
{
    struct stat status;
    if (node != NULL && stat(node, &status) == 0)
        *identity = (struct identity){status.st_dev, status.st_ino};
}

void keep_begin(struct plan *plan)
{
    for (size_t i = 0; i < plan->synthetic_count; i++)
        identify(plan->synthetic[i].node, &plan->synthetic[i].is);
    for (size_t i = 0; i < plan->count; i++)
        identify(plan->ops[i].back, &plan->ops[i].back_is);
}

static void walk_upper(struct walk *walk, const struct op *op)
{
    char upper[PATH_MAX];
    const struct back back = {op->target, op->back, op->back_is};
    snprintf(upper, sizeof upper, "%s/u", op->data);
    keep_walk(walk, upper, op->target, op->back != NULL ? &back : NULL, op->back != NULL);
}

static void report(const struct walk *walk, const struct options *options)
{
    char text[7000] = "";
    size_t used = 0;
    for (size_t i = 0; i < walk->lost && i < NAMES && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? ", " : "", walk->names[i]);
    if (walk->lost > NAMES && used < sizeof text)
        snprintf(text + used, sizeof text - used, " and %zu more", walk->lost - NAMES);
    if (walk->lost > 0 && walk->keeping->save >= 0)
        note("%zu file%s written outside live directories: %s; saved in %s", walk->lost, walk->lost > 1 ? "s" : "", text, options->save);
    else if (walk->lost > 0 && !options->quiet)
        note("%zu file%s written outside live directories and gone with the job: %s; keep them with --save DIR (SDEE_SAVE=DIR)", walk->lost,
             walk->lost > 1 ? "s" : "", text);
}

static bool has_back(const struct plan *plan)
{
    bool found = plan->synthetic_count > 0;
    for (size_t i = FIRST_ROOT_OP; i < plan->count; i++)
        found = found || plan->ops[i].back != NULL || plan->ops[i].kind == OP_POINT;
    return found;
}

bool keep(const struct plan *plan, const struct bundle *bundle, const struct options *options, const struct keeping *keeping, struct error *error)
{
    if (!keeping->last && keeping->save < 0 && !has_back(plan))
        return true;
    struct walk *walk = allocate(1, sizeof *walk);
    struct timespec now, steady;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &steady);
    *walk = (struct walk){.plan = plan, .bundle = bundle, .keeping = keeping, .error = error, .quiet = options->quiet};
    walk->begun = keep_begun(plan->begun, plan->steady, now, steady);
    walk->places = allocate(plan->count, sizeof *walk->places);
    for (size_t i = FIRST_ROOT_OP; i < plan->count; i++)
        if (plan->ops[i].kind != OP_ENTER)
            walk->places[walk->place_count++] = &plan->ops[i];
    qsort(walk->places, walk->place_count, sizeof *walk->places, by_target);
    struct rlimit files; /* some for each of the last levels: place.c */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    /* over a closure that is read lazily what was written lies apart: all of it need not be listed */
    const bool lazy = strcmp(keep_base.closure, CLOSURE) == 0 && access(LAZY_OVER "/u", F_OK) == 0;
    keep_walk(walk, lazy ? LAZY_OVER "/u" : keep_base.closure, "", NULL, false);
    for (size_t i = FIRST_ROOT_OP; i < plan->count; i++)
        if (plan->ops[i].kind == OP_OVERLAY)
            walk_upper(walk, &plan->ops[i]);
    if (keeping->last)
        report(walk, options);
    const bool good = !walk->failed;
    free(walk->places);
    free(walk->levels);
    free(walk->path);
    free(walk);
    return good;
}
