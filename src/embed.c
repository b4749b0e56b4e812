/* embed NAME ROOT FILE…: writes a C source to standard output that holds the files' bytes. Role: build tool; the library needs
 * no file beside it. What it writes is declared as
 *   const char *NAME(const char *path, size_t *size);     path relative to ROOT; NULL when there is no such file; NUL-terminated
 *   const char *const *NAME_paths(void);                  all paths, in the order given, ended by NULL */
#include <stdio.h>
#include <string.h>

static int embed_file(const char *path, int number) {
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    return 1;
  }
  printf("static const char file_%d[] = {", number);
  int c, column = 0;
  while ((c = fgetc(file)) != EOF) printf("%s%d,", column++ % 32 == 0 ? "\n" : "", (int)(signed char)c);
  printf("\n0};\n");
  int failed = ferror(file);
  fclose(file);
  return failed;
}

int main(int count, char **arguments) {
  if (count < 4) {
    fprintf(stderr, "usage: embed NAME ROOT FILE...\n");
    return 2;
  }
  const char *name = arguments[1], *root = arguments[2];
  printf("#include <stddef.h>\n#include <string.h>\nconst char *%s(const char *path, size_t *size);\n"
         "const char *const *%s_paths(void);\n",
         name, name);
  for (int i = 3; i < count; i++)
    if (embed_file(arguments[i], i)) return 1;
  printf("static const char *const paths[] = {");
  for (int i = 3; i < count; i++) {
    const char *path = arguments[i];
    if (strncmp(path, root, strlen(root)) == 0) path += strlen(root);
    while (*path == '/') path++;
    printf("\"%s\", ", path);
  }
  printf("NULL};\nstatic const char *const files[] = {");
  for (int i = 3; i < count; i++) printf("file_%d, ", i);
  printf("};\nstatic const size_t sizes[] = {");
  for (int i = 3; i < count; i++) printf("sizeof file_%d - 1, ", i);
  printf("};\n"
         "const char *%s(const char *path, size_t *size) {\n"
         "  for (size_t i = 0; paths[i]; i++)\n"
         "    if (strcmp(paths[i], path) == 0) {\n"
         "      if (size) *size = sizes[i];\n"
         "      return files[i];\n"
         "    }\n"
         "  return NULL;\n"
         "}\n"
         "const char *const *%s_paths(void) { return paths; }\n",
         name, name);
  return 0;
}
