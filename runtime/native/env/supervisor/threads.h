/* Threads that answer the calls of one listener. */
#ifndef SDEE_ENV_SUPERVISOR_THREADS_H
#define SDEE_ENV_SUPERVISOR_THREADS_H

#include "env/supervisor/session.h"

bool supervise(struct session *session, int listener);

/* No process uses it any more. */
void supervise_end(int listener);

#endif
