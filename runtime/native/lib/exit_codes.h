/* sdee's own exit codes: the same table as src/sdee/base/errors.py and docs/exit-codes.md; a test compares them. */
#ifndef SDEE_LIB_EXIT_CODES_H
#define SDEE_LIB_EXIT_CODES_H

enum exit_code {
    EXIT_USAGE = 2,            /* the command line asks for something that cannot be meant */
    EXIT_NOT_EXECUTABLE = 126, /* the job's program was found and cannot be executed */
    EXIT_NOT_FOUND = 127,      /* the job's program was not found */
    EXIT_INTERNAL = 240,       /* a bug in sdee */
    EXIT_BUNDLE = 241,         /* bundle unreadable, truncated, damaged, hostile or of a newer format */
    EXIT_KERNEL = 242,         /* the kernel or the site's settings refuse what is needed */
    EXIT_RESOURCES = 243,      /* not enough memory, processes or descriptors */
    EXIT_NODE = 244,           /* the node lacks what the job expects of it */
    EXIT_TRACE = 245,          /* a trace is unreadable, damaged or of a newer format */
    EXIT_INPUT = 246,          /* a file that should travel cannot be read, or may not */
    EXIT_OUTPUT = 247,         /* a result cannot be written */
};

#endif
