#include "launcher/node/storage.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "lib/facts.h"

/* src/sdee/base/facts/filesystems.toml says what is what. */
static const struct kind {
    const char *names; /* as in mountinfo */
    uint32_t magic;    /* 0: known by its names alone */
    bool far, locks;
    const char *good, *bad; /* mount options that say that locks do, or do not, reach other nodes */
} KINDS[] = {
#define ROW(label, names, magic, far, locks, good, bad) {names, magic, far, locks, good, bad},
    FILE_SYSTEM_ROWS(ROW)
#undef ROW
};

/* Is a word among words? */
static bool has_word(const char *words, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = words; (at = strstr(at, word)) != NULL; at += length)
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return length > 0;
    return false;
}

/* The line of mountinfo for the mount that a path lies on, by the device's number, proc_pid_mountinfo(5); NULL for none. To be freed. */
static char *mount_of(const char *path)
{
    struct stat status;
    unsigned major_number, minor_number;
    char *line = NULL;
    size_t size = 0;
    bool found = false;
    FILE *file = stat(path, &status) == 0 ? fopen("/proc/self/mountinfo", "re") : NULL;
    while (file != NULL && !found && getline(&line, &size, file) > 0)
        found = sscanf(line, "%*s %*s %u:%u", &major_number, &minor_number) == 2 && major_number == major(status.st_dev) &&
                minor_number == minor(status.st_dev);
    if (file != NULL)
        fclose(file);
    if (!found) {
        free(line);
        line = NULL;
    }
    return line;
}

/* By what mountinfo calls it: of those whose magic number nobody has told. */
static const struct kind *kind_by_name(const char *path)
{
    char *line = mount_of(path), name[64] = "";
    const char *type = line != NULL ? strstr(line, " - ") : NULL;
    const struct kind *kind = NULL;
    if (type != NULL && sscanf(type, " - %63s", name) == 1)
        for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS && kind == NULL; i++)
            kind = has_word(KINDS[i].names, name) ? &KINDS[i] : NULL;
    free(line);
    return kind;
}

/* NULL: not a network's. */
static const struct kind *kind_of(const char *path)
{
    struct statfs status;
    const struct kind *kind = NULL;
    if (statfs(path, &status) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS && kind == NULL; i++)
        kind = KINDS[i].magic != 0 && (uint32_t)status.f_type == KINDS[i].magic ? &KINDS[i] : NULL;
    if (kind == NULL)
        kind = kind_by_name(path);
    return kind != NULL && kind->far ? kind : NULL;
}

bool storage_is_far(const char *path)
{
    return kind_of(path) != NULL;
}

static bool has_option(const char *path, const char *option)
{
    char *line = mount_of(path);
    const bool found = line != NULL && strstr(line, option) != NULL;
    free(line);
    return found;
}

bool storage_locks_reach(const char *path)
{
    const struct kind *kind = kind_of(path);
    if (kind == NULL)
        return true;
    return kind->locks && (kind->good == NULL || has_option(path, kind->good)) && (kind->bad == NULL || !has_option(path, kind->bad));
}
