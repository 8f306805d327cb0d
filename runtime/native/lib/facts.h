/* Facts that two programs need. Written by .ci/generate from src/sdee/base/facts and packer/format/bundle.toml: change that, not this. */
#ifndef SDEE_LIB_FACTS_H
#define SDEE_LIB_FACTS_H

#define PATH_MOST 4031u /* bytes of a path of a bundle */
#define COMPONENT_MOST 255u
#define COMMANDS_DIRECTORY "/run/sdee"
#define PASSED_PREFIX "SDEE_PASSED_"

/* Slurm's commands that start jobs and steps. */
#define SUBMITTING_COMMANDS \
    "salloc", "sbatch", "srun"

/* Those that say to the controller who calls. */
#define SLURM_COMMANDS \
    "salloc", "sbatch", "srun", "sacct", "sacctmgr", "sattach", "sbcast", "scancel", "scontrol", "sdiag", "sinfo", "sprio", "squeue", \
    "sreport", "sshare", "sstat", "strigger"

/* See the part merged in src/sdee/base/facts/system_directories.toml. */
#define MERGED_DIRECTORIES \
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/var", "/boot"

/* See the part quiet in src/sdee/base/facts/system_directories.toml. */
#define QUIET_DIRECTORIES \
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"

/* What jobs and ranks of some manager have. */
#define JOB_VARIABLES \
    "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "FLUX_JOB_ID", "COBALT_JOBID", "OAR_JOB_ID", "OMPI_COMM_WORLD_RANK", \
    "MV2_COMM_WORLD_RANK", "MVP_COMM_WORLD_RANK", "MPI_LOCALRANKID", "PALS_RANKID", "PMIX_RANK", "PMI_RANK"

/* ROW(the variable that says it, three that name the step, ranks here or at least in all, a protocol) */
#define RANK_ROWS(ROW) \
    ROW("OMPI_COMM_WORLD_RANK", "PMIX_NAMESPACE", NULL, NULL, "OMPI_COMM_WORLD_LOCAL_SIZE", false) \
    ROW("OMPI_COMM_WORLD_RANK", "OMPI_MCA_ess_base_jobid", NULL, NULL, "OMPI_COMM_WORLD_LOCAL_SIZE", false) \
    ROW("MV2_COMM_WORLD_RANK", NULL, NULL, NULL, "MV2_COMM_WORLD_LOCAL_SIZE", false) \
    ROW("MVP_COMM_WORLD_RANK", NULL, NULL, NULL, "MVP_COMM_WORLD_LOCAL_SIZE", false) \
    ROW("MPI_LOCALRANKID", NULL, NULL, NULL, "MPI_LOCALNRANKS", false) \
    ROW("JSM_NAMESPACE_RANK", "LSB_JOBID", "JSM_NAMESPACE_ID", NULL, "JSM_NAMESPACE_LOCAL_SIZE", false) \
    ROW("PALS_RANKID", "PALS_APID", NULL, NULL, "PALS_LOCAL_SIZE", false) \
    ROW("FLUX_TASK_RANK", "FLUX_JOB_ID", NULL, NULL, "FLUX_JOB_SIZE", false) \
    ROW("PMIX_RANK", "PMIX_NAMESPACE", NULL, NULL, NULL, true) \
    ROW("PMI_RANK", NULL, NULL, NULL, "PMI_SIZE", true) \
    ROW("SLURM_PROCID", "SLURM_STEP_ID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_NUM_TASKS", false)

/* ROW(label, names, f_type or 0, far, locks reach other nodes, with this mount option, without this one) */
#define FILE_SYSTEM_ROWS(ROW) \
    ROW("NFS", "nfs nfs4 vastnfs", 0x6969u, true, true, "local_lock=none", NULL) \
    ROW("Lustre", "lustre", 0xBD00BD0u, true, true, NULL, "localflock") \
    ROW("GPFS", "gpfs", 0x47504653u, true, true, NULL, NULL) \
    ROW("Ceph", "ceph", 0xC36400u, true, true, NULL, NULL) \
    ROW("OCFS2", "ocfs2", 0x7461636Fu, true, true, NULL, NULL) \
    ROW("GFS2", "gfs2", 0x1161970u, true, true, NULL, NULL) \
    ROW("BeeGFS", "beegfs beegfs_nodev", 0x19830326u, true, false, NULL, NULL) \
    ROW("CIFS", "cifs", 0xFF534D42u, true, false, NULL, NULL) \
    ROW("SMB2", "smb3", 0xFE534D42u, true, false, NULL, NULL) \
    ROW("SMB", "smbfs", 0x517Bu, true, false, NULL, NULL) \
    ROW("AFS", "afs", 0x5346414Fu, true, false, NULL, NULL) \
    ROW("9P", "9p", 0x1021997u, true, false, NULL, NULL) \
    ROW("PanFS", "panfs", 0xAAD7AAEAu, true, false, NULL, NULL) \
    ROW("OrangeFS", "orangefs pvfs2", 0x20030528u, true, false, NULL, NULL) \
    ROW("WekaFS", "wekafs", 0x18031977u, true, false, NULL, NULL) \
    ROW("DVS", "dvs", 0x0u, true, false, NULL, NULL) \
    ROW("GlusterFS", "glusterfs fuse.glusterfs", 0x0u, true, false, NULL, NULL) \
    ROW("DAOS", "daos fuse.daos fuse.dfuse", 0x0u, true, false, NULL, NULL) \
    ROW("Quobyte", "quobyte fuse.quobyte", 0x0u, true, false, NULL, NULL) \
    ROW("a network file system by FUSE", "fuse.ceph fuse.sshfs fuse.beegfs", 0x0u, true, false, NULL, NULL) \
    ROW("FUSE", "fuse fuseblk", 0x65735546u, true, false, NULL, NULL) \
    ROW("ext4", "ext2 ext3 ext4", 0xEF53u, false, false, NULL, NULL) \
    ROW("XFS", "xfs", 0x58465342u, false, false, NULL, NULL) \
    ROW("btrfs", "btrfs", 0x9123683Eu, false, false, NULL, NULL) \
    ROW("ZFS", "zfs", 0x2FC12FC1u, false, false, NULL, NULL) \
    ROW("F2FS", "f2fs", 0xF2F52010u, false, false, NULL, NULL) \
    ROW("JFS", "jfs", 0x3153464Au, false, false, NULL, NULL) \
    ROW("bcachefs", "bcachefs", 0xCA451A4Eu, false, false, NULL, NULL) \
    ROW("ReiserFS", "reiserfs", 0x52654973u, false, false, NULL, NULL) \
    ROW("overlayfs", "overlay", 0x794C7630u, false, false, NULL, NULL) \
    ROW("SquashFS", "squashfs", 0x73717368u, false, false, NULL, NULL) \
    ROW("EROFS", "erofs", 0xE0F5E1E2u, false, false, NULL, NULL) \
    ROW("tmpfs", "tmpfs", 0x1021994u, false, false, NULL, NULL) \
    ROW("ramfs", "ramfs", 0x858458F6u, false, false, NULL, NULL)

#if defined __x86_64__
/* ROW(number, arguments: directory, path, flags or -1, -2: openat2's; executes) */
#define DIAGNOSED_CALLS(ROW) \
    ROW(2 /* open */, -1, 0, 1, false) \
    ROW(257 /* openat */, 0, 1, 2, false) \
    ROW(437 /* openat2 */, 0, 1, -2, false) \
    ROW(59 /* execve */, -1, 0, -1, true) \
    ROW(322 /* execveat */, 0, 1, -1, true) \
    ROW(4 /* stat */, -1, 0, -1, false) \
    ROW(6 /* lstat */, -1, 0, -1, false) \
    ROW(262 /* newfstatat */, 0, 1, -1, false) \
    ROW(332 /* statx */, 0, 1, -1, false) \
    ROW(21 /* access */, -1, 0, -1, false) \
    ROW(269 /* faccessat */, 0, 1, -1, false) \
    ROW(439 /* faccessat2 */, 0, 1, -1, false) \
    ROW(80 /* chdir */, -1, 0, -1, false)

#else /* aarch64 */
/* ROW(number, arguments: directory, path, flags or -1, -2: openat2's; executes) */
#define DIAGNOSED_CALLS(ROW) \
    ROW(56 /* openat */, 0, 1, 2, false) \
    ROW(437 /* openat2 */, 0, 1, -2, false) \
    ROW(221 /* execve */, -1, 0, -1, true) \
    ROW(281 /* execveat */, 0, 1, -1, true) \
    ROW(79 /* newfstatat */, 0, 1, -1, false) \
    ROW(291 /* statx */, 0, 1, -1, false) \
    ROW(48 /* faccessat */, 0, 1, -1, false) \
    ROW(439 /* faccessat2 */, 0, 1, -1, false) \
    ROW(49 /* chdir */, -1, 0, -1, false)
#endif

#endif
