/* A growable run of bytes. Role: everything that builds text. Once memory ran out a buffer stays `failed` and swallows what
 * follows, so that writers need not check each step and the one who uses the result checks once. Not for two threads. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/env.h"
#include <string.h>

typedef struct base_buf {
  const base_env *env;
  char *bytes; /* NULL while nothing was added; else bytes[size] is always NUL */
  size_t size;
  size_t capacity;
  bool failed;
} base_buf;

void buf_init(base_buf *buf, const base_env *env);
void buf_free(base_buf *buf);                                        /* and ready to be used again */
void buf_clear(base_buf *buf);                                       /* keeps the memory, forgets content and failure */
bool buf_reserve(base_buf *buf, size_t more);                        /* room for `more` bytes beyond size; false when failed */
void buf_add_growing(base_buf *buf, const void *bytes, size_t size); /* buf_add, where there may be no room yet */

static inline void buf_add(base_buf *buf, const void *bytes, size_t size) {
  if (!buf->bytes || buf->failed || size >= buf->capacity - buf->size) {
    buf_add_growing(buf, bytes, size);
    return;
  }
  if (size) memcpy(buf->bytes + buf->size, bytes, size);
  buf->size += size;
  buf->bytes[buf->size] = 0;
}

static inline void buf_text(base_buf *buf, const char *text) { buf_add(buf, text, strlen(text)); }
static inline void buf_char(base_buf *buf, char c) { buf_add(buf, &c, 1); }
void buf_printf(base_buf *buf, const char *format, ...) ANNAL_PRINTF(2, 3); /* C-locale safe only for %s %d %lld %zu %x */
void buf_int(base_buf *buf, int64_t value);
/* Gives the bytes away as a text (allocated by buf->env, NUL-terminated, never NULL); the buffer is empty then.
 * False when failed: *text is then {NULL, 0}. */
bool buf_take(base_buf *buf, annal_text *text);

#endif
