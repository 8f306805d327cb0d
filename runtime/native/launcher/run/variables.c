#include "launcher/run/variables.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/bundle/conf.h"
#include "lib/facts.h"

extern char **environ;

const char *variables_get(char *const *environment, const char *name)
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

/* CONF's globs of one key, looked for once: there are as many as a hundred, for each variable. */
struct globs {
    const char **items;
    size_t count;
};

static struct globs globs_of(const struct bundle *bundle, const char *key)
{
    struct globs globs = {NULL, 0};
    for (const char *cursor = NULL, *glob; (glob = conf_next(bundle, key, &cursor)) != NULL;) {
        if (globs.count % 64 == 0)
            globs.items = reallocate(globs.items, globs.count + 64, sizeof *globs.items);
        globs.items[globs.count++] = glob;
    }
    return globs;
}

/* `all`: is the glob of everything among them? It is skipped here. */
static bool is_among(const struct globs *globs, const char *name, bool *all)
{
    for (size_t i = 0; i < globs->count; i++) {
        const char *glob = globs->items[i];
        if (strcmp(glob, "*") == 0) {
            *all = true;
            continue;
        }
        if ((glob[0] == name[0] || strchr("*?[\\", glob[0]) != NULL) && fnmatch(glob, name, 0) == 0)
            return true;
    }
    return false;
}

static bool is_live(const struct globs *live, const struct globs *fixed, const char *pair, struct arena *arena)
{
    if (strchr(pair, '=') == NULL || options_is_own_variable(pair))
        return false;
    const char *name = arena_format(arena, "%.*s", (int)strcspn(pair, "="), pair);
    bool all = false, none = false;
    return is_among(live, name, &all) || (all && !is_among(fixed, name, &none) && !none);
}

char **variables_make(const struct bundle *bundle, const struct options *options, struct arena *arena)
{
    struct variables variables = {allocate(1, sizeof(char *)), 0};
    for (const char *cursor = NULL, *pair; (pair = conf_next(bundle, "env", &cursor)) != NULL;)
        set(&variables, pair);
    const struct globs live = globs_of(bundle, "live-env"), fixed = globs_of(bundle, "fixed-env");
    for (char **pair = environ; *pair != NULL; pair++) {
        /* of a caller whose variables came through a shell that drops names like A.B: runtime/native/front/passed.c */
        const char *passed = strncmp(*pair, PASSED_PREFIX, sizeof PASSED_PREFIX - 1) == 0 ? strchr(*pair, '=') : NULL;
        if (passed != NULL && strchr(passed + 1, '=') != NULL)
            set(&variables, passed + 1);
        else if (is_live(&live, &fixed, *pair, arena))
            set(&variables, *pair);
    }
    free(live.items);
    free(fixed.items);
    if (options->chdir != NULL && variables_get(variables.items, "PWD") != NULL)
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
