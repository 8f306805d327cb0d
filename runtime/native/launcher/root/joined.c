/* A mount namespace of our own in a user namespace that another process of this user has: another bundle's, podman's. Nothing on the node changes.
 * For nodes that allow few of them, or no new ones any more. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/keep/keep.h"
#include "launcher/root/mounted.h"
#include "lib/namespaces.h"

enum { MOST = 256 /* namespaces that are looked at */ };

/* What this process has to be compared with. */
struct own {
    struct stat user, pid;
};

/* The namespaces that were found, and the one that serves best. */
struct found {
    ino_t seen[MOST];
    size_t count;
    int best; /* a descriptor, or -1 */
    bool same_ids; /* there, this user and group have their own numbers */
};

static bool same(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* Did this user make it, right below the namespace that we are in? The kernel says so of what is open, so that no process that ends, and no
 * number of one that is used again, matters. */
static bool is_ours(int namespace, const struct own *own)
{
    uid_t owner = (uid_t)-1;
    struct stat parent;
    const int fd = ioctl(namespace, NS_GET_OWNER_UID, &owner) == 0 && owner == geteuid() ? ioctl(namespace, NS_GET_PARENT) : -1;
    const bool ours = fd >= 0 && fstat(fd, &parent) == 0 && same(&parent, &own->user);
    if (fd >= 0)
        close(fd);
    return ours;
}

/* The user namespace of a process, by its directory in /proc; -1 where it is none for us. A process in another PID namespace is a container's:
 * whoever is in that may trace what joins its user namespace. */
static int namespace_of(int process, const struct own *own, struct found *found)
{
    struct stat status;
    if (fstat(process, &status) != 0 || status.st_uid != geteuid() || fstatat(process, "ns/pid", &status, 0) != 0 || !same(&status, &own->pid))
        return -1;
    const int fd = openat(process, "ns/user", O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && fstat(fd, &status) == 0 && !same(&status, &own->user);
    for (size_t i = 0; good && i < found->count; i++)
        good = found->seen[i] != status.st_ino;
    if (good && found->count < MOST)
        found->seen[found->count++] = status.st_ino;
    if (good && is_ours(fd, own))
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Can it be entered and mounted in? Tried in a child. `same_ids`: with this user's and group's own numbers. */
static bool can_be_joined(int namespace, bool *same_ids)
{
    enum { SAME = 10, OTHER };
    const uid_t uid = geteuid();
    const gid_t gid = getegid();
    struct error error = {0};
    bool left = false;
    int status = 1;
    const pid_t pid = fork();
    if (pid == 0) {
        if (!namespaces_join(namespace, &left, &error) || access("/proc/self/fd", X_OK) != 0)
            _exit(1);
        _exit(geteuid() == uid && getegid() == gid ? SAME : geteuid() == 0 ? OTHER : 1);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    *same_ids = pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == SAME;
    return *same_ids || (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == OTHER);
}

static void consider(int process, const struct own *own, struct found *found)
{
    bool same_ids;
    const int namespace = namespace_of(process, own, found);
    if (namespace < 0)
        return;
    if (!can_be_joined(namespace, &same_ids) || (found->best >= 0 && !same_ids)) {
        close(namespace);
        return;
    }
    if (found->best >= 0)
        close(found->best);
    found->best = namespace;
    found->same_ids = same_ids;
}

static void look(struct found *found)
{
    struct own own;
    *found = (struct found){.best = -1};
    if (stat("/proc/self/ns/user", &own.user) != 0 || stat("/proc/self/ns/pid", &own.pid) != 0)
        return;
    DIR *stream = opendir("/proc");
    for (const struct dirent *item; stream != NULL && !(found->best >= 0 && found->same_ids) && (item = readdir(stream)) != NULL;) {
        const int process = item->d_name[0] >= '1' && item->d_name[0] <= '9' ? openat(dirfd(stream), item->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        if (process < 0)
            continue;
        consider(process, &own, found);
        close(process);
    }
    if (stream != NULL)
        closedir(stream);
}

static bool apart(struct root *root, struct error *error)
{
    struct found found;
    look(&found);
    if (found.best < 0)
        return fail(error, EXIT_KERNEL, NULL, "no other process of yours on this node has a user namespace that can be joined");
    root->in_user_namespace = true;
    root->other_ids = !found.same_ids;
    const bool good = namespaces_join(found.best, &root->left, error);
    close(found.best);
    return good;
}

const struct root_way ROOT_JOIN = {WAY_JOIN, "a mount namespace in the user namespace of another process of yours", apart, MOUNTED};
