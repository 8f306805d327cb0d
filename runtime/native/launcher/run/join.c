#include "launcher/run/join.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "launcher/bundle/sha256.h"
#include "launcher/layout.h"
#include "launcher/plan/file.h"
#include "launcher/run/ranks.h"
#include "lib/fds.h"

static const char MEMBERS[] = "/members", ENDING[] = "/ending", PLAN[] = "/plan"; /* in the base */
enum {
    ATTEMPTS = 200,
    FAILURES = 2, /* leaders that went before they let anybody in: killed, or the bundle is damaged, and then all may find out at once */
    PATIENCE = 1, /* s, for an answer that takes microseconds */
    CROWD = 20    /* s, until there is room in the queue of who has the name: ranks of ours, or another user who never answers */
};

struct welcome {
    uint8_t in_user_namespace; /* struct root. No bool: that has two values only, and another process writes it */
};

static unsigned long long inode_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? (unsigned long long)status.st_ino : 0;
}

/* The name: user and group, bundle, options that decide on what is built and kept, the world that this process sees, the step. */
static socklen_t name_of(const struct bundle *bundle, const struct options *options, struct sockaddr_un *address)
{
    char key[1024], text[2 * PATH_MAX + 1400];
    struct stat top = {0};
    struct rlimit files = {0};
    uint8_t digest[32];
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (options->join != NULL && strcmp(options->join, "auto") != 0)
        snprintf(key, sizeof key, "named %s", options->join);
    else if (!ranks_key(key, sizeof key))
        return 0;
    stat("/", &top);
    getrlimit(RLIMIT_FSIZE, &files); /* the last one out writes what all have made */
    const int size = snprintf(text, sizeof text, "%s %u %d%d%d %llu:%llu %llu %llu %llu %llu %s\n%s\n%s",
                              way_name(options->way), (unsigned)getegid(), (int)options->root, options->mpi_host, (int)options->unpack,
                              (unsigned long long)top.st_dev, (unsigned long long)top.st_ino, inode_of("/proc/self/ns/mnt"),
                              inode_of("/proc/self/ns/pid"), inode_of("/proc/self/ns/user"), (unsigned long long)files.rlim_max,
                              options->save != NULL ? options->save : "", options->moved != NULL ? options->moved : "", key);
    sha256((const uint8_t *)text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1, digest);
    char *name = address->sun_path + 1;
    const size_t room = sizeof address->sun_path - 1;
    size_t used = (size_t)snprintf(name, room, "sdee-%u-", (unsigned)geteuid());
    for (int i = 0; i < 8; i++)
        used += (size_t)snprintf(name + used, room - used, "%02x", bundle->identity[i]);
    for (int i = 0; i < 8; i++)
        used += (size_t)snprintf(name + used, room - used, "%02x", digest[i]);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + used);
}

static bool is_own_user(int socket)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

/* Is the leader stopped (proc_pid_stat(5))? Its job is then, and that may last. */
static bool is_stopped(int socket)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    char path[64], line[512] = "";
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return false;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)peer.pid);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t length = fd >= 0 ? read(fd, line, sizeof line - 1) : -1;
    if (fd >= 0)
        close(fd);
    const char *end = length > 0 ? strrchr(line, ')') : NULL;
    return end != NULL && (end[1] == ' ') && (end[2] == 'T' || end[2] == 't');
}

/* False when the leader has gone, or is stopped (`stopped`). It may take minutes to unpack. */
static bool receive_root(int socket, int fds[ROOT_FDS], struct root *root, bool *stopped)
{
    const struct timeval patience = {1, 0};
    struct welcome welcome;
    bool good;
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    do {
        good = receive_with_fds(socket, &welcome, sizeof welcome, fds, ROOT_FDS);
        *stopped = !good && errno == EAGAIN && is_stopped(socket);
    } while (!good && (errno == EINTR || errno == EAGAIN) && !*stopped);
    root->in_user_namespace = good && welcome.in_user_namespace != 0;
    return good;
}

static int become_member(int flags)
{
    const int fd = open(MEMBERS, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
    if (fd >= 0 && flock(fd, LOCK_SH) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* What became of an attempt. */
enum outcome { DONE, AGAIN, LEADER_GONE, LOST /* entered, and cannot be a member there */ };

/* Before the leader hears of it, who holds them until then. */
static void hold_points(struct points *points, struct arena *arena)
{
    struct plan plan = {.arena = arena};
    if (plan_read(&plan, PLAN))
        points_join(points, &plan, OLDROOT);
    free(plan.ops);
    free(plan.synthetic);
}

/* Enter the leader's root, and tell it. */
static enum outcome enter(struct join *join, int socket, struct points *points, struct arena *arena, struct error *error)
{
    struct root *root = join->root;
    int fds[ROOT_FDS];
    bool stopped = false, inside;
    if (!receive_root(socket, fds, root, &stopped))
        return stopped ? DONE : LEADER_GONE;
    join->members = root->way->join(root, fds, &inside) ? become_member(0) : -1;
    const int number = errno;
    const bool good = join->members >= 0;
    for (int i = 0; i < ROOT_FDS; i++)
        close(fds[i]);
    join->role = good ? ROLE_JOINED : ROLE_ALONE;
    if (good)
        hold_points(points, arena);
    else
        root->in_user_namespace = false;
    (void)!send(socket, good ? "y" : "n", 1, MSG_NOSIGNAL); /* who has no patience any more finds the lock taken */
    if (good || !inside)
        return DONE;
    fail(error, EXIT_KERNEL, "run it with --join never (SDEE_JOIN=never)", "cannot become a member of the first rank's namespaces: %s", strerror(number));
    return LOST;
}

static enum outcome attempt(struct join *join, const struct sockaddr_un *address, socklen_t size, struct points *points, struct arena *arena,
                            struct error *error)
{
    enum outcome outcome = DONE;
    const struct timeval patience = {CROWD, 0};
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return DONE;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* connect(2) then ends with EAGAIN */
    if (connect(fd, (const struct sockaddr *)address, size) == 0) {
        outcome = is_own_user(fd) ? enter(join, fd, points, arena, error) : DONE;
        close(fd);
    } else if (errno != ECONNREFUSED) {
        close(fd);
    } else if (bind(fd, (const struct sockaddr *)address, size) == 0 && listen(fd, 4096) == 0) {
        join->role = ROLE_LEADS;
        join->listener = fd;
    } else {
        outcome = errno == EADDRINUSE ? AGAIN : DONE; /* bound and not yet listening: another begins */
        close(fd);
    }
    return outcome;
}

bool join_begin(struct join *join, struct root *root, const struct bundle *bundle, const struct options *options, struct points *points, struct arena *arena,
                struct error *error)
{
    struct sockaddr_un address;
    const struct timespec pause = {0, 2000000};
    enum outcome outcome = AGAIN;
    int gone = 0;
    *join = (struct join){.role = ROLE_ALONE, .root = root, .listener = -1, .members = -1, .ending = -1};
    if (options->join != NULL && strcmp(options->join, "never") == 0)
        return true;
    const socklen_t size = name_of(bundle, options, &address);
    for (int i = 0; size > 0 && i < ATTEMPTS && gone < FAILURES && (outcome == AGAIN || outcome == LEADER_GONE); i++) {
        outcome = attempt(join, &address, size, points, arena, error);
        gone += outcome == LEADER_GONE;
        if (outcome == AGAIN)
            nanosleep(&pause, NULL);
    }
    if (options->debug && size > 0)
        note("ranks: %s", join->role == ROLE_LEADS ? "the first of this step here, others may join"
                           : join->role == ROLE_JOINED ? "joined the first" : "each for itself");
    return outcome != LOST;
}

bool join_cannot(const struct options *options, struct error *error)
{
    char key[1024];
    const bool automatic = options->join == NULL || strcmp(options->join, "auto") == 0;
    if (!automatic && strcmp(options->join, "never") != 0)
        return fail(error, EXIT_KERNEL, "run it with --join never (SDEE_JOIN=never)", "a root that bwrap made cannot be shared (--join %s)", options->join);
    if (automatic && !options->quiet && ranks_key(key, sizeof key) && ranks_is_first())
        note("warning: a root that bwrap made cannot be shared: each rank on a node unpacks the closure for itself");
    return true;
}

void join_found(struct join *join, const struct plan *plan)
{
    join->members = plan_write(plan, PLAN) ? become_member(O_CREAT | O_EXCL) : -1;
    if (join->members >= 0 && join->root->way->share != NULL && join->root->way->share(join->root, join->shared))
        return;
    close(join->listener); /* the others see it and work for themselves */
    join->listener = -1;
}

/* One rank that waits: until it has become a member, so that nobody takes itself for the last meanwhile. */
static void let_in(const struct join *join, int socket)
{
    const struct welcome welcome = {join->root->in_user_namespace};
    const struct timeval patience = {PATIENCE, 0};
    char answer;
    if (!is_own_user(socket))
        return;
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send_with_fds(socket, &welcome, sizeof welcome, join->shared, ROOT_FDS))
        (void)!recv(socket, &answer, 1, 0);
}

static void *serve(void *argument)
{
    const struct join *join = argument;
    const struct timespec pause = {0, 20000000};
    for (;;) {
        const int socket = accept4(join->listener, NULL, NULL, SOCK_CLOEXEC);
        if (socket >= 0) {
            let_in(join, socket);
            close(socket);
        } else if (errno == EINVAL || errno == EBADF) {
            return NULL; /* shutdown(2): the end */
        } else {
            nanosleep(&pause, NULL); /* no descriptors or memory for a moment */
        }
    }
}

void join_serve(struct join *join)
{
    if (join->role != ROLE_LEADS || join->listener < 0)
        return;
    join->serving = pthread_create(&join->thread, NULL, serve, join) == 0;
    if (!join->serving) {
        close(join->listener);
        join->listener = -1;
    }
}

bool join_leave(struct join *join, struct plan *plan, bool *last)
{
    *last = true;
    if (join->role == ROLE_ALONE)
        return true;
    if (join->serving) {
        shutdown(join->listener, SHUT_RDWR); /* accept(2) returns; a rank that is being let in is finished with */
        pthread_join(join->thread, NULL);
        close(join->listener);
    }
    if (join->members < 0)
        return true;
    join->ending = open(ENDING, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* one at a time: two that leave at once must not both miss it */
    if (join->ending >= 0)
        flock(join->ending, LOCK_EX);
    *last = flock(join->members, LOCK_EX | LOCK_NB) == 0; /* and keeps it: nobody can join any more */
    return join->role == ROLE_LEADS || plan_read(plan, PLAN);
}

void join_left(struct join *join)
{
    if (join->members >= 0)
        close(join->members);
    if (join->ending >= 0)
        close(join->ending);
}
