// SPDX-License-Identifier: Apache-2.0
// What encoding and decoding cost per coordinate, beside reading and writing the same memory.
//
//   codec_times SPEC ...     prints a line for each: {"codec": SPEC, "encode_ns": .., ...}
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/codec/registry.h"
#include "common/random/gaussian.h"
#include "common/replica/layout.h"

namespace gradwire {
namespace {

constexpr size_t kColumns = 512;  // of the matrix that the block is, for codecs on matrices
constexpr int kRuns = 31;

// The median of several runs, in ns a coordinate; `prepare` is not timed.
double MedianNs(const std::function<void()>& prepare, const std::function<void()>& run) {
  std::vector<double> ns;
  for (int i = 0; i < kRuns; ++i) {
    prepare();
    const auto begin = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
    ns.push_back(taken.count() / static_cast<double>(kBlockSize));
  }
  std::nth_element(ns.begin(), ns.begin() + kRuns / 2, ns.end());
  return ns[kRuns / 2];
}

int Measure(const std::string& spec) {
  const auto codec = MakeCodec(spec);
  if (!codec.ok()) {
    std::fprintf(stderr, "codec_times: %s\n", std::string(codec.status().message()).c_str());
    return 1;
  }
  BlockKey key = {.seed = 1, .step = 1, .size = kBlockSize, .columns = kColumns};
  const std::vector<float> basis((*codec)->basis_size(key), 0.0f);
  key.basis = basis;
  std::vector<float> gradient(kBlockSize);
  FillGaussians({.seed = 1, .purpose = Purpose::kInit}, absl::MakeSpan(gradient));
  for (float& value : gradient) value *= 1e-3f;
  std::vector<float> values = gradient;
  std::string payload;
  const auto reset = [&] { values = gradient; };
  const double encode =
      MedianNs(reset, [&] { (*codec)->Encode(key, absl::MakeSpan(values), &payload); });
  Accumulator sum;
  BlockValues mean;
  bool decoded = true;
  const double decode = MedianNs([&] { sum.Clear(); },
                                 [&] {
                                   decoded =
                                       (*codec)->Accumulate(key, payload, &sum).ok() && decoded;
                                   (*codec)->Mean(key, sum, &mean);
                                 });
  std::vector<float> copy(kBlockSize);
  const double memory = MedianNs(
      [] {}, [&] { std::memcpy(copy.data(), gradient.data(), kBlockSize * sizeof(float)); });
  if (!decoded || copy[0] != gradient[0]) return 1;
  std::printf(
      "{\"codec\": \"%s\", \"bytes\": %zu, \"encode_ns\": %.3f, \"decode_ns\": %.3f, "
      "\"copy_ns\": %.3f}\n",
      spec.c_str(), payload.size(), encode, decode, memory);
  return 0;
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  int status = 0;
  for (int i = 1; i < argc; ++i) status |= gradwire::Measure(argv[i]);
  return status;
}
