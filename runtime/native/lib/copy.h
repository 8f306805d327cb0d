/* A file as a whole, from directory to directory. */
#ifndef SDEE_LIB_COPY_H
#define SDEE_LIB_COPY_H

#include <stdbool.h>
#include <sys/stat.h>

/* Copy a file, link or FIFO, in place of what is there unless that is a directory; false with errno. */
bool copy_one(int from_directory, const char *name, const struct stat *status, int to_directory, const char *to);

#endif
