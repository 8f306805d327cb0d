/* Copying one thing that the job made back to the node, or below --save: by the descriptor of its directory and one name, which is never
 * followed. What leads to that directory is keep/walk.c's: below the directory that things go back to no link is followed either, and that one must
 * be the directory that it was when the job began. Links above it count when the job begins, as they do for any program. */
#include "lib/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One stretch of data: shared blocks where the file system can (copy_file_range(2)), bytes else. */
static int copy_piece(int from, int to, off_t at, off_t end)
{
    char buffer[1 << 16];
    off_t there = at;
    while (at < end) {
        const ssize_t done = copy_file_range(from, &at, to, &there, (size_t)(end - at), 0);
        if (done <= 0)
            break; /* some file systems say 0 where there is more */
    }
    while (at < end) {
        const size_t wanted = end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer;
        const ssize_t got = pread(from, buffer, wanted, at);
        if (got <= 0)
            return got == 0 ? 0 : -errno; /* it has become shorter: copy_content() */
        for (ssize_t done = 0; done < got;) {
            const ssize_t written = pwrite(to, buffer + done, (size_t)(got - done), at + done);
            if (written < 0)
                return -errno;
            done += written;
        }
        at += got;
    }
    return 0;
}

/* Of a file that becomes shorter meanwhile there is what it has then, as with cp(1): zeros in its place would be a wrong result. */
int copy_content(int from, int to)
{
    struct stat file, after;
    int result = 0;
    if (fstat(from, &file) != 0)
        return -errno;
    for (off_t at = 0, end = 0; result == 0 && (at = lseek(from, end, SEEK_DATA)) < file.st_size;) {
        if (at < 0 && errno == ENXIO)
            break; /* a hole to the end */
        if (at < 0)
            return -errno;
        end = lseek(from, at, SEEK_HOLE);
        if (end <= at)
            end = file.st_size;
        result = copy_piece(from, to, at, end);
    }
    if (result != 0)
        return result;
    if (fstat(from, &after) != 0)
        return -errno;
    return ftruncate(to, after.st_size < file.st_size ? after.st_size : file.st_size) == 0 ? 0 : -errno;
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
    const int result = out >= 0 && (!stays || is_that(out, &there)) && ftruncate(out, 0) == 0 ? copy_content(from, out) : -errno;
    bool good = result == 0;
    const struct timespec times[2] = {status->st_atim, status->st_mtim};
    if (good) { /* as cp -p: nice to have, refused for a file of somebody else's */
        (void)!fchmod(out, status->st_mode & 07777);
        (void)!futimens(out, times);
    }
    int number = -result;
    if (out >= 0 && close(out) != 0 && good) { /* NFS tells a full disk here */
        number = errno;
        good = false;
    }
    if (from >= 0)
        close(from);
    errno = number;
    return good;
}
