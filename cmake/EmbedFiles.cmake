# Writes a C++ file with the bytes of files: cmake -D OUT=... -D IN=DIR -P EmbedFiles.cmake
set(arrays "")
set(rows "")
foreach(row "/|index.html|text/html; charset=utf-8" "/page.css|page.css|text/css; charset=utf-8"
            "/page.js|page.js|text/javascript; charset=utf-8")
  string(REGEX MATCH "^([^|]*)[|]([^|]*)[|](.*)$" matched "${row}")
  set(url "${CMAKE_MATCH_1}")
  set(name "${CMAKE_MATCH_2}")
  set(type "${CMAKE_MATCH_3}")
  file(READ "${IN}/${name}" bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
  string(MAKE_C_IDENTIFIER "${name}" id)
  string(APPEND arrays "constexpr char ${id}[] = {${bytes}};\n")
  string(APPEND rows "    {\"${url}\", \"${type}\", {${id}, sizeof(${id})}},\n")
endforeach()
file(WRITE "${OUT}" "// Generated from server/admin/page.
#include \"server/admin/page.h\"

namespace gradwire {
namespace {

${arrays}
}  // namespace

absl::Span<const PageFile> PageFiles() {
  static const PageFile files[] = {
${rows}  };
  return files;
}

}  // namespace gradwire
")
