/* Folding (fold/fold.h) on the real layers: what handlers see and leave behind, what a state may be, what errors say. */
#include "support.h"

#define EVENTS                                                                                                                   \
  "event 'ADDED' { cartId = t.string, name = t.string, price = t.optional(t.integer) }\n"                                        \
  "event 'CLEARED' { cartId = t.string }\n"                                                                                      \
  "event 'NOTED' { cartId = t.string, note = t.any }\n"                                                                          \
  "local on = { CLEARED = function() end }\n"

static void a_view_is_the_fold_of_its_events(void **unused) {
  (void)unused;
  place p;
  place_start(&p,
              EVENTS "projection 'CART' { by = 'cartId', fields = {"
                     "  names = reducer { init = array {}, on = { ADDED = function(s, e) table.insert(s, e.data.name) end } },"
                     "  total = reducer { init = 0, on = { ADDED = function(s, e) return s + (e.data.price or 0) end } } },"
                     "  view = function(s, id) return { id = id, names = s.names, total = s.total } end }");
  put(&p, "ADDED", NULL, "{\"cartId\":\"a\",\"name\":\"tea\",\"price\":3}");
  put(&p, "ADDED", NULL, "{\"cartId\":\"b\",\"name\":\"ink\",\"price\":100}");
  put(&p, "ADDED", "last", "{\"cartId\":\"a\",\"name\":\"milk\",\"price\":2}");
  put(&p, "NOTED", NULL, "{\"cartId\":\"a\",\"note\":1}");
  fold_instance *cart = instance_of(&p, "CART", "a", true);
  expect_view(&p, cart, "{\"id\":\"a\",\"names\":[\"tea\",\"milk\"],\"total\":5}");
  int64_t position;
  const char *latest;
  annal_error error;
  assert_int_equal(fold_position(cart, &position, &latest, &error), 0);
  assert_int_equal(position, 3);
  assert_string_equal(latest, "last");
  fold_close(cart);
  place_remove(&p);
}

static void an_instance_without_events_has_its_initial_state(void **unused) {
  (void)unused;
  place p;
  place_start(&p, EVENTS "projection 'CART' { by = 'cartId', init = { items = array {}, tags = {}, n = 1.0, none = null },"
                         "  on = { CLEARED = function(s) s.n = 2 end } }\n"
                         "projection 'BARE' { by = 'cartId', init = null, on = { CLEARED = function() return 1 end } }");
  fold_instance *cart = instance_of(&p, "CART", "a", true);
  int64_t position = 7;
  const char *latest;
  annal_error error;
  assert_int_equal(fold_position(cart, &position, &latest, &error), 0);
  assert_int_equal(position, 0);
  assert_string_equal(latest, "");
  expect_view(&p, cart, "{\"items\":[],\"n\":1.0,\"none\":null,\"tags\":{}}");
  store_status status;
  assert_int_equal(fold_save(cart, &status, &error), ANNAL_NOT_FOUND);
  fold_close(cart);
  expect_fold(&p, "BARE", "a", true, "null");
  place_remove(&p);
}

static void nothing_keeps_the_state_a_value_replaces_it_and_null_is_null(void **unused) {
  (void)unused;
  place p;
  place_start(&p, EVENTS "projection 'P' { by = 'cartId', fields = {"
                         "  kept = reducer { init = { n = 0 }, on = { NOTED = function(s) s.n = s.n + 1 end } },"
                         "  given = reducer { init = 1, on = { NOTED = function(_, e) return e.data.note end } },"
                         "  falsy = reducer { init = true, on = { NOTED = function() return false end } } } }");
  put(&p, "NOTED", NULL, "{\"cartId\":\"a\",\"note\":[]}");
  expect_fold(&p, "P", "a", true, "{\"falsy\":false,\"given\":[],\"kept\":{\"n\":1}}");
  put(&p, "NOTED", NULL, "{\"cartId\":\"a\",\"note\":null}");
  expect_fold(&p, "P", "a", true, "{\"falsy\":false,\"given\":null,\"kept\":{\"n\":2}}");
  put(&p, "NOTED", NULL, "{\"cartId\":\"a\",\"note\":{\"x\":[{}]}}");
  expect_fold(&p, "P", "a", true, "{\"falsy\":false,\"given\":{\"x\":[{}]},\"kept\":{\"n\":3}}");
  place_remove(&p);
}

static void each_handler_owns_the_event_it_is_given(void **unused) {
  (void)unused;
  place p;
  place_start(&p, EVENTS
              "local function keep(s, e) e.data.note.by = s return e.data.note end\n"
              "projection 'P' { by = 'cartId', fields = {"
              "  a = reducer { init = 'a', on = { NOTED = keep } }, b = reducer { init = 'b', on = { NOTED = keep } } } }");
  put(&p, "NOTED", NULL, "{\"cartId\":\"a\",\"note\":{\"x\":1}}");
  expect_fold(&p, "P", "a", true, "{\"a\":{\"by\":\"a\",\"x\":1},\"b\":{\"by\":\"b\",\"x\":1}}");
  place_remove(&p);
}

static void reducers_run_in_bytewise_order_of_their_fields(void **unused) {
  (void)unused;
  place p;
  place_start(&p, EVENTS "local function step(name) return reducer { init = array {}, on = {"
                         "  NOTED = function(s, e) table.insert(s, name) end } } end\n"
                         "projection 'P' { by = 'cartId', fields = { b = step 'b', Z = step 'Z', a = step 'a' } }\n"
                         "projection 'STOPS' { by = 'cartId', fields = {"
                         "  b = reducer { init = 0, on = { NOTED = function() error('b ran') end } },"
                         "  B = reducer { init = 0, on = { NOTED = function() error('B ran') end } } } }");
  put(&p, "NOTED", NULL, "{\"cartId\":\"a\",\"note\":1}");
  expect_fold(&p, "P", "a", true, "{\"Z\":[\"Z\"],\"a\":[\"a\"],\"b\":[\"b\"]}");
  annal_error error;
  expect_failure(&p, "STOPS", "a", ANNAL_SCRIPT, &error);
  expect_in(error.message, "B ran");
  place_remove(&p);
}

static void what_an_instance_does_to_its_init_is_its_own(void **unused) {
  (void)unused;
  place p;
  place_start(&p, EVENTS "local shared = { items = array {}, depth = { n = 0 } }\n"
                         "local function add(s, e) table.insert(s.items, e.data.name) s.depth.n = s.depth.n + 1 end\n"
                         "projection 'VALUE' { by = 'cartId', init = shared, on = { ADDED = add } }\n"
                         "projection 'MADE' { by = 'cartId', init = function() return shared end, on = { ADDED = add } }\n"
                         "local list = reducer { init = array {}, on = { ADDED = function(s, e) table.insert(s, 1) end } }\n"
                         "projection 'TWICE' { by = 'cartId', fields = { one = list, other = list } }");
  put(&p, "ADDED", NULL, "{\"cartId\":\"a\",\"name\":\"tea\"}");
  put(&p, "ADDED", NULL, "{\"cartId\":\"b\",\"name\":\"ink\"}");
  const char *a = "{\"depth\":{\"n\":1},\"items\":[\"tea\"]}", *b = "{\"depth\":{\"n\":1},\"items\":[\"ink\"]}";
  for (int round = 0; round < 2; round++) {
    expect_fold(&p, "VALUE", "a", false, a);
    expect_fold(&p, "VALUE", "b", false, b);
    expect_fold(&p, "MADE", "a", false, a);
    expect_fold(&p, "MADE", "b", false, b);
    expect_fold(&p, "TWICE", "a", false, "{\"one\":[1],\"other\":[1]}");
  }
  place_remove(&p);
}

static void what_init_says_is_an_array_stays_one_when_it_is_empty(void **unused) {
  (void)unused;
  place p;
  place_start(&p, EVENTS "projection 'FIELD' { by = 'cartId', fields = { items = reducer { init = array {}, on = {"
                         "  ADDED = function(s, e) return { e.data.name } end, CLEARED = function() return {} end } } } }\n"
                         "projection 'WHOLE' { by = 'cartId', init = { deep = { items = array {}, map = {} } }, on = {"
                         "  ADDED = function(s, e) s.deep = { items = { 1 }, map = { x = 1 } } end,"
                         "  CLEARED = function(s) s.deep = { items = {}, map = {} } end } }\n"
                         "projection 'ROOT' { by = 'cartId', init = array { 1 }, on = { CLEARED = function() return {} end } }");
  put(&p, "ADDED", NULL, "{\"cartId\":\"a\",\"name\":\"tea\"}");
  expect_fold(&p, "FIELD", "a", true, "{\"items\":[\"tea\"]}");
  expect_fold(&p, "WHOLE", "a", true, "{\"deep\":{\"items\":[1],\"map\":{\"x\":1}}}");
  put(&p, "CLEARED", NULL, "{\"cartId\":\"a\"}");
  expect_fold(&p, "FIELD", "a", true, "{\"items\":[]}");
  expect_fold(&p, "WHOLE", "a", true, "{\"deep\":{\"items\":[],\"map\":{}}}");
  expect_fold(&p, "ROOT", "a", true, "[]");
  place_remove(&p);
}

static void a_constant_of_a_script_does_not_become_an_array(void **unused) {
  (void)unused;
  place p;
  place_start(&p, EVENTS "local none = {}\n"
                         "projection 'P' { by = 'cartId', init = { list = array {}, map = {} }, on = {"
                         "  CLEARED = function(s) s.list = none end, NOTED = function(s) s.list = nil s.map = none end,"
                         "  ADDED = function(s, e) table.insert(s.list, e.data.name) end } }");
  put(&p, "CLEARED", NULL, "{\"cartId\":\"a\"}");
  put(&p, "ADDED", NULL, "{\"cartId\":\"a\",\"name\":\"tea\"}");
  for (int round = 0; round < 2; round++) expect_fold(&p, "P", "a", true, "{\"list\":[\"tea\"],\"map\":{}}");
  put(&p, "NOTED", NULL, "{\"cartId\":\"a\",\"note\":1}");
  expect_fold(&p, "P", "a", true, "{\"map\":{}}");
  place_remove(&p);
}

static void a_state_that_is_no_tree_is_an_error_with_its_path(void **unused) {
  (void)unused;
  static const struct {
    const char *handler, *where;
  } cases[] = {
      {"local x = {} s.items = { x, { price = x } }", "items[2].price"},
      {"s.items = { 1, { price = 0/0 } }", "items[2].price"},
      {"s.items = { 1, { price = 1/0 } }", "items[2].price"},
      {"s.f = assert", "f"},
      {"s.t = setmetatable({}, { __index = s })", "t"},
      {"s.t = { [1] = 1, [3] = 3 }", "t"},
      {"s.t = { [1.5] = 1 }", "t"},
      {"s.t = { 1, x = 2 }", "t"},
      {"s.s = 'a\\xff'", "s"},
      {"s.s = 'a\\0'", "s"},
      {"s.e = e", "e"},
      {"s.loop = s", "loop"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    place p;
    char source[512];
    annal_error error;
    snprintf(source, sizeof source,
             EVENTS "projection 'TREE' { by = 'cartId', init = {}, on = { CLEARED = function(s, e) %s end } }", cases[i].handler);
    place_start(&p, source);
    put(&p, "CLEARED", NULL, "{\"cartId\":\"c 1\"}");
    expect_failure(&p, "TREE", "c 1", ANNAL_SCRIPT, &error);
    if (!strstr(error.where, cases[i].where)) fail_msg("%s: where is %s: %s", cases[i].handler, error.where, error.message);
    expect_in(error.message, "TREE \"c 1\"");
    place_remove(&p);
  }
}

static void a_table_shared_by_two_fields_is_refused(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_start(&p, EVENTS "local mine = { n = 0 }\n"
                         "local one = reducer { init = 0, on = { CLEARED = function() return mine end } }\n"
                         "projection 'P' { by = 'cartId', fields = { a = one, b = one } }");
  put(&p, "CLEARED", NULL, "{\"cartId\":\"c\"}");
  expect_failure(&p, "P", "c", ANNAL_SCRIPT, &error);
  assert_true(strcmp(error.where, "a") == 0 || strcmp(error.where, "b") == 0);
  expect_in(error.message, "P \"c\"");
  place_remove(&p);
}

static void an_error_names_the_event_and_the_line(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_start(&p, EVENTS "projection 'CART' { by = 'cartId', fields = { items = reducer { init = array {}, on = {\n"
                         "  ADDED = function(s, e)\n"
                         "    table.insert(s, e.data.name.first.second)\n"
                         "  end } } } }");
  put(&p, "CLEARED", NULL, "{\"cartId\":\"cart_1\"}");
  put(&p, "ADDED", "ev-7", "{\"cartId\":\"cart_1\",\"name\":\"tea\"}");
  expect_failure(&p, "CART", "cart_1", ANNAL_SCRIPT, &error);
  assert_string_equal(error.where, "app.lua:7");
  expect_in(error.message, "CART \"cart_1\"");
  expect_in(error.message, "ev-7");
  expect_in(error.message, "ADDED");
  expect_in(error.message, "items");
  expect_in(error.message, "position 2");
  put(&p, "ADDED", NULL, "{\"cartId\":\"cart_2\",\"name\":\"tea\"}");
  expect_fold(&p, "CART", "cart_3", true, "{\"items\":[]}");
  place_remove(&p);
}

static void a_handler_that_loops_or_eats_memory_is_stopped(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_init(&p);
  place_script(&p, "app.lua",
               EVENTS "projection 'LOOP' { by = 'cartId', init = 0, on = {"
                      "  CLEARED = function() while true do pcall(function() while true do end end) end end } }\n"
                      "projection 'EATS' { by = 'cartId', init = 0, on = {"
                      "  CLEARED = function() local t = {} for i = 1, 1e9 do t[i] = { i } end end } }\n"
                      "projection 'FINE' { by = 'cartId', init = 0, on = { CLEARED = function(s) return s + 1 end } }\n"
                      "projection 'SLOW_VIEW' { by = 'cartId', init = 0, on = on,"
                      "  view = function() while true do end end }");
  place_open_with(&p, (annal_options){.app = p.app, .budget = 1000000, .memory = 8 << 20});
  put(&p, "CLEARED", NULL, "{\"cartId\":\"c\"}");
  expect_failure(&p, "LOOP", "c", ANNAL_BUDGET, &error);
  expect_in(error.message, "LOOP \"c\"");
  expect_failure(&p, "EATS", "c", ANNAL_BUDGET, &error);
  expect_failure(&p, "SLOW_VIEW", "c", ANNAL_BUDGET, &error);
  expect_in(error.message, "SLOW_VIEW \"c\"");
  for (int i = 0; i < 3; i++) expect_fold(&p, "FINE", "c", false, "1");
  place_remove(&p);
}

static void views_are_checked_against_their_shape(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  place_start(&p,
              EVENTS "projection 'P' { by = 'cartId', init = {}, on = { NOTED = function(s, e) s.n = e.data.note end },\n"
                     "  view = function(s, id) if id == 'none' then return nil end return { id = id, list = {}, n = s.n } end,\n"
                     "  shape = { id = t.string, list = t.array(t.integer), n = t.optional(t.integer) } }\n"
                     "projection 'BAD' { by = 'cartId', init = {}, on = on, view = function() return { n = 0/0 } end }");
  put(&p, "NOTED", NULL, "{\"cartId\":\"a\",\"note\":3}");
  put(&p, "NOTED", NULL, "{\"cartId\":\"b\",\"note\":\"x\"}");
  expect_fold(&p, "P", "a", true, "{\"id\":\"a\",\"list\":[],\"n\":3}");
  expect_failure(&p, "P", "b", ANNAL_SCRIPT, &error);
  expect_in(error.where, "n");
  expect_in(error.message, "view of P \"b\"");
  expect_failure(&p, "P", "none", ANNAL_SCRIPT, &error);
  expect_in(error.message, "view of P \"none\"");
  expect_failure(&p, "BAD", "a", ANNAL_SCRIPT, &error);
  assert_string_equal(error.where, "n");
  place_remove(&p);
}

static void a_view_gets_a_copy_of_the_state(void **unused) {
  (void)unused;
  place p;
  place_start(&p, EVENTS "projection 'P' { by = 'cartId', init = { n = 0 }, on = { CLEARED = function(s) s.n = s.n + 1 end },"
                         "  view = function(s) s.n = s.n + 100 return s end }");
  put(&p, "CLEARED", NULL, "{\"cartId\":\"c\"}");
  fold_instance *instance = instance_of(&p, "P", "c", true);
  annal_error error;
  expect_view(&p, instance, "{\"n\":101}");
  expect_view(&p, instance, "{\"n\":101}");
  put(&p, "CLEARED", NULL, "{\"cartId\":\"c\"}");
  expect_ok(fold_refresh(instance, &error), &error);
  expect_view(&p, instance, "{\"n\":102}");
  fold_close(instance);
  place_remove(&p);
}

static void instances_are_found_by_tables_of_identifiers_streams_and_for_the_whole_store(void **unused) {
  (void)unused;
  place p;
  place_start(&p, "event 'PLACED' { orderId = t.string }\nevent 'PAID' { forOrder = t.string }\n"
                  "local on = { PLACED = function(s) return s .. 'o' end, PAID = function(s) return s .. 'p' end }\n"
                  "projection 'BY' { by = { PLACED = 'orderId', PAID = 'forOrder' }, init = '', on = on }\n"
                  "projection 'STREAMS' { init = '', on = on, streams = function(id) return {"
                  "  { types = { 'PLACED' }, data = { orderId = id } }, { types = { 'PAID' }, data = { forOrder = id } },"
                  "  { data = { orderId = id } } } end }\n"
                  "projection 'ALL' { init = '', on = on }");
  put(&p, "PLACED", NULL, "{\"orderId\":\"1\"}");
  put(&p, "PAID", NULL, "{\"forOrder\":\"2\"}");
  put(&p, "PAID", NULL, "{\"forOrder\":\"1\"}");
  put(&p, "PLACED", NULL, "{\"orderId\":\"2\"}");
  expect_fold(&p, "BY", "1", true, "\"op\"");
  expect_fold(&p, "BY", "2", true, "\"po\"");
  expect_fold(&p, "STREAMS", "1", true, "\"op\"");
  expect_fold(&p, "STREAMS", "2", true, "\"po\"");
  expect_fold(&p, "ALL", "", true, "\"oppo\"");
  fold_instance *by = instance_of(&p, "BY", "1", true);
  const annal_stream *streams;
  size_t count;
  annal_error error;
  expect_ok(fold_streams(by, &streams, &count, &error), &error);
  assert_int_equal(count, 2);
  assert_string_equal(fold_id(by), "1");
  assert_string_equal(fold_projection(by)->name, "BY");
  fold_close(by);
  place_remove(&p);
}

static void wrong_names_and_ids_are_refused(void **unused) {
  (void)unused;
  place p;
  annal_error error;
  char long_id[600];
  memset(long_id, 'x', sizeof long_id - 1);
  long_id[sizeof long_id - 1] = 0;
  place_start(&p,
              EVENTS "projection 'SHOPPING_CART' { by = 'cartId', init = 0, on = on }\nprojection 'ALL' { init = 0, on = on }");
  expect_failure(&p, "SHOPING_CART", "c", ANNAL_NOT_FOUND, &error);
  expect_in(error.message, "did you mean SHOPPING_CART?");
  expect_failure(&p, "ORDER", "c", ANNAL_NOT_FOUND, &error);
  expect_in(error.message, "\"ORDER\"");
  expect_failure(&p, "SHOPPING_CART", "", ANNAL_MISUSE, &error);
  expect_failure(&p, "ALL", "c", ANNAL_MISUSE, &error);
  expect_failure(&p, "SHOPPING_CART", long_id, ANNAL_INVALID, &error);
  expect_failure(&p, "SHOPPING_CART", "\xff", ANNAL_INVALID, &error);
  long_id[512] = 0;
  expect_fold(&p, "SHOPPING_CART", long_id, true, "0");
  place_remove(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_view_is_the_fold_of_its_events),
      cmocka_unit_test(an_instance_without_events_has_its_initial_state),
      cmocka_unit_test(nothing_keeps_the_state_a_value_replaces_it_and_null_is_null),
      cmocka_unit_test(each_handler_owns_the_event_it_is_given),
      cmocka_unit_test(reducers_run_in_bytewise_order_of_their_fields),
      cmocka_unit_test(what_an_instance_does_to_its_init_is_its_own),
      cmocka_unit_test(what_init_says_is_an_array_stays_one_when_it_is_empty),
      cmocka_unit_test(a_constant_of_a_script_does_not_become_an_array),
      cmocka_unit_test(a_state_that_is_no_tree_is_an_error_with_its_path),
      cmocka_unit_test(a_table_shared_by_two_fields_is_refused),
      cmocka_unit_test(an_error_names_the_event_and_the_line),
      cmocka_unit_test(a_handler_that_loops_or_eats_memory_is_stopped),
      cmocka_unit_test(views_are_checked_against_their_shape),
      cmocka_unit_test(a_view_gets_a_copy_of_the_state),
      cmocka_unit_test(instances_are_found_by_tables_of_identifiers_streams_and_for_the_whole_store),
      cmocka_unit_test(wrong_names_and_ids_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
