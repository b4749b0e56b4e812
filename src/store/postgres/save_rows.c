/* Rows that are written with saves: a batch's, as arguments of annal_append_rows_1. Role: append.c sends them behind its own. */
#include "store/postgres/pg.h"

#include <string.h>

bool pg_save_rows_add(pg_save_rows *rows, const base_env *env, store_entry *const *entries, size_t count, pg_params *params) {
  static const Oid types[PG_SAVE_ROW_ARRAYS] = {PG_INT4, PG_INT4, PG_TEXT, PG_TEXT, PG_TEXT, PG_JSON, PG_JSON};
  pg_array *arrays = rows->arrays;
  bool any = false;
  for (size_t i = 0; i < PG_SAVE_ROW_ARRAYS; i++) pg_array_init(&arrays[i], env, types[i]);
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < entries[i]->save->row_count; j++, any = true) {
      const store_save_row *one = &entries[i]->save->rows[j];
      pg_array_int(&arrays[0], (int64_t)i + 1);
      pg_array_int(&arrays[1], (int64_t)one->last);
      pg_array_text(&arrays[2], one->row.type);
      pg_array_text(&arrays[3], one->row.fingerprint);
      pg_array_text(&arrays[4], one->row.id);
      pg_array_bytes(&arrays[5], one->row.state, one->row.state_size);
      pg_array_bytes(&arrays[6], one->row.data, one->row.data_size);
    }
  for (size_t i = 0; any && i < PG_SAVE_ROW_ARRAYS; i++) pg_array_param(&arrays[i], params);
  return any;
}

void pg_save_rows_free(pg_save_rows *rows) {
  for (size_t i = 0; i < PG_SAVE_ROW_ARRAYS; i++) pg_array_free(&rows->arrays[i]);
}
