/* Lines from a person: editing, history, completion, by libedit. Role: the REPL's way in when it has a terminal. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include "cli.h"

typedef struct terminal terminal;

/* What TAB asks: the line up to the cursor. Appends the candidates to `list`, each ended by a NUL, and answers how many bytes before
 * the cursor they replace. */
typedef size_t terminal_complete(void *context, const char *line, size_t size, base_buf *list);

terminal *terminal_open(cli *c, terminal_complete *complete, void *context, annal_error *error);
void terminal_close(terminal *t); /* accepts NULL; gives the terminal back as it was */

typedef enum terminal_answer { TERMINAL_LINE, TERMINAL_END, TERMINAL_INTERRUPTED } terminal_answer;
/* One line without its newline, borrowed until the next call; it goes into the history. */
terminal_answer terminal_line(terminal *t, const char *prompt, const char **line);

#endif
