/* K=V on the command line, as fields of a filter. Role: events --data, query. A name that stands several times is one field with
 * alternatives: --data cartId=c1 --data cartId=c2 is either of them. */
#include "base/text.h"
#include "cli.h"
#include <string.h>

/* Cuts the copy of one text at its '='. */
static int split(cli *c, char *copy, const char *what, const char **value) {
  char shown[96];
  char *equals = strchr(copy, '=');
  if (!equals) return cli_misuse(c, "%s: %s is not of the form NAME=VALUE", what, text_show(copy, shown));
  *equals = 0;
  *value = equals + 1;
  if (!text_is_name(copy))
    return cli_misuse(c, "%s: %s is not the name of a field: letters, digits and _, at most 63", what, text_show(copy, shown));
  return CLI_DONE;
}

/* Groups `values` by the names before them, in the order in which the names first came. */
static void group(cli_fields *out, const char *const *names, const char *const *values, size_t count, const char **grouped) {
  for (size_t i = 0; i < count; i++) {
    size_t at = 0;
    while (at < out->count && strcmp(out->fields[at].name, names[i]) != 0) at++;
    if (at < out->count) continue;
    annal_field *field = &out->fields[out->count++];
    *field = (annal_field){names[i], grouped, 0};
    for (size_t k = i; k < count; k++)
      if (strcmp(names[k], names[i]) == 0) grouped[field->value_count++] = values[k];
    grouped += field->value_count;
  }
}

/* One piece of memory holds the fields, three lists of pointers, and a copy of each text. */
int filter_fields(cli *c, const char *const *texts, size_t count, const char *what, cli_fields *out) {
  *out = (cli_fields){0};
  if (count == 0) return CLI_DONE;
  size_t bytes = count * (sizeof(annal_field) + 3 * sizeof(char *));
  for (size_t i = 0; i < count; i++) bytes += strlen(texts[i]) + 1;
  char *memory = base_alloc(&c->env, bytes);
  if (!memory) {
    annal_error error;
    error_memory(&error);
    return cli_fail(c, &error);
  }
  out->memory = memory;
  out->fields = (annal_field *)(void *)memory;
  const char **names = (const char **)(void *)(memory + count * sizeof(annal_field));
  const char **values = names + count, **grouped = values + count;
  char *copy = (char *)(grouped + count);
  for (size_t i = 0; i < count; i++) {
    size_t size = strlen(texts[i]) + 1;
    memcpy(copy, texts[i], size);
    int code = split(c, copy, what, &values[i]);
    if (code) {
      filter_free(c, out);
      return code;
    }
    names[i] = copy;
    copy += size;
  }
  group(out, names, values, count, grouped);
  return CLI_DONE;
}

void filter_free(cli *c, cli_fields *fields) {
  base_free(&c->env, fields->memory);
  *fields = (cli_fields){0};
}
