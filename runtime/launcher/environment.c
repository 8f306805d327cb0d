#include "environment.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

const char *environment_get(char *const *environment, const char *name)
{
    const size_t length = strlen(name);
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

struct variables {
    char **items;
    size_t count;
};

static void set(struct variables *variables, const char *pair)
{
    const size_t length = strcspn(pair, "=") + 1;
    size_t i = 0;
    while (i < variables->count && strncmp(variables->items[i], pair, length) != 0)
        i++;
    if (i == variables->count) {
        variables->items = reallocate(variables->items, variables->count + 2, sizeof *variables->items);
        variables->items[++variables->count] = NULL;
    }
    variables->items[i] = (char *)(uintptr_t)pair; /* execve(2) takes char *const[] and changes nothing */
}

static bool is_among(const struct bundle *bundle, const char *key, const char *name)
{
    for (const char *cursor = NULL, *glob; (glob = conf_next(bundle, key, &cursor)) != NULL;)
        if (fnmatch(glob, name, 0) == 0)
            return true;
    return false;
}

static bool is_live(const struct bundle *bundle, const char *pair, struct arena *arena)
{
    if (strchr(pair, '=') == NULL || options_is_own_variable(pair))
        return false;
    const char *name = arena_format(arena, "%.*s", (int)strcspn(pair, "="), pair);
    return is_among(bundle, "live-env", name) && !is_among(bundle, "fixed-env", name);
}

char **environment_make(const struct bundle *bundle, const struct options *options, struct arena *arena)
{
    struct variables variables = {allocate(1, sizeof(char *)), 0};
    for (const char *cursor = NULL, *pair; (pair = conf_next(bundle, "env", &cursor)) != NULL;)
        set(&variables, pair);
    for (char **pair = environ; *pair != NULL; pair++)
        if (is_live(bundle, *pair, arena))
            set(&variables, *pair);
    if (options->chdir != NULL && environment_get(variables.items, "PWD") != NULL)
        set(&variables, arena_format(arena, "PWD=%s", options->chdir));
    for (int i = 0; i < options->env_count; i++) {
        const char *value = getenv(options->env[i]);
        if (strchr(options->env[i], '=') != NULL)
            set(&variables, options->env[i]);
        else if (value != NULL)
            set(&variables, arena_format(arena, "%s=%s", options->env[i], value));
    }
    return variables.items;
}
