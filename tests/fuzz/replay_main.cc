// SPDX-License-Identifier: Apache-2.0
// Replays a fuzzer's corpus where libFuzzer is not linked: every file of the
// folders and files named, each also cut and with single bytes changed.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

// Whole, cut at up to 64 places, and with up to 256 single bytes changed.
size_t Replay(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(in), {}};
  size_t inputs = 1;
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  const size_t size = bytes.size();
  for (size_t cut = 0; cut < size; cut += 1 + size / 64, ++inputs) {
    const std::vector<uint8_t> prefix(bytes.begin(), bytes.begin() + static_cast<long>(cut));
    LLVMFuzzerTestOneInput(prefix.data(), prefix.size());
  }
  for (size_t i = 0; i < size; i += 1 + size / 256, ++inputs) {
    const uint8_t kept = bytes[i];
    bytes[i] = static_cast<uint8_t>(kept ^ (1U << (i % 8)));
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    bytes[i] = kept;
  }
  return inputs;
}

}  // namespace

int main(int argc, char** argv) {
  size_t inputs = 0;
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::is_directory(argv[i])) {
      inputs += Replay(argv[i]);
      continue;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (entry.is_regular_file()) inputs += Replay(entry.path());
    }
  }
  std::printf("%zu inputs\n", inputs);
  if (inputs == 0) {
    std::fprintf(stderr, "no corpus: name its folder\n");
    return 1;
  }
  return 0;
}
