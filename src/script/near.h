/* Names off by one letter. Role: the hint at the end of a message. */
#ifndef SCRIPT_NEAR_H
#define SCRIPT_NEAR_H

#include <stdbool.h>

/* Whether one slip of the fingers makes one of the other: a letter more, less or other, two exchanged, or another case. */
bool near_name(const char *one, const char *other);

#endif
