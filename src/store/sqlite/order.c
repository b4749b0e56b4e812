/* What SQLite cannot say of JSON by itself: where a value stands among others, exactly. Role: the one function of annal's own that
 * its statements call. The schema never does (SQLITE_DIRECTONLY): a file is anybody's to read. */
#include "store/sqlite/sqlite.h"

#include "base/error.h"
#include "json/json.h"
#include <string.h>

static void fail(sqlite3_context *context, const annal_error *error) {
  if (error->code == ANNAL_INVALID) sqlite3_result_error(context, error->message, -1);
  else sqlite3_result_error_nomem(context);
}

static void answer(sqlite3_context *context, const char *data, size_t size, const char *field, base_buf *key) {
  annal_error error;
  const char *value = NULL;
  size_t value_size = 0;
  if (!json_find_member(data, size, field, &value, &value_size)) value = NULL;
  if (order_key(value, value_size, key, &error)) fail(context, &error);
  else sqlite3_result_blob64(context, key->bytes, key->size, SQLITE_TRANSIENT);
}

/* annal_order(data, field): a blob that compares as the field's value does. An error for what is no JSON. */
static void order_function(sqlite3_context *context, int count, sqlite3_value **arguments) {
  (void)count;
  const base_env *env = sqlite3_user_data(context);
  const char *data = (const char *)sqlite3_value_text(arguments[0]), *field = (const char *)sqlite3_value_text(arguments[1]);
  size_t size = (size_t)sqlite3_value_bytes(arguments[0]);
  annal_error error;
  base_buf key, canonical;
  if (!data || !field) {
    sqlite3_result_error_nomem(context);
    return;
  }
  buf_init(&key, env);
  buf_init(&canonical, env);
  if (json_is_tidy(data, size)) answer(context, data, size, field, &key);
  else if (json_canonical(data, size, 0, &canonical, &error)) fail(context, &error);
  else answer(context, canonical.bytes, canonical.size, field, &key);
  buf_free(&key);
  buf_free(&canonical);
}

int sqlite_add_functions(sqlite3 *db, const base_env *env) {
  return sqlite3_create_function_v2(db, SQLITE_ORDER_FUNCTION, 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY,
                                    (void *)(uintptr_t)env, order_function, NULL, NULL, NULL);
}
