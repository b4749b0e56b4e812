/* Comparing two names; see near.h. */
#include "script/near.h"

#include <string.h>
#include <strings.h>

bool near_name(const char *one, const char *other) {
  size_t a = strlen(one), b = strlen(other);
  if (a > b) {
    const char *swap = one;
    one = other;
    other = swap;
    size_t size = a;
    a = b;
    b = size;
  }
  if (a == 0 || b - a > 1) return false;
  if (strcasecmp(one, other) == 0) return true;
  if (b < 3) return false; /* of two short names everything is near */
  size_t same = 0;
  while (same < a && one[same] == other[same]) same++;
  if (b > a) return strcmp(one + same, other + same + 1) == 0;
  if (strcmp(one + same + 1, other + same + 1) == 0) return true;
  return one[same] == other[same + 1] && one[same + 1] == other[same] && strcmp(one + same + 2, other + same + 2) == 0;
}
