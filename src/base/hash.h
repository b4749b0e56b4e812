/* XXH3-128 (libxxhash) as 32 hexadecimal digits. Role: fingerprints and index names. Not a cryptographic hash. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>

#define HASH_TEXT_BYTES 33 /* with the NUL */

void hash_text(const void *bytes, size_t size, char text[HASH_TEXT_BYTES]);

#endif
