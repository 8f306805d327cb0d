#include "launcher/bundle/conf.h"

#include <string.h>

#include "launcher/bundle/rules.h"
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

static const struct rule {
    const char *key;
    uint32_t least, most;
    const char *called;  /* what its value is */
    enum kind kinds[5];  /* of its words; ends with KIND_END */
} RULES[] = {
#define ROW(name, at_least, at_most, what, ...) {name, at_least, at_most, what, {__VA_ARGS__}},
    CONF_ROWS(ROW)
#undef ROW
};
enum { RULE_COUNT = sizeof RULES / sizeof *RULES };

/* Are all characters among these? */
static bool all_of(const char *text, size_t length, const char *set)
{
    for (size_t i = 0; i < length; i++)
        if (strchr(set, text[i]) == NULL)
            return false;
    return length > 0;
}

static bool is_word_of(const char *text, size_t length, const char *const words[3])
{
    for (size_t i = 0; i < 3 && words[i] != NULL; i++)
        if (strlen(words[i]) == length && memcmp(words[i], text, length) == 0)
            return true;
    return false;
}

/* "3.2.0": two numbers or more. */
static bool is_version(const char *text, size_t length)
{
    bool dot = false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '.' && (i == 0 || i + 1 == length || text[i + 1] == '.'))
            return false;
        dot = dot || text[i] == '.';
    }
    return dot && all_of(text, length, "0123456789.");
}

/* As the regular expressions in packer/format/bundle.toml say. Kinds that stand alone are asked about whole values, which end with NUL. */
static bool is_of_kind(const char *text, size_t length, enum kind kind)
{
    static const char *const uses[3] = {"never", "prefer", "asked"}, *const needs[3] = {"must", "may"}, *const unlimited[3] = {"unlimited"};
    switch (kind) {
    case KIND_TEXT: return true;
    case KIND_SOME: return length > 0;
    case KIND_WORD: return length > 0 && memchr(text, ' ', length) == NULL;
    case KIND_MACHINE: return length > 0 && strcspn(text, "/ \t\n\v\f\r") == length;
    case KIND_ABSOLUTE: return text[0] == '/';
    case KIND_PLACE: return strcmp(text, "/") == 0 || path_is_normal(text);
    case KIND_PATH: return path_is_normal(text);
    case KIND_COUNT: return length <= 9 && text[0] != '0' && all_of(text, length, "0123456789");
    case KIND_OCTAL: return all_of(text, length, "01234567") && (length < 4 || (length == 4 && text[0] == '0'));
    case KIND_VARIABLE: return text[0] != '=' && strchr(text, '=') != NULL;
    case KIND_NAME: return all_of(text, length, "abcdefghijklmnopqrstuvwxyz");
    case KIND_LIMIT: return (length <= 20 && all_of(text, length, "0123456789")) || is_word_of(text, length, unlimited);
    case KIND_VERSION: return is_version(text, length);
    case KIND_USE: return is_word_of(text, length, uses);
    case KIND_NEED: return is_word_of(text, length, needs);
    case KIND_END:
    case KIND_MORE: break;
    }
    return false;
}

static bool has_shape(const char *value, const enum kind *kinds)
{
    for (; *kinds != KIND_END; kinds++) {
        if (*kinds == KIND_MORE)
            return *value == '\0' || *value == ' ';
        const size_t length = kinds[1] == KIND_END ? strlen(value) : strcspn(value, " ");
        if (!is_of_kind(value, length, *kinds))
            return false;
        value += length;
        if (kinds[1] != KIND_END && kinds[1] != KIND_MORE && *value++ != ' ')
            return false;
    }
    return true;
}

bool conf_check(const struct bundle *bundle, struct error *error)
{
    uint32_t found[RULE_COUNT] = {0};
    const char *end = bundle->conf + bundle->conf_size;
    size_t strings = 0;
    for (size_t i = 0; i < bundle->conf_size; i++)
        strings += bundle->conf[i] == '\0';
    if (bundle->conf_size == 0 || end[-1] != '\0' || strings % 2 != 0)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF is not pairs of strings", bundle->name);
    for (const char *key = bundle->conf, *value; key < end; key = value + strlen(value) + 1) {
        size_t i = 0;
        value = key + strlen(key) + 1;
        while (i < RULE_COUNT && strcmp(RULES[i].key, key) != 0)
            i++;
        if (i == RULE_COUNT) /* of a newer sdee */
            continue;
        found[i]++;
        if (!has_shape(value, RULES[i].kinds))
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF has %s = %s, which must be %s", bundle->name, key, value, RULES[i].called);
    }
    for (size_t i = 0; i < RULE_COUNT; i++)
        if (found[i] < RULES[i].least)
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF has no %s", bundle->name, RULES[i].key);
        else if (found[i] > RULES[i].most)
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: CONF has %s %u times", bundle->name, RULES[i].key, found[i]);
    return true;
}
