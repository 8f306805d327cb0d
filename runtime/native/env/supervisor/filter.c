#include "env/supervisor/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "env/supervisor/rules.h"

#if defined(__x86_64__)
enum { NATIVE = AUDIT_ARCH_X86_64 };
#elif defined(__aarch64__)
enum { NATIVE = AUDIT_ARCH_AARCH64 };
#else
#error "which AUDIT_ARCH_ is this machine?"
#endif

/* Programs of another ABI (i386, x32) are let go: their writes to host files the kernel refuses. A linear list: calls that it
 * always allows do not run it (the kernel's bitmap of constant answers, Linux 5.11). */
int filter_install(bool emulate)
{
    struct sock_filter code[512] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    unsigned short length = 4;
    for (unsigned i = 0; i < RULE_COUNT; i++) {
        const struct rule *rule = &RULES[i];
        if (rule->emulation && !emulate)
            continue;
        const bool looks = rule->mask != 0 || rule->equals != 0 || rule->above != 0;
        code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)rule->nr, 0, looks ? 4 : 1);
        if (looks) {
            const unsigned low = offsetof(struct seccomp_data, args) + 8U * (unsigned)rule->argument;
            code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low);
            code[length++] = rule->equals != 0  ? (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->equals, 1, 0)
                             : rule->above != 0 ? (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, rule->above, 1, 0)
                                                : (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, rule->mask, 1, 0);
            code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        }
        code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog program = {length, code};
    /* Without the second flag (before Linux 5.19) a signal that is caught restarts a waiting call: Go's may do so for ever. */
    const unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (fd < 0 && errno == EINVAL)
        fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    return fd;
}
