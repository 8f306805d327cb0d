/* A thread that waits for the supervisor: paths as it gives them, what /proc says of it. The thread is this process; its tree, with links
 * of the input's own, is below a directory in memory.
 * Input: u8 flags, u8 descriptor, path, target of one link, target of another, text of /proc/TID/status; NULs between them. */
#include <sys/stat.h>

#include "env/supervisor/caller.c"
#include "env/supervisor/resolve.c"

#include "fuzz.h"

/* The call still waits. */
bool __wrap_notify_waits(int listener, uint64_t id);
bool __wrap_notify_waits(int listener, uint64_t id)
{
    (void)listener, (void)id;
    return true;
}

int __wrap_as_root_inside(const struct session *session, inside_work *work, const void *argument, char said[INSIDE_ROOM]);
int __wrap_as_root_inside(const struct session *session, inside_work *work, const void *argument, char said[INSIDE_ROOM])
{
    (void)session, (void)work, (void)argument, (void)said;
    return -EACCES;
}

static int tree(const char *one, const char *other)
{
    static int root = -1;
    if (root < 0) {
        root = open(fuzz_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        mkdirat(root, "a", 0700);
        mkdirat(root, "a/b", 0700);
        close(openat(root, "a/f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    }
    unlinkat(root, "l", 0);
    unlinkat(root, "a/m", 0);
    (void)!symlinkat(one, root, "l");
    (void)!symlinkat(other, root, "a/m");
    return root;
}

static void resolve_all(struct stop *stop, unsigned flags, int dirfd, const char *path)
{
    char text[8192];
    const char *name;
    for (int varies = 0; varies < 2; varies++) {
        atomic_store(&stop->session->views_vary, varies == 1);
        const int fd = resolve(stop, (flags & 1) != 0 ? AT_FDCWD : dirfd, path, (flags & 2) != 0, (flags & 4) != 0);
        /* As in a chroot nothing leads out; `varies` means the root of the process itself, which is this machine's. */
        if (fd >= 0 && varies == 0 && path[0] == '/' && strncmp(path, "/dev/", 5) != 0 && strncmp(path, "/proc/", 6) != 0 && path_of(fd, text, sizeof text))
            MUST(strncmp(text, fuzz_directory(), strlen(fuzz_directory())) == 0);
        if (fd >= 0)
            MUST((fcntl(fd, F_GETFL) & O_PATH) != 0 && close(fd) == 0);
        const int parent = resolve_parent(stop, (flags & 1) != 0 ? AT_FDCWD : dirfd, path, &name);
        MUST(parent < 0 || (name >= path && strchr(name, '/') == NULL && close(parent) == 0));
    }
    const int fd = in_session(stop->session, path);
    MUST(fd < 0 || close(fd) == 0);
    is_path_only(stop, dirfd);
    caller_is_root(stop);
}

static void read_status(const char *status)
{
    uint32_t ids[4], groups[8];
    MUST(numbers(status, "\nUid:", ids, 4) <= 4);
    MUST(numbers(status, "\nGroups:", groups, 8) <= 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session session;
    struct input input = {data, size};
    const unsigned flags = take(&input);
    const int dirfd = (int8_t)take(&input);
    char *path = take_text(&input), *one = take_text(&input), *other = take_text(&input), *status = take_text(&input);
    session.root = tree(one, other);
    const int before = fuzz_descriptors();
    struct stop stop = {.session = &session, .tid = getpid()};
    if (strlen(path) < 4096) /* calls.c: PATH_SIZE */
        resolve_all(&stop, flags, dirfd == -2 ? session.root : dirfd, path);
    read_status(status);
    MUST(fuzz_descriptors() == before);
    free(path);
    free(one);
    free(other);
    free(status);
    return 0;
}
