/* Errors as values: the same layout as src/sdee/base/errors.py. Only main.c and the job's last moments print them. */
#ifndef SDEE_LIB_ERROR_H
#define SDEE_LIB_ERROR_H

#include <stdbool.h>

#include "lib/exit_codes.h"

struct error {
    enum exit_code code;
    char message[2048]; /* what failed, on what, why */
    char tried[4096];   /* finished lines, one for each thing that was tried, in order */
    char hint[1024];    /* what to do; empty for none */
};

/* Fill `error` and return false, so that a check reads `return fail(...)`. `hint` may be NULL. Of this and the functions below: control characters
 * in what is formatted are shown as \x1b, so that no bundle and no name of a file says anything to a terminal or as a line of ours. */
bool fail(struct error *error, enum exit_code code, const char *hint, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Note one more thing that was tried; kept when fail() is called later. */
void tried(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A file of /proc that cannot be opened (errno): EXIT_RESOURCES without descriptors, EXIT_NODE where /proc is missing. False. */
bool fail_proc(struct error *error, const char *path);

/* Write "sdee: error: ..." with its "tried" and "hint" lines in one write(2), to standard error unless error_print_to() says where. */
void error_print(const struct error *error);

/* Let errors go to a descriptor, which no other program inherits. False for one that is not open, and for the standard ones. */
bool error_print_to(int fd);

/* One line "sdee: ..." on standard error. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
