#include "launcher/run/diagnose.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launcher/node/script.h"
#include "launcher/run/misses.h"
#include "lib/beneath.h"
#include "lib/facts.h"
#include "lib/fds.h"
#include "lib/notify.h"

/* The calls that tell of a missing file, and which arguments are directory, path and flags (-1: none, -2: in struct open_how). */
static const struct call {
    int number;
    signed char directory, path, flags;
    bool executes;
} CALLS[] = {
#define ROW(...) {__VA_ARGS__},
    DIAGNOSED_CALLS(ROW)
#undef ROW
};
enum { CALL_COUNT = sizeof CALLS / sizeof *CALLS };

struct diagnosis {
    int pair[2]; /* the listener's way from the job's process to the launcher */
    int listener;
    int alive[2]; /* closed by the end of the launcher, whichever it is */
    int stop[2];  /* closed to end the thread */
    pthread_t thread;
    bool watching;
    struct misses misses;
};

struct diagnosis *diagnose_begin(void)
{
    struct diagnosis *diagnosis = allocate(1, sizeof *diagnosis);
    diagnosis->listener = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, diagnosis->pair) == 0)
        return diagnosis;
    note("warning: cannot diagnose: %s", strerror(errno));
    free(diagnosis);
    return NULL;
}

int diagnose_socket(const struct diagnosis *diagnosis)
{
    return diagnosis->pair[1];
}

struct diagnosis *diagnose_inside(int socket)
{
    struct diagnosis *diagnosis = allocate(1, sizeof *diagnosis);
    *diagnosis = (struct diagnosis){.pair = {-1, socket}, .listener = -1};
    return diagnosis;
}

void diagnose_install(struct diagnosis *diagnosis)
{
    struct sock_filter code[6 + CALL_COUNT + 2];
    unsigned short size = 0;
    code[size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
    code[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 0, CALL_COUNT + 1); /* other ABIs: not looked at */
    code[size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned char i = 0; i < CALL_COUNT; i++)
        code[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)CALLS[i].number, CALL_COUNT - i, 0);
    code[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    const struct sock_fprog program = {size, code};
    const int fd = notify_install(&program);
    if (fd < 0)
        note("warning: cannot diagnose, but the job runs: seccomp: %s%s", strerror(errno),
             errno == EBUSY ? " (another tracer or container listens already)" : "");
    if (!send_with_fds(diagnosis->pair[1], "F", 1, &fd, fd >= 0))
        note("warning: cannot diagnose: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
}

static bool read_link(pid_t pid, const char *name, char text[PATH_MAX])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    const ssize_t size = readlink(path, text, PATH_MAX - 1);
    text[size > 0 ? size : 0] = '\0';
    return size > 0;
}

/* Absolute in the job's root. False for what has no name: an empty path, a descriptor that is no directory. */
static bool full_path(pid_t pid, const struct call *call, const struct seccomp_data *data, char path[PATH_MAX])
{
    char text[PATH_MAX], base[PATH_MAX], name[32] = "cwd";
    if (!notify_read_string(pid, data->args[call->path], text, sizeof text) || text[0] == '\0')
        return false;
    if (text[0] == '/') {
        snprintf(path, PATH_MAX, "%s", text);
        return true;
    }
    if (call->directory >= 0 && (int)data->args[call->directory] != AT_FDCWD)
        snprintf(name, sizeof name, "fd/%d", (int)data->args[call->directory]);
    if (!read_link(pid, name, base) || base[0] != '/' || strlen(base) + strlen(text) + 2 > PATH_MAX)
        return false;
    strcpy(path, strcmp(base, "/") == 0 ? "" : base);
    strcat(path, "/");
    strcat(path, text[0] == '.' && text[1] == '/' ? text + 2 : text); /* the sum was checked */
    return true;
}

/* Would the call make the file? Then it does not miss it. */
static bool creates(pid_t pid, const struct call *call, const struct seccomp_data *data)
{
    uint64_t flags = call->flags >= 0 ? data->args[(int)call->flags] : 0;
    if (call->flags == -2 && !notify_read(pid, data->args[2], &flags, sizeof flags)) /* struct open_how */
        flags = 0;
    return (flags & O_CREAT) != 0;
}

/* The path without links: of the nearest directory above that is there, and the rest as it was asked for.
 * Whether that one is the path's own directory is returned. */
static bool make_real(int root, char path[PATH_MAX])
{
    char above[PATH_MAX], real[PATH_MAX], link[64];
    snprintf(above, sizeof above, "%s", path);
    for (char *slash; (slash = strrchr(above, '/')) != NULL && slash != above;) {
        const size_t length = (size_t)(slash - above);
        *slash = '\0';
        const int fd = in_root(root, above, true);
        if (fd < 0)
            continue;
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        const ssize_t size = readlink(link, real, sizeof real - 1);
        close(fd);
        const size_t rest = strlen(path + length);
        if (size > 0 && (size_t)size + rest < PATH_MAX) {
            memmove(path + size, path + length, rest + 1);
            memcpy(path, real, (size_t)size);
        }
        return strchr(path + (size > 0 ? size : 0) + 1, '/') == NULL;
    }
    return false;
}

static void look(struct diagnosis *diagnosis, int listener, const struct seccomp_notif *stop)
{
    char path[PATH_MAX], program[PATH_MAX], interpreter[PATH_MAX], self[64];
    const struct call *call = CALLS;
    const pid_t pid = (pid_t)stop->pid;
    while (call->number != stop->data.nr)
        call++;
    if (!full_path(pid, call, &stop->data, path) || creates(pid, call, &stop->data))
        return;
    snprintf(self, sizeof self, "/proc/%d/root", (int)pid);
    const int root = open(self, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return;
    if (!notify_waits(listener, stop->id)) {
        close(root);
        return;
    }
    const int fd = in_root(root, path, true); /* Linux 5.6 */
    const bool missing = fd == -ENOENT || fd == -ENOTDIR;
    if (missing && read_link(pid, "exe", program) && notify_waits(listener, stop->id)) {
        const bool in_directory = make_real(root, path);
        misses_add(&diagnosis->misses, pid, path, program, in_directory);
    }
    if (fd >= 0) {
        misses_found(&diagnosis->misses, pid, path);
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        const int other = call->executes && script_interpreter(self, interpreter) ? in_root(root, interpreter, true) : 0;
        if (other == -ENOENT)
            misses_add(&diagnosis->misses, pid, interpreter, path, false);
        if (other > 0)
            close(other);
        close(fd);
    }
    close(root);
}

/* Let each call go on; `diagnosis` NULL: without looking. Until nobody is left under the filter, or `stop` can be read or is closed. */
static void answer(int listener, int stop, struct diagnosis *diagnosis)
{
    struct pollfd wait[2] = {{.fd = listener, .events = POLLIN}, {.fd = stop, .events = POLLIN}};
    struct seccomp_notif_sizes sizes;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0)
        return;
    const size_t size = sizes.seccomp_notif > sizeof(struct seccomp_notif) ? sizes.seccomp_notif : sizeof(struct seccomp_notif);
    struct seccomp_notif *call = allocate(1, size);
    for (;;) {
        wait[0].revents = wait[1].revents = 0;
        if ((poll(wait, 2, -1) < 0 && errno != EINTR) || wait[1].revents != 0)
            break;
        if ((wait[0].revents & POLLIN) == 0) {
            if ((wait[0].revents & (POLLHUP | POLLERR)) != 0)
                break;
            continue;
        }
        memset(call, 0, size);
        if (notify_ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, call) != 0)
            continue; /* ENOENT: the caller was killed */
        if (diagnosis != NULL)
            look(diagnosis, listener, call);
        notify_continue(listener, call->id);
    }
    free(call);
}

/* A process that waits for the launcher to end, be it by kill -9, and answers from then on: without a listener each of the calls that it
 * stops fails with ENOSYS, in processes that outlive the job. It ends with the last of them. */
static void start_guard(int listener, const int launcher[2])
{
    char byte;
    if (fork() != 0)
        return;
    setsid();
    for (int fd = 0; fd < 1024; fd++) /* the terminal, the bundle, the lock that tells who is still a member (join.h) */
        if (fd != listener && fd != launcher[0])
            close(fd);
    while (read(launcher[0], &byte, 1) < 0 && errno == EINTR)
        ;
    answer(listener, -1, NULL);
    _exit(0);
}

static void *watch(void *argument)
{
    struct diagnosis *diagnosis = argument;
    const int listener = receive_fd(diagnosis->pair[0]);
    if (listener >= 0)
        start_guard(listener, diagnosis->alive);
    pthread_mutex_lock(&diagnosis->misses.lock);
    diagnosis->listener = listener;
    pthread_mutex_unlock(&diagnosis->misses.lock);
    if (listener >= 0)
        answer(listener, diagnosis->stop[0], diagnosis);
    return NULL;
}

void diagnose_watch(struct diagnosis *diagnosis, const char *seen)
{
    close(diagnosis->pair[1]);
    misses_begin(&diagnosis->misses, seen);
    diagnosis->watching = pipe2(diagnosis->alive, O_CLOEXEC) == 0 && pipe2(diagnosis->stop, O_CLOEXEC) == 0 &&
                          pthread_create(&diagnosis->thread, NULL, watch, diagnosis) == 0;
    if (!diagnosis->watching)
        note("warning: cannot diagnose: cannot make a thread");
}

void diagnose_report(struct diagnosis *diagnosis, const struct bundle *bundle, int status)
{
    if (!diagnosis->watching)
        return;
    close(diagnosis->stop[1]); /* what it has received it answers first: the guard cannot */
    pthread_join(diagnosis->thread, NULL);
    if (diagnosis->listener >= 0)
        misses_print(&diagnosis->misses, bundle, status);
    close(diagnosis->alive[1]); /* from here on the guard */
}
