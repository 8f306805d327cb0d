/* The system calls that stop, and what is done about each. */
#ifndef SDEE_ENV_SUPERVISOR_RULES_H
#define SDEE_ENV_SUPERVISOR_RULES_H

#include "env/supervisor/session.h"

struct rule {
    int nr;
    handler *handle;
    signed char argument; /* stops only if this argument ... */
    uint32_t mask;        /* ... has one of these bits; 0: always */
    bool emulation;       /* only where owners and credentials are emulated */
    uint32_t equals;      /* if not 0: stops only if the argument is this */
    uint32_t above;       /* if not 0: stops only if the argument is larger */
};

extern const struct rule RULES[];
extern const unsigned RULE_COUNT;

#endif
