#include "launcher/bundle/conf.h"

#include <stdlib.h>
#include <string.h>

#include "lib/paths.h"

const char *conf_next(const struct bundle *bundle, const char *key, const char **cursor)
{
    const char *end = bundle->conf + bundle->conf_size;
    const char *at = *cursor != NULL ? *cursor : bundle->conf;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        const bool found = strcmp(at, key) == 0;
        at = value + strlen(value) + 1;
        if (found) {
            *cursor = at;
            return value;
        }
    }
    *cursor = end;
    return NULL;
}

const char *conf_get(const struct bundle *bundle, const char *key)
{
    const char *cursor = NULL;
    return conf_next(bundle, key, &cursor);
}

bool conf_lists(const struct bundle *bundle, const char *key, const char *path)
{
    for (const char *cursor = NULL, *value; (value = conf_next(bundle, key, &cursor)) != NULL;)
        if (strcmp(value, path) == 0)
            return true;
    return false;
}

bool conf_is_live(const struct bundle *bundle, const char *path)
{
    for (const char *cursor = NULL, *live; (live = conf_next(bundle, "live", &cursor)) != NULL;)
        if (path_is_below(path, live))
            return true;
    return false;
}

const char *conf_next_live(const struct bundle *bundle, const char *tree, const char **cursor)
{
    for (const char *live; (live = conf_next(bundle, "live", cursor)) != NULL;) {
        bool outermost = path_is_below(live, tree) && path_is_normal(live);
        for (const char *other = NULL, *above; outermost && (above = conf_next(bundle, "live", &other)) != NULL;)
            outermost = !(path_is_below(above, tree) && path_is_below(live, above));
        if (outermost)
            return live;
    }
    return NULL;
}

bool conf_check(const struct bundle *bundle, struct error *error)
{
    static const char *const once[] = {"machine", "program", "arg", "cwd", "umask"};
    static const char *const places[] = {"live", "tree", "left-out", "unused", "host"};
    size_t strings = 0;
    for (size_t i = 0; i < bundle->conf_size; i++)
        strings += bundle->conf[i] == '\0';
    if (bundle->conf_size == 0 || bundle->conf[bundle->conf_size - 1] != '\0' || strings % 2 != 0)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF is not pairs of strings", bundle->name);
    for (size_t i = 0; i < sizeof once / sizeof *once; i++)
        if (conf_get(bundle, once[i]) == NULL)
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF has no %s", bundle->name, once[i]);
    const char *text = conf_get(bundle, "umask");
    char *rest;
    const unsigned long mask = strtoul(text, &rest, 8);
    if (*text == '\0' || *rest != '\0' || mask > 0777)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF has no octal umask", bundle->name);
    if (conf_get(bundle, "program")[0] != '/' || conf_get(bundle, "cwd")[0] != '/')
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: program or working directory in CONF is not absolute", bundle->name);
    text = conf_get(bundle, "kept-args");
    if (text != NULL && (text[0] < '1' || text[0] > '9' || text[strspn(text, "0123456789")] != '\0' || strlen(text) > 9))
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF has kept-args = %s, which is no number from 1", bundle->name, text);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (const char *cursor = NULL, *path; (path = conf_next(bundle, places[i], &cursor)) != NULL;)
            if (strcmp(path, "/") != 0 && !path_is_normal(path))
                return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF has %s = %s, which is not a normalised path", bundle->name,
                            places[i], path);
    for (const char *cursor = NULL, *pair; (pair = conf_next(bundle, "env", &cursor)) != NULL;)
        if (strchr(pair, '=') == NULL)
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF has env without '='", bundle->name);
    return true;
}
