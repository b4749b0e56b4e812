/* An import in progress. Role: shared by cmd_import.c (batches, saves, the whole), import_lines.c (events as lines of NDJSON) and
 * import_table.c (events as rows of the original's table). */
#ifndef CLI_IMPORT_H
#define CLI_IMPORT_H

#include "base/limits.h"
#include "cli.h"
#include "store/store.h"

typedef struct import import;

/* One event that waits for its batch; places are offsets into `text`, which moves while it grows. 0: it has no such member. */
typedef struct import_event {
  uint64_t number; /* of its line or row, from 1 */
  size_t id, type, data, metadata;
  size_t data_size, metadata_size;
  int64_t created_at;
  int version;
} import_event;

/* Where events come from. */
typedef struct import_source {
  /* The next event, its pieces in m->text, the rest of it in *event; *more is false when there is none. Errors say where. */
  int (*next)(import *m, import_event *event, bool *more, annal_error *error);
  /* Says in error->where which line or row it was. */
  void (*place)(const import *m, const import_event *event, annal_error *error);
  bool always_timed; /* an event without a time is wrong, unless times are mended */
} import_source;

struct import {
  cli *c;
  const import_source *source;
  bool retime;
  base_buf canonical, text;
  uint64_t number;        /* of the line or row in hand */
  uint64_t total, passed; /* how far: bytes of the file, or rows; total 0: nobody knows */
  /* import_lines.c */
  int file;
  base_buf input;
  size_t input_at; /* of the next line in `input` */
  bool input_ended;
  /* import_table.c */
  store_cursor *rows;
  store_page page;
  size_t page_at;
  /* cmd_import.c */
  import_event gathered[LIMIT_BATCH_EVENTS];
  annal_event events[LIMIT_BATCH_EVENTS];
  size_t count;
  bool timed;       /* the gathered events bear their times */
  bool resuming;    /* everything so far was stored before */
  int64_t previous; /* with retime: no event may have a time before this one */
  uint64_t stored, already;
  cli_progress progress;
};

/* Appends a NUL-terminated piece to `text` and answers its place. */
size_t import_add_piece(import *m, const char *bytes, size_t size);
const char *import_piece(const import *m, size_t at); /* NULL for 0 */

extern const import_source import_lines, import_table;
int import_open_file(import *m, const char *path, annal_error *error);
void import_close_file(import *m);
int import_open_table(import *m, const char *name, annal_error *error);
void import_close_table(import *m);

#endif
