/* What a server's or libpq's failure means in annal's words. Role: the one table from SQLSTATE to error code; the hints that go
 * with it; the guard that keeps passwords out of messages. */
#include "store/postgres/pg.h"

#include "base/error.h"
#include <stdio.h>
#include <string.h>

#define SECRET_BYTES_MIN 4 /* a shorter password stands in many words, and stars in their place would tell it */

static bool is_word_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c & 0x80);
}

/* Is it in the text with no letter or digit before or behind it? */
static bool stands_alone(const char *secret, const char *text) {
  for (const char *at = text; (at = strstr(at, secret)) != NULL; at++)
    if ((at == text || !is_word_byte(at[-1])) && !is_word_byte(at[strlen(secret)])) return true;
  return false;
}

bool pg_scrub(const pg_store *s, const char *text, char *out, size_t room) {
  size_t used = 0, secret = s->password ? strlen(s->password) : 0;
  if (secret > 0 && secret < SECRET_BYTES_MIN) {
    if (text && stands_alone(s->password, text)) {
      snprintf(out, room, "what was said is left out, for it may hold the password");
      return false;
    }
    secret = 0;
  }
  while (text && *text && used + 4 < room) {
    if (secret > 0 && strncmp(text, s->password, secret) == 0) {
      memcpy(out + used, "***", 3);
      used += 3;
      text += secret;
    } else {
      out[used++] = *text++;
    }
  }
  out[used] = 0;
  return true;
}

static bool begins_with_one_of(const char *state, const char *const *beginnings, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (strncmp(state, beginnings[i], strlen(beginnings[i])) == 0) return true;
  return false;
}

/* SQLSTATEs that neither the standard nor PostgreSQL gives a meaning are what a trigger of somebody's raises: 45… by custom, or classes
 * that begin with one of 6 to 9 or I to Z. */
static bool is_somebodys(const char *state) {
  static const char *const servers[] = {"72", "P0", "XX"};
  bool free = (state[0] >= '6' && state[0] <= '9') || (state[0] >= 'I' && state[0] <= 'Z') || strncmp(state, "45", 2) == 0;
  return free && !begins_with_one_of(state, servers, sizeof servers / sizeof *servers);
}

bool pg_is_content(const annal_error *error) {
  static const char *const classes[] = {"22", "23", "54", "P0"};
  return begins_with_one_of(error->sqlstate, classes, sizeof classes / sizeof *classes) || is_somebodys(error->sqlstate);
}

/* What is the server's, the session's, the disk's would have met any other statement too. */
bool pg_is_everybodys(const annal_error *error) {
  static const char *const states[] = {"08", "25", "26", "28", "40", "53", "55P03", "57", "58"};
  return error->sqlstate[0] == 0 || begins_with_one_of(error->sqlstate, states, sizeof states / sizeof *states);
}

typedef struct state_meaning {
  const char *state; /* a SQLSTATE or the beginning of some */
  int code;
  bool retryable;
  const char *advice; /* what to do; NULL: the server's message says it */
} state_meaning;

/* The first that fits counts: a whole state stands before its class. */
static const state_meaning meanings[] = {
    {"22", ANNAL_INVALID, false, NULL},
    {"23505", ANNAL_DUPLICATE, false, NULL},
    {"23", ANNAL_INVALID, false, NULL},
    {"P0", ANNAL_INVALID, false, NULL},
    {"25006", ANNAL_MISUSE, false, "this server or role only reads: open the store with read_only"},
    {"25000", ANNAL_MISUSE, false, NULL},
    {"55P03", ANNAL_BUSY, true, "somebody held the lock for longer than lock_timeout"},
    {"40", ANNAL_BUSY, true, NULL},
    {"54", ANNAL_INVALID, false, NULL},
    {"08", ANNAL_UNAVAILABLE, true, NULL},
    {"53", ANNAL_UNAVAILABLE, true, NULL},
    {"57", ANNAL_UNAVAILABLE, true, NULL},
    {"58", ANNAL_UNAVAILABLE, true, NULL},
    {"28", ANNAL_UNAVAILABLE, false, NULL},
    {"3D000", ANNAL_UNAVAILABLE, false, "make it with: CREATE DATABASE … ENCODING 'UTF8'"},
    {"26000", ANNAL_MISUSE, false, "behind a pooler in transaction mode open the store with pooled"},
    {"42P05", ANNAL_MISUSE, false, "behind a pooler in transaction mode open the store with pooled"},
    {"XX", ANNAL_CORRUPT, false, NULL},
    {"42P01", ANNAL_CORRUPT, false, "a table of the store is gone"},
    {"42703", ANNAL_CORRUPT, false, "a table of the store is not as annal made it"},
    {"42883", ANNAL_CORRUPT, false, "a function of the store is gone"},
    {"3F000", ANNAL_CORRUPT, false, "the schema of the store is gone"},
    {"42501", ANNAL_UNAVAILABLE, false, NULL}, /* with the GRANT, see add_grant */
    {"42", ANNAL_MISUSE, false, NULL},
};

/* The same of statements of the caller's. */
static const state_meaning meanings_of_theirs[] = {
    {"42", ANNAL_MISUSE, false, NULL},
    {"3F", ANNAL_MISUSE, false, NULL},
    {"08P01", ANNAL_MISUSE, false, "is each of its placeholders given a value?"},
    {"25P03", ANNAL_UNAVAILABLE, true, "between two statements of a transaction may pass no more than the timeout"},
    {"25", ANNAL_MISUSE, false, NULL},
    {"2D", ANNAL_MISUSE, false, NULL},
    {"26", ANNAL_MISUSE, false, NULL},
    {"0A", ANNAL_MISUSE, false, NULL},
};

static const state_meaning *meaning_of(const char *state, bool theirs) {
  for (size_t i = 0; theirs && i < sizeof meanings_of_theirs / sizeof *meanings_of_theirs; i++)
    if (strncmp(state, meanings_of_theirs[i].state, strlen(meanings_of_theirs[i].state)) == 0) return &meanings_of_theirs[i];
  for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
    if (strncmp(state, meanings[i].state, strlen(meanings[i].state)) == 0) return &meanings[i];
  return NULL;
}

/* The GRANT that would have helped, by what was refused. The owner runs it. */
static void add_grant(const pg_store *s, const char *refused, char *out, size_t room) {
  base_buf text;
  buf_init(&text, s->base.env);
  const char *verb = "";
  if (strstr(refused, "annal_append_rows_1")) verb = "execute on function @append_rows@";
  else if (strstr(refused, "annal_append_1")) verb = "execute on function @append@";
  else if (strstr(refused, "schema")) verb = "usage on schema @schema@";
  else if (strstr(refused, s->names.projections) && !s->base.options->read_only) verb = "select, insert, update on @projections@";
  else verb = "select on @events@, @projections@, @meta@, @checkpoints@, @parked@";
  buf_text(&text, "grant ");
  pg_render_text(&text, &s->names, verb);
  buf_text(&text, " to ");
  pg_add_name(&text, s->role);
  snprintf(out, room, "the owner can allow it: %s", text.failed ? "see the grants of annal schema" : text.bytes);
  buf_free(&text);
}

/* 57014: the server ended a statement, for one of three reasons. */
static int fail_cancelled(pg_store *s, const pg_call *call, annal_error *error) {
  if (pg_interrupted(s, call)) return error_set(error, ANNAL_UNAVAILABLE, NULL, "interrupted");
  if (base_monotonic() + 10000 >= call->deadline)
    return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s took longer than the timeout of %.3g seconds", s->place,
                     (double)s->timeout / 1e6);
  return error_set(error, ANNAL_UNAVAILABLE, NULL, "%s: somebody on the server, or its statement_timeout, ended the statement",
                   s->place);
}

static int fail_state(pg_store *s, const char *state, const char *message, const pg_call *call, annal_error *error) {
  char advice[512] = "";
  int result;
  if (strcmp(state, "57014") == 0) {
    result = fail_cancelled(s, call, error);
  } else {
    const state_meaning *meaning = meaning_of(state, call->theirs);
    if (strcmp(state, "42501") == 0 && !call->theirs) add_grant(s, message, advice, sizeof advice);
    else if (meaning && meaning->advice) snprintf(advice, sizeof advice, "%s", meaning->advice);
    int code = meaning ? meaning->code : is_somebodys(state) ? ANNAL_INVALID : ANNAL_UNAVAILABLE;
    result = error_set(error, code, NULL, "%s: %s%s%s", s->place, message, *advice ? "; " : "", advice);
    if (meaning) error->retryable = meaning->retryable;
  }
  snprintf(error->sqlstate, sizeof error->sqlstate, "%s", state);
  return result;
}

int pg_fail(pg_store *s, const pg_conn *conn, const PGresult *result, const pg_call *call, annal_error *error) {
  char message[512];
  const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
  if (state) {
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    pg_scrub(s, primary, message, sizeof message);
    return fail_state(s, state, message, call, error);
  }
  const char *text = result ? PQresultErrorMessage(result) : conn->pq ? PQerrorMessage(conn->pq) : "the connection is closed";
  pg_scrub(s, text && *text ? text : "the connection was lost", message, sizeof message);
  bool wrong_password = conn->pq && (PQconnectionNeedsPassword(conn->pq) || strstr(message, "authentication failed"));
  error_set(error, ANNAL_UNAVAILABLE, NULL, "%s: %s", s->place, message);
  if (wrong_password) error->retryable = false;
  return ANNAL_UNAVAILABLE;
}
