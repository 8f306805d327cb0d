#include "launcher/root/unpacking.h"

#include "launcher/bundle/unpack.h"
#include "launcher/lazy/lazy.h"
#include "launcher/memory.h"

static void say(struct plan *plan, const char *how, const char *why)
{
    plan->ops[UNPACK_OP].why = arena_format(plan->arena, "closure, %s: %s", how, why);
}

bool unpacking_choose(struct plan *plan, struct plan *closed, const struct root *root, const struct bundle *bundle, const struct options *options,
                      struct error *error)
{
    static const char whole[] = "unpacked whole", asked[] = "as asked for";
    struct error refusal = {.code = EXIT_INTERNAL};
    if (plan->deployed != NULL)
        return true;
    if (options->unpack != UNPACK_LAZY) {
        say(plan, whole, options->unpack == UNPACK_EAGER ? asked : "auto");
        if (closed->count > 0)
            say(closed, whole, options->unpack == UNPACK_EAGER ? asked : "auto");
        return true;
    }
    if (root->way->kind != WAY_NAMESPACES && root->way->kind != WAY_PRIVILEGED)
        return fail(error, EXIT_NODE, "leave out --unpack (SDEE_UNPACK): sdee then unpacks the closure",
                    "the closure cannot be read lazily with --way %s", way_name(root->way->kind));
    if (!lazy_is_possible(&refusal))
        /* EXIT_KERNEL would be a matter of the way to the root, and another one would be tried */
        return fail(error, EXIT_NODE, refusal.hint[0] != '\0' ? refusal.hint : "leave out --unpack (SDEE_UNPACK): sdee then unpacks the closure",
                    "the closure cannot be read lazily on this node: %s", refusal.message);
    say(plan, "each part when it is first read", asked);
    plan->lazy = closed->lazy = lazy_make(bundle, plan->wanted, error);
    return plan->lazy != NULL;
}

bool unpacking_has_memory(const struct plan *plan, const struct bundle *bundle, struct error *error)
{
    if (plan->deployed != NULL)
        return true; /* it is there already */
    if (plan->lazy != NULL)
        return memory_check(lazy_memory(bundle), bundle->name, error);
    return memory_check(unpack_memory(bundle, plan->wanted) + unpack_worker_memory(bundle), bundle->name, error);
}
