/* Only in programs that are built with sanitizers (SANITIZE=address,undefined in the Makefiles): where reports go, since a holder's standard
 * error is its own log, and which ends a process. Memory is given back by the end of a process throughout: no leaks are looked for. */
#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

#define REPORTS "log_path=/var/tmp/sdee-sanitizers/report:exitcode=99:detect_leaks=0:halt_on_error=1:die_after_fork=0:print_stacktrace=1"

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return REPORTS;
}

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
    return REPORTS;
}

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return REPORTS;
}

/* ThreadSanitizer has a thread of its own, and a process of two threads may not make or enter a user namespace (unshare(2)). What prepares
 * for a sandbox ends it, and _Fork(3), which the sanitizer does not know, begins it not again. The linker puts __wrap_fork() in the place of
 * fork(2) (--wrap). */
__attribute__((constructor)) static void be_alone(void)
{
    __sanitizer_sandbox_arguments none = {0};
    __sanitizer_sandbox_on_notify(&none);
}

pid_t __wrap_fork(void);
pid_t __wrap_fork(void)
{
    return _Fork();
}
