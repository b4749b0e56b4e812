/* Views as of the past: which position is meant; see handle.h. */
#include "api/handle.h"

#include "base/error.h"

static int check_position(annal_store *handle, int64_t position, annal_error *error) {
  store_head_info head;
  if (position < 0) return error_set(error, ANNAL_MISUSE, "at", "at is %lld: a position is 0 or more", (long long)position);
  if (position == 0) return ANNAL_OK;
  int code = store_head(handle->store, &head, error);
  if (code || position <= head.position) return code;
  return error_set(error, ANNAL_NOT_FOUND, "at", "position %lld is beyond the newest event, which is at position %lld",
                   (long long)position, (long long)head.position);
}

int handle_past(annal_store *handle, const annal_view_options *options, store_head_info *head, annal_error *error) {
  *head = (store_head_info){0};
  if (options->at && options->at_time) return error_set(error, ANNAL_MISUSE, "at", "at is given as a position and as a time");
  if (options->at_time) return store_position_at_time(handle->store, options->at_time, &head->position, error);
  head->position = options->at;
  return check_position(handle, options->at, error);
}
