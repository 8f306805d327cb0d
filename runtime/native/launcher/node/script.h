#ifndef SDEE_LAUNCHER_NODE_SCRIPT_H
#define SDEE_LAUNCHER_NODE_SCRIPT_H

#include <limits.h>
#include <stdbool.h>

/* The interpreter that a script (#!) or ELF file (PT_INTERP) names; false when it names none. */
bool script_interpreter(const char *program, char interpreter[PATH_MAX]);

/* Text, as bash tells it: no NUL in the first line. A shell runs a script without #!, and execvp(3) gives one to sh. */
bool script_is_text(const char *program);

#endif
