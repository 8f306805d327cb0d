#include "env/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "env/holder.h"
#include "lib/facts.h"
#include "lib/remove.h"
#include "lib/unshare.h"

static const char *type_name(const char *directory, char *room, size_t size)
{
    static const struct {
        unsigned long magic;
        const char *label;
    } types[] = {
#define ROW(label, names, magic, ...) {magic, label},
        FILE_SYSTEM_ROWS(ROW)
#undef ROW
    };
    struct statfs buffer;
    if (statfs(directory, &buffer) != 0)
        return "unknown";
    for (unsigned i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].magic == (uint32_t)buffer.f_type)
            return types[i].label;
    snprintf(room, size, "type 0x%lx", (unsigned long)buffer.f_type);
    return room;
}

static bool make_file(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    const bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

/* What was tried last, for the message. */
static const char *attempt(void)
{
    if (mkdir("lower", 0755) != 0 || mkdir("upper", 0755) != 0 || mkdir("work", 0755) != 0 || mkdir("merged", 0755) != 0 || mkdir("lower/d", 0755) != 0 ||
        !make_file("lower/f", "one") || !make_file("lower/g", "one") || !make_file("lower/d/h", "one"))
        return "making files";
    if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) != 0)
        return "a private mount namespace";
    if (mount("sdee", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work,userxattr") != 0)
        return "mounting overlayfs with its upper layer here";
    if (!make_file("merged/f", "two"))
        return "changing a file of the lower layer";
    if (unlink("merged/g") != 0 || access("merged/g", F_OK) == 0)
        return "removing a file of the lower layer";
    if (unlink("merged/d/h") != 0 || rmdir("merged/d") != 0 || mkdir("merged/d", 0755) != 0 || access("merged/d/h", F_OK) == 0)
        return "replacing a directory of the lower layer";
    if (setxattr("merged/f", "user.sdee.probe", "1", 1, 0) != 0)
        return "setting an extended attribute";
    return NULL;
}

bool probe(const char *directory, struct error *error)
{
    char place[4096], room[64];
    snprintf(place, sizeof place, "%s/.probe-XXXXXX", directory);
    if (mkdtemp(place) == NULL)
        return fail(error, EXIT_OUTPUT, "set SDEE_ENV_DIR to a directory that you may write to", "cannot make a directory in %s: %s", directory,
                    strerror(errno));
    int go[2], told[2];
    char byte;
    struct {
        int number;
        char what[120];
    } outcome = {0};
    if (pipe2(go, O_CLOEXEC) != 0 || pipe2(told, O_CLOEXEC) != 0)
        return fail(error, EXIT_RESOURCES, NULL, "cannot make a pipe: %s", strerror(errno));
    const pid_t pid = fork();
    if (pid == 0) {
        const char *what = chdir(place) != 0 || unshare_namespaces(CLONE_NEWUSER | CLONE_NEWNS) != 0 ? "unshare(CLONE_NEWUSER | CLONE_NEWNS)" : NULL;
        outcome.number = errno;
        if (what == NULL && (write(told[1], "m", 1) != 1 || read(go[0], &byte, 1) != 1))
            _exit(1);
        if (what == NULL) {
            what = attempt();
            outcome.number = errno;
        }
        snprintf(outcome.what, sizeof outcome.what, "%s", what != NULL ? what : "");
        _exit(write(told[1], &outcome, sizeof outcome) != sizeof outcome);
    }
    close(told[1]);
    const struct steps plan = {0};
    const bool answered = pid > 0 && read(told[0], &byte, 1) == 1, unshared = answered && byte == 'm';
    const int number = answered ? byte : ECHILD; /* the outcome begins with it */
    const bool mapped = unshared && map_ids(pid, &plan, error) && write(go[1], "g", 1) == 1;
    close(go[1]);
    const bool heard = mapped && read(told[0], &outcome, sizeof outcome) == (ssize_t)sizeof outcome;
    close(told[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    remove_one(AT_FDCWD, place, true); /* overlayfs leaves work/work with mode 0 */
    errno = number;
    if (!unshared)
        return fail_to_unshare(error, "a user namespace and a mount namespace", CLONE_NEWUSER | CLONE_NEWNS, "`sdee doctor` names the setting that is missing");
    if (!mapped)
        return false;
    if (!heard)
        return fail(error, EXIT_INTERNAL, NULL, "the probe of %s ended early", directory);
    if (outcome.what[0] == '\0')
        return true;
    return fail(error, EXIT_KERNEL,
                "set SDEE_ENV_DIR to a directory on a local disk (ext4, XFS) or, on Linux 6.6 or newer, a tmpfs: export SDEE_ENV_DIR=/local/scratch/$USER/envs",
                "overlayfs cannot have its upper layer in %s (%s): %s: %s", directory, type_name(directory, room, sizeof room), outcome.what,
                strerror(outcome.number));
}
