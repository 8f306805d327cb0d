/* A rank that leaves copies back what there is; others go on, and may write the same files again. So that the next copy is not taken for a
 * conflict with somebody else's, each is noted in the base with the time that the node's file got. */
#include "launcher/keep/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/arena.h"

static const char RECORD[] = "/kept"; /* NUL-terminated: seconds, nanoseconds, path */

static int write_head(char *head, size_t size, const struct timespec *mtime)
{
    return snprintf(head, size, "%lld %ld ", (long long)mtime->tv_sec, mtime->tv_nsec);
}

void record_add(const char *path, const struct timespec *mtime)
{
    char head[64];
    FILE *file = fopen(RECORD, "ae");
    if (file == NULL)
        return; /* the next one keeps both, which loses nothing */
    write_head(head, sizeof head, mtime);
    fprintf(file, "%s%s%c", head, path, '\0');
    fclose(file);
}

bool record_has(const char *path, const struct timespec *mtime)
{
    static char *records;
    static size_t size;
    char head[64];
    if (records == NULL) { /* read once: whoever leaves is alone in doing so (join.h) */
        struct stat status;
        const int fd = open(RECORD, O_RDONLY | O_CLOEXEC);
        const bool there = fd >= 0 && fstat(fd, &status) == 0;
        records = allocate(there ? (size_t)status.st_size + 1 : 1, 1);
        const ssize_t count = there ? read(fd, records, (size_t)status.st_size) : 0;
        size = count > 0 ? (size_t)count : 0;
        if (fd >= 0)
            close(fd);
    }
    const int length = write_head(head, sizeof head, mtime);
    for (const char *at = records; at < records + size; at += strlen(at) + 1)
        if (strncmp(at, head, (size_t)length) == 0 && strcmp(at + length, path) == 0)
            return true;
    return false;
}
