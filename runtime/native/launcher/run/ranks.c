#include "launcher/run/ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One line each: which variable says that this is a rank, which name the step (NULL: the parent, which starts all ranks of a node), and
 * which says how many there are here or at least in all (NULL: unknown). First match counts: mpirun below Slurm or PBS
 * starts its own ranks. Not here: variables that a batch script has too (PBS_TASKNUM, LSB_JOBID), whose runs are not one another's ranks. */
static const struct launcher {
    const char *rank, *step[3], *size;
} LAUNCHERS[] = {
    {"OMPI_COMM_WORLD_RANK", {"PMIX_NAMESPACE"}, "OMPI_COMM_WORLD_LOCAL_SIZE"},      /* Open MPI's mpirun */
    {"OMPI_COMM_WORLD_RANK", {"OMPI_MCA_ess_base_jobid"}, "OMPI_COMM_WORLD_LOCAL_SIZE"}, /* before 4.0, without PMIx */
    {"MPI_LOCALRANKID", {NULL}, "MPI_LOCALNRANKS"},                                  /* hydra: MPICH, Intel MPI */
    {"MV2_COMM_WORLD_RANK", {NULL}, "MV2_COMM_WORLD_LOCAL_SIZE"},                    /* MVAPICH's mpirun_rsh */
    {"JSM_NAMESPACE_RANK", {"LSB_JOBID", "JSM_NAMESPACE_ID"}, "JSM_NAMESPACE_LOCAL_SIZE"}, /* LSF's jsrun */
    {"PALS_RANKID", {"PALS_APID"}, NULL},                                            /* HPE's mpiexec, aprun */
    {"FLUX_TASK_RANK", {"FLUX_JOB_ID"}, "FLUX_JOB_SIZE"},                            /* flux run */
    {"SLURM_PROCID", {"SLURM_STEP_ID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"}, "SLURM_STEP_NUM_TASKS"}, /* srun; a batch script has no step */
    {"PMIX_RANK", {"PMIX_NAMESPACE"}, NULL},                                         /* prun and others that speak PMIx */
    {"PMI_RANK", {NULL}, "PMI_SIZE"},                                                /* others that speak PMI */
};

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

static bool is_started_by(const struct launcher *launcher)
{
    return is_set(launcher->rank) && (launcher->step[0] == NULL || is_set(launcher->step[0]));
}

bool ranks_is_first(void)
{
    for (size_t i = 0; i < sizeof LAUNCHERS / sizeof *LAUNCHERS; i++)
        if (is_started_by(&LAUNCHERS[i]) && strcmp(LAUNCHERS[i].rank, "MPI_LOCALRANKID") != 0) /* of this node; hydra sets PMI_RANK, too */
            return strcmp(getenv(LAUNCHERS[i].rank), "0") == 0;
    return true;
}

bool ranks_key(char *key, size_t size)
{
    for (size_t i = 0; i < sizeof LAUNCHERS / sizeof *LAUNCHERS; i++) {
        const struct launcher *launcher = &LAUNCHERS[i];
        if (!is_started_by(launcher))
            continue;
        if (launcher->size != NULL && is_set(launcher->size) && atoi(getenv(launcher->size)) <= 1)
            return false;
        size_t used = (size_t)snprintf(key, size, "%s", launcher->rank);
        if (launcher->step[0] == NULL)
            used += (size_t)snprintf(key + used, size - used, " parent %d", (int)getppid());
        for (size_t k = 0; k < 3 && launcher->step[k] != NULL && used < size; k++)
            used += (size_t)snprintf(key + used, size - used, " %s", is_set(launcher->step[k]) ? getenv(launcher->step[k]) : "");
        return used < size;
    }
    return false;
}
