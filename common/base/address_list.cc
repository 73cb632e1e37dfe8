// SPDX-License-Identifier: Apache-2.0
// Implementation of address_list.h.
#include "common/base/address_list.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace gradwire {
namespace {

absl::Status Wrong(absl::string_view list, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("--server=", absl::CHexEscape(list), ": ", what,
                   "; wanted is host:port, one a shard, as in host-{0..1}:7070 or a:1,b:2"));
}

absl::Status AddItem(absl::string_view list, absl::string_view item,
                     std::vector<std::string>* addresses) {
  const size_t open = item.find('{');
  const size_t close = item.find('}');
  if (open == absl::string_view::npos && close == absl::string_view::npos) {
    if (item.empty()) return Wrong(list, "an address is empty");
    addresses->emplace_back(item);
    return absl::OkStatus();
  }
  const absl::string_view range = open < close && close != absl::string_view::npos
                                      ? item.substr(open + 1, close - open - 1)
                                      : absl::string_view();
  const std::vector<absl::string_view> ends = absl::StrSplit(range, "..");
  uint32_t first = 0;
  uint32_t last = 0;
  if (ends.size() != 2 || !absl::SimpleAtoi(ends[0], &first) || !absl::SimpleAtoi(ends[1], &last) ||
      first > last || last - first >= kMaxAddresses) {
    return Wrong(list, absl::StrCat("\"", absl::CHexEscape(item), "\" has no range {FIRST..LAST} ",
                                    "of at most ", kMaxAddresses, " numbers"));
  }
  const absl::string_view rest = item.substr(close + 1);
  if (rest.find_first_of("{}") != absl::string_view::npos) {
    return Wrong(list, absl::StrCat("\"", absl::CHexEscape(item), "\" has more than one range"));
  }
  for (uint32_t number = first; number <= last; ++number) {
    addresses->push_back(absl::StrCat(item.substr(0, open), number, rest));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseAddresses(absl::string_view list) {
  std::vector<std::string> addresses;
  for (const absl::string_view item : absl::StrSplit(list, ',')) {
    GRADWIRE_RETURN_IF_ERROR(AddItem(list, item, &addresses));
  }
  if (addresses.size() > kMaxAddresses) {
    return Wrong(list, absl::StrCat(addresses.size(), " addresses are more than ", kMaxAddresses));
  }
  std::vector<std::string> sorted = addresses;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice == sorted.end()) return addresses;
  return Wrong(list, absl::StrCat("\"", absl::CHexEscape(*twice), "\" stands there twice"));
}

}  // namespace gradwire
