/* A file as a whole, from directory to directory. */
#ifndef SDEE_LIB_COPY_H
#define SDEE_LIB_COPY_H

#include <stdbool.h>
#include <sys/stat.h>

/* Copy a file, link or FIFO, in place of what is there unless that is a directory; false with errno. A file that is there is
 * written into when it is `known`: one that the job saw, or that an earlier rank has made. Else it goes: another user may have planted it. */
bool copy_one(int from_directory, const char *name, const struct stat *status, int to_directory, const char *to, bool known);

/* The content of a regular file: shared blocks where the file system can, and holes stay holes (/var/log/lastlog has the size of the largest
 * uid). 0 or -errno. */
int copy_content(int from, int to);

#endif
