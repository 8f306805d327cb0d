#include "lib/mountinfo.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/arena.h"

enum { LINK = 48 }; /* "mnt:[4026531840]" */

struct seen {
    char (*items)[LINK];
    size_t count;
};

/* The first look at a namespace. */
static bool is_new(struct seen *seen, const char *namespace)
{
    for (size_t i = 0; i < seen->count; i++)
        if (strcmp(seen->items[i], namespace) == 0)
            return false;
    seen->items = reallocate(seen->items, seen->count + 1, sizeof *seen->items);
    snprintf(seen->items[seen->count++], LINK, "%s", namespace);
    return true;
}

static bool namespace_of(int proc, const char *process, char namespace[LINK])
{
    char path[300];
    snprintf(path, sizeof path, "%s/ns/mnt", process);
    const ssize_t size = readlinkat(proc, path, namespace, LINK - 1);
    namespace[size > 0 ? size : 0] = '\0';
    return size > 0;
}

/* "\040": a space, tab, newline or backslash of a name, proc_pid_mountinfo(5). */
static bool is_escape(const char *text)
{
    return text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' && text[2] <= '7' && text[3] >= '0' && text[3] <= '7';
}

void mounted_unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        if (is_escape(from)) {
            *to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

static void look(int proc, const char *process, const char *const *paths, bool *mounted, size_t count)
{
    char path[300];
    char *line = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/mountinfo", process);
    const int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
    while (file != NULL && getline(&line, &size, file) > 0) {
        int from = 0, to = 0;
        if (sscanf(line, "%*s %*s %*s %*s %n%*s%n", &from, &to) < 0 || to <= from)
            continue;
        line[to] = '\0';
        mounted_unescape(line + from);
        for (size_t i = 0; i < count; i++)
            mounted[i] = mounted[i] || strcmp(line + from, paths[i]) == 0;
    }
    free(line);
    if (file != NULL)
        fclose(file);
    else if (fd >= 0)
        close(fd);
}

void mounted_find(const char *root, const char *const *paths, bool *mounted, size_t count)
{
    struct seen seen = {NULL, 0};
    char namespace[LINK], path[300];
    snprintf(path, sizeof path, "%s/proc", root);
    const int proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = proc >= 0 ? fdopendir(proc) : NULL;
    if (stream != NULL && namespace_of(proc, "self", namespace))
        is_new(&seen, namespace);
    for (const struct dirent *item; stream != NULL && (item = readdir(stream)) != NULL;)
        if (item->d_name[0] >= '1' && item->d_name[0] <= '9' && namespace_of(proc, item->d_name, namespace) && is_new(&seen, namespace))
            look(proc, item->d_name, paths, mounted, count);
    if (stream != NULL)
        closedir(stream);
    free(seen.items);
}
