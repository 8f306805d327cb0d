#include "launcher/node/expect.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "launcher/bundle/conf.h"

/* x86-64 psABI, micro-architecture levels: by the features that tell each from the one before, since GCC 11 does not know the levels' own
 * names. libgcc looks at cpuid, and at xgetbv for what the kernel must save. */
static int cpu_level(void)
{
#if defined __x86_64__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2") || !__builtin_cpu_supports("popcnt") || !__builtin_cpu_supports("ssse3"))
        return 1;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") || !__builtin_cpu_supports("bmi2") || !__builtin_cpu_supports("fma"))
        return 2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512cd") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return 3;
    return 4;
#else
    return 0;
#endif
}

/* "x86-64-v3" → 3; 0 for what is no such level. */
static int level_of(const char *text)
{
    return text != NULL && strncmp(text, "x86-64-v", 8) == 0 ? text[8] - '0' : 0;
}

static bool check_cpu(const struct bundle *bundle, struct error *error)
{
    const char *isa = conf_get(bundle, "isa");
    const int wanted = level_of(isa), level = cpu_level();
    if (level == 0 || wanted <= level)
        return true;
    return fail(error, EXIT_NODE, "run it on nodes with a newer CPU, or bundle a build for older ones; --force (SDEE_FORCE=1) tries anyway",
                "%s is built for CPUs of level %.9s, and this node's is x86-64-v%d", isa + strcspn(isa, " ") + (strchr(isa, ' ') != NULL), isa, level);
}

/* "4.11.0 /path" is compared number by number with uname(2)'s "6.1.0-18-amd64". */
static bool check_kernel(const struct bundle *bundle, struct error *error)
{
    const char *kernel = conf_get(bundle, "kernel");
    struct utsname name;
    unsigned wanted[3] = {0}, have[3] = {0};
    if (kernel == NULL || uname(&name) != 0 || sscanf(kernel, "%u.%u.%u", &wanted[0], &wanted[1], &wanted[2]) < 2 ||
        sscanf(name.release, "%u.%u.%u", &have[0], &have[1], &have[2]) < 2)
        return true;
    for (int i = 0; i < 3; i++) {
        if (have[i] > wanted[i])
            return true;
        if (have[i] < wanted[i])
            return fail(error, EXIT_NODE, "run it on nodes with a newer kernel; --force (SDEE_FORCE=1) tries anyway",
                        "%s is built for Linux %.*s or newer, and this node has %s", kernel + strcspn(kernel, " ") + (strchr(kernel, ' ') != NULL),
                        (int)strcspn(kernel, " "), kernel, name.release);
    }
    return true;
}

bool expect_check(const struct bundle *bundle, const struct host_libraries *libraries, struct error *error)
{
    return check_cpu(bundle, error) && check_kernel(bundle, error) && host_libraries_check(libraries, error);
}

void expect_explain_illegal(const struct bundle *bundle)
{
    const int traced = level_of(conf_get(bundle, "cpu")), level = cpu_level();
    if (level != 0 && traced > level)
        note("the job used an instruction that this node's CPU (x86-64-v%d) does not have; where it was traced the CPU is x86-64-v%d: was it built with "
             "-march=native?",
             level, traced);
}
