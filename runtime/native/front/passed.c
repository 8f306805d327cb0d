/* Variables whose names are no shell's: functions that bash has exported (BASH_FUNC_f%%), A.B. dash drops them, and shells of ours
 * stand between a caller and its tasks. There they are SDEE_PASSED_0=NAME=VALUE, SDEE_PASSED_1=...; the launcher of the bundle, or
 * show_again() here, makes of these what they were. runtime/jobs/passed.py has the same. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "front/front.h"
#include "lib/arena.h"

extern char **environ;

const char *const NODE_VARIABLES[] = {"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "ENV", "SLURM_CONF", NULL};

static bool is_shells(const char *pair)
{
    if (isdigit((unsigned char)*pair))
        return false;
    while (isalnum((unsigned char)*pair) || *pair == '_')
        pair++;
    return *pair == '=';
}

void hide_from_shells(void)
{
    int number = 0;
    for (char **pair = environ; *pair != NULL; pair++) {
        if (is_shells(*pair) || strchr(*pair, '=') == NULL)
            continue;
        const size_t size = strlen(*pair) + 32;
        char *hidden = allocate(size, 1);
        snprintf(hidden, size, PASSED_PREFIX "%d=%s", number++, *pair);
        *pair = hidden;
    }
}

void show_again(void)
{
    for (char **pair = environ; *pair != NULL; pair++) {
        char *hidden = strncmp(*pair, PASSED_PREFIX, sizeof PASSED_PREFIX - 1) == 0 ? strchr(*pair, '=') : NULL;
        if (hidden != NULL && strchr(hidden + 1, '=') != NULL)
            *pair = hidden + 1;
    }
}
