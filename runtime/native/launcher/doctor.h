#ifndef SDEE_LAUNCHER_DOCTOR_H
#define SDEE_LAUNCHER_DOCTOR_H

/* Probe what executing needs, each for real in a child process, and print "check\tok|no\tdetail\tremedy" lines. Returns 0. */
int doctor(void);

#endif
