/* A mount namespace of our own, with the capabilities of a new user namespace: nothing on the node changes, and the kernel removes all of it with
 * the last process. */
#include "lib/namespaces.h"
#include "launcher/keep/keep.h"
#include "launcher/root/mounted.h"

static bool apart(struct root *root, struct error *error)
{
    root->in_user_namespace = true;
    return namespaces_user(root->between, &root->left, error);
}

const struct root_way ROOT_NAMESPACES = {WAY_NAMESPACES, "a user and a mount namespace, as an ordinary user", apart, MOUNTED};
