/* How a process ends. */
#ifndef SDEE_LIB_END_H
#define SDEE_LIB_END_H

/* The end of this process as another's that ended with `status` (wait(2)): by the same signal, without a core of our own. */
_Noreturn void end_as(int status);

#endif
