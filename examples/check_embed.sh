#!/bin/sh
# Runs the example over an empty store and a bad directory. Usage: check_embed.sh EMBED SCRIPTS
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

expected='{"id":"cart_123","isCheckedOut":false,"items":[{"priceAtTime":1999,"productId":"prod_789","quantity":1}],"total":1999,"userId":"user_456"}'
view=$("$1" "$directory/cart.db" "$2")
[ "$view" = "$expected" ] || { echo "the view is $view"; exit 1; }
[ "$(sqlite3 -readonly "$directory/cart.db" 'SELECT count(*) FROM events')" = 3 ] || { echo "the events are not there"; exit 1; }

if "$1" "$directory/other.db" "$directory/nowhere" 2>"$directory/error"; then echo "it opened without scripts"; exit 1; fi
grep -q '^not_found: ' "$directory/error" || { cat "$directory/error"; exit 1; }
