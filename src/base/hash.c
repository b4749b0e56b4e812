/* XXH3-128 as text; see hash.h. */
#include "base/hash.h"

#include <string.h>
#include <xxhash.h>

void hash_bytes(const void *bytes, size_t size, unsigned char hash[HASH_BYTES]) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, size));
  memcpy(hash, canonical.digest, HASH_BYTES);
}

void hash_text(const void *bytes, size_t size, char text[HASH_TEXT_BYTES]) {
  static const char hex[] = "0123456789abcdef";
  unsigned char hash[HASH_BYTES];
  hash_bytes(bytes, size, hash);
  for (size_t i = 0; i < HASH_BYTES; i++) {
    text[2 * i] = hex[hash[i] >> 4];
    text[2 * i + 1] = hex[hash[i] & 15];
  }
  text[HASH_TEXT_BYTES - 1] = 0;
}
