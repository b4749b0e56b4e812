/* Following in Lua: `for event in store:follow { … } do … end`. */
#include "api/lua_face.h"

#include "api/reader.h"
#include <lauxlib.h>

typedef struct lua_follower {
  face_child head;
  handle_reader *reader;
  const annal_event *event; /* that was not handed out yet; NULL: the next one is to be taken */
  double idle_seconds;      /* negative: it waits for ever */
} lua_follower;

static void follower_end(face_child *child) { handle_reader_close(((lua_follower *)child)->reader); }

/* [-1, +1, e] The next event, waiting for it; nil when none came in time. After an error it goes on from the same place: a caller
 * that catches `unavailable`, or lack of memory, may go on and misses nothing. */
static int follower_next(lua_State *L) {
  lua_follower *self = lua_touserdata(L, 1);
  annal_error error;
  if (!self->event && handle_reader_next(self->reader, self->idle_seconds, &self->event, &error)) return face_raise(L, &error);
  if (self->event) face_push_event(L, self->event);
  else lua_pushnil(L);
  self->event = NULL;
  return 1;
}

static int follower_close(lua_State *L) { return face_close_child(L, &face_follower_class); }

static int follower_text(lua_State *L) {
  lua_pushstring(L, "annal follower");
  return 1;
}

static const face_method no_methods[] = {{NULL, NULL, 0}};

const face_class face_follower_class = {.name = "follower",
                                        .methods = no_methods,
                                        .call = follower_next,
                                        .close = follower_close,
                                        .text = follower_text,
                                        .is_child = true};

int face_follow(lua_State *L) {
  face_scratch scratch = face_scratch_open(L);
  annal_selection selection;
  double idle_seconds;
  face_follow_selection(&scratch, 2, &selection, &idle_seconds);
  lua_follower *self = face_new_child(L, 1, sizeof *self, &face_follower_class, follower_end);
  self->idle_seconds = idle_seconds;
  annal_error error;
  if (handle_follow(self->head.store->handle, &selection, &self->reader, &error)) {
    if (scratch.plain) handle_plain_where(&error);
    return face_raise(L, &error);
  }
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushvalue(L, -3); /* closed when the loop is left */
  return 4;
}
