/* What the files of `annal check` share: cmd_check.c (the whole, and the store) and check_app.c (scripts). */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "cli.h"

/* Takes one thing that is not sound: where ("projections/cart/events.lua:12", NULL for what has no place) and what. Anything but 0
 * ends the check. */
typedef int check_finding(void *context, const char *where, const char *what);

/* Looks through the scripts below a directory, without running them, and then loads them. CLI_DONE, what a finding answered, or the exit
 * code of what could not be looked at, said. */
int check_app(cli *c, const char *directory, check_finding *finding, void *context);

#endif
