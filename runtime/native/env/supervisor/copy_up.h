/* Own-on-write: a host file that the namespace's root may not change is replaced by a copy that the user owns. */
#ifndef SDEE_ENV_SUPERVISOR_COPY_UP_H
#define SDEE_ENV_SUPERVISOR_COPY_UP_H

#include "env/supervisor/session.h"

#define OWN_WORKSHOP ".sdee-own"

/* Is it a file of the host below an overlay that would refuse a change? Directories are the skeleton's matter. */
bool needs_own(const struct session *session, const struct statx *file);

/* Replace it, when it needs that; `*fd` is then the copy's. `empty`: its content will not be wanted
 * (O_TRUNC), so that the user need not be able to read it. 0 or -errno: -EACCES when that is needed. */
int own(const struct session *session, int *fd, struct statx *file, bool empty);

#endif
