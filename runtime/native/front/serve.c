/* The end outside of the bundle, on the node itself: runs commands for the job in the bundle, as the same user, with its
 * descriptors, variables and directory. It ends with the job. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "front/front.h"
#include "lib/arena.h"
#include "lib/fds.h"

extern char **environ;

static char *outside; /* the directory of programs that replace commands, absolute */

/* The header and three descriptors, or false. */
static bool receive_header(int fd, struct call_header *header, int standard[3])
{
    return receive_with_fds(fd, header, sizeof *header, standard, 3) && header->magic == CALL_MAGIC && header->argc > 0 &&
           header->bytes <= CALL_MOST && header->argc < header->bytes && header->envc < header->bytes;
}

/* A call, as it came. All words lie in `text`. */
struct received {
    struct call_header header;
    int standard[3];
    char *text, **argv, **environment, *directory;
};

/* Split `bytes` of text into words: argv, then the environment; what follows is the directory. */
static bool split(struct received *call)
{
    const struct call_header *header = &call->header;
    char *text = call->text;
    const char *end = text + header->bytes;
    char **const lists[2] = {call->argv = allocate(header->argc + 1UL, sizeof(char *)), call->environment = allocate(header->envc + 1UL, sizeof(char *))};
    const uint32_t counts[2] = {header->argc, header->envc};
    if (header->bytes == 0 || end[-1] != '\0')
        return false;
    for (int list = 0; list < 2; list++)
        for (uint32_t i = 0; i < counts[list]; i++) {
            if (text >= end)
                return false;
            lists[list][i] = text;
            text += strlen(text) + 1;
        }
    call->directory = text;
    return text < end;
}

/* False for what is no call. received_free() in any case. */
static bool receive_call(int fd, struct received *call)
{
    *call = (struct received){.standard = {-1, -1, -1}};
    if (!receive_header(fd, &call->header, call->standard))
        return false;
    call->text = allocate(call->header.bytes + 1UL, 1);
    return recv(fd, call->text, call->header.bytes, MSG_WAITALL) == (ssize_t)call->header.bytes && split(call);
}

static void received_free(struct received *call)
{
    for (int number = 0; number < 3; number++)
        if (call->standard[number] >= 0)
            close(call->standard[number]);
    free(call->text);
    free(call->argv);
    free(call->environment);
}

static bool names(const char *pair, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(pair, name, length) == 0 && pair[length] == '=';
}

/* The caller's variables, with the node's own where they decide on how the command starts. */
static void use_environment(char **environment)
{
    static char *kept[16];
    for (int i = 0; NODE_VARIABLES[i] != NULL; i++) {
        const char *value = getenv(NODE_VARIABLES[i]);
        kept[i] = value != NULL ? strdup(value) : NULL;
    }
    clearenv();
    for (; *environment != NULL; environment++) {
        int which = 0;
        while (NODE_VARIABLES[which] != NULL && !names(*environment, NODE_VARIABLES[which]))
            which++;
        if (NODE_VARIABLES[which] == NULL) {
            putenv(*environment);
            continue;
        }
        char name[64];
        snprintf(name, sizeof name, INSIDE_PREFIX "%s", NODE_VARIABLES[which]);
        setenv(name, *environment + strlen(NODE_VARIABLES[which]) + 1, 1);
    }
    for (int i = 0; NODE_VARIABLES[i] != NULL; i++)
        if (kept[i] != NULL)
            setenv(NODE_VARIABLES[i], kept[i], 1);
}

static _Noreturn void become(const struct received *call)
{
    static struct error error;
    const struct call_header *header = &call->header;
    char **argv = call->argv;
    const char *directory = call->directory;
    char path[PATH_MAX];
    for (int number = 0; number < 3; number++)
        dup2(call->standard[number], number); /* at 3 or above: below there is something always */
    setpgid(0, 0);
    umask(header->umask & 0777);
    for (int limit = 0; limit < RLIM_NLIMITS; limit++)
        setrlimit(limit, &header->limits[limit]); /* one that cannot be is left as it is */
    for (int number = 1; number < 32; number++)
        signal(number, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    use_environment(call->environment);
    if (directory[0] == '\0' || chdir(directory) != 0)
        note("%s runs outside of the bundle, where the directory %s is not there: it runs in / instead", argv[0], directory);
    const char *slash = strrchr(argv[0], '/'), *name = slash != NULL ? slash + 1 : argv[0];
    snprintf(path, sizeof path, "%s/%s", outside, name);
    if (access(path, X_OK) == 0) {
        hide_from_shells();
        execv(path, argv);
        show_again();
    }
    execvp(name, argv);
    fail(&error, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, NULL, "cannot run the node's own %s: %s", name, strerror(errno));
    error_print(&error);
    _exit((int)error.code);
}

/* One call, in a process of its own. */
static _Noreturn void answer(int fd)
{
    struct received call;
    if (!receive_call(fd, &call))
        _exit(1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    const int ended = signalfd(-1, &set, SFD_CLOEXEC);
    const pid_t child = fork();
    if (child == 0)
        become(&call);
    if (child > 0)
        setpgid(child, child); /* both do: a signal may come before the child has got to it */
    received_free(&call); /* or a pipe's reader would wait for us */
    int32_t status = child > 0 && ended >= 0 ? 0 : EXIT_RESOURCES << 8;
    struct pollfd polled[2] = {{fd, POLLIN, 0}, {ended, POLLIN, 0}};
    while (child > 0 && waitpid(child, &status, WNOHANG) == 0) {
        char number;
        poll(polled, 2, -1);
        struct signalfd_siginfo info;
        if (polled[1].revents != 0)
            (void)!read(ended, &info, sizeof info);
        if (polled[0].revents == 0)
            continue;
        const bool came = recv(fd, &number, 1, MSG_DONTWAIT) == 1;
        kill(-child, came ? number : SIGKILL); /* the caller was killed: so would the command have been */
        if (!came)
            polled[0].fd = -1;
    }
    send(fd, &status, sizeof status, MSG_NOSIGNAL);
    _exit(0);
}

/* Accept until the job ends, whose child this is: then the kernel sends SIGKILL. */
static _Noreturn void listen_on(int listener, pid_t job, int ready)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != job)
        _exit(0);
    prctl(PR_SET_NAME, "sdee-front");
    setsid(); /* a terminal's Ctrl-C and the step's signals are for the job; a command may read its terminal */
    close(ready);
    signal(SIGCHLD, SIG_IGN); /* no zombies */
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int number = 0; number < 3; number++)
        dup2(null, number); /* who waits for the end of the job's output waits for the job alone */
    for (;;) {
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        struct ucred peer;
        socklen_t size = sizeof peer;
        if (fd < 0)
            continue;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid() && fork() == 0) {
            close(listener);
            signal(SIGCHLD, SIG_DFL);
            answer(fd);
        }
        close(fd);
    }
}

/* The job's own again, if it was called from a bundle: the server alone wants the node's. */
static void use_callers(void)
{
    for (int i = 0; NODE_VARIABLES[i] != NULL; i++) {
        char name[64];
        snprintf(name, sizeof name, INSIDE_PREFIX "%s", NODE_VARIABLES[i]);
        const char *value = getenv(name);
        if (value != NULL)
            setenv(NODE_VARIABLES[i], value, 1);
        unsetenv(name);
    }
}

int serve(const char *directory, char **command, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unsigned char random[16];
    char name[64] = "sdee-outside-";
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        memset(random, 0, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        sprintf(name + strlen(name), "%02x", random[i]);
    memcpy(address.sun_path + 1, name, strlen(name));
    for (int number = 0; number < 3; number++)
        if (fcntl(number, F_GETFD) < 0)
            (void)!open("/dev/null", O_RDWR);
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    outside = realpath(directory, NULL);
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    if (outside == NULL || listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 256) != 0) {
        fail(error, EXIT_RESOURCES, NULL, "cannot serve calls of the job (%s): %s", directory, strerror(errno));
        return -1;
    }
    int ready[2];
    const pid_t job = getpid(), server = pipe2(ready, O_CLOEXEC) == 0 ? fork() : -1;
    if (server == 0)
        listen_on(listener, job, ready[1]);
    if (server < 0) {
        fail(error, EXIT_RESOURCES, "raise `ulimit -u`", "cannot make a process: %s", strerror(errno));
        return -1;
    }
    char none;
    close(ready[1]);
    while (read(ready[0], &none, 1) < 0 && errno == EINTR) /* a signal to the job now would be one to its server, too */
        continue;
    close(ready[0]);
    setenv("SDEE_OUTSIDE", name, 1);
    use_callers();
    execvp(command[0], command);
    fail(error, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, NULL, "cannot execute %s: %s", command[0], strerror(errno));
    kill(server, SIGKILL);
    return -1;
}
