/* The namespaces in which mounts may be made. */
#ifndef SDEE_LIB_NAMESPACES_H
#define SDEE_LIB_NAMESPACES_H

#include "lib/error.h"

/* Enter an own mount namespace: with CAP_SYS_ADMIN directly, else by a user namespace that maps this user and group to
 * themselves. `in_user_namespace` says which. Must be called with one thread. Errors: EXIT_KERNEL with the site's setting named. */
bool namespaces_enter(bool *in_user_namespace, struct error *error);

/* The same, in two steps where `between` is called: in the new user namespace, where one is needed, and still in the old mount namespace. It may be
 * called twice: where root is refused a mount namespace, a user namespace is tried. What it returns false for fails as a whole. */
bool namespaces_enter_by(bool *in_user_namespace, bool (*between)(void *argument, struct error *error), void *argument, struct error *error);

#endif
