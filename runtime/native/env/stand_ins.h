/* The job manager's commands in an environment: sdee-front stands in place of each. */
#ifndef SDEE_ENV_STAND_INS_H
#define SDEE_ENV_STAND_INS_H

/* Mount sdee-front over each of the host's that is in PATH, inside, after plan_carry_out(); the host's own stay
 * reachable by the links in /run/sdee/real. What cannot be mounted is left as it is, and said in the log. */
void fronts_mount(void);

#endif
