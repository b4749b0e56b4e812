/* Canonical JSON from any JSON, without Lua. Role: what is stored, compared and hashed; see json.h.
 *
 * One pass: values are written as they are read, an object's members are put in order when it ends. Recursion is bounded by
 * LIMIT_DEPTH. */
#include "json/json_members.h"
#include "json/json_write.h"

typedef struct canonical {
  json_scan scan;
  json_members members;
  base_buf scratch; /* strings with escapes */
  base_buf keys;    /* the keys with escapes of one object */
  base_buf *out;
} canonical;

static int write_value(canonical *c);

static int write_string(canonical *c) {
  json_slice string;
  c->scan.at++;
  int result = json_scan_string(&c->scan, &string);
  if (result != 0) return result;
  if (string.escaped) json_write_string(c->out, string.bytes, string.size);
  else
    json_put_bytes(c->out, string.bytes - 1,
                   string.size + 2); /* valid and without escapes: canonical as it is, with its quotes */
  return 0;
}

static int write_number(canonical *c) {
  const char *from = c->scan.at;
  json_number number;
  int result = json_scan_number(&c->scan, &number);
  if (result != 0) return result;
  if (number.is_float) json_add_double(c->out, number.real);
  else json_put_bytes(c->out, from, (size_t)(c->scan.at - from)); /* JSON has only one way to write an integer without exponent */
  return 0;
}

static int write_word(canonical *c, const char *word) {
  int result = json_scan_word(&c->scan, word);
  if (result == 0) json_put_bytes(c->out, word, strlen(word));
  return result;
}

static int write_array(canonical *c) {
  json_frame *frame = json_scan_enter(&c->scan);
  int result;
  if (!frame) return ANNAL_INVALID;
  json_put(c->out, '[');
  int next = json_scan_next(&c->scan);
  for (uint64_t index = 1; next != ']'; index++) {
    if (index > 1) {
      if (next != ',') return json_scan_expected(&c->scan, "',' or ']' after an element");
      c->scan.at++;
      json_put(c->out, ',');
    }
    frame->index = index;
    if ((result = write_value(c)) != 0) return result;
    frame->index = 0;
    next = json_scan_next(&c->scan);
  }
  json_scan_leave(&c->scan);
  json_put(c->out, ']');
  return 0;
}

/* Reads `"key" :` and writes `"key":`. */
static int write_key(canonical *c, json_frame *frame) {
  if (json_scan_next(&c->scan) != '"') return json_scan_expected(&c->scan, "a key in quotes");
  const char *source = ++c->scan.at;
  size_t from = c->out->size;
  json_slice key;
  int result = json_scan_string(&c->scan, &key);
  if (result != 0) return result;
  frame->key = source;
  frame->key_size = (size_t)(c->scan.at - 1 - source);
  if (json_scan_next(&c->scan) != ':') return json_scan_expected(&c->scan, "':' after a key");
  c->scan.at++;
  if (key.escaped) json_write_string(c->out, key.bytes, key.size);
  else json_put_bytes(c->out, source - 1, key.size + 2);
  json_put(c->out, ':');
  json_member *member = json_members_add(&c->members, key.escaped ? NULL : key.bytes, key.escaped ? 0 : key.size);
  if (!member) return error_memory(c->scan.error);
  member->from = from;
  member->source = source;
  member->source_size = frame->key_size;
  return 0;
}

/* Unescapes the keys from `base` on that had escapes, all into one buffer that does not move. */
static int unescape_keys(canonical *c, size_t base) {
  size_t total = 0;
  for (size_t i = base; i < c->members.count; i++)
    if (!c->members.list[i].key) total += c->members.list[i].source_size;
  buf_clear(&c->keys);
  if (!buf_reserve(&c->keys, total)) return error_memory(c->scan.error);
  for (size_t i = base; i < c->members.count; i++) {
    json_member *member = &c->members.list[i];
    if (member->key) continue;
    const char *here = c->scan.at;
    json_slice key;
    c->scan.at = member->source;
    int result = json_scan_string(&c->scan, &key);
    if (result != 0) return result;
    c->scan.at = here;
    size_t at = c->keys.size; /* unescaped keys are never longer than their source */
    buf_add(&c->keys, key.bytes, key.size);
    member->key = c->keys.bytes + at;
    member->key_size = key.size;
    member->prefix = json_key_prefix(member->key, key.size);
  }
  return 0;
}

static int end_object(canonical *c, size_t base, bool has_escapes, json_frame *frame) {
  const json_member *duplicate;
  int result = has_escapes ? unescape_keys(c, base) : 0;
  if (result != 0) return result;
  if (!json_members_end(&c->members, base, c->out, &duplicate)) return error_memory(c->scan.error);
  if (!duplicate) return 0;
  frame->key = duplicate->source;
  frame->key_size = duplicate->source_size;
  return json_scan_fail(&c->scan, duplicate->source - 1, "a key comes twice in one object, the second time");
}

static int write_object(canonical *c) {
  json_frame *frame = json_scan_enter(&c->scan);
  size_t base = c->members.count;
  bool has_escapes = false;
  int result;
  if (!frame) return ANNAL_INVALID;
  json_put(c->out, '{');
  int next = json_scan_next(&c->scan);
  while (next != '}') {
    if (c->members.count > base) {
      if (next != ',') return json_scan_expected(&c->scan, "',' or '}' after a member");
      c->scan.at++;
      json_put(c->out, ',');
    }
    if ((result = write_key(c, frame)) != 0) return result;
    size_t mine = c->members.count - 1;
    has_escapes |= !c->members.list[mine].key;
    if ((result = write_value(c)) != 0) return result;
    c->members.list[mine].to = c->out->size;
    frame->key = NULL;
    next = json_scan_next(&c->scan);
  }
  if (c->out->failed) return error_memory(c->scan.error); /* before members are moved about in it */
  if ((result = end_object(c, base, has_escapes, frame)) != 0) return result;
  json_put(c->out, '}');
  json_scan_leave(&c->scan);
  return 0;
}

static int write_value(canonical *c) {
  int next = json_scan_next(&c->scan);
  switch (next) {
  case '{': return write_object(c);
  case '[': return write_array(c);
  case '"': return write_string(c);
  case 't': return write_word(c, "true");
  case 'f': return write_word(c, "false");
  case 'n': return write_word(c, "null");
  default:
    if (next == '-' || (next >= '0' && next <= '9')) return write_number(c);
    return json_scan_expected(&c->scan, "a value");
  }
}

static int write_document(canonical *c) {
  if ((c->scan.flags & JSON_OBJECT) && json_scan_next(&c->scan) != '{') return json_scan_expected(&c->scan, "an object");
  int result = write_value(c);
  if (result == 0) result = json_scan_finish(&c->scan);
  if (result == 0 && c->out->failed) result = error_memory(c->scan.error);
  return result;
}

int json_canonical(const char *text, size_t size, unsigned flags, base_buf *out, annal_error *error) {
  size_t before = out->size;
  canonical c; /* not cleared as a whole: the room for members is large */
  c.out = out;
  json_scan_init(&c.scan, text, size, flags, &c.scratch, error);
  if (!buf_reserve(out, size)) return error_memory(error);
  json_members_init(&c.members, out->env);
  buf_init(&c.scratch, out->env);
  buf_init(&c.keys, out->env);
  int result = write_document(&c);
  json_members_free(&c.members);
  buf_free(&c.scratch);
  buf_free(&c.keys);
  if (result != 0) {
    out->size = before;
    out->failed = false;
  }
  json_close(out);
  return result;
}
