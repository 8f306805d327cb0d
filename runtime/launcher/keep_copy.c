/* Copying one thing that the job made back to the node, or below --save: by the descriptor of its directory and one name, which is never
 * followed. What leads to that directory is keep.c's: below the directory that things go back to no link is followed either, and that one must
 * be the directory that it was when the job began. Links above it count when the job begins, as they do for any program. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keep.h"

static bool write_whole(int to, const char *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        const ssize_t count = write(to, data + done, size - done);
        if (count <= 0)
            return false;
        done += (size_t)count;
    }
    return true;
}

/* Holes stay holes (lseek(2), SEEK_DATA). */
static bool copy_content(int from, int to, off_t size)
{
    static char buffer[1 << 17];
    off_t at = 0;
    while (at < size && (at = lseek(from, at, SEEK_DATA)) >= 0) {
        const off_t hole = lseek(from, at, SEEK_HOLE), end = hole > at ? hole : size;
        if (lseek(from, at, SEEK_SET) < 0 || lseek(to, at, SEEK_SET) < 0)
            return false;
        while (at < end) {
            const size_t wanted = (size_t)(end - at) < sizeof buffer ? (size_t)(end - at) : sizeof buffer;
            const ssize_t count = read(from, buffer, wanted);
            if (count <= 0 || !write_whole(to, buffer, (size_t)count))
                return count == 0 && at >= size;
            at += count;
        }
    }
    return (at >= size || errno == ENXIO) && ftruncate(to, size) == 0;
}

/* What stands there and is not of this type goes; a directory stays, and is an error. `stays`: it is a file that is written into, so that its
 * owner, its other names and who has it open stay. */
static bool make_way(int directory, const char *name, mode_t type, bool known, struct stat *there, bool *stays)
{
    *stays = false;
    if (fstatat(directory, name, there, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT;
    *stays = known && type == S_IFREG && S_ISREG(there->st_mode);
    return *stays || unlinkat(directory, name, 0) == 0;
}

/* The file that was looked at; its number may be forgotten by FUSE, but then it is this user's. */
static bool is_that(int fd, const struct stat *seen)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return false;
    errno = S_ISREG(status.st_mode) ? ESTALE : ENXIO;
    return S_ISREG(status.st_mode) && (status.st_uid == geteuid() || (status.st_dev == seen->st_dev && status.st_ino == seen->st_ino));
}

bool copy_one(int from_directory, const char *name, const struct stat *status, int to_directory, const char *to, bool known)
{
    const mode_t type = status->st_mode & S_IFMT;
    char text[PATH_MAX];
    struct stat there;
    bool stays;
    if (!make_way(to_directory, to, type, known, &there, &stays))
        return false;
    if (type == S_IFLNK) {
        const ssize_t size = readlinkat(from_directory, name, text, sizeof text - 1);
        text[size > 0 ? size : 0] = '\0';
        return size > 0 && symlinkat(text, to_directory, to) == 0;
    }
    if (type == S_IFIFO)
        return mkfifoat(to_directory, to, status->st_mode & 0777) == 0;
    const int from = openat(from_directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    /* In a shared directory another user may have put a file or a FIFO there by now. */
    const int flags = (stays ? 0 : O_CREAT | O_EXCL) | O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    const int out = from < 0 ? -1 : openat(to_directory, to, flags, status->st_mode & 0777);
    bool good = out >= 0 && (!stays || is_that(out, &there)) && ftruncate(out, 0) == 0 && copy_content(from, out, status->st_size);
    const struct timespec times[2] = {status->st_atim, status->st_mtim};
    if (good) { /* as cp -p: nice to have, refused for a file of somebody else's */
        (void)!fchmod(out, status->st_mode & 07777);
        (void)!futimens(out, times);
    }
    const int number = errno;
    if (out >= 0 && close(out) != 0) /* NFS tells a full disk here */
        good = false;
    if (from >= 0)
        close(from);
    errno = good ? 0 : number;
    return good;
}
