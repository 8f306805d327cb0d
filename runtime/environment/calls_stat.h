/* Calls that look at a file. */
#ifndef SDEE_CALLS_STAT_H
#define SDEE_CALLS_STAT_H

#include "session.h"

handler on_stat, on_lstat, on_fstat, on_newfstatat, on_statx;

#endif
