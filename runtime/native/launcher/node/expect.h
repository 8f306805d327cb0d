/* What the bundle expects of a node's CPU, kernel and drivers, looked at before anything is done. */
#ifndef SDEE_LAUNCHER_NODE_EXPECT_H
#define SDEE_LAUNCHER_NODE_EXPECT_H

#include "launcher/node/host_libraries.h"

/* CONF isa, kernel, host-need. Errors: EXIT_NODE. */
bool expect_check(const struct bundle *bundle, const struct host_libraries *libraries, struct error *error);

/* The job was ended by SIGILL: say so when this CPU can do less than the one where it was traced. */
void expect_explain_illegal(const struct bundle *bundle);

#endif
