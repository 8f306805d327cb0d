#include "launcher/run/ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/facts.h"

/* The first row whose variables are set counts: mpirun below Slurm or PBS starts its own ranks. src/sdee/base/facts/ranks.toml says more. */
static const struct launcher {
    const char *rank, *step[3], *size; /* no step: the parent, which starts all ranks of a node; no size: unknown */
    bool protocol;                     /* spoken by launchers that have rows of their own, which know their step */
} LAUNCHERS[] = {
#define ROW(rank, step1, step2, step3, size, protocol) {rank, {step1, step2, step3}, size, protocol},
    RANK_ROWS(ROW)
#undef ROW
};
enum { LAUNCHER_COUNT = sizeof LAUNCHERS / sizeof *LAUNCHERS };

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

/* The first row whose variables are set, among protocols or among launchers. */
static const struct launcher *first_of(bool protocols)
{
    for (size_t i = 0; i < LAUNCHER_COUNT; i++)
        if (LAUNCHERS[i].protocol == protocols && is_set(LAUNCHERS[i].rank) && (LAUNCHERS[i].step[0] == NULL || is_set(LAUNCHERS[i].step[0])))
            return &LAUNCHERS[i];
    return NULL;
}

bool ranks_is_first(void)
{
    const struct launcher *launcher = first_of(false), *protocol = first_of(true);
    if (launcher == NULL || (protocol != NULL && strstr(launcher->rank, "LOCAL") != NULL)) /* hydra's is one of the node; it speaks PMI, too */
        launcher = protocol;
    return launcher == NULL || strcmp(getenv(launcher->rank), "0") == 0;
}

bool ranks_key(char *key, size_t size)
{
    const struct launcher *launcher = first_of(false);
    if (launcher == NULL)
        launcher = first_of(true);
    if (launcher == NULL || (launcher->size != NULL && is_set(launcher->size) && atoi(getenv(launcher->size)) <= 1))
        return false;
    size_t used = (size_t)snprintf(key, size, "%s", launcher->rank);
    if (launcher->step[0] == NULL)
        used += (size_t)snprintf(key + used, size - used, " parent %d", (int)getppid());
    for (size_t k = 0; k < 3 && launcher->step[k] != NULL && used < size; k++)
        used += (size_t)snprintf(key + used, size - used, " %s", is_set(launcher->step[k]) ? getenv(launcher->step[k]) : "");
    return used < size;
}
