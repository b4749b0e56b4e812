/* The limit on declared fields: what is indexed must fit an index entry. Role: asked of event data before it is saved (intake.c)
 * and of views before their rows are (instance.c, api/rows.c), so that both stores refuse the same values. */
#ifndef FOLD_DECLARED_H
#define FOLD_DECLARED_H

#include "store/store.h"

/* `json` is a document in canonical form. `invalid`, with the field in `where`, when the text of a declared field in it is longer
 * than LIMIT_VALUE_BYTES. A document that is no object has no fields. */
int declared_check(const store_fields *fields, const char *json, size_t size, annal_error *error);

#endif
