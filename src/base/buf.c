/* A growable run of bytes; see buf.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_init(base_buf *buf, const base_env *env) { *buf = (base_buf){.env = env}; }

void buf_free(base_buf *buf) {
  base_free(buf->env, buf->bytes);
  buf_init(buf, buf->env);
}

void buf_clear(base_buf *buf) {
  buf->size = 0;
  buf->failed = false;
  if (buf->bytes) buf->bytes[0] = 0;
}

bool buf_reserve(base_buf *buf, size_t more) {
  if (buf->failed) return false;
  size_t need;
  if (__builtin_add_overflow(buf->size, more, &need) || need >= SIZE_MAX / 4) {
    buf->failed = true;
    return false;
  }
  need++;
  if (buf->bytes && need <= buf->capacity) return true;
  size_t capacity = buf->capacity ? buf->capacity * 2 : 64;
  if (capacity < need) capacity = need;
  char *bytes = base_realloc(buf->env, buf->bytes, capacity);
  if (!bytes) {
    buf->failed = true;
    return false;
  }
  buf->bytes = bytes;
  buf->capacity = capacity;
  return true;
}

void buf_add_growing(base_buf *buf, const void *bytes, size_t size) {
  if (!buf_reserve(buf, size)) return;
  if (size) memcpy(buf->bytes + buf->size, bytes, size);
  buf->size += size;
  buf->bytes[buf->size] = 0;
}

void buf_printf(base_buf *buf, const char *format, ...) {
  char small[256];
  va_list arguments;
  va_start(arguments, format);
  int size = vsnprintf(small, sizeof small, format, arguments);
  va_end(arguments);
  if (size < 0) {
    buf->failed = true;
  } else if ((size_t)size < sizeof small) {
    buf_add(buf, small, (size_t)size);
  } else if (buf_reserve(buf, (size_t)size)) {
    va_start(arguments, format);
    vsnprintf(buf->bytes + buf->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    buf->size += (size_t)size;
  }
}

void buf_int(base_buf *buf, int64_t value) {
  char digits[20];
  size_t at = sizeof digits;
  uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  do {
    digits[--at] = (char)('0' + rest % 10);
    rest /= 10;
  } while (rest);
  if (value < 0) buf_char(buf, '-');
  buf_add(buf, digits + at, sizeof digits - at);
}

bool buf_take(base_buf *buf, annal_text *text) {
  *text = (annal_text){0};
  if (!buf_reserve(buf, 0)) return false;
  buf->bytes[buf->size] = 0;
  *text = (annal_text){.bytes = buf->bytes, .size = buf->size};
  buf_init(buf, buf->env);
  return true;
}
