/* A mount namespace of our own by the CAP_SYS_ADMIN that this process has: real root, and root of a container whose profile refuses user namespaces.
 * The node's /proc is bound and none is mounted, which a container's masked /proc would forbid. */
#include "lib/namespaces.h"
#include "launcher/keep/keep.h"
#include "launcher/root/mounted.h"

static bool apart(struct root *root, struct error *error)
{
    root->in_user_namespace = false;
    return namespaces_mount(root->between, &root->left, error);
}

const struct root_way ROOT_PRIVILEGED = {WAY_PRIVILEGED, "a mount namespace, as root", apart, MOUNTED};
