/* What a backend gives to kept.c. Role: the seam below store/kept.h, as backend.h is below store/store.h. kept.c has checked the names
 * and that the store is this process's, for what writes also that it may be written to. Times are base_now's, or the server's. */
#ifndef STORE_KEPT_BACKEND_H
#define STORE_KEPT_BACKEND_H

#include "store/kept.h"

/* What annal_meta holds of a type: the value "NUMBER WANTED SERVED", "-" where none is served, under the key "kept:TYPE". */
#define STORE_KEPT_KEY_BYTES 140
#define STORE_KEPT_BYTES 160
void store_kept_key(const char *type, char key[STORE_KEPT_KEY_BYTES]);
void store_kept_text(const store_kept *kept, char text[STORE_KEPT_BYTES]);
/* `text` NULL: there is nothing yet. corrupt */
int store_kept_parse(const char *text, store_kept *kept, annal_error *error);

/* Whether the set knows of events that are not known up to `place`. One that was made from another log does not count. */
bool store_set_is_ahead(const store_set *set, const store_head_info *place);

typedef void store_each_name(void *context, const char *set, int64_t touched_at);

typedef struct store_kept_backend {
  size_t (*at_once)(const store *s);
  int (*meta_get)(store *s, const char *key, char value[STORE_KEPT_BYTES], bool *there, annal_error *error);
  /* Sets the value if it still is `before` (NULL: if there is none). */
  int (*meta_swap)(store *s, const char *key, const char *before, const char *after, bool *done, annal_error *error);
  int (*make)(store *s, const char *type, const char *set, annal_error *error);
  int (*look)(store *s, const char *type, const char *set, store_set *found, annal_error *error);
  int (*has_rows)(store *s, const char *type, const char *set, bool *any, annal_error *error);
  int (*begin)(store *s, const char *type, const char *set, store_piece **piece, store_set *found, annal_error *error);
  int (*reset)(store *s, const char *type, const char *set, const store_head_info *checkpoint, bool *done, annal_error *error);
  int (*replace)(store *s, const char *type, const char *set, const char *other, const store_head_info *checkpoint, bool *done,
                 annal_error *error);
  int (*finish)(store *s, const char *type, const char *set, annal_error *error);
  /* Sets of the type that have rows, or a checkpoint beyond the beginning, and when that was written (0: there is none). */
  int (*names)(store *s, const char *type, store_each_name *each, void *context, annal_error *error);
  int (*newest)(store *s, const char *type, const char *set, int64_t *updated_at, annal_error *error); /* of its rows; 0 */
  /* Removes some rows; with the last of them what else there is of the set. Nothing, and *more false, where annal_meta does not say
   * `kept` (NULL: nothing) any more, or the checkpoint was written to since. */
  int (*remove_some)(store *s, const char *type, const char *set, const char *kept, int64_t untouched_since, bool *more,
                     annal_error *error);
  int (*sets)(store *s, store_each_set *each, void *context, annal_error *error);
  int (*parked)(store *s, const char *type, const char *set, const char *after, size_t limit, store_each_parked *each,
                void *context, annal_error *error);
} store_kept_backend;

typedef struct store_piece_backend {
  int (*rows)(store_piece *piece, const char *const *ids, size_t count, store_each_kept *each, void *context, annal_error *error);
  int (*keep)(store_piece *piece, bool *overtaken, annal_error *error);
  int (*put)(store_piece *piece, const store_row *rows, size_t count, bool *overtaken, annal_error *error);
  int (*commit)(store_piece *piece, const store_advance *advance, store_advanced *done, annal_error *error);
  void (*end)(store_piece *piece);
} store_piece_backend;

/* A backend's struct begins with it. */
struct store_piece {
  const store_piece_backend *backend;
};

extern const store_kept_backend sqlite_kept, pg_kept;

#endif
