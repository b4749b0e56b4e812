/* Several instances as of one moment. Role: what a command decides on (api/call.c), and the condition that what it decided is saved
 * under: that nothing of theirs has come since. */
#ifndef FOLD_BOUNDARY_H
#define FOLD_BOUNDARY_H

#include "fold/fold.h"

typedef struct fold_boundary {
  const base_env *env;
  fold_instance **instances; /* each once, whatever the number of uses that are about it */
  size_t instance_count;
  size_t *instance_of;   /* by use */
  annal_stream *streams; /* of all instances; after_id is the event up to which they were read */
  size_t stream_count;
  char after_id[65];
} fold_boundary;

/* Opens the instances of a command's uses: `ids` as script_check_arguments gives them. To be closed in any case. Errors as for
 * fold_open. */
int fold_boundary_open(const fold_context *context, const script_command *command, const char *ids, fold_boundary *out,
                       annal_error *error);
void fold_boundary_close(fold_boundary *boundary);

/* Folds every instance exactly to the head. NULL, where there is one instance at most: to the newest of its events, which then
 * stands for the head; this spares asking for it. May be repeated: what was read stays, only what is new is read. */
int fold_boundary_read(fold_boundary *boundary, const store_head_info *head_or_null, annal_error *error);

/* Appends the view of one use. */
int fold_boundary_view(fold_boundary *boundary, size_t use, base_buf *out, annal_error *error);

/* That no stream of an instance has moved since it was read. False where there are none: then nothing needs to hold. */
bool fold_boundary_condition(const fold_boundary *boundary, annal_condition *condition);

#endif
