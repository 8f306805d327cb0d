#include "launcher/keep/keeping.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool keep_open(const char *directory, mode_t mask, int *save, struct error *error)
{
    struct stat status;
    if (mkdir(directory, 0777 & ~mask) != 0 && errno != EEXIST)
        return fail(error, EXIT_OUTPUT, NULL, "cannot make the directory of --save, %s: %s", directory, strerror(errno));
    if (lstat(directory, &status) == 0 && S_ISLNK(status.st_mode) && status.st_uid != geteuid() && status.st_uid != 0)
        return fail(error, EXIT_OUTPUT, "name a directory of your own",
                    "sdee does not use the directory of --save, %s: it is a link of another user", directory);
    *save = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*save < 0 || faccessat(*save, ".", W_OK | X_OK, 0) != 0)
        return fail(error, EXIT_OUTPUT, "name a directory that you may write to", "cannot write to the directory of --save, %s: %s", directory,
                    strerror(errno));
    return true;
}
