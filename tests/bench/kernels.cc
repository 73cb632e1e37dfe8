// SPDX-License-Identifier: Apache-2.0
// What the loops over a whole gradient cost, each beside a plain loop that reads and writes the
// same memory once.  tests/bench/kernels_table runs it and prints the ratios.
//
//   kernels [--benchmark_filter=...] [--benchmark_format=json]; GRADWIRE_BENCH_DIMENSION: 25000000
//
// A name is "kernel/NAME/REFERENCE" or "reference/REFERENCE".  Arrays are far beyond the caches.
#include <benchmark/benchmark.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/codec/registry.h"
#include "common/kernels/adaptive.h"
#include "common/kernels/casts.h"
#include "common/kernels/sgd.h"
#include "common/kernels/vector.h"
#include "common/random/gaussian.h"
#include "common/replica/job.h"
#include "worker/client/uplink.h"

namespace gradwire {
namespace {

size_t Dimension() {
  const char* text = std::getenv("GRADWIRE_BENCH_DIMENSION");
  const size_t given = text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
  return given == 0 ? 25'000'000 : given;
}

std::vector<float> Normals(uint64_t seed) {
  std::vector<float> values(Dimension());
  FillGaussians({.seed = seed, .purpose = Purpose::kInit}, absl::MakeSpan(values));
  for (float& value : values) value *= 1e-3f;
  return values;
}

// What a compiler makes of the plainest loop, with vectors: clang does so at O2.
#ifdef __clang__
#define GRADWIRE_PLAIN __attribute__((noinline))
#else
#define GRADWIRE_PLAIN __attribute__((noinline, optimize("O3")))
#endif

GRADWIRE_PLAIN void PlainAdd(const float* x, float* sum, size_t n) {
  for (size_t i = 0; i < n; ++i) sum[i] += x[i];
}
GRADWIRE_PLAIN void PlainCut(const float* x, uint16_t* out, size_t n) {
  for (size_t i = 0; i < n; ++i)
    out[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(x[i]) >> 16);
}
GRADWIRE_PLAIN void PlainWiden(const uint16_t* x, float* out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = std::bit_cast<float>(uint32_t{x[i]} << 16);
}
GRADWIRE_PLAIN void PlainThree(const float* x, float* a, float* b, float* c, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    a[i] += x[i];
    b[i] += x[i];
    c[i] += x[i];
  }
}

void ReferenceAdd(benchmark::State& state) {
  const std::vector<float> x = Normals(1);
  std::vector<float> sum = Normals(2);
  for (auto _ : state) PlainAdd(x.data(), sum.data(), x.size());
}

void ReferenceCut(benchmark::State& state) {
  const std::vector<float> x = Normals(1);
  std::vector<uint16_t> out(x.size());
  for (auto _ : state) PlainCut(x.data(), out.data(), x.size());
}

void ReferenceWiden(benchmark::State& state) {
  const std::vector<uint16_t> x(Dimension(), 0x3F80);
  std::vector<float> out(x.size());
  for (auto _ : state) PlainWiden(x.data(), out.data(), x.size());
}

void ReferenceThree(benchmark::State& state) {
  const std::vector<float> x = Normals(1);
  std::vector<float> a = Normals(2);
  std::vector<float> b = Normals(3);
  std::vector<float> c = Normals(4);
  for (auto _ : state) PlainThree(x.data(), a.data(), b.data(), c.data(), x.size());
}

// A worker's whole encoding of one gradient: check, residual, selection, payload, residual.
void Encode(benchmark::State& state, const char* codec) {
  const auto config =
      ParseJobText(absl::StrCat("model { tensors { tensor { name: 'w' shape: ", Dimension(),
                                " } } } steps: 1 codec: '", codec, "'"));
  const auto job = MakeJob(*config);
  if (!job.ok()) return state.SkipWithError(std::string(job.status().message()).c_str());
  Uplink uplink(*job);
  const std::vector<float> gradient = Normals(1);
  std::vector<float> scratch = gradient;
  uint64_t step = 0;
  for (auto _ : state) {
    const absl::Status encoded = uplink.Encode({.step = ++step, .learning_rate = 0.1f},
                                               absl::MakeSpan(scratch), {.samples = 1});
    if (!encoded.ok()) return state.SkipWithError(std::string(encoded.message()).c_str());
    state.PauseTiming();
    v1::Header used;  // the payload was taken
    used.add_used();
    uplink.Messages({});
    if (!uplink.Resolve(step, used).ok()) return state.SkipWithError("resolve");
    state.ResumeTiming();
  }
}

void AccumulateDense(benchmark::State& state) {
  const auto codec = MakeCodec("identity");
  const BlockKey key = {.seed = 1, .step = 1, .size = Dimension()};
  std::vector<float> values = Normals(1);
  std::string payload;
  (*codec)->Encode(key, absl::MakeSpan(values), &payload);
  Accumulator sum;
  for (auto _ : state) {
    if (!(*codec)->Accumulate(key, payload, &sum).ok()) return state.SkipWithError("accumulate");
  }
}

void ToBf16(benchmark::State& state) {
  const std::vector<float> x = Normals(1);
  std::vector<uint16_t> out(x.size());
  for (auto _ : state) FloatToBf16(x.data(), out.data(), x.size());
}

void FromBf16(benchmark::State& state) {
  const std::vector<uint16_t> x(Dimension(), 0x3F80);
  std::vector<float> out(x.size());
  for (auto _ : state) Bf16ToFloat(x.data(), out.data(), x.size());
}

void Sgd(benchmark::State& state) {
  const std::vector<float> gradient = Normals(1);
  std::vector<float> parameters = Normals(2);
  for (auto _ : state) {
    SgdStep({.learning_rate = 0.1f}, gradient.data(), nullptr, parameters.data(), gradient.size());
  }
}

void Adam(benchmark::State& state) {
  const std::vector<float> gradient = Normals(1);
  std::vector<float> parameters = Normals(2);
  std::vector<float> average(gradient.size());
  std::vector<float> square(gradient.size());
  const AdamParameters adam = {.step_size = 1e-3f,
                               .beta1 = 0.9f,
                               .one_minus_beta1 = 0.1f,
                               .beta2 = 0.999f,
                               .one_minus_beta2 = 1e-3f,
                               .epsilon = 1e-8f};
  const AdamState memory = {.first = average.data(), .second = square.data()};
  for (auto _ : state) {
    AdamStep(adam, gradient.data(), memory, parameters.data(), gradient.size());
  }
}

void Register() {
  using Run = void (*)(benchmark::State&);
  const struct {
    const char* name;
    Run run;
  } plain[] = {
      {"reference/add", ReferenceAdd},
      {"reference/cut", ReferenceCut},
      {"reference/widen", ReferenceWiden},
      {"reference/three", ReferenceThree},
      {"kernel/accumulate/add", AccumulateDense},
      {"kernel/to_bf16/cut", ToBf16},
      {"kernel/from_bf16/widen", FromBf16},
      {"kernel/sgd/add", Sgd},
      {"kernel/adam/three", Adam},
  };
  for (const auto& one : plain) benchmark::RegisterBenchmark(one.name, one.run);
  for (const char* codec : {"identity", "random_k:0.01", "top_k:0.01", "threshold:0.005", "sign"}) {
    benchmark::RegisterBenchmark(absl::StrCat("kernel/encode ", codec, "/add").c_str(), Encode,
                                 codec);
  }
}

}  // namespace
}  // namespace gradwire

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  gradwire::Register();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
