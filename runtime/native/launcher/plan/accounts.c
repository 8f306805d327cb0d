#include "launcher/plan/accounts.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whole file with the last line ended; *has says whether field 3 of some line is `id`. */
static const char *read_database(struct arena *arena, const char *path, unsigned long id, bool *has)
{
    const char *text = "";
    char *line = NULL;
    size_t size = 0, used = 0;
    char *all = NULL;
    FILE *file = fopen(path, "re");
    *has = false;
    for (ssize_t length; file != NULL && (length = getline(&line, &size, file)) > 0;) {
        const char *field = strchr(line, ':');
        field = field != NULL ? strchr(field + 1, ':') : NULL;
        *has = *has || (field != NULL && field[1] >= '0' && field[1] <= '9' && strtoul(field + 1, NULL, 10) == id);
        all = reallocate(all, used + (size_t)length + 2, 1);
        memcpy(all + used, line, (size_t)length);
        used += (size_t)length;
        if (all[used - 1] != '\n')
            all[used++] = '\n';
        all[used] = '\0';
    }
    if (file != NULL)
        fclose(file);
    if (all != NULL)
        text = arena_format(arena, "%s", all);
    free(line);
    free(all);
    return text;
}

/* A variable's value when it can stand in a colon-separated line. */
static const char *plain(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' && strpbrk(value, ":\n") == NULL ? value : otherwise;
}

static const char *user_name(struct arena *arena)
{
    return plain("USER", plain("LOGNAME", arena_format(arena, "user%lu", (unsigned long)getuid())));
}

const char *passwd_with_user(struct arena *arena)
{
    bool has;
    const char *text = read_database(arena, "/etc/passwd", getuid(), &has);
    if (has)
        return NULL;
    const char *name = user_name(arena);
    return arena_format(arena, "%s%s:x:%lu:%lu:%s:%s:%s\n", text, name, (unsigned long)getuid(), (unsigned long)getgid(), name,
                        plain("HOME", "/"), plain("SHELL", "/bin/sh"));
}

const char *group_with_user(struct arena *arena)
{
    bool has;
    const char *text = read_database(arena, "/etc/group", getgid(), &has);
    if (has)
        return NULL;
    return arena_format(arena, "%s%s:x:%lu:\n", text, user_name(arena), (unsigned long)getgid());
}
