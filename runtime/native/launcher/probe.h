/* Does it work? Tried in a child, which is gone afterwards. */
#ifndef SDEE_LAUNCHER_PROBE_H
#define SDEE_LAUNCHER_PROBE_H

#include <stdbool.h>

/* Can `lower` be the lower layer of a writable overlay whose upper is on a tmpfs? Not on Lustre or GPFS, nor before Linux 6.6. */
bool probe_overlay(const char *lower);

#endif
