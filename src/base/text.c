/* Small questions about text; see text.h. */
#include "base/text.h"

#include "base/error.h"
#include "base/limits.h"
#include <stdio.h>
#include <string.h>

/* Length of the well-formed sequence at `s` (RFC 3629), 0 when there is none. */
static size_t sequence_size(const unsigned char *s, size_t left) {
  unsigned char lead = s[0];
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (left < size) return 0;
  for (size_t i = 1; i < size; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  if (lead == 0xE0 && s[1] < 0xA0) return 0; /* overlong */
  if (lead == 0xED && s[1] > 0x9F) return 0; /* surrogates */
  if (lead == 0xF0 && s[1] < 0x90) return 0; /* overlong */
  if (lead == 0xF4 && s[1] > 0x8F) return 0; /* above U+10FFFF */
  return size;
}

/* Eight bytes of ASCII, none of them 0: most text is nothing else. */
static bool is_plain_word(const unsigned char *s) {
  uint64_t word;
  memcpy(&word, s, sizeof word);
  const uint64_t high = UINT64_C(0x8080808080808080);
  return ((word | (word - UINT64_C(0x0101010101010101))) & high) == 0;
}

bool text_is_utf8(const char *bytes, size_t size) {
  const unsigned char *s = (const unsigned char *)bytes;
  for (size_t at = 0; at < size;) {
    if (size - at >= 8 && is_plain_word(s + at)) {
      at += 8;
      continue;
    }
    size_t step = s[at] ? sequence_size(s + at, size - at) : 0;
    if (step == 0) return false;
    at += step;
  }
  return true;
}

bool text_is_name(const char *text) {
  size_t size = 0;
  for (; text[size]; size++) {
    char c = text[size];
    bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
    if (!letter && !(size > 0 && c >= '0' && c <= '9')) return false;
    if (size >= LIMIT_NAME_BYTES) return false;
  }
  return size > 0;
}

bool text_to_int(const char *text, int64_t *value) {
  bool negative = *text == '-';
  if (negative) text++;
  if (!*text) return false;
  int64_t result = 0; /* counts down: int64 has one more negative number than positive ones */
  for (; *text; text++) {
    if (*text < '0' || *text > '9') return false;
    if (__builtin_mul_overflow(result, 10, &result) || __builtin_sub_overflow(result, *text - '0', &result)) return false;
  }
  if (!negative && __builtin_sub_overflow(0, result, &result)) return false;
  *value = result;
  return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, and back; years are counted from March so that the leap day is
 * the last one. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day) {
  if (month <= 2) year--;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t year_of_era = year - era * 400;
  int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static void date_from_days(int64_t days, int *year, int *month, int *day) {
  days += 719468;
  int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  int64_t day_of_era = days - era * 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t shifted = (5 * day_of_year + 2) / 153;
  *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
  *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
  *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

static void digits(char *out, int count, int64_t value) {
  for (int i = count - 1; i >= 0; i--) {
    out[i] = (char)('0' + value % 10);
    value /= 10;
  }
}

void annal_time_text(int64_t microseconds, char text[28]) {
  const int64_t day_length = INT64_C(86400000000);
  int64_t days = microseconds / day_length, rest = microseconds % day_length;
  if (rest < 0) {
    rest += day_length;
    days--;
  }
  int year, month, day;
  date_from_days(days, &year, &month, &day);
  memcpy(text, "0000-00-00T00:00:00.000000Z", 28);
  digits(text, 4, year < 0 ? 0 : year > 9999 ? 9999 : year);
  digits(text + 5, 2, month);
  digits(text + 8, 2, day);
  digits(text + 11, 2, rest / INT64_C(3600000000));
  digits(text + 14, 2, rest / 60000000 % 60);
  digits(text + 17, 2, rest / 1000000 % 60);
  digits(text + 20, 6, rest % 1000000);
}

/* Reads `count` digits; -1 when one of them is none. */
static int number(const char *text, int count) {
  int value = 0;
  for (int i = 0; i < count; i++) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

bool text_to_time(const char *text, int64_t *microseconds) {
  static const char shape[] = "0000-00-00T00:00:00";
  for (size_t i = 0; i < sizeof shape - 1; i++)
    if (!text[i] || (shape[i] != '0' && text[i] != shape[i])) return false;
  int year = number(text, 4), month = number(text + 5, 2), day = number(text + 8, 2);
  int hour = number(text + 11, 2), minute = number(text + 14, 2), second = number(text + 17, 2);
  if (year < 0 || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59) return false;
  if (second < 0 || second > 59) return false;
  int64_t days = days_from_date(year, month, day);
  int back_year, back_month, back_day;
  date_from_days(days, &back_year, &back_month, &back_day);
  if (back_month != month || back_day != day) return false; /* 30 February is no date */
  int64_t fraction = 0;
  text += sizeof shape - 1;
  if (*text == '.') {
    int count = 0;
    for (text++; *text >= '0' && *text <= '9'; text++, count++) {
      if (count == 6) return false;
      fraction = fraction * 10 + (*text - '0');
    }
    if (count == 0) return false;
    for (; count < 6; count++) fraction *= 10;
  }
  if (text[0] != 'Z' || text[1]) return false;
  *microseconds = ((days * 24 + hour) * 60 + minute) * INT64_C(60000000) + second * INT64_C(1000000) + fraction;
  return true;
}

const char *text_show(const char *text, char out[96]) {
  size_t at = 0, size = strlen(text);
  const unsigned char *s = (const unsigned char *)text;
  size_t from = 0;
  while (from < size) {
    size_t step = sequence_size(s + from, size - from);
    if (at + (step ? step : 1) > 77) {
      memcpy(out + at, "...", 4);
      return out;
    }
    if (step == 0 || s[from] < 32 || s[from] == 127) {
      out[at++] = '?';
      from++;
    } else {
      memcpy(out + at, text + from, step);
      at += step;
      from += step;
    }
  }
  out[at] = 0;
  return out;
}

int text_check(const char *text, size_t min, size_t max, const char *what, annal_error *error) {
  char shown[96];
  size_t size = strlen(text);
  if (size < min) return error_set(error, ANNAL_INVALID, NULL, "%s is empty", what);
  if (size > max)
    return error_set(error, ANNAL_INVALID, NULL, "%s \"%s\" has %zu bytes, at most %zu are allowed", what, text_show(text, shown),
                     size, max);
  if (!text_is_utf8(text, size))
    return error_set(error, ANNAL_INVALID, NULL, "%s \"%s\" is not valid UTF-8", what, text_show(text, shown));
  return ANNAL_OK;
}
