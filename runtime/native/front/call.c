/* The end inside of the bundle: hand over what the command is, pass signals on, end as it ends. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front/front.h"
#include "lib/arena.h"
#include "lib/end.h"
#include "lib/fds.h"

extern char **environ;

enum { PATIENCE = 60 /* s, until there is room in the server's queue */ };

/* -1 with errno; EPERM when it is another user's. The name was our server's, and anybody may take it when that has ended. */
static int connect_to(const char *address)
{
    const struct timeval patience = {PATIENCE, 0};
    struct ucred peer;
    socklen_t size = sizeof peer;
    struct sockaddr_un server = {.sun_family = AF_UNIX};
    const size_t length = strlen(address);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || length + 1 > sizeof server.sun_path)
        return -1;
    memcpy(server.sun_path + 1, address, length); /* unix(7): a leading NUL is the abstract namespace */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    bool good = connect(fd, (struct sockaddr *)&server, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) == 0 &&
                getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
    if (good && peer.uid != geteuid()) {
        errno = EPERM;
        good = false;
    }
    const struct timeval none = {0, 0};
    if (good && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none) == 0)
        return fd;
    const int number = errno;
    close(fd);
    errno = number;
    return -1;
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        const ssize_t done = send(fd, data, size, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        data += done;
        size -= (size_t)done;
    }
    return true;
}

static char *append(char *text, size_t *used, const char *word)
{
    const size_t length = strlen(word) + 1;
    text = reallocate(text, *used + length, 1);
    memcpy(text + *used, word, length);
    *used += length;
    return text;
}

static bool send_call(int fd, char **argv)
{
    static char directory[65536];
    static const int standard[3] = {0, 1, 2};
    struct call_header header = {.magic = CALL_MAGIC};
    char *text = NULL;
    size_t used = 0;
    for (char **word = argv; *word != NULL; word++, header.argc++)
        text = append(text, &used, *word);
    for (char **pair = environ; *pair != NULL; pair++)
        if (strncmp(*pair, "SDEE_OUTSIDE=", 13) != 0) {
            text = append(text, &used, *pair);
            header.envc++;
        }
    text = append(text, &used, getcwd(directory, sizeof directory) != NULL ? directory : "");
    header.bytes = (uint32_t)used;
    header.umask = (uint32_t)umask(0);
    umask(header.umask);
    for (int limit = 0; limit < RLIM_NLIMITS; limit++)
        getrlimit(limit, &header.limits[limit]);
    const bool good = used <= CALL_MOST && send_with_fds(fd, &header, sizeof header, standard, 3) && write_all(fd, text, used);
    free(text);
    return good;
}

/* Pass signals on until the status comes. */
static bool wait_for_end(int fd, int signals, int32_t *status)
{
    struct pollfd polled[2] = {{fd, POLLIN, 0}, {signals, POLLIN, 0}};
    struct signalfd_siginfo info;
    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR)
            return false;
        if (polled[1].revents != 0 && read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
            const char number = (char)info.ssi_signo;
            if (!write_all(fd, &number, 1))
                return false;
        }
        if (polled[0].revents != 0)
            return recv(fd, status, sizeof *status, MSG_WAITALL) == (ssize_t)sizeof *status;
    }
}

int call(const char *address, char **argv, struct error *error)
{
    static const int passed[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
    for (int number = 0; number < 3; number++)
        if (fcntl(number, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR);
    const int fd = connect_to(address);
    if (fd < 0) {
        fail(error, EXIT_NODE, "call it while the batch script runs, on the script's own node",
             "cannot run %s outside of the bundle: no server for such calls runs here: %s", argv[0],
             errno == EPERM ? "another user holds the server's name" : strerror(errno));
        return -1;
    }
    sigset_t set;
    sigemptyset(&set);
    for (unsigned i = 0; i < sizeof passed / sizeof *passed; i++)
        sigaddset(&set, passed[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    const int signals = signalfd(-1, &set, SFD_CLOEXEC);
    int32_t status;
    if (signals < 0 || !send_call(fd, argv) || !wait_for_end(fd, signals, &status)) {
        fail(error, EXIT_NODE, NULL, "cannot run %s outside of the bundle: the connection ended", argv[0]);
        return -1;
    }
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    end_as(status);
}
