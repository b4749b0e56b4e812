/* XXH3-128 (libxxhash), also as 32 hexadecimal digits. Role: fingerprints, index names, derived ids. Not a cryptographic hash. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>

#define HASH_TEXT_BYTES 33 /* with the NUL */

#define HASH_BYTES 16

void hash_bytes(const void *bytes, size_t size, unsigned char hash[HASH_BYTES]);
void hash_text(const void *bytes, size_t size, char text[HASH_TEXT_BYTES]);

#endif
