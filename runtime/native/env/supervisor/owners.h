/* Who owns a file, as the environment shows it, and where that is kept.
 *
 * With one mapped id every file that the user makes is root's. Another owner is emulated: it stands in the file's extended
 * attribute user.sdee.owner ("UID GID"), so that it is renamed, linked, copied and removed with the file; for what cannot have
 * user attributes (links, sockets, pipes, file systems without them, the user's own directories, which sdee does not mark) in
 * the file `owners` of the environment. */
#ifndef SDEE_ENV_SUPERVISOR_OWNERS_H
#define SDEE_ENV_SUPERVISOR_OWNERS_H

#include <linux/stat.h>

#include "env/supervisor/session.h"

#define OWNER_MASK (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)
#define OWNER_ATTRIBUTE "user.sdee.owner"

struct owner {
    uint32_t uid, gid;
};

/* Does the host give the file to ids that the namespace does not map? Then its root may not change it. */
bool is_foreign(const struct session *session, const struct statx *file);

/* Is its owner, whatever the group, another than the user? Then a chown is refused: chown(2) asks for the owner alone, and in
 * directories with the set-group-ID bit (projects') the user's own files have groups that the namespace does not map. */
bool is_anothers(const struct session *session, const struct statx *file);

/* The owner to show for an O_PATH descriptor, or a name in /proc, of which `file` is the statx. */
struct owner owner_shown(const struct session *session, int fd, const struct statx *file);
struct owner owner_shown_of(const struct session *session, const char *name, const struct statx *file);

/* Record it. 0 or -errno. */
int owner_set(const struct session *session, int fd, const struct statx *file, struct owner owner);

/* Read `owners` of the environment's directory and keep it open. */
void owners_load(int directory);

#endif
