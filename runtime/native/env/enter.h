#ifndef SDEE_ENV_ENTER_H
#define SDEE_ENV_ENTER_H

#include <stdbool.h>

#include "lib/error.h"

struct enter_options {
    const char *directory, *name;
    bool x11, ssh_agent;
    char **command; /* NULL-terminated; empty: the user's shell */
};

/* Run the command inside; its exit status (128 + n for signal n), or -1 with `error`. */
int enter(const struct enter_options *options, struct error *error);

/* Run a command as root of a user namespace alone, with the ids of the environment: to remove or copy what belongs to it. */
int as_root(const char *directory, char **command, struct error *error);

#endif
