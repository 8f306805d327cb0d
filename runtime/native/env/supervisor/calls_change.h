/* Calls that change a file. */
#ifndef SDEE_ENV_SUPERVISOR_CALLS_CHANGE_H
#define SDEE_ENV_SUPERVISOR_CALLS_CHANGE_H

#include "env/supervisor/session.h"

handler on_open, on_creat, on_openat, on_openat2, on_path, on_lpath, on_path_at, on_xattrat, on_renameat,
    on_chmod, on_fchmodat, on_linkat, on_fchmod, on_utimensat, on_access, on_faccessat, on_chown, on_fchown,
    on_fchownat;

#endif
