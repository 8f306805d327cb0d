#include "launcher/help.h"

#include <stdio.h>
#include <string.h>

#include "launcher/options.h"

static const char EXEC[] =
    "Usage: sdee exec [OPTIONS] bundle.sdee [ARGS...]\n"
    "\n"
    "Run a bundle. Without ARGS it runs the recorded command line; ARGS replace the recorded arguments. An interpreter's\n"
    "script is not an argument: with `python plot.py 5`, ARGS replace the 5. --command PROG runs anything else.\n"
    "Options end at the bundle's name: what follows belongs to the job.\n"
    "\n";

static const char BUNDLE[] =
    "Usage: %s [ARGS...]\n"
    "\n"
    "A bundle of sdee: a job with all the files that it needs. Without ARGS it runs the recorded command line;\n"
    "ARGS replace the recorded arguments. An interpreter's script is not an argument: with `python plot.py 5`, ARGS\n"
    "replace the 5. All arguments go to the job, so sdee takes its options from variables:\n"
    "\n";

static const char BOTH[] =
    "\n"
    "The exit status is the job's own. These come from sdee, with a message that begins with \"sdee: error:\":\n"
    "  2 usage  126 not executable  127 not found  240 bug  241 bundle damaged  242 refused by the kernel\n"
    "  243 not enough memory  244 the node lacks something  247 a result cannot be written\n";

enum { OPTION_WIDTH = 26, VARIABLE_WIDTH = 29 };

/* One option and its lines, which begin below each other. */
static void print_row(const char *left, int width, const char *help)
{
    for (const char *line = help; line[0] != '\0'; left = "") {
        const int length = (int)strcspn(line, "\n");
        printf("  %-*s %.*s\n", width, left, length, line);
        line += length + (line[length] == '\n');
    }
}

static void print_option(const struct option_row *row)
{
    char left[80];
    snprintf(left, sizeof left, "--%s%s%s", row->name, row->value != NULL ? " " : "", row->value != NULL ? row->value : "");
    print_row(left, OPTION_WIDTH, row->help);
}

static void print_variable(const struct option_row *row)
{
    char left[80], name[OPTION_NAME];
    option_variable(row, name);
    snprintf(left, sizeof left, "%s=%s", name, row->list != NULL ? row->list : row->value != NULL ? row->value : "1");
    print_row(left, VARIABLE_WIDTH, row->help);
}

void help_print(const char *bundle)
{
    if (bundle != NULL)
        printf(BUNDLE, bundle);
    else
        printf("%s", EXEC);
    for (unsigned i = 0; i < OPTIONS_LENGTH; i++)
        if (OPTIONS[i].help != NULL) /* else an older name */
            (bundle != NULL ? print_variable : print_option)(&OPTIONS[i]);
    if (bundle == NULL) {
        print_row("-b, --bundle BUNDLE", OPTION_WIDTH, "run this bundle: all words after the options are ARGS then");
        print_row("-h, --help", OPTION_WIDTH, "print this text");
        printf("\nThese variables set the same options: SDEE_DEPLOY_DIR=DIR, SDEE_DRY_RUN=1, SDEE_PASS_ENV=NAME,NAME and so on.\n");
    }
    printf("%s", BOTH);
    fflush(stdout);
}
