/* XXH3-128 as text; see hash.h. */
#include "base/hash.h"

#include <xxhash.h>

void hash_text(const void *bytes, size_t size, char text[HASH_TEXT_BYTES]) {
  static const char hex[] = "0123456789abcdef";
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, size));
  for (size_t i = 0; i < sizeof canonical.digest; i++) {
    text[2 * i] = hex[canonical.digest[i] >> 4];
    text[2 * i + 1] = hex[canonical.digest[i] & 15];
  }
  text[2 * sizeof canonical.digest] = 0;
}
