#include "env/supervisor/filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#include "env/supervisor/rules.h"
#include "lib/notify.h"

/* Programs of another ABI (i386, x32) are let go: their writes to host files the kernel refuses. A linear list: calls that it
 * always allows do not run it (the kernel's bitmap of constant answers, Linux 5.11). */
int filter_install(bool emulate)
{
    struct sock_filter code[512] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCH, 1, 0),
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
    return notify_install(&program);
}
