/* ULIDs that rise; see ulid.h. */
#include "base/ulid.h"

#include "base/error.h"
#include "base/hash.h"
#include <string.h>
#include <sys/random.h>

void ulid_init(base_ulid *generator) {
  memset(generator, 0, sizeof *generator);
  pthread_mutex_init(&generator->lock, NULL);
}

void ulid_destroy(base_ulid *generator) { pthread_mutex_destroy(&generator->lock); }

/* Adds one to the 80 random bits; past their end (once in 2^79 ids of a millisecond) time moves on by one. */
static void next_in_same_millisecond(base_ulid *generator) {
  for (int i = 9; i >= 0; i--)
    if (++generator->random[i] != 0) return;
  generator->milliseconds++;
}

static void to_text(uint64_t milliseconds, const uint8_t random[10], char *text) {
  static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  for (int i = 9; i >= 0; i--) {
    text[i] = digits[milliseconds & 31];
    milliseconds >>= 5;
  }
  /* 80 bits are 16 digits of 5 bits: eight digits from each half of five bytes. */
  for (int half = 0; half < 2; half++) {
    uint64_t bits = 0;
    for (int i = 0; i < 5; i++) bits = bits << 8 | random[half * 5 + i];
    for (int i = 7; i >= 0; i--) {
      text[10 + half * 8 + i] = digits[bits & 31];
      bits >>= 5;
    }
  }
  text[26] = 0;
}

int ulid_next(base_ulid *generator, const base_env *env, char text[ULID_TEXT_BYTES], annal_error *error) {
  int64_t now = base_now(env);
  uint64_t milliseconds = now > 0 ? (uint64_t)now / 1000 : 0;
  int result = ANNAL_OK;
  pthread_mutex_lock(&generator->lock);
  if (milliseconds > generator->milliseconds) {
    uint8_t random[10];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
      result = error_set(error, ANNAL_UNAVAILABLE, NULL, "the system gives no random bytes for an event id");
    } else {
      random[0] &= 0x7F; /* room to count up within the millisecond */
      generator->milliseconds = milliseconds;
      memcpy(generator->random, random, sizeof random);
    }
  } else {
    next_in_same_millisecond(generator);
  }
  if (result == ANNAL_OK) to_text(generator->milliseconds, generator->random, text);
  pthread_mutex_unlock(&generator->lock);
  return result;
}

void ulid_derive(const char *seed, uint64_t number, char text[ULID_TEXT_BYTES]) {
  unsigned char parts[HASH_BYTES + sizeof number], hash[HASH_BYTES];
  uint64_t milliseconds = 0;
  hash_bytes(seed, strlen(seed), parts);
  for (size_t i = 0; i < sizeof number; i++) parts[HASH_BYTES + i] = (unsigned char)(number >> 8 * i);
  hash_bytes(parts, sizeof parts, hash);
  for (int i = 0; i < 6; i++) milliseconds = milliseconds << 8 | hash[i];
  to_text(milliseconds, hash + 6, text);
}
