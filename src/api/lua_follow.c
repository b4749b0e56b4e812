/* Following in Lua: `for event in store:follow { … } do … end`. */
#include "api/lua_face.h"

#include "base/error.h"
#include <lauxlib.h>

typedef struct lua_follower {
  face_child head;
  store_follower *follower;
  store_page page;
  size_t at;           /* events of the page that were handed out */
  double idle_seconds; /* negative: it waits for ever */
} lua_follower;

/* Far enough away to be for ever, near enough that sums do not overflow. */
#define FOR_EVER (INT64_MAX / 4)

static void follower_end(face_child *child) { store_follower_close(((lua_follower *)child)->follower); }

/* [-1, +1, e] The next event, waiting for it; nil when none came in time. A page is taken anew only when all of the last one was
 * handed out, and after an error from the same place: a caller that catches `unavailable` may go on and misses nothing. */
static int follower_next(lua_State *L) {
  lua_follower *self = lua_touserdata(L, 1);
  if (self->at == self->page.count) {
    annal_error error;
    self->at = 0;
    self->page = (store_page){0};
    int64_t deadline =
        self->idle_seconds >= 0 && self->idle_seconds < 1e9 ? base_monotonic() + (int64_t)(self->idle_seconds * 1e6) : FOR_EVER;
    if (store_follower_next(self->follower, deadline, &self->page, &error)) return face_raise(L, &error);
    if (self->page.count == 0) {
      lua_pushnil(L);
      return 1;
    }
  }
  face_push_event(L, &self->page.events[self->at]);
  self->at++;
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
  if (store_follow(self->head.store->handle->store, &selection, &self->follower, &error)) {
    self->follower = NULL;
    if (scratch.plain) handle_plain_where(&error);
    return face_raise(L, &error);
  }
  lua_pushnil(L);
  lua_pushnil(L);
  lua_pushvalue(L, -3); /* closed when the loop is left */
  return 4;
}
