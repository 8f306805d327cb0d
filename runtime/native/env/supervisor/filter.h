/* The seccomp filter of an environment's processes. */
#ifndef SDEE_ENV_SUPERVISOR_FILTER_H
#define SDEE_ENV_SUPERVISOR_FILTER_H

#include <stdbool.h>

/* Install it in this process; the listener's descriptor, or -1 with errno. */
int filter_install(bool emulate);

#endif
