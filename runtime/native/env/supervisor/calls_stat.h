/* Calls that look at a file. */
#ifndef SDEE_ENV_SUPERVISOR_CALLS_STAT_H
#define SDEE_ENV_SUPERVISOR_CALLS_STAT_H

#include "env/supervisor/session.h"

handler on_stat, on_lstat, on_fstat, on_newfstatat, on_statx;

#endif
