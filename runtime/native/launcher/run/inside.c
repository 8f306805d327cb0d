#include "launcher/run/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launcher/root/bwrap.h"
#include "launcher/run/diagnose.h"
#include "lib/fds.h"

/* What the job is, in a file without a name: this, then CONF, then strings. It is this very program that reads it. */
struct handed {
    pid_t launcher;
    struct inherited inherited;
    struct options options; /* its pointers are set again */
    size_t conf_size, arguments, variables;
    bool diagnosed;
};

/* A string, or that there is none. */
static void put(FILE *file, const char *text)
{
    fputc(text != NULL ? '+' : '-', file);
    fputs(text != NULL ? text : "", file);
    fputc('\0', file);
}

static size_t length_of(char *const *list)
{
    size_t count = 0;
    while (list[count] != NULL)
        count++;
    return count;
}

static int write_handed(const struct job *job)
{
    const struct handed handed = {getpid(), job->inherited, *job->options, job->bundle->conf_size, length_of(job->options->arguments),
                                  length_of(job->environment), job->diagnosis != NULL};
    const int fd = memfd_create("sdee", MFD_CLOEXEC), copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    FILE *file = copy >= 0 ? fdopen(copy, "w") : NULL;
    if (file == NULL)
        return -1;
    fwrite(&handed, sizeof handed, 1, file);
    fwrite(job->bundle->conf, 1, job->bundle->conf_size, file);
    put(file, job->bundle->name);
    put(file, job->options->command);
    put(file, job->options->chdir);
    put(file, job->options->moved);
    for (size_t i = 0; i < handed.arguments; i++)
        put(file, job->options->arguments[i]);
    for (size_t i = 0; i < handed.variables; i++)
        put(file, job->environment[i]);
    const bool failed = ferror(file) != 0;
    if (fclose(file) == 0 && !failed)
        return fd;
    close(fd);
    return -1;
}

pid_t inside_start(const struct job *job, struct error *error)
{
    pid_t pid = -1;
    const int fd = write_handed(job);
    const bool sent = fd >= 0 && send_fd(job->root->inside, fd) &&
                      (job->diagnosis == NULL || send_fd(job->root->inside, diagnose_socket(job->diagnosis)));
    if (!sent || recv(job->root->inside, &pid, sizeof pid, MSG_WAITALL) != sizeof pid)
        pid = -1;
    while (waitpid(job->root->helper, NULL, 0) < 0 && errno == EINTR)
        ; /* its end makes the job ours */
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); /* what the job leaves behind is nobody's of ours */
    if (fd >= 0)
        close(fd);
    close(job->root->inside);
    if (pid < 0)
        fail(error, EXIT_KERNEL, "run it again", "what bwrap started did not become the job: it was killed");
    return pid;
}

/* Strings as they follow each other; NULL for none, and at the end. */
static char *take(char **at, const char *end)
{
    char *text = *at;
    const size_t length = strnlen(text, (size_t)(end - text));
    if (text + length >= end)
        _exit(EXIT_INTERNAL);
    *at = text + length + 1;
    return text[0] == '+' ? text + 1 : NULL;
}

static char **take_list(char **at, const char *end, size_t count)
{
    char **list = allocate(count + 1, sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = take(at, end);
    return list;
}

/* As a child of what waits: the launcher's when that has ended, and with it bwrap. */
static void become_job(const struct handed *handed, char *at, const char *end, int diagnosis)
{
    static struct bundle bundle;
    static struct options options;
    static const struct root root = {.way = &ROOT_HELPER};
    struct job job = {.bundle = &bundle, .options = &options, .root = &root, .inherited = handed->inherited};
    const struct timespec pause = {0, 50000};
    const pid_t parent = getppid();
    options = handed->options;
    bundle.conf = at;
    bundle.conf_size = handed->conf_size;
    at += handed->conf_size;
    bundle.name = take(&at, end);
    options.command = take(&at, end);
    options.chdir = take(&at, end);
    options.moved = take(&at, end);
    options.arguments = take_list(&at, end, handed->arguments);
    job.environment = take_list(&at, end, handed->variables);
    job.diagnosis = handed->diagnosed ? diagnose_inside(diagnosis) : NULL;
    while (getppid() == parent && parent != handed->launcher)
        nanosleep(&pause, NULL);
    umask(0);
    job_become(&job, handed->launcher);
}

static bool is_own_user(int socket)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

void inside_run(void)
{
    int socket, error, diagnosis = -1, fd = -1;
    struct stat status;
    const char *text = getenv(INSIDE_VARIABLE);
    if (text == NULL)
        return;
    if (sscanf(text, "%d,%d", &socket, &error) != 2 || socket < 3 || error < 3 || !is_own_user(socket) || dup2(error, STDERR_FILENO) < 0) {
        note("error: " INSIDE_VARIABLE " is set, by which sdee speaks with itself: unset it");
        _exit(EXIT_USAGE);
    }
    close(error);
    fcntl(socket, F_SETFD, FD_CLOEXEC);
    const int root[2] = {open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)};
    if (root[0] < 0 || root[1] < 0 || !send_with_fds(socket, "R", 1, root, 2) || (fd = receive_fd(socket)) < 0 || fstat(fd, &status) != 0 ||
        status.st_size < (off_t)sizeof(struct handed))
        _exit(EXIT_INTERNAL); /* the launcher wanted to know no more, or has ended */
    close(root[0]);
    close(root[1]);
    char *data = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    struct handed handed;
    if (data == MAP_FAILED)
        _exit(EXIT_RESOURCES);
    memcpy(&handed, data, sizeof handed);
    if (handed.diagnosed && (diagnosis = receive_fd(socket)) < 0)
        _exit(EXIT_INTERNAL);
    pid_t pid = fork();
    if (pid == 0) {
        close(socket);
        close(fd);
        become_job(&handed, data + sizeof handed, data + status.st_size, diagnosis);
    }
    _exit(pid < 0 || send(socket, &pid, sizeof pid, MSG_NOSIGNAL) != sizeof pid ? EXIT_RESOURCES : 0);
}
