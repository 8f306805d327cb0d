#include "launcher/root/bwrap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/layout.h"
#include "lib/fds.h"
#include "lib/trusted.h"

enum { PATIENCE = 60 /* s, for what takes milliseconds */ };

bool bwrap_find(char path[], size_t size, struct error *error)
{
    const char *directories = getenv("PATH");
    char name[PATH_MAX], why[2 * PATH_MAX];
    bool found = false;
    snprintf(why, sizeof why, "there is no bwrap in PATH or /usr/bin");
    for (const char *at = directories != NULL ? directories : "/usr/bin"; !found;) {
        const size_t length = strcspn(at, ":");
        snprintf(name, sizeof name, "%.*s/bwrap", (int)(length < 3000 ? length : 0), at);
        char *real = at[0] == '/' && access(name, X_OK) == 0 ? realpath(name, NULL) : NULL;
        found = real != NULL && trusted_path(real, false, why, sizeof why) && snprintf(path, size, "%s", real) < (int)size;
        free(real);
        if (at[length] == '\0' && strcmp(at, "/usr/bin") == 0)
            break;
        at = at[length] != '\0' ? at + length + 1 : "/usr/bin";
    }
    return found || fail(error, EXIT_KERNEL, "ask the administrator for bubblewrap with bwrap set-user-ID, or allowed by an AppArmor profile", "%s", why);
}

/* Words, each ended by NUL. */
static void word(FILE *file, const char *text)
{
    fputs(text, file);
    fputc('\0', file);
}

static void words(FILE *file, const char *one, const char *two, const char *three)
{
    word(file, one);
    word(file, two);
    word(file, three);
}

/* A bind of the node's own, or memory in which the closure's will be. Devices stay usable, as in our own root. */
static bool write_bind(FILE *file, const struct op *op, const struct bundle *bundle)
{
    char text[16];
    struct stat status;
    if (strncmp(op->source, OLDROOT, sizeof OLDROOT - 1) == 0) {
        const char *source = op->source + sizeof OLDROOT - 1;
        if (!op->optional || stat(source, &status) == 0)
            words(file, "--dev-bind", source, op->target);
        return true;
    }
    const uint32_t index = bundle_find(bundle, op->target);
    if (index != NO_ENTRY && S_ISDIR(bundle->entries[index].mode)) {
        word(file, "--tmpfs");
        word(file, op->target);
        return true;
    }
    const int empty = open("/dev/null", O_RDONLY); /* bwrap reads and closes it; without O_CLOEXEC, for it */
    snprintf(text, sizeof text, "%d", empty);
    words(file, "--bind-data", text, op->target);
    return empty >= 0;
}

int bwrap_arguments(const struct plan *plan, const struct bundle *bundle, struct error *error)
{
    const int fd = memfd_create("sdee", 0);
    const int copy = fd >= 0 ? dup(fd) : -1;
    FILE *file = copy >= 0 ? fdopen(copy, "w") : NULL;
    bool good = file != NULL;
    if (good)
        words(file, "--die-with-parent", "--chdir", "/");
    if (good && plan == NULL)
        words(file, "--dev-bind", "/proc", "/proc");
    for (size_t i = FIRST_ROOT_OP; good && plan != NULL && i < plan->count; i++)
        good = plan->ops[i].kind != OP_BIND || write_bind(file, &plan->ops[i], bundle);
    const int number = errno;
    if (file != NULL)
        good = fclose(file) == 0 && good;
    if (good && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    fail(error, EXIT_RESOURCES, number == EMFILE ? "raise `ulimit -n`: each file of the bundle in a directory of the node needs one" : NULL,
         "cannot write the arguments of bwrap: %s", strerror(number));
    return -1;
}

static void keep_open(int fd)
{
    fcntl(fd, F_SETFD, 0);
}

/* In the child. Its standard error comes to us; the job gets the real one from what runs inside. */
static void become(const char *program, int arguments, int socket, int errors, pid_t launcher)
{
    char fd[16], name[64], variable[64];
    sigset_t all;
    const int image = open("/proc/self/exe", O_PATH), error = dup(STDERR_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* a set-user-ID program loses it, and --die-with-parent sets it again */
    if (image < 0 || error < 0 || dup2(errors, STDERR_FILENO) < 0 || getppid() != launcher)
        _exit(1);
    keep_open(arguments);
    keep_open(socket);
    memset(&all, 0xff, sizeof all);
    sigprocmask(SIG_SETMASK, &all, NULL); /* they are the launcher's to handle; the job gets its own mask */
    snprintf(fd, sizeof fd, "%d", arguments);
    snprintf(name, sizeof name, "/proc/self/fd/%d", image);
    snprintf(variable, sizeof variable, INSIDE_VARIABLE "=%d,%d", socket, error);
    const char *const argv[] = {"bwrap", "--args", fd, "--", name, NULL}, *const environment[] = {variable, "PATH=/usr/bin:/bin", NULL};
    execve(program, (char **)(uintptr_t)argv, (char **)(uintptr_t)environment);
    dprintf(STDERR_FILENO, "cannot execute %s: %s", program, strerror(errno));
    _exit(1);
}

/* The last line that it wrote. */
static void read_line(int fd, char *text, size_t size)
{
    size_t used = 0;
    for (ssize_t count; used + 1 < size && (count = read(fd, text + used, size - used - 1)) > 0;)
        used += (size_t)count;
    text[used] = '\0';
    while (used > 0 && text[used - 1] == '\n')
        text[--used] = '\0';
}

/* The children of this process, at most as many as there is room for. */
static size_t children(pid_t pids[BWRAP_CHILDREN])
{
    char path[64];
    size_t count = 0;
    int pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    while (file != NULL && count < BWRAP_CHILDREN && fscanf(file, "%d", &pid) == 1)
        pids[count++] = (pid_t)pid;
    if (file != NULL)
        fclose(file);
    return count;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* End bwrap, and what it leaves if somebody kills it: its child waits for it forever, and is ours then. */
static void end_all(const struct bwrap *bwrap)
{
    pid_t pids[BWRAP_CHILDREN];
    if (bwrap->pid > 0)
        end(bwrap->pid);
    const size_t count = children(pids);
    for (size_t i = 0; i < count; i++) {
        bool other = false;
        for (size_t k = 0; k < bwrap->before_count; k++)
            other = other || bwrap->before[k] == pids[i];
        if (!other)
            end(pids[i]);
    }
}

/* Is there a message, or has what it started ended? Where bwrap alone was killed its child has not, and holds the socket open. */
static bool answers(const struct bwrap *bwrap)
{
    enum { PAUSE_MS = 50 };
    struct pollfd wait = {.fd = bwrap->socket, .events = POLLIN};
    siginfo_t ended = {0};
    for (int waited = 0; waited < PATIENCE * 1000 && ended.si_pid != bwrap->pid; waited += PAUSE_MS)
        if (poll(&wait, 1, PAUSE_MS) > 0 || waitid(P_PID, (id_t)bwrap->pid, &ended, WEXITED | WNOHANG | WNOWAIT) != 0)
            return true;
    return poll(&wait, 1, 0) > 0;
}

bool bwrap_start(struct bwrap *bwrap, const char *program, int arguments, struct error *error)
{
    int sockets[2] = {-1, -1}, errors[2] = {-1, -1}, fds[2] = {-1, -1};
    char text[700], byte;
    const pid_t launcher = getpid();
    *bwrap = (struct bwrap){.socket = -1, .top = -1, .mounts = -1};
    /* so that the job becomes our child when bwrap and what it started have ended */
    bool good = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0 && pipe2(errors, O_CLOEXEC) == 0 &&
                prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
    bwrap->before_count = children(bwrap->before);
    bwrap->pid = good ? fork() : -1;
    if (bwrap->pid == 0)
        become(program, arguments, sockets[1], errors[1], launcher);
    const int number = errno;
    close(sockets[1]);
    close(errors[1]);
    bwrap->socket = sockets[0];
    if (bwrap->pid < 0) {
        fail(error, EXIT_RESOURCES, NULL, "cannot start %s: %s", program, strerror(number));
    } else if (!answers(bwrap) || !receive_with_fds(bwrap->socket, &byte, 1, fds, 2)) {
        end_all(bwrap); /* it has ended, or hangs: the other end of the pipe must be closed */
        bwrap->pid = 0;
        read_line(errors[0], text, sizeof text);
        fail(error, EXIT_KERNEL, "ask the administrator for bwrap set-user-ID, or allowed by an AppArmor profile", "%s cannot make the root: %s", program,
             strncmp(text, "bwrap: ", 7) == 0 ? text + 7 : text[0] != '\0' ? text : "it ended without a word");
    }
    close(errors[0]);
    bwrap->top = fds[0];
    bwrap->mounts = fds[1];
    if (bwrap->top < 0)
        bwrap_stop(bwrap);
    return bwrap->top >= 0;
}

void bwrap_stop(struct bwrap *bwrap)
{
    if (bwrap->socket >= 0)
        close(bwrap->socket);
    if (bwrap->pid > 0)
        end_all(bwrap);
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    if (bwrap->top >= 0)
        close(bwrap->top);
    if (bwrap->mounts >= 0)
        close(bwrap->mounts);
    *bwrap = (struct bwrap){.socket = -1, .top = -1, .mounts = -1};
}
