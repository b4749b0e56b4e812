/* annal init [DIR]: makes a new app that runs. Role: the first thing a newcomer calls. What it writes are the files of
 * lua/annal/init, embedded; nothing that is there already is touched. */
#include "base/text.h"
#include "cli.h"
#include "json/json.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Made by the embed tool. */
const char *cli_init_file(const char *path, size_t *size);
const char *const *cli_init_file_paths(void);

/* A hidden file would be overlooked among the sources. */
static const char *name_of(const char *path) { return strcmp(path, "busted.lua") == 0 ? ".busted" : path; }

static int place_of(cli *c, const char *directory, const char *name, char path[PATH_MAX]) {
  int size =
      strcmp(directory, ".") == 0 ? snprintf(path, PATH_MAX, "%s", name) : snprintf(path, PATH_MAX, "%s/%s", directory, name);
  return size < PATH_MAX ? CLI_DONE : cli_misuse(c, "the path of the directory is too long");
}

static int cannot(cli *c, const char *what, const char *path) {
  annal_error error;
  error_set(&error, ANNAL_UNAVAILABLE, path, "cannot %s: %s", what, strerror(errno));
  return cli_fail(c, &error);
}

/* All or nothing: looked at before anything is written. */
static int check_free(cli *c, const char *directory) {
  const char *const *paths = cli_init_file_paths();
  char path[PATH_MAX], shown[96];
  struct stat info;
  for (size_t i = 0; paths[i]; i++) {
    int code = place_of(c, directory, name_of(paths[i]), path);
    if (code) return code;
    if (lstat(path, &info) == 0)
      return cli_misuse(c, "%s is there already, and init overwrites nothing; give a new directory: annal init NAME",
                        text_show(path, shown));
  }
  return CLI_DONE;
}

static int make_directory(cli *c, const char *path) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST) return CLI_DONE;
  return cannot(c, "make the directory", path);
}

static int write_file(cli *c, const char *path, const char *text, size_t size) {
  int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) return cannot(c, "make the file", path);
  int code = CLI_DONE;
  for (size_t at = 0; at < size && !code;) {
    ssize_t written = write(file, text + at, size - at);
    if (written > 0) at += (size_t)written;
    else if (written == 0 || errno != EINTR) code = cannot(c, "write the file", path);
  }
  if (close(file) != 0 && !code) code = cannot(c, "write the file", path);
  return code;
}

/* Writes one file, its directory below the app's before it. */
static int write_one(cli *c, const char *directory, const char *source) {
  char path[PATH_MAX];
  size_t size;
  const char *text = cli_init_file(source, &size);
  int code = place_of(c, directory, name_of(source), path);
  if (!code && strchr(source, '/')) {
    char *slash = strrchr(path, '/');
    *slash = 0;
    code = make_directory(c, path);
    *slash = '/';
  }
  return code ? code : write_file(c, path, text, size);
}

/* What to do next, for people: each line can be typed as it stands. */
static void say_next(const char *directory) {
  if (strcmp(directory, ".") != 0) printf("  cd %s\n", directory);
  printf("  annal call OPEN_ACCOUNT '{\"accountId\":\"a1\",\"owner\":\"ada\"}'\n"
         "  annal call PAY_IN '{\"accountId\":\"a1\",\"cents\":10000}'\n"
         "  annal view ACCOUNT a1\n"
         "  annal repl\n"
         "  busted\n");
}

static int say_made(cli *c, const char *directory) {
  const char *const *paths = cli_init_file_paths();
  base_buf made;
  buf_init(&made, &c->env);
  int code = CLI_DONE;
  if (c->out.people) printf("Made an app of bank accounts:\n");
  for (size_t i = 0; paths[i] && !code; i++) {
    char path[PATH_MAX];
    code = place_of(c, directory, name_of(paths[i]), path);
    if (code) break;
    if (c->out.people) {
      printf("  %s\n", path);
      continue;
    }
    buf_clear(&made);
    buf_text(&made, "{\"made\":");
    json_add_string(&made, path, strlen(path));
    buf_char(&made, '}');
    code = out_document(c, made.bytes, made.size);
  }
  buf_free(&made);
  if (!code && c->out.people) {
    printf("Next:\n");
    say_next(directory);
  }
  return code;
}

static int init(cli *c) {
  const char *directory = c->argument_count ? c->arguments[0] : ".";
  const char *const *paths = cli_init_file_paths();
  int code = *directory ? check_free(c, directory) : cli_misuse(c, "the name of the directory is empty");
  if (!code) code = make_directory(c, directory);
  for (size_t i = 0; paths[i] && !code; i++) code = write_one(c, directory, paths[i]);
  return code ? code : say_made(c, directory);
}

const cli_command cmd_init = {
    .name = "init",
    .usage = "[DIR]",
    .help = "makes a new app: settings, events, a projection, commands, and a spec that passes",
    .arguments_max = 1,
    .need = CLI_STANDS_ALONE,
    .run = init,
};
