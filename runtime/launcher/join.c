#include "join.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "plan_file.h"
#include "ranks.h"
#include "sha256.h"

static const char MEMBERS[] = "/members", ENDING[] = "/ending", PLAN[] = "/plan"; /* in the base */
enum { ATTEMPTS = 200, PATIENCE = 10 /* s, for an answer that takes microseconds */ };

struct welcome {
    bool in_user_namespace;
};

/* The name: user, bundle, what decides on the root, the node's own root, the step. */
static socklen_t name_of(const struct bundle *bundle, const struct options *options, struct sockaddr_un *address)
{
    char key[1024], text[1400];
    struct stat root = {0};
    uint8_t digest[32];
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (options->join != NULL && strcmp(options->join, "auto") != 0)
        snprintf(key, sizeof key, "named %s", options->join);
    else if (!ranks_key(key, sizeof key))
        return 0;
    stat("/", &root);
    const int size = snprintf(text, sizeof text, "%d%d %llu:%llu %s", (int)options->root, options->mpi_host, (unsigned long long)root.st_dev,
                              (unsigned long long)root.st_ino, key);
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

static bool send_namespaces(int socket, const int fds[2], bool in_user_namespace)
{
    struct welcome welcome = {in_user_namespace};
    char control[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec part = {&welcome, sizeof welcome};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(2 * sizeof(int));
    memcpy(CMSG_DATA(head), fds, 2 * sizeof(int));
    return sendmsg(socket, &message, MSG_NOSIGNAL) == sizeof welcome;
}

/* False when the leader has gone. */
static bool receive_namespaces(int socket, int fds[2], bool *in_user_namespace)
{
    struct welcome welcome;
    char control[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec part = {&welcome, sizeof welcome};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t size;
    do
        size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (size != sizeof welcome || head == NULL || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(2 * sizeof(int)))
        return false;
    memcpy(fds, CMSG_DATA(head), 2 * sizeof(int));
    *in_user_namespace = welcome.in_user_namespace;
    return true;
}

static int become_member(void)
{
    const int fd = open(MEMBERS, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_SH) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* setns(2): the user namespace first, which gives the right to enter the mount namespace; root and directory are the base's then. */
static bool enter(struct join *join, int socket)
{
    int fds[2];
    if (!receive_namespaces(socket, fds, &join->in_user_namespace))
        return false;
    bool good = (!join->in_user_namespace || setns(fds[1], CLONE_NEWUSER) == 0) && setns(fds[0], CLONE_NEWNS) == 0 && chdir("/") == 0;
    close(fds[0]);
    close(fds[1]);
    join->members = good ? become_member() : -1;
    good = good && join->members >= 0;
    join->role = good ? ROLE_JOINED : ROLE_ALONE;
    return send(socket, good ? "y" : "n", 1, MSG_NOSIGNAL) == 1 || good;
}

/* One attempt. False: try again, since the other side has gone or is about to begin. */
static bool attempt(struct join *join, const struct sockaddr_un *address, socklen_t size)
{
    bool done = true;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true;
    if (connect(fd, (const struct sockaddr *)address, size) == 0) {
        done = !is_own_user(fd) || enter(join, fd);
        close(fd);
    } else if (errno != ECONNREFUSED) {
        close(fd);
    } else if (bind(fd, (const struct sockaddr *)address, size) == 0 && listen(fd, 4096) == 0) {
        join->role = ROLE_LEADS;
        join->listener = fd;
    } else {
        done = errno != EADDRINUSE; /* bound and not yet listening: another begins */
        close(fd);
    }
    return done;
}

void join_begin(struct join *join, const struct bundle *bundle, const struct options *options)
{
    struct sockaddr_un address;
    const struct timespec pause = {0, 2000000};
    *join = (struct join){.role = ROLE_ALONE, .listener = -1, .members = -1};
    if (options->join != NULL && strcmp(options->join, "never") == 0)
        return;
    const socklen_t size = name_of(bundle, options, &address);
    for (int i = 0; size > 0 && i < ATTEMPTS && !attempt(join, &address, size); i++)
        nanosleep(&pause, NULL);
    if (options->debug && size > 0)
        note("ranks: %s", join->role == ROLE_LEADS ? "the first of this step here, others may join" : join->role == ROLE_JOINED ? "joined the first" : "each for itself");
}

void join_found(struct join *join, const struct plan *plan, bool in_user_namespace)
{
    join->in_user_namespace = in_user_namespace;
    join->members = plan_write(plan, PLAN) ? become_member() : -1;
}

/* One rank that waits: until it has become a member, so that nobody takes itself for the last meanwhile. */
static void let_in(const struct join *join, int socket, const int fds[2])
{
    const struct timeval patience = {PATIENCE, 0};
    char answer;
    if (!is_own_user(socket))
        return;
    setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send_namespaces(socket, fds, join->in_user_namespace))
        (void)!recv(socket, &answer, 1, 0);
}

static void *serve(void *argument)
{
    const struct join *join = argument;
    const int fds[2] = {open("/oldroot/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), open("/oldroot/proc/self/ns/user", O_RDONLY | O_CLOEXEC)};
    for (int socket; fds[0] >= 0 && fds[1] >= 0 && (socket = accept4(join->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        let_in(join, socket, fds);
        close(socket);
    }
    close(fds[0]);
    close(fds[1]);
    return NULL;
}

void join_serve(struct join *join)
{
    if (join->role == ROLE_LEADS)
        join->serving = join->members >= 0 && pthread_create(&join->thread, NULL, serve, join) == 0;
    if (join->role == ROLE_LEADS && !join->serving)
        close(join->listener); /* the others see it and try for themselves */
}

bool join_leave(struct join *join, struct plan *plan)
{
    if (join->role == ROLE_ALONE)
        return true;
    if (join->serving) {
        shutdown(join->listener, SHUT_RDWR); /* accept(2) returns; a rank that is being let in is finished with */
        pthread_join(join->thread, NULL);
        close(join->listener);
    }
    if (join->members < 0)
        return true;
    const int ending = open(ENDING, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* one at a time: two that leave at once must not both miss it */
    if (ending >= 0)
        flock(ending, LOCK_EX);
    const bool last = flock(join->members, LOCK_EX | LOCK_NB) == 0;
    if (!last)
        close(join->members);
    if (ending >= 0)
        close(ending); /* the last keeps its lock: nobody can join it any more */
    return last && (join->role == ROLE_LEADS || plan_read(plan, PLAN));
}
