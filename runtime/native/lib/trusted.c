#include "lib/trusted.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/sys.h"

bool trusted_path(const char *path, bool root_alone, char *why, size_t size)
{
    char above[PATH_MAX];
    struct stat status;
    for (size_t end = 0, all = strlen(path); end < all;) {
        end += strcspn(path + end + 1, "/") + 1;
        snprintf(above, sizeof above, "%.*s", (int)end, path);
        const bool known = lstat(above, &status) == 0 && (S_ISDIR(status.st_mode) || (end == all && S_ISREG(status.st_mode)));
        const bool owner = known && (status.st_uid == 0 || (!root_alone && status.st_uid == geteuid()));
        /* in a directory with the sticky bit only an entry's owner can change that */
        const bool shared = (status.st_mode & 022) != 0 && !(S_ISDIR(status.st_mode) && (status.st_mode & S_ISVTX) != 0);
        if (owner && !shared)
            continue;
        snprintf(why, size, "%s is not used: other users may change %s", path, above);
        return false;
    }
    return true;
}

bool trusted_self(struct error *error)
{
    struct capabilities capabilities;
    const bool gains = getuid() != geteuid() || getgid() != getegid() ||
                       (geteuid() != 0 && getauxval(AT_SECURE) != 0 && (!sys_capabilities(&capabilities) || capabilities.permitted != 0));
    return !gains || fail(error, EXIT_KERNEL, "chmod u-s,g-s and setcap -r it: it needs no privileges, and with some each user of the node could be root",
                          "this program is set-user-ID, set-group-ID or has file capabilities");
}
