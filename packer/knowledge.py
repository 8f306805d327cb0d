"""What the closure knows of this world by name: paths, file systems, variables, suffixes. Tables only.

Each is a text with one pattern a word and comments after `#`, so that a site can be added without touching code.
"""

from __future__ import annotations

import re

from sdee.base import facts


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for line in text.splitlines() for word in line.partition("#")[0].split())


# Larger files stay on shared storage: copying them into every node's memory would cost more than reading them there.
SHARED_LIMIT = 1_000_000_000  # bytes
# Files that the job only asked about (stat, access) travel up to these sizes: that they are there may matter, but a
# job that looks at all of /usr must not carry it.
PROBE_LIMIT = 16 << 20  # bytes, each
PROBES_LIMIT = 64 << 20  # bytes, together
LIST_LIMIT = 1 << 20  # bytes of all files of a directory that the job listed
# Of software directories beside a node's own files, what the run did not use travels up to this sum (`software-limit`)
SOFTWARE_LIMIT = 256_000_000  # bytes

# Whole packages of what a job executed, and of the data that it used, travel up to this sum (`package-limit`)
PACKAGES_LIMIT = 128_000_000  # bytes

# The node's kernel and init: never travel, whatever was read there
HOST_ROOTS = _words("""
    /proc /sys /dev /run /var/run
""")
# … except what some distributions keep there: NixOS's and Guix's systems, reached through links
SOFTWARE_IN_RUN = _words("""
    /run/current-system /run/booted-system
""")
# Who and where the node is. /etc/localtime and /etc/nsswitch.conf are not here: output and lookups depend on them
HOST_FILES = _words("""
    /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/passwd- /etc/group- /etc/shadow- /etc/subuid /etc/subgid
    /etc/hosts /etc/hostname /etc/resolv.conf /etc/machine-id /etc/mtab /etc/fstab /etc/networks
    /var/lib/dbus/machine-id /etc/slurm /etc/slurm-llnl /etc/munge   # a job manager's settings are the site's
    /var/lib/sss /var/cache/nscd /var/db/nscd                        # caches of sssd and nscd, mapped by libc
    /var/spool/slurmd /var/spool/slurm /var/lib/munge
""")
# Named in every bundle: looking up the user or a host must work also in code that the traced run did not reach
HOST_ALWAYS = _words("""
    /etc/passwd /etc/group /etc/hosts /etc/hostname /etc/resolv.conf /etc/machine-id
    /run/munge /run/nscd /run/systemd/resolve /var/lib/sss
    /etc/slurm /etc/slurm-llnl /var/spool/slurmd /var/spool/slurm   # srun in the job; PMIx's directories of each step
""")

NETWORK_FILE_SYSTEMS = facts.network_file_systems()

# Where systems and installed software lie. Below them everything that a job reads travels; a working directory or
# home there is not a place for data
SYSTEM_ROOTS = facts.system_directories("bundled")
FOR_PEOPLE = _words("""
    /usr/share/doc /usr/share/man /usr/share/info /usr/share/lintian /usr/share/bug
""")
# Of packages: what only the system's own services, desktops and shells at a terminal have a use for
FOR_THE_SYSTEM = _words("""
    /usr/share/locale /usr/share/help /usr/share/gtk-doc /usr/share/applications /usr/share/metainfo /usr/share/icons
    /usr/share/pixmaps /usr/share/menu /usr/share/bash-completion /usr/share/zsh/vendor-completions /usr/share/apport
    /usr/share/fish /usr/share/polkit-1 /usr/share/dbus-1 /usr/lib/systemd /usr/lib/sysusers.d /usr/lib/tmpfiles.d
    /usr/lib/udev /etc/init.d /etc/cron.d /etc/cron.daily /etc/cron.weekly /etc/logrotate.d /etc/apparmor.d /etc/pam.d
    /etc/default /etc/bash_completion.d /var
""")
TEMPORARY_ROOTS = _words("""
    /tmp /var/tmp /dev/shm
""")

# File names that mean a program, a library or a module of some language: code travels wherever it lies
CODE_SUFFIXES = frozenset(
    _words("""
    .so .py .pyc .pyi .pth .egg .whl .egg-link   # Python
    .pm .pl .al .ix .ph .xs                      # Perl
    .r .rdb .rdx                                 # R, and its packages' databases
    .jar .war .class .jmod .jsa .groovy .scala   # Java
    .js .mjs .cjs .node .lua .tcl .tk .tm .rb .php .jl .m .scm .el .elc .wasm .dll .exe
    .sh .bash .csh .tcsh .zsh .fish .ksh .awk .sed .gawk .rkt .lisp .ex .exs .raku .fnl
    .ptx .cubin .fatbin .hsaco .spv .cl          # kernels for accelerators
    """)
)
# Below PREFIX/{share,lib,libexec}: directories that belong to no one program, or that are units of their own …
COMMON_DIRECTORIES = frozenset(
    _words("""
    applications bash-completion bin ca-certificates common-licenses dbus-1 debug dict doc fonts gcc gconv
    gettext girepository-1.0 glib-2.0 glibc-hwcaps gtk-doc i18n icons info java javascript jvm keyrings libthai
    licenses lintian locale man menu mime misc modules node_modules nodejs perl perl-base perl5 pixmaps pkgconfig
    pkg-config polkit-1 python python3 R sbin site-packages ssl systemd terminfo themes tmpfiles.d udev X11 xml
    zoneinfo
    """)
)
# … those to which others add, and which are a program's own only where a program of that very name was executed …
NAMED_FOR_ONE = frozenset(_words("apt cmake dpkg ocaml zsh"))
# … and what in a program's own directory no running program has a use for
NOT_RUN = frozenset(_words("debug doc gtk-doc include man pkgconfig test tests"))
NOT_RUN_FILES = (".a", ".h", ".hpp")  # .la is read: libltdl(3) finds ImageMagick's coders by it
SHARED_OBJECT = re.compile(r"\.so(\.[0-9][^/]*)?$")

# Programs that start others on the other nodes of a job, by name beside them: a run on one machine shows none of these
COMPANIONS = {
    program: _words(others)
    for program, others in {
        "orterun": "orted",  # Open MPI 4 and older
        "prterun": "prted",  # Open MPI 5: PRRTE
        "prte": "prted",
        "mpiexec.hydra": "hydra_pmi_proxy hydra_bstrap_proxy",  # MPICH, MVAPICH; Intel MPI
        "mpirun_rsh": "mpispawn",  # MVAPICH2
    }.items()
}

# Programs of a toolchain that the first starts with another input, from beside it or from PATH: `gcc -c`, then linking
TOOLCHAINS = {
    re.compile(pattern): _words(others)
    for pattern, others in {
        r"([\w.]+-)*(gcc|g\+\+|gfortran|cc|c\+\+)(-[\d.]+)?": "as ld ld.bfd gcc cc g++ c++",
        r"clang(\+\+)?(-[\d.]+)?|flang\S*|icx|icpx|ifx": "as ld ld.lld",
        "rustc|cargo": "rustc cc as ld",
        "ghc(-[\\d.]+)?|ocamlopt\\S*|nvcc|hipcc": "cc gcc g++ as ld",
        "make|gmake|ninja": "cc gcc as ld ar ranlib",
    }.items()
}

# What a job manager has on its own nodes, and what does nothing anywhere else
OF_JOB_MANAGERS = frozenset((*facts.commands_of("slurm"), *facts.commands_of("gridengine")))

# Files of a locale's directory (locale(7)), which LOCPATH may put anywhere
LOCALE_CATEGORIES = frozenset(
    _words("""
    LC_ADDRESS LC_COLLATE LC_CTYPE LC_IDENTIFICATION LC_MEASUREMENT LC_MESSAGES LC_MONETARY LC_NAME LC_NUMERIC LC_PAPER
    LC_TELEPHONE LC_TIME
    """)
)
# Below the home programs keep settings, plug-ins and modules of their own in ~/.NAME, and one level deeper in these …
KEPT_IN = ((".config",), (".local", "share"), (".local", "lib"), (".local", "etc"), (".local",))
# … but caches, which they make again, keys, and what is no program's
NOT_KEPT = frozenset(
    _words("""
    .cache .ccache .ssh .gnupg .aws .kube .globus .git .Trash .nv .npm .dbus .local/state .local/share/Trash
    .local/share/sdee .local/share/recently-used.xbel .local/bin
    """)
)
KEPT_LIMIT = 64 << 20  # bytes: a larger file there, or beside a program, is data
SETTING_LIMIT = 1 << 20  # bytes of a file of settings directly in the home

# Names that, together in one directory, mark it as installed software: conda, venv, Spack, any prefix, an R package, an
# npm project
PREFIX_MARKS = tuple(
    frozenset(names.split("+"))
    for names in _words("""
    conda-meta pyvenv.cfg .spack bin+lib bin+lib64 bin+share bin+libexec DESCRIPTION+NAMESPACE package.json+node_modules
    """)
)
MODULE_DIRECTORIES = frozenset(
    _words("""
    site-packages dist-packages node_modules conda-meta
    """)
)

# Variables that list directories in which interpreters and loaders search for code, with what stands between two.
# A `?` in an entry means a module's name (Lua)
SEARCH_VARIABLES = {
    **dict.fromkeys(
        _words("""
        PATH LD_LIBRARY_PATH PYTHONPATH PERL5LIB PERLLIB RUBYLIB GEM_HOME GEM_PATH R_LIBS R_LIBS_USER
        R_LIBS_SITE NODE_PATH JULIA_DEPOT_PATH JULIA_LOAD_PATH OCTAVE_PATH GUILE_LOAD_PATH GUILE_LOAD_COMPILED_PATH
        CLASSPATH PHP_INI_SCAN_DIR MODULEPATH QT_PLUGIN_PATH GST_PLUGIN_PATH GDAL_DRIVER_PATH MAGICK_CODER_MODULE_PATH
        HDF5_PLUGIN_PATH OMPI_MCA_mca_component_path
        """),
        ":",
    ),
    **dict.fromkeys(_words("LUA_PATH LUA_CPATH LUA_PATH_5_3 LUA_CPATH_5_3 LUA_PATH_5_4 LUA_CPATH_5_4"), ";"),
    "TCLLIBPATH": " ",
}
SEARCHED_BY_ALL = frozenset(("PATH", "LD_LIBRARY_PATH"))  # by each program that starts another, and each loader
# Where they search without being told: what a user has installed below the home or beside the job
SEARCHED = re.compile(
    r"(?P<top>.*(?:/lib(?:64)?/python\d(?:\.\d+t?)?/(?:site|dist)-packages"  # site(3)
    r"|/R/[^/]+-library/\d+\.\d+"  # R's .libPaths()
    r"|/perl5/lib/perl5"  # local::lib
    r"|/\.gem/ruby/[\d.]+|/\.local/share/gem/ruby/[\d.]+"
    r"|/\.luarocks/(?:share|lib)/lua/\d\.\d"
    r"|/\.julia/(?:packages|environments)"
    r"|/texmf"  # kpathsea's TEXMFHOME
    r"|/node_modules))(?:/|$)"
)

# Variables whose value is the node's and the run's own: not recorded in a bundle
LIVE_ENVIRONMENT = _words("""
    HOME USER LOGNAME USERNAME MAIL SHLVL OLDPWD HOSTNAME HOST
    TMPDIR TEMP TMP TEMPDIR SCRATCH WORK LOCAL_SCRATCH XDG_RUNTIME_DIR XDG_SESSION_* DBUS_SESSION_BUS_ADDRESS
    TERM COLORTERM COLUMNS LINES DISPLAY WAYLAND_DISPLAY XAUTHORITY SSH_* KRB5CCNAME X509_USER_PROXY
    SLURM_* SLURMD_* SRUN_* SBATCH_* SALLOC_* PBS_* LSB_* LSF_* SGE_* JOB_ID TASK_ID NSLOTS FLUX_* COBALT_* OAR_*
    PMI_* PMI2_* PMIX_* PALS_* ALPS_* HYDRA_* HYDI_* MPI_LOCALRANKID MPI_LOCALNRANKS MPIRUN_*
    OMPI_COMM_WORLD_* OMPI_UNIVERSE_SIZE OMPI_MCA_orte_* OMPI_MCA_ess_* OMPI_MCA_pmix OMPI_FILE_LOCATION
    PRTE_* PRRTE_*                      # launchers; OMPI_MCA_btl and the like are settings and stay recorded
    OMPI_ALLOW_RUN_AS_ROOT* OMPI_MCA_rmaps_base_oversubscribe   # who one is, and how many processors there are
    CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES GPU_DEVICE_ORDINAL ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES
    ZE_AFFINITY_MASK ONEAPI_DEVICE_SELECTOR
    OMP_* GOMP_* KMP_* MKL_NUM_THREADS OPENBLAS_NUM_THREADS NUMEXPR_NUM_THREADS BLIS_NUM_THREADS
    SDEE_*
""")
# Variables that decide what software is found, or how output looks: as recorded, whatever is set where the bundle runs.
# A site's own LD_PRELOAD (XALT, Darshan), PYTHONPATH or modules would bring in what the job never saw
FIXED_ENVIRONMENT = _words("""
    PATH LD_* GCONV_PATH LOCPATH NLSPATH TERMINFO TERMINFO_DIRS TZDIR LANG LANGUAGE LC_*
    PYTHON* VIRTUAL_ENV* CONDA_* _CONDA_* MAMBA_* PERL5* PERL_* RUBYLIB RUBYOPT GEM_* BUNDLE_* LUA_*
    TCLLIBPATH TCL_LIBRARY R_HOME R_LIBS* R_ENVIRON* R_PROFILE* NODE_PATH NODE_OPTIONS JAVA_* _JAVA_OPTIONS CLASSPATH
    JULIA_* GOROOT GOPATH OCAML* CAML*
    MODULEPATH MODULESHOME MODULES_* MODULERCFILE LMOD_* LOADEDMODULES _LMFILES_* __LMOD* _ModuleTable* SPACK_*
    EASYBUILD_* EBROOT* EBVERSION* EBDEVEL*
    SHELL BASH_ENV ENV BASH_FUNC_* PWD _
    CPATH LIBRARY_PATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH PKG_CONFIG_* CMAKE_PREFIX_PATH MANPATH INFOPATH
    XDG_DATA_* XDG_CONFIG_* XDG_CACHE_HOME FONTCONFIG_* QT_* GTK_* GDK_* GST_* GIO_* MAGICK_*
    OPAL_PREFIX PMIX_PREFIX MPI_HOME I_MPI_ROOT CUDA_HOME CUDA_PATH ROCM_PATH
    SSL_CERT_* CURL_CA_BUNDLE REQUESTS_CA_BUNDLE NIX_* GUIX_*
""")

# glibc's own family: one version of one of them with another of the next does not start
GLIBC_FAMILY = re.compile(
    r"(ld-linux[^/]*|ld-[0-9.]+|ld64|"
    r"lib(c|m|pthread|rt|dl|resolv|util|anl|mvec|BrokenLocale|thread_db|c_malloc_debug|nss_(files|dns|compat|hesiod|db))"
    r"(-[0-9.]+)?)\.so(\.[0-9]+)*$"
)

# Made by interpreters for themselves: what is in them depends on times, and no job's result is
BY_THE_WAY = re.compile(r"/(__pycache__|\.cache)(/|$)|\.pyc$")
