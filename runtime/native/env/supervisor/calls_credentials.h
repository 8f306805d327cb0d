/* Calls that ask for or change credentials. */
#ifndef SDEE_ENV_SUPERVISOR_CALLS_CREDENTIALS_H
#define SDEE_ENV_SUPERVISOR_CALLS_CREDENTIALS_H

#include "env/supervisor/session.h"

handler on_getid, on_getresid, on_getgroups, on_setgroups, on_setid, on_setreid, on_setresid, on_setfsid, on_peercred, on_keepcaps, on_capset;

#endif
