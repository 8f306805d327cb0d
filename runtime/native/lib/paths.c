#include "lib/paths.h"

#include <string.h>

#include "lib/facts.h"

bool path_is_normal(const char *path)
{
    if (path[0] != '/' || strlen(path) > PATH_MOST)
        return false;
    while (*path == '/') {
        const char *name = path + 1;
        const size_t length = strcspn(name, "/");
        if (length == 0 || length > COMPONENT_MOST || (length == 1 && name[0] == '.') || (length == 2 && memcmp(name, "..", 2) == 0))
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
