/* Threads that answer the calls of one listener. */
#ifndef SDEE_SUPERVISE_H
#define SDEE_SUPERVISE_H

#include "session.h"

bool supervise(struct session *session, int listener);

/* No process uses it any more. */
void supervise_end(int listener);

#endif
