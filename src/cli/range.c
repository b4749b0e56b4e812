/* K:MIN..MAX on the command line, as a range of a query. An end is a number, a JSON string in quotes, or else plain text:
 * total:1000..5000, since:2026-01-01.., code:"00100".."00199". The colon keeps every value of K=V what it is. */
#include "base/text.h"
#include "cli.h"
#include "json/json.h"
#include <string.h>

bool range_is_one(const char *text) {
  size_t sign = strcspn(text, "=:");
  return text[sign] == ':';
}

/* Where the ".." between the ends stands; NULL: nowhere. One within quotes is none. */
static const char *find_dots(const char *text) {
  bool quoted = false;
  for (; *text; text++) {
    if (quoted && text[0] == '\\' && text[1]) text++;
    else if (text[0] == '"') quoted = !quoted;
    else if (!quoted && text[0] == '.' && text[1] == '.') return text;
  }
  return NULL;
}

static bool is_json(const char *text, size_t size, const base_env *env) {
  annal_error ignored;
  base_buf out;
  buf_init(&out, env);
  bool valid = json_canonical(text, size, JSON_NO_NUL, &out, &ignored) == ANNAL_OK;
  buf_free(&out);
  return valid;
}

/* Appends the end as JSON and a NUL. */
static void add_end(base_buf *out, const char *text, size_t size) {
  bool number_or_string = text[0] == '-' || text[0] == '"' || (text[0] >= '0' && text[0] <= '9');
  if (number_or_string && is_json(text, size, out->env)) buf_add(out, text, size);
  else json_add_string(out, text, size);
  buf_char(out, 0);
}

int range_read(cli *c, const char *text, annal_range *range, char **memory) {
  char shown[96];
  annal_error error;
  annal_text taken;
  base_buf out;
  size_t name_size = strcspn(text, ":");
  const char *min = text + name_size + 1, *dots = find_dots(min), *max = dots ? dots + 2 : NULL;
  *memory = NULL;
  if (!dots || find_dots(max) || (dots == min && !*max))
    return cli_misuse(
        c, "query: %s is not of the form NAME:MIN..MAX; one end may be left out, and text with .. in it stands in \"\"",
        text_show(text, shown));
  buf_init(&out, &c->env);
  buf_add(&out, text, name_size);
  buf_char(&out, 0);
  size_t min_at = out.size;
  if (dots > min) add_end(&out, min, (size_t)(dots - min));
  size_t max_at = out.size;
  if (*max) add_end(&out, max, strlen(max));
  if (!buf_take(&out, &taken)) {
    buf_free(&out);
    error_memory(&error);
    return cli_fail(c, &error);
  }
  *memory = (char *)(uintptr_t)taken.bytes;
  *range = (annal_range){.name = *memory, .min = dots > min ? *memory + min_at : NULL, .max = *max ? *memory + max_at : NULL};
  if (text_is_name(range->name)) return CLI_DONE;
  return cli_misuse(c, "query: %s is not the name of a field: letters, digits and _, at most 63", text_show(range->name, shown));
}
