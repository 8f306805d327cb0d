#ifndef SDEE_LAUNCHER_HELP_H
#define SDEE_LAUNCHER_HELP_H

/* Print the help of `sdee exec` (bundle NULL) or of a bundle that is run directly. */
void help_print(const char *bundle);

#endif
