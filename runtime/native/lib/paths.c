#include "lib/paths.h"

#include <limits.h>
#include <string.h>

bool path_is_normal(const char *path)
{
    if (path[0] != '/' || strlen(path) >= PATH_MAX - 64) /* room for a prefix such as /oldroot */
        return false;
    while (*path == '/') {
        const char *name = path + 1;
        const size_t length = strcspn(name, "/");
        if (length == 0 || length > NAME_MAX || (length == 1 && name[0] == '.') || (length == 2 && memcmp(name, "..", 2) == 0))
            return false;
        path = name + length;
    }
    return true;
}

bool path_is_below(const char *path, const char *directory)
{
    const size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}
