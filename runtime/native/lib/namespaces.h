/* The namespaces in which mounts may be made. Each function: errors EXIT_KERNEL, with the site's setting named. `left` tells that this process is
 * no longer where it was, whether it succeeded or not, so that nothing else can be tried in it. One thread only. */
#ifndef SDEE_LIB_NAMESPACES_H
#define SDEE_LIB_NAMESPACES_H

#include "lib/error.h"

/* What is done where the user namespace is the new one and the mount namespace still the old one; all fails with it. */
struct between {
    bool (*call)(void *argument, struct error *error);
    void *argument;
};

/* A new user namespace, which maps this user and group to themselves, and a mount namespace. `between` may be NULL, here and below. */
bool namespaces_user(const struct between *between, bool *left, struct error *error);

/* A mount namespace with the CAP_SYS_ADMIN that this process has. */
bool namespaces_mount(const struct between *between, bool *left, struct error *error);

/* The user namespace that `fd` leads to, and a mount namespace. */
bool namespaces_join(int fd, bool *left, struct error *error);

/* Has this process CAP_SYS_ADMIN? */
bool namespaces_admin(void);

/* May the kernel refuse mounts after it has made a user namespace? Where AppArmor restricts them, and in a container or under a filter of a
 * kind that cannot be read. Then it is to be tried in a child first. */
bool namespaces_doubtful(void);

/* Is it AppArmor that restricts user namespaces here, so that a program with a profile of its own may have them? */
bool namespaces_by_apparmor(void);

#endif
