/* Which store a location means: a file, or a server. Role: for store.c, and for the command, which must tell paths from what may
 * hold a password. No message repeats a location that is meant for a server. */
#include "store/backend.h"

#include "base/error.h"
#include <string.h>
#include <strings.h>

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"
#define SPACES " \t\n\v\f\r" /* libpq passes over these */

static bool starts_with(const char *text, const char *start) { return strncmp(text, start, strlen(start)) == 0; }

/* "word =", as every conninfo begins: libpq's keywords, but misspelt and new ones too, for behind them stands a password as well.
 * A path that looks so is written "sqlite:host=x.db" or "./host=x.db". */
static bool begins_as_conninfo(const char *text) {
  size_t size = strspn(text, LETTERS DIGITS "_");
  return size > 0 && text[size + strspn(text + size, SPACES)] == '=';
}

/* "password =" anywhere: a conninfo whose beginning is wrong, or another program's URL. */
static bool holds_password(const char *text) {
  static const char word[] = "password";
  for (; *text; text++) {
    if (strncasecmp(text, word, sizeof word - 1) != 0) continue;
    const char *after = text + sizeof word - 1;
    if (after[strspn(after, SPACES)] == '=') return true;
  }
  return false;
}

/* "postgresql:", "Postgres:", "jdbc:", … whatever follows. */
static bool begins_as_url(const char *text) {
  static const char *const schemes[] = {"postgres", "pgsql", "jdbc"};
  size_t size = strspn(text, LETTERS DIGITS "+-.");
  if (text[size] != ':') return false;
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0) return true;
  return false;
}

/* "user:password@host", a URL without its scheme. */
static bool begins_as_login(const char *text) {
  const char *colon = text + strcspn(text, "/:");
  return *colon == ':' && colon[strcspn(colon, "/@")] == '@';
}

typedef enum location_kind { LOCATION_FILE, LOCATION_URL, LOCATION_CONNINFO, LOCATION_UNREADABLE } location_kind;

static location_kind kind_of(const char *location) {
  if (starts_with(location, "sqlite:")) return LOCATION_FILE;
  if (starts_with(location, "postgresql://") || starts_with(location, "postgres://")) return LOCATION_URL;
  const char *text = location + strspn(location, SPACES);
  if (begins_as_conninfo(text)) return LOCATION_CONNINFO;
  if (begins_as_url(text) || begins_as_login(text) || holds_password(text)) return LOCATION_UNREADABLE;
  return LOCATION_FILE;
}

bool store_location_is_path(const char *location) {
  return kind_of(location) == LOCATION_FILE && !starts_with(location, "sqlite:") && !strstr(location, "://");
}

/* libpq takes the first '@' for the end of the password, and would show what follows as the host; and a password with a raw '/' for
 * host, port and path. */
static int check_url(const char *url, annal_error *error) {
  const char *authority = strstr(url, "://") + 3;
  const char *path = authority + strcspn(authority, "/");
  const char *at = memchr(authority, '@', (size_t)(path - authority));
  if (at && memchr(at + 1, '@', (size_t)(path - at - 1)))
    return error_set(error, ANNAL_MISUSE, NULL,
                     "the URL of the store has more than one @ before the database: write @ as %%40 in the password");
  if (!at && memchr(path, '@', strcspn(path, "?")))
    return error_set(error, ANNAL_MISUSE, NULL,
                     "the URL of the store has an @ behind its first /: write / as %%2F in the password");
  return ANNAL_OK;
}

int store_parse_location(const char *location, bool *postgres, const char **rest, annal_error *error) {
  *postgres = false;
  *rest = location;
  if (!location || !*location)
    return error_set(error, ANNAL_MISUSE, NULL,
                     "the location of the store is empty; give a path, \"sqlite:path\", \":memory:\", "
                     "\"postgresql://…\" or a conninfo (\"host=… dbname=…\")");
  switch (kind_of(location)) {
  case LOCATION_FILE: break;
  case LOCATION_URL: *postgres = true; return check_url(location, error);
  case LOCATION_CONNINFO: *postgres = true; return ANNAL_OK;
  case LOCATION_UNREADABLE:
    return error_set(error, ANNAL_MISUSE, NULL,
                     "the location of the store looks like one of PostgreSQL, but is none that libpq reads; it is written "
                     "\"postgresql://user@host/database\" or \"host=… dbname=…\", and a path that looks so \"sqlite:path\"");
  }
  if (starts_with(location, "sqlite:")) {
    *rest = location + strlen("sqlite:");
    if (!**rest) return error_set(error, ANNAL_MISUSE, NULL, "\"sqlite:\" lacks the path behind the colon");
    return ANNAL_OK;
  }
  /* The scheme alone is shown, for behind it may stand a password. */
  size_t scheme = strspn(location, LETTERS DIGITS "+-.");
  if (scheme > 0 && starts_with(location + scheme, "://"))
    return error_set(error, ANNAL_MISUSE, NULL,
                     "\"%.*s://\" is no kind of store; there are \"sqlite:path\" and \"postgresql://…\"",
                     scheme > 40 ? 40 : (int)scheme, location);
  return ANNAL_OK;
}
