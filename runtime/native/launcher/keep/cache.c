/* What programs make again when it is missing, so that nobody misses it: they write it where they may and go on where they may not, and so
 * does the launcher. Each is a cache by what its makers say of it: Python's compiled modules (PEP 3147), $XDG_CACHE_HOME ("non-essential",
 * XDG Base Directory Specification), /var/cache (FHS 5.5), and each directory with a CACHEDIR.TAG (bford.info/cachedir): those of fontconfig,
 * of pytest, mypy and others. */
#include "launcher/keep/cache.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/keep/base.h"

static bool is_tagged(int directory)
{
    static const char signature[] = "Signature: 8a477f597d28d172789f06886806bc55";
    char text[sizeof signature - 1];
    const int fd = openat(directory, "CACHEDIR.TAG", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const bool same = fd >= 0 && read(fd, text, sizeof text) == (ssize_t)sizeof text && memcmp(text, signature, sizeof text) == 0;
    if (fd >= 0)
        close(fd);
    return same;
}

static bool is_of_xdg(const char *path)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char place[PATH_MAX];
    if (cache != NULL && cache[0] == '/')
        return strcmp(path, cache) == 0;
    snprintf(place, sizeof place, "%s/.cache", home != NULL ? home : "");
    return home != NULL && home[0] == '/' && strcmp(path, place) == 0;
}

static bool is_tagged_there(int parent, const char *name)
{
    const int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const bool tagged = fd >= 0 && is_tagged(fd);
    if (fd >= 0)
        close(fd);
    return tagged;
}

bool keep_is_cache(const char *path, int parent, const char *name, bool directory, bool asks)
{
    const char *last = strrchr(path, '/') + 1, *end = strrchr(last, '.');
    char node[PATH_MAX + 16];
    if (!directory)
        return end != NULL && end != last && strcmp(end, ".pyc") == 0;
    snprintf(node, sizeof node, "%s%s", keep_base.node, path); /* the tag may have been there before */
    return strcmp(last, "__pycache__") == 0 || strcmp(path, "/var/cache") == 0 || is_of_xdg(path) || is_tagged_there(parent, name) ||
           (asks && is_tagged_there(AT_FDCWD, node));
}

bool keep_is_in_cache(const char *path)
{
    char above[PATH_MAX], closure[PATH_MAX + 32];
    bool found = false;
    for (const char *slash = path; !found && slash != NULL && slash[0] != '\0';) {
        slash = strchr(slash + 1, '/');
        snprintf(above, sizeof above, "%.*s", slash != NULL ? (int)(slash - path) : (int)strlen(path), path);
        snprintf(closure, sizeof closure, "%s%s", keep_base.closure, above);
        found = keep_is_cache(above, AT_FDCWD, closure, true, true);
    }
    return found;
}
