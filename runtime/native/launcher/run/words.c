#include "launcher/run/words.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/bundle/conf.h"
#include "lib/arena.h"

/* Of `python plot.py 5` the first two. A bundle without the key keeps the program alone. */
static size_t kept_words(const struct bundle *bundle, size_t recorded)
{
    const char *text = conf_get(bundle, "kept-args");
    const unsigned long count = text != NULL ? strtoul(text, NULL, 10) : 1;
    return count < 1 ? 1 : count > recorded ? recorded : count;
}

char **words_make(const struct bundle *bundle, const struct options *options, const char *shell)
{
    size_t recorded = 0;
    for (const char *cursor = NULL; conf_next(bundle, "arg", &cursor) != NULL;)
        recorded++;
    char **words = allocate(recorded + (size_t)options->argument_count + 3, sizeof *words), **end = words;
    const bool other = options->shell || options->command != NULL;
    const size_t kept = other ? 0 : options->argument_count > 0 ? kept_words(bundle, recorded) : recorded;
    if (other)
        *end++ = (char *)(uintptr_t)(options->shell ? shell : options->command);
    const char *cursor = NULL;
    for (size_t i = 0; i < kept; i++)
        *end++ = (char *)(uintptr_t)conf_next(bundle, "arg", &cursor);
    for (int i = 0; i < options->argument_count; i++)
        *end++ = options->arguments[i];
    return words;
}

/* A word as a shell reads it back. */
static size_t quote(const char *word, char *text, size_t size)
{
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0')
        return (size_t)snprintf(text, size, "%s", word);
    size_t used = (size_t)snprintf(text, size, "'");
    for (; *word != '\0' && used + 6 < size; word++)
        used += (size_t)(*word == '\'' ? snprintf(text + used, size - used, "'\\''") : snprintf(text + used, size - used, "%c", *word));
    return used + (size_t)snprintf(text + used, size - used, "'");
}

void words_print(const struct bundle *bundle, const struct options *options)
{
    char text[7000] = "";
    size_t used = 0;
    char **words = words_make(bundle, options, "a shell");
    for (char **word = words; *word != NULL && used + 8 < sizeof text; word++) {
        used += (size_t)snprintf(text + used, sizeof text - used, word == words ? "" : " ");
        used += quote(*word, text + used, sizeof text - used);
        used = used < sizeof text ? used : sizeof text - 1;
    }
    note("runs: %s%s", text, used + 8 < sizeof text ? "" : " ...");
    note("in: %s", options->chdir != NULL ? options->chdir : conf_get(bundle, "cwd"));
    free(words);
}
