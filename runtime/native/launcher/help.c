#include "launcher/help.h"

#include <stdio.h>

static const char EXEC[] =
    "Usage: sdee exec [OPTIONS] bundle.sdee [ARGS...]\n"
    "\n"
    "Run a bundle. Without ARGS the recorded command line; with ARGS the recorded program with these arguments.\n"
    "Options end at the bundle's name: what follows belongs to the job.\n"
    "\n"
    "  --root auto|merged|closed  merged: the closure over this node's own system, by overlayfs. closed: the closure alone,\n"
    "                             with this node's /proc, /sys, /dev, /tmp, /home and other directories that are not the system.\n"
    "                             auto: merged where the system is the one the bundle was made on, else closed [auto]\n"
    "  --command PROG             run PROG, looked up in the job's PATH, instead of the recorded program\n"
    "  --shell                    run a shell instead\n"
    "  --chdir DIR                working directory [the recorded one]\n"
    "  --env NAME[=VALUE]         set a variable of the job; without VALUE it is taken from here. May be repeated\n"
    "  --save DIR                 keep in DIR what the job writes outside live directories\n"
    "  --join auto|never|NAME     share namespaces and the unpacked closure. auto: the ranks of one step on this node, by Slurm's, Open MPI's,\n"
    "                             MPICH's and others' variables; NAME: all that are started here with this name [auto]\n"
    "  --mpi bundle|host          host: this node's MPI libraries instead of the bundle's, if their sonames and symbols agree [bundle]\n"
    "  --deploy                   only unpack the closure on this node, for the runs that follow; prints where. `sdee deploy` is the same\n"
    "  --undeploy                 remove it again. `sdee undeploy` is the same\n"
    "  --deploy-dir DIR           where [the first of /dev/shm, /tmp, /var/tmp that has room]\n"
    "  --threads N                unpack with N threads; 0: one for each CPU that may be used [0]\n"
    "  --force                    run although this node's CPU, kernel or drivers are not what the bundle needs\n"
    "  --diagnose                 run under a light trace; when the job fails, name the files that it looked for in vain\n"
    "  --debug                    print the mount plan before carrying it out\n"
    "  --dry-run                  only print the mount plan\n"
    "  --quiet                    no warnings\n"
    "  -h, --help                 this text\n";

static const char BUNDLE[] =
    "Usage: %s [ARGS...]\n"
    "\n"
    "A bundle of sdee: a job with all the files that it needs. Without ARGS it runs the recorded command line; with ARGS\n"
    "the recorded program with these arguments. Options are taken from variables, so that all arguments go to the job:\n"
    "\n"
    "  SDEE_ROOT=auto|merged|closed  merged: the closure over this node's own system, by overlayfs. closed: the closure alone,\n"
    "                                with this node's /proc, /sys, /dev, /tmp, /home and others that are not the system\n"
    "  SDEE_COMMAND=PROG             run PROG, looked up in the job's PATH, instead of the recorded program\n"
    "  SDEE_SHELL=1                  run a shell instead\n"
    "  SDEE_CHDIR=DIR                working directory\n"
    "  SDEE_ENV=NAME,NAME            further variables that the job takes from here\n"
    "  SDEE_SAVE=DIR                 keep in DIR what the job writes outside live directories\n"
    "  SDEE_JOIN=auto|never|NAME     ranks of one step on this node share the unpacked closure; NAME: all started with it\n"
    "  SDEE_MPI=bundle|host          host: this node's MPI libraries instead of the bundle's, if sonames and symbols agree\n"
    "  SDEE_DEPLOY=1                 only unpack the closure on this node, for the runs that follow; prints where\n"
    "  SDEE_UNDEPLOY=1               remove it again\n"
    "  SDEE_DEPLOY_DIR=DIR           where [the first of /dev/shm, /tmp, /var/tmp that has room]\n"
    "  SDEE_THREADS=N                unpack with N threads\n"
    "  SDEE_FORCE=1                  run although this node's CPU, kernel or drivers are not what the bundle needs\n"
    "  SDEE_DIAGNOSE=1               run under a light trace; when the job fails, name the files that it looked for in vain\n"
    "  SDEE_DEBUG=1                  print the mount plan before carrying it out\n"
    "  SDEE_DRY_RUN=1                only print the mount plan\n"
    "  SDEE_QUIET=1                  no warnings\n";

static const char BOTH[] =
    "\n"
    "The exit status is the job's own. These come from sdee, with a message that begins with \"sdee: error:\":\n"
    "  2 usage  126 not executable  127 not found  240 bug  241 bundle damaged  242 refused by the kernel\n"
    "  243 not enough memory  244 the node lacks something  247 a result cannot be written\n";

void help_print(const char *bundle)
{
    if (bundle != NULL)
        printf(BUNDLE, bundle);
    else
        printf("%s\nThe variables SDEE_ROOT, SDEE_COMMAND, SDEE_SHELL, SDEE_CHDIR, SDEE_ENV (NAME,NAME), SDEE_SAVE, SDEE_MPI, SDEE_JOIN, SDEE_THREADS,\n"
               "SDEE_FORCE, SDEE_DIAGNOSE, SDEE_DEPLOY, SDEE_UNDEPLOY, SDEE_DEPLOY_DIR, SDEE_DEBUG, SDEE_DRY_RUN and SDEE_QUIET set the same.\n",
               EXEC);
    printf("%s", BOTH);
    fflush(stdout);
}
