/* seccomp's listeners (seccomp_unotify(2)), and the memory of those who wait for one. */
#ifndef SDEE_LIB_NOTIFY_H
#define SDEE_LIB_NOTIFY_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__x86_64__)
#define OWN_ARCH AUDIT_ARCH_X86_64 /* linux/audit.h */
#elif defined(__aarch64__)
#define OWN_ARCH AUDIT_ARCH_AARCH64
#else
#error "which AUDIT_ARCH_ is this machine?"
#endif

/* Install a filter in this process; the listener's descriptor, or -1 with errno. */
int notify_install(const struct sock_fprog *program);

/* ioctl(2) with a pointer: of the C libraries' functions one takes an int, the other an unsigned long, and the requests' numbers fit the latter. */
int notify_ioctl(int listener, unsigned long request, void *argument);

/* Does the call still wait? Then what was read by the number of its thread was about that thread: env/supervisor/waiting.h has the rule. */
bool notify_waits(int listener, uint64_t id);

/* Let the call go on as it is. */
void notify_continue(int listener, uint64_t id);

/* Copy memory, or a string as far as its NUL, of a process; false when it is not readable, or the string longer than `size`. */
bool notify_read(pid_t pid, uint64_t address, void *buffer, size_t size);
bool notify_read_string(pid_t pid, uint64_t address, char *text, size_t size);

#endif
