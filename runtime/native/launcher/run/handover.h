/* Where AppArmor refuses this program user namespaces: an installed launcher, which a site has given a profile of its own, runs the bundle. */
#ifndef SDEE_LAUNCHER_RUN_HANDOVER_H
#define SDEE_LAUNCHER_RUN_HANDOVER_H

#include "launcher/run/job.h"

#define INSTALLED_LAUNCHER "/usr/bin/sdee-launcher"

/* Execute it, with the same arguments. Returns where that is not called for, or cannot be: `root` is then
 * to be chosen again, and `error` has a line for what was tried. */
void handover(const struct root *root, const struct options *options, const struct inherited *inherited, char **argv, struct error *error);

#endif
