# Files into the program: ingot_assets(OUTPUT file.cc FILES path type file …) writes a source whose Assets() lists them. The bytes come
# in by .incbin, which takes no time to compile.
function(ingot_assets output)
  set(asm "")
  set(table "")
  set(index 0)
  while(ARGN)
    list(POP_FRONT ARGN path type file)
    file(SHA256 ${file} hash)
    string(SUBSTRING ${hash} 0 16 etag)
    if(type MATCHES "^text/")
      string(APPEND type "; charset=utf-8")
    endif()
    string(APPEND asm "INGOT_EMBED_FILE(asset${index}, \"${file}\")\n")
    string(APPEND table "      {\"${path}\", \"${type}\", Content(asset${index}_begin, asset${index}_end), \"\\\"${etag}\\\"\"},\n")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    set_property(SOURCE ${output} APPEND PROPERTY OBJECT_DEPENDS ${file})
    math(EXPR index "${index} + 1")
  endwhile()
  file(CONFIGURE OUTPUT ${output} CONTENT [[// Made by cmake/assets.cmake.
#include "base/embedded_file.h"
#include "server/ui/pages.h"

@asm@
namespace ingot::server {
namespace {
std::string_view Content(const char* begin, const char* end) { return {begin, static_cast<size_t>(end - begin)}; }
}  // namespace

std::vector<Asset> Assets() {
  return {
@table@  };
}

}  // namespace ingot::server
]] @ONLY)
endfunction()
