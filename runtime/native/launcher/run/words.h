/* The words that the job is started with. */
#ifndef SDEE_LAUNCHER_RUN_WORDS_H
#define SDEE_LAUNCHER_RUN_WORDS_H

#include "launcher/bundle/table.h"
#include "launcher/options.h"

/* argv, to be freed: the recorded words, or those of them that say what runs (CONF kept-args) and ARGS; of --command and --shell the program and
 * ARGS (`shell` is the first word then). Ends with NULL, and has room for one more before that. */
char **words_make(const struct bundle *bundle, const struct options *options, const char *shell);

/* One line on standard error, as a shell reads it: what runs, and in which directory. */
void words_print(const struct bundle *bundle, const struct options *options);

#endif
