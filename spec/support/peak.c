/* peak FILE COMMAND ARGUMENT…: runs a command and writes the most memory that it held at once, in KiB, into FILE. Role:
 * spec/import_spec.lua. Answers the command's exit code. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments) {
  int status = 0;
  struct rusage used;
  if (count < 3) return 2;
  pid_t child = fork();
  if (child == 0) {
    execvp(arguments[2], arguments + 2);
    perror(arguments[2]);
    _exit(127);
  }
  if (child < 0 || wait4(child, &status, 0, &used) != child) return 2;
  FILE *file = fopen(arguments[1], "w");
  if (!file || fprintf(file, "%ld\n", used.ru_maxrss) < 0 || fclose(file) != 0) return 2;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
