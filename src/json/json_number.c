/* Doubles from text and to text, exactly. Role: the scanner and both writers; script states print numbers with it, too.
 *
 * The host's locale never matters: strtod is given digits and an exponent without a decimal point, and of what printf writes
 * only the digits are taken. Most numbers in events are short decimals and need neither of the two: a product or quotient of
 * two doubles that are both exact is rounded once, hence right. That needs arithmetic in double precision, no wider. */
#include "json/json_scan.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#if FLT_EVAL_METHOD == 0
#define ARITHMETIC_IS_EXACT 1
#else
#define ARITHMETIC_IS_EXACT 0
#endif

#define MAX_EXACT 9007199254740992u /* 2^53: every integer up to here is a double */
#define DIGITS_15 1e15              /* every decimal of up to 15 digits is another double */
#define POSITIONAL_FROM (-4)        /* decimal exponents written without `e`, as %.15g would: 0.0001 … */
#define POSITIONAL_BELOW 15         /* … to 999999999999999.0; 1e15 stays 1e15 */

static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                       1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

/* ---- Reading ----------------------------------------------------------------------------------------------------------- */

/* More digits than these cannot change a double, except that something not zero follows (David Gay: 768 suffice). */
#define KEPT_DIGITS 780

/* 0.digits × 10^point, without leading zeros. */
typedef struct decimal {
  char digits[KEPT_DIGITS + 1];
  size_t count;
  int64_t point;
  bool negative;
  bool more; /* something not zero was cut off */
} decimal;

static void add_digit(decimal *number, char digit) {
  if (number->count == 0 && digit == '0') return;
  if (number->count < KEPT_DIGITS) number->digits[number->count++] = digit;
  else if (digit != '0') number->more = true;
}

static void read_decimal(const char *at, const char *end, decimal *number) {
  number->count = 0;
  number->point = 0;
  number->more = false;
  number->negative = *at == '-';
  if (number->negative) at++;
  for (; at < end && *at >= '0' && *at <= '9'; at++) {
    add_digit(number, *at);
    if (number->count) number->point++;
  }
  if (at < end && *at == '.') {
    for (at++; at < end && *at >= '0' && *at <= '9'; at++) {
      add_digit(number, *at);
      if (number->count == 0) number->point--;
    }
  }
  if (at == end) return;
  bool down = *++at == '-';
  if (down || *at == '+') at++;
  int64_t exponent = 0;
  for (; at < end; at++)
    if (exponent < INT64_C(1000000000000)) exponent = exponent * 10 + (*at - '0');
  number->point += down ? -exponent : exponent;
}

static double read_slowly(decimal *number) {
  char text[KEPT_DIGITS + 16];
  size_t count = number->count;
  if (count == 0 || number->point < -400) return 0.0;
  if (number->point > 400) return HUGE_VAL;
  memcpy(text, number->digits, count);
  if (number->more) text[count++] = '1';
  snprintf(text + count, sizeof text - count, "e%d", (int)(number->point - (int64_t)count));
  return strtod(text, NULL);
}

bool json_read_double(const char *from, const char *to, double *value) {
  decimal number;
  read_decimal(from, to, &number);
  uint64_t whole = 0;
  int64_t exponent = number.point - (int64_t)number.count;
  double result;
  bool small = ARITHMETIC_IS_EXACT && number.count <= 19 && exponent >= -22 && exponent <= 22;
  for (size_t i = 0; small && i < number.count; i++) whole = whole * 10 + (uint64_t)(number.digits[i] - '0');
  if (number.count == 0) result = 0.0;
  else if (small && whole <= MAX_EXACT && exponent < 0) result = (double)whole / powers_of_ten[-exponent];
  else if (small && whole <= MAX_EXACT) result = (double)whole * powers_of_ten[exponent];
  else result = read_slowly(&number);
  if (isinf(result)) return false;
  *value = number.negative ? -result : result;
  return true;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------------- */

size_t json_int_text(int64_t value, char text[20]) {
  static const char pairs[] =
      "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748495051525354"
      "5556575859606162636465666768697071727374757677787980818283848586878889909192939495969798"
      "99";
  char digits[20];
  size_t at = sizeof digits, sign = value < 0;
  uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  for (; rest >= 100; rest /= 100) memcpy(digits + (at -= 2), pairs + rest % 100 * 2, 2);
  if (rest >= 10) memcpy(digits + (at -= 2), pairs + rest * 2, 2);
  else digits[--at] = (char)('0' + rest);
  if (sign) text[0] = '-';
  memcpy(text + sign, digits + at, sizeof digits - at);
  return sizeof digits - at + sign;
}

/* d.ddd × 10^exponent in the form that people read. */
static size_t lay_out(const char *digits, size_t count, int exponent, char *text) {
  size_t size = 0;
  if (exponent < POSITIONAL_FROM || exponent >= POSITIONAL_BELOW) {
    text[size++] = digits[0];
    if (count > 1) text[size++] = '.';
    memcpy(text + size, digits + 1, count - 1);
    size += count - 1;
    text[size++] = 'e';
    return size + json_int_text(exponent, text + size);
  }
  if (exponent < 0) {
    text[size++] = '0';
    text[size++] = '.';
    for (int i = exponent + 1; i < 0; i++) text[size++] = '0';
    memcpy(text + size, digits, count);
    return size + count;
  }
  size_t whole = (size_t)exponent + 1;
  for (size_t i = 0; i < whole; i++) text[size++] = i < count ? digits[i] : '0';
  text[size++] = '.';
  if (count <= whole) {
    text[size++] = '0';
    return size;
  }
  memcpy(text + size, digits + whole, count - whole);
  return size + count - whole;
}

/* Reads d.ddd × 10^exponent. */
static double read_digits(const char *digits, size_t count, int exponent) {
  char text[48];
  int size = snprintf(text, sizeof text, "%.*se%d", (int)count, digits, exponent - (int)count + 1);
  double value = HUGE_VAL;
  json_read_double(text, text + size, &value);
  return value;
}

/* The digits of `value` (> 0) rounded to `precision` of them. */
static void print_digits(double value, int precision, char *digits, int *exponent) {
  char text[64];
  snprintf(text, sizeof text, "%.*e", precision - 1, value);
  int count = 0;
  const char *at = text;
  for (; *at != 'e'; at++)
    if (*at >= '0' && *at <= '9') digits[count++] = *at;
  *exponent = (int)strtol(at + 1, NULL, 10);
}

/* The next decimal of as many digits above. */
static void next_above(char *digits, int precision, int *exponent) {
  int at = precision - 1;
  while (at >= 0 && digits[at] == '9') digits[at--] = '0';
  if (at >= 0) {
    digits[at]++;
    return;
  }
  digits[0] = '1';
  ++*exponent;
}

/* The fewest digits that read back as `value` (> 0), the closest to it among these; answers their number.
 * A normal double's shortest form has 15 digits or fewer exactly if %.15g reads back; below the normal range fewer digits may
 * do, so all are tried. Above a power of two doubles lie twice as far apart as below it: there the decimal above may do
 * although the closest one does not. */
static size_t shortest(double value, char digits[20], int *exponent) {
  int fraction_exponent;
  bool power_of_two = frexp(value, &fraction_exponent) == 0.5;
  for (int precision = value < DBL_MIN ? 1 : 15; precision < 17; precision++) {
    print_digits(value, precision, digits, exponent);
    if (read_digits(digits, (size_t)precision, *exponent) == value) return (size_t)precision;
    if (!power_of_two) continue;
    next_above(digits, precision, exponent);
    if (read_digits(digits, (size_t)precision, *exponent) == value) return (size_t)precision;
  }
  print_digits(value, 17, digits, exponent);
  return 17;
}

/* A decimal of at most 15 digits and a few places, found by arithmetic: its digits, or 0 when `value` (> 0) is none. */
static size_t short_decimal(double value, char digits[20], int *exponent) {
  if (!ARITHMETIC_IS_EXACT || value >= DIGITS_15 || value < 1e-4) return 0;
  for (int places = 0; places <= 8; places++) {
    double scaled = value * powers_of_ten[places];
    if (scaled >= DIGITS_15) return 0;
    int64_t whole = (int64_t)(scaled + 0.5);
    if ((double)whole / powers_of_ten[places] != value) continue;
    size_t count = json_int_text(whole, digits);
    *exponent = (int)count - 1 - places;
    return count;
  }
  return 0;
}

size_t json_double_text(double value, char text[JSON_DOUBLE_BYTES]) {
  char digits[20] = {0};
  int exponent = 0;
  size_t sign = signbit(value) != 0;
  if (sign) text[0] = '-';
  value = fabs(value);
  size_t count = 1;
  digits[0] = '0';
  if (value != 0) {
    count = short_decimal(value, digits, &exponent);
    if (count == 0) count = shortest(value, digits, &exponent);
  }
  while (count > 1 && digits[count - 1] == '0') count--;
  size_t size = sign + lay_out(digits, count, exponent, text + sign);
  text[size] = 0;
  return size;
}
