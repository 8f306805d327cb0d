/* The mark of a mount point that a run makes in a directory of the node's (points.h): a file with a fixed text. */
#ifndef SDEE_LAUNCHER_NODE_MARK_H
#define SDEE_LAUNCHER_NODE_MARK_H

#include <stdbool.h>

static const char MARK_NAME[] = ".sdee-mount-point";
static const char MARK_TEXT[] = "sdee mount point: a job that runs has software of its bundle here. Safe to delete when no job runs; "
                                "the next run removes it.\n";

enum point_kind { POINT_NONE, POINT_OWN, POINT_FOREIGN /* another user's */ };

/* Is what stands at a path a mount point with nothing else in it? */
enum point_kind point_at(const char *path);

/* The file with the text of what stands in `parent`; -1: ENOENT when nothing does, EEXIST when something else does. */
int mark_open(int parent, const char *name, bool directory, int flags);

/* Does a directory hold the mark and nothing else? Without readdir(3): a signal handler asks, too. */
bool mark_is_alone(int directory);

/* Has the file, all of it, the text? */
bool mark_has_text(int fd);

/* Is it one of ours, whole or in part? In a directory of many somebody else can plant things, or move or link a file of this user's there. */
bool mark_is_own(int fd);

#endif
