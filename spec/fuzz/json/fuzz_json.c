/* A libFuzzer target for everything that reads JSON. Build and run, from the root of the project:
 *
 *   clang-14 -g -O1 -std=gnu11 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -Isrc $(pkg-config --cflags --libs lua5.4) \
 *     spec/fuzz/json/fuzz_json.c src/json/[a-z]*.c src/base/[a-z]*.c -lxxhash -lm -pthread -o build/fuzz_json
 *   mkdir -p build/corpus && build/fuzz_json -dict=spec/fuzz/json/json.dict -max_total_time=60 \
 *     build/corpus ../shared/data/JSONTestSuite/test_parsing
 *
 * The first byte chooses the flags, the rest is the text. */
#include "property.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0) return 0;
  json_property_state state;
  json_property_open(&state);
  unsigned flags = data[0] & (JSON_OBJECT | JSON_NO_NUL);
  json_property_check(&state, (const char *)data + 1, size - 1, flags);
  json_property_check(&state, (const char *)data + 1, size - 1, flags); /* and when its keys are in the cache */
  json_property_close(&state);
  return 0;
}
