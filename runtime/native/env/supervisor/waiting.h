/* The thread whose call waits for our answer: all that is read about it, and the only file that uses its number.
 *
 * The rule (seccomp_unotify(2)): the number is this thread's only while its call waits. If the thread is killed, the number may become
 * another one's; and when another thread of its process calls execve(2), that one gets it at once, with the rights of a set-user-ID program.
 * So: read by the number; then ask the kernel whether the call still waits (SECCOMP_IOCTL_NOTIF_ID_VALID); only then act on what was read.
 * Each function here does so, and says nothing of a thread that waits no more. tests/environment/test_env_habits_real_ids.py attacks this,
 * tests/unit/test_architecture.py sees that no other file uses the number. */
#ifndef SDEE_ENV_SUPERVISOR_WAITING_H
#define SDEE_ENV_SUPERVISOR_WAITING_H

#include "env/supervisor/session.h"

/* Was what has been read by the number about the thread that waits? */
bool still_waits(const struct stop *stop);

/* Copy a string of the process; false when it is not readable or longer than size. */
bool read_string(const struct stop *stop, uint64_t address, char *text, size_t size);
bool read_memory(const struct stop *stop, uint64_t address, void *buffer, size_t size);

/* False when the process has gone meanwhile, or the memory is not writable. */
bool write_memory(const struct stop *stop, uint64_t address, const void *buffer, size_t size);

/* /proc/TID/`what` (proc(5)) as a descriptor; -errno, -ESRCH for a thread that waits no more. */
int open_of(const struct stop *stop, const char *what, int flags);

/* The text of /proc/TID/`what`, as far as `size` allows, with a NUL. */
bool text_of(const struct stop *stop, const char *what, char *text, size_t size);

/* A name of its descriptor, for calls that shall open nothing. What they say counts once still_waits() or write_memory() has been true. */
enum { DESCRIPTOR_NAME = 64 };
void descriptor_name(const struct stop *stop, int number, char name[DESCRIPTOR_NAME]);

/* Was its descriptor opened with O_PATH? */
bool is_path_only(const struct stop *stop, int number);

/* A copy of its descriptor (pidfd_getfd(2)); -errno. */
int copy_of_descriptor(const struct stop *stop, int number);

#endif
