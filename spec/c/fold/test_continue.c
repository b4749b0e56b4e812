/* The rule that saved rows stand on, as a property: fold(0..n) == restore(k) + fold(k..n), byte for byte, for every k, whatever
 * handlers do to the state. A handler that is told by random events what to do with arrays, empty tables and places of `init`
 * is folded in one go, in steps, and over saved rows. */
#include "support.h"

#define TRIALS 40
#define STEPS 12

/* `do_to` walks to a place and does one thing there. Whatever it is told, it leaves a state that can be encoded, or it does
 * nothing. */
static const char app[] =
    "event 'DO' { id = t.string, what = t.string, at = t.array(t.string), to = t.array(t.string), value = t.any }\n"
    "local function walk(s, path, last)\n"
    "  for i = 1, last do\n"
    "    if type(s) ~= 'table' then return nil end\n"
    "    s = s[tonumber(path[i]) or path[i]]\n"
    "  end\n"
    "  return s\n"
    "end\n"
    "local function is_list(s) return #s > 0 or is_empty(s) end\n"
    "local function key_of(s, name)\n" /* a key that leaves a list a list and an object an object */
    "  local n = tonumber(name)\n"
    "  if n and #s > 0 then return n <= #s and n or #s + 1 end\n"
    "  if #s > 0 then return nil end\n"
    "  return name\n"
    "end\n"
    "local made = {\n"
    "  array = function() return array {} end, table = function() return {} end,\n"
    "  plain = function() return { 1, 2 } end, nested = function() return { a = { { 1 } }, b = array { {}, array {} } } end,\n"
    "}\n"
    "local function run(s, e)\n"
    "  local d = e.data\n"
    "  local place, key = walk(s, d.at, #d.at - 1), d.at[#d.at]\n"
    "  if type(place) ~= 'table' then return end\n"
    "  local there = place[tonumber(key) or key]\n"
    "  if made[d.what] then\n"
    "    local k = key_of(place, key)\n"
    "    if k and not getmetatable(place) or k and #place > 0 then place[k] = made[d.what]() end\n"
    "  elseif d.what == 'value' then\n"
    "    local k = key_of(place, key)\n"
    "    if k and (not getmetatable(place) or #place > 0) then place[k] = d.value end\n"
    "  elseif d.what == 'drop' then\n"
    "    if #place == 0 then place[key] = nil end\n"
    "  elseif type(there) ~= 'table' then\n"
    "    return\n"
    "  elseif d.what == 'push' and is_list(there) then\n"
    "    there[#there + 1] = d.value\n"
    "  elseif d.what == 'pop' and #there > 0 then\n"
    "    there[#there] = nil\n"
    "  elseif d.what == 'clear' then\n"
    "    for i = #there, 1, -1 do there[i] = nil end\n"
    "  elseif d.what == 'move' and #place == 0 then\n"
    "    local target, k = walk(s, d.to, #d.to - 1), d.to[#d.to]\n"
    "    if type(target) == 'table' and #target == 0 and not getmetatable(target) and target[k] == nil then\n"
    "      place[key] = nil\n"
    "      local inner = target\n" /* what was cut off must not be put into itself */
    "      if walk(s, d.to, #d.to - 1) == inner then target[k] = there end\n"
    "    end\n"
    "  end\n"
    "end\n"
    "projection 'WHOLE' { by = 'id', init = { a = array {}, b = { a = array { 1 }, b = {} }, c = {} }, on = { DO = run } }\n"
    "projection 'FIELDS' { by = 'id', fields = {\n"
    "  a = reducer { init = { a = array {}, b = {} }, on = { DO = run } },\n"
    "  b = reducer { init = { c = { a = array {} } }, on = { DO = run } },\n"
    "  c = reducer { init = array {}, on = { DO = function(s, e)\n"
    "    if e.data.what == 'clear' then return {} elseif e.data.what == 'push' then return { e.data.value } end end } } } }\n";

static uint64_t seed;

static unsigned pick(unsigned below) {
  uint64_t x = seed += UINT64_C(0x9E3779B97F4A7C15);
  x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
  return (unsigned)((x ^ x >> 31) % below);
}

static void add_path(base_buf *out) {
  static const char *const keys[] = {"a", "b", "c", "1", "2"};
  unsigned count = 1 + pick(3);
  buf_char(out, '[');
  for (unsigned i = 0; i < count; i++) buf_printf(out, "%s\"%s\"", i ? "," : "", keys[pick(i == 0 ? 3 : 5)]);
  buf_char(out, ']');
}

static void put_random(place *p, int trial) {
  static const char *const whats[] = {"array", "table", "plain", "nested", "value", "drop", "push",
                                      "push",  "push",  "pop",   "pop",    "clear", "move", "move"};
  static const char *const values[] = {"1", "[]", "{}", "[[]]", "null", "{\"a\":[1]}", "2.0", "[{}]"};
  base_buf data;
  buf_init(&data, &p->handle->env);
  buf_printf(&data, "{\"id\":\"t%d\",\"what\":\"%s\",\"value\":%s,\"at\":", trial, whats[pick(14)], values[pick(8)]);
  add_path(&data);
  buf_text(&data, ",\"to\":");
  add_path(&data);
  buf_char(&data, '}');
  put(p, "DO", NULL, data.bytes);
  buf_free(&data);
}

static char *row_of(place *p, const char *projection, const char *id) {
  char sql[160];
  snprintf(sql, sizeof sql, "SELECT state || ' ' || data || ' ' || position FROM projections WHERE type = '%s' AND id = '%s'",
           projection, id);
  return place_ask(p, sql);
}

static void expect_same(const char *one, const char *other, int trial, int step) {
  if (strcmp(one, other) != 0) fail_msg("trial %d, step %d: %s\nis not %s", trial, step, one, other);
}

/* One trial: `steady` is refreshed after each event, so that it goes through bytes each time; rows are saved at random; at the
 * end the row that was made in pieces equals one that is made in one go. */
static void try_once(place *p, const char *projection, int trial) {
  char id[16];
  annal_error error;
  snprintf(id, sizeof id, "t%d", trial);
  fold_instance *steady = instance_of(p, projection, id, false);
  for (int step = 0; step < STEPS; step++) {
    put_random(p, trial);
    expect_ok(fold_refresh(steady, &error), &error);
    fold_instance *saved = instance_of(p, projection, id, true), *fresh = instance_of(p, projection, id, false);
    char *views[3] = {view_text(p, steady), view_text(p, saved), view_text(p, fresh)};
    expect_same(views[0], views[2], trial, step);
    expect_same(views[1], views[2], trial, step);
    if (pick(3) == 0) expect_ok(fold_save(saved, NULL, &error), &error);
    for (int i = 0; i < 3; i++) free(views[i]);
    fold_close(saved);
    fold_close(fresh);
  }
  fold_instance *saved = instance_of(p, projection, id, true), *fresh = instance_of(p, projection, id, false);
  expect_ok(fold_save(saved, NULL, &error), &error);
  char *in_pieces = row_of(p, projection, id);
  place_sql(p, "DELETE FROM projections");
  expect_ok(fold_save(fresh, NULL, &error), &error);
  char *in_one_go = row_of(p, projection, id);
  expect_same(in_pieces, in_one_go, trial, STEPS);
  assert_true(strlen(in_one_go) > 10);
  free(in_pieces);
  free(in_one_go);
  fold_close(saved);
  fold_close(fresh);
  fold_close(steady);
}

/* One trial of the past: views are written down as the events come, rows are saved on the way; then each is asked for again, in
 * random order, of an instance that wanders and of new ones, over the row and from the first event. */
static void try_past(place *p, const char *projection, int trial) {
  char id[16], *views[STEPS + 1];
  int64_t positions[STEPS + 1] = {0};
  annal_error error;
  const char *ignored;
  snprintf(id, sizeof id, "t%d", trial);
  fold_instance *steady = instance_of(p, projection, id, false);
  for (int step = 0; step <= STEPS; step++) {
    if (step > 0) put_random(p, trial);
    if (step > 0 && pick(2)) put_random(p, 1000 + trial); /* another instance's, between them */
    expect_ok(fold_refresh(steady, &error), &error);
    if (step > 0 && pick(3) == 0) expect_ok(fold_save(steady, NULL, &error), &error);
    views[step] = view_text(p, steady);
    expect_ok(fold_position(steady, &positions[step], &ignored, &error), &error);
  }
  for (int look = 0; look < 3 * STEPS; look++) {
    int step = (int)pick(STEPS + 1);
    int64_t position;
    fold_instance *fresh = instance_of(p, projection, id, pick(2));
    fold_instance *both[] = {steady, fresh};
    for (int i = 0; i < 2; i++) {
      expect_ok(fold_refresh_at(both[i], &(store_head_info){.position = positions[step]}, &error), &error);
      char *view = view_text(p, both[i]);
      expect_same(view, views[step], trial, step);
      free(view);
      expect_ok(fold_position(both[i], &position, &ignored, &error), &error);
      assert_int_equal(position, positions[step]);
    }
    fold_close(fresh);
  }
  for (int step = 0; step <= STEPS; step++) free(views[step]);
  fold_close(steady);
}

static void try_many(const char *projection, void (*try)(place *p, const char *projection, int trial)) {
  place p;
  place_start(&p, app);
  for (int trial = 0; trial < TRIALS; trial++) {
    seed = (uint64_t)trial * 7919 + 1;
    try(&p, projection, trial);
  }
  place_remove(&p);
}

static void a_whole_state_is_the_same_however_often_its_fold_stopped(void **unused) {
  (void)unused;
  try_many("WHOLE", try_once);
}

static void fields_are_the_same_however_often_their_fold_stopped(void **unused) {
  (void)unused;
  try_many("FIELDS", try_once);
}

static void the_past_is_what_it_was_when_it_was_read(void **unused) {
  (void)unused;
  try_many("WHOLE", try_past);
  try_many("FIELDS", try_past);
}

int main(void) {
  place_cache = 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_whole_state_is_the_same_however_often_its_fold_stopped),
      cmocka_unit_test(fields_are_the_same_however_often_their_fold_stopped),
      cmocka_unit_test(the_past_is_what_it_was_when_it_was_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
