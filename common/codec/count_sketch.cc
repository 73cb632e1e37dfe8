// SPDX-License-Identifier: Apache-2.0
// The codec `count_sketch`: every worker sends a sketch of its gradient; the server sums sketches,
// and takes the k coordinates out that look greatest (FetchSGD: Rothchild, Panda, Ullah, Ivkin,
// Stoica, Braverman, Gonzalez, Arora, ICML 2020).
//
//   up      = rows columns fp32        ; the table, row after row: see sketch.h
//   columns = max(1, floor(ratio n / rows + 0.5)), n the block's size
//   down    = indices values           ; as in sparse_payload.h, values in fp32; k coordinates
//   k       = max(1, floor(k n + 0.5)) of the parameter `k`
//
// At the server, with the mean m of a round's tables, and E = U = 0 at first:
//
//   U = momentum U + m;  E = E + U;  x = the estimate of E for every coordinate
//   d = the k values of greatest |x|, which go down
//   E = E - the sketch of d (left=subtract), or E = 0 in every bucket of those k (left=zero)
//   U = 0 in the same buckets
//
// What a single table says of coordinate i: a row is unbiased with variance (|x|^2 - x_i^2) /
// columns over the seeds; the median of rows is what is taken.  No mu: what is found are heavy
// hitters, |x_i| well above |x| / sqrt(columns).  The error lives in E, so the workers keep no
// residual.  Linear: the sum of sketches is the sketch of the sum, but for rounding.
//
// The defaults are what trains (Fashion-MNIST, MLP 784-256-128-10, sgd at 0.1, 2,000 steps;
// identity 0.870): one row, ratio 0.05, k 0.01, left=zero 0.867; three rows, 0.3, 0.03 0.857.
// left=subtract diverges unless k is far below columns / n: most of d is the noise of other
// coordinates in the same buckets, which then adds to E.  With one row the parameters move in a
// random space of `columns` dimensions and in no other direction.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/block_values.h"
#include "common/codec/index_coding.h"
#include "common/codec/registry.h"
#include "common/codec/sketch.h"
#include "common/codec/value_format.h"
#include "common/kernels/select.h"
#include "common/kernels/vector.h"
#include "common/random/index_set.h"

namespace gradwire {
namespace {

struct Options {
  size_t rows = 1;
  double ratio = 1;
  double k = 1;
  bool zero = true;  // left=zero
  float momentum = 0;
};

float ScaledSum(float scale, float x, float y) {
  constexpr double kGreatest = std::numeric_limits<float>::max();
  const double sum = double{scale} * double{x} + double{y};
  return static_cast<float>(std::clamp(sum, -kGreatest, kGreatest));
}

class CountSketch final : public Codec {
 public:
  explicit CountSketch(const Options& options) : options_(options) {}

  v1::CodecId id() const override { return v1::CODEC_COUNT_SKETCH; }
  CodecTraits traits() const override {
    return {.alone = Alone::kNothing, .feedback = Feedback::kNone, .only_its_feedback = true};
  }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    const Sketch sketch = SketchOf(key);
    std::vector<float> table(sketch.table_size());
    sketch.Fill(values, absl::MakeSpan(table));
    payload->clear();
    AppendValues(ValueFormat::kFp32, table, payload);
  }

  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const override {
    SetFloatEnvironment();
    const size_t wanted = sizeof(float) * SketchOf(key).table_size();
    if (payload.size() != wanted) {
      return absl::InvalidArgumentError(
          absl::StrCat("count_sketch: the payload has ", payload.size(), " bytes; a table of ",
                       options_.rows, " rows for ", key.size, " coordinates has ", wanted));
    }
    const EncodedValues values(ValueFormat::kFp32, payload);
    const size_t refused = values.Accumulate(sum);
    if (refused == values.size()) return absl::OkStatus();
    return Refuse("count_sketch, the table", refused, values, refused,
                  sum->payloads > 0 ? sum->sums[refused] : 0.0f);
  }

  // The estimate of every coordinate.
  void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const override {
    SetFloatEnvironment();
    mean->dense = true;
    mean->indices.clear();
    mean->values.resize(key.size);
    SketchOf(key).Estimate(MeanTable(sum), absl::MakeSpan(mean->values));
  }

  size_t server_state_size(const BlockKey& key) const override {
    return SketchOf(key).table_size() * (options_.momentum > 0 ? 2 : 1);
  }

  void Aggregate(const BlockKey& key, const Accumulator& sum, absl::Span<float> state,
                 BlockValues* mean) const override {
    SetFloatEnvironment();
    const Sketch sketch = SketchOf(key);
    const absl::Span<float> error = state.first(sketch.table_size());
    const absl::Span<float> momentum = state.subspan(error.size());  // empty without
    const std::vector<float> table = MeanTable(sum);
    for (size_t i = 0; i < error.size(); ++i) {
      float arrived = table[i];
      if (!momentum.empty())
        arrived = momentum[i] = ScaledSum(options_.momentum, momentum[i], arrived);
      error[i] = ScaledSum(1, error[i], arrived);
    }
    std::vector<float> estimates(key.size);
    sketch.Estimate(error, absl::MakeSpan(estimates));
    std::vector<uint32_t> indices;
    const size_t k = IndexSetSize(options_.k, key.size);
    SelectLargest(estimates.data(), key.size, k, &indices);
    std::vector<float> values(k);
    for (size_t i = 0; i < k; ++i) values[i] = estimates[indices[i]];
    if (options_.zero) {
      sketch.Clear(indices, error);
    } else {
      sketch.Subtract(indices, values, error);
    }
    if (!momentum.empty()) sketch.Clear(indices, momentum);
    *mean = {.dense = false, .indices = std::move(indices), .values = std::move(values)};
    MakeDenseIfShorter(key, mean);
  }

  void EncodeUpdate(const BlockKey& key, const BlockValues& mean,
                    std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    if (mean.dense) {
      payload->push_back(static_cast<char>(IndexForm::kDense));
    } else {
      AppendIndices(mean.indices, key.size, payload);
    }
    AppendValues(ValueFormat::kFp32, mean.values, payload);
  }

  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const override {
    SetFloatEnvironment();
    DecodedIndices where;
    if (const absl::Status taken = TakeIndices(key.size, &payload, &where); !taken.ok()) {
      return absl::Status(taken.code(), absl::StrCat("count_sketch: ", taken.message()));
    }
    const size_t count = where.dense ? key.size : where.indices.size();
    if (payload.size() != count * sizeof(float)) {
      return absl::InvalidArgumentError(absl::StrCat("count_sketch: ", payload.size(),
                                                     " bytes follow the indices; ", count,
                                                     " values have ", count * sizeof(float)));
    }
    const EncodedValues values(ValueFormat::kFp32, payload);
    const size_t refused = values.FirstRefused(nullptr);
    if (refused != values.size()) {
      return Refuse("count_sketch", where.dense ? refused : where.indices[refused], values, refused,
                    0.0f);
    }
    update->dense = where.dense;
    update->indices = std::move(where.indices);
    update->values.resize(count);
    values.Load(0, absl::MakeSpan(update->values));
    return absl::OkStatus();
  }

 private:
  Sketch SketchOf(const BlockKey& key) const {
    const double columns =
        options_.ratio * static_cast<double>(key.size) / static_cast<double>(options_.rows);
    return {key.seed, key.number(), key.size, options_.rows,
            std::max<size_t>(1, static_cast<size_t>(columns + 0.5))};
  }

  static std::vector<float> MeanTable(const Accumulator& sum) {
    std::vector<float> table(sum.sums.size());
    Divide(sum.sums.data(), static_cast<float>(sum.payloads), table.data(), table.size());
    return table;
  }

  // The form that the count of coordinates asks for.
  static void MakeDenseIfShorter(const BlockKey& key, BlockValues* block) {
    if (IndexFormFor(block->indices.size(), key.size) != IndexForm::kDense) return;
    MakeDense(key.size, block);
  }

  static absl::Status Refuse(absl::string_view where, size_t place, const EncodedValues& values,
                             size_t i, float sum) {
    float value;
    values.Load(i, absl::MakeSpan(&value, 1));
    return RefusedValue(where, place, value, sum);
  }

  const Options options_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters = new std::vector<SpecParameter>{
      {.name = "rows",
       .default_value = "1",
       .min = 1,
       .max = Sketch::kMaxRows,
       .help = "of a table: estimates are medians of so many; an odd number"},
      {.name = "ratio",
       .default_value = "0.05",
       .max = 1,
       .open_min = true,
       .help = "buckets of a table, as a share of the coordinates"},
      {.name = "k",
       .default_value = "0.01",
       .max = 1,
       .open_min = true,
       .help = "share of coordinates in an update"},
      {.name = "left",
       .kind = SpecParameter::Kind::kWord,
       .default_value = "zero",
       .words = {"zero", "subtract"},
       .help = "what becomes of the buckets of coordinates that are taken out"},
      {.name = "momentum", .default_value = "0", .max = 1, .help = "of tables, at the server"}};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  const double rows = values.Number("rows");
  if (std::fmod(rows, 2) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("rows: ", rows, " is not an odd whole number"));
  }
  const double momentum = values.Number("momentum");
  if (momentum == 1) return absl::InvalidArgumentError("momentum: 1 never forgets; take less");
  return std::make_unique<CountSketch>(Options{.rows = static_cast<size_t>(rows),
                                               .ratio = values.Number("ratio"),
                                               .k = values.Number("k"),
                                               .zero = values.Word("left") == "zero",
                                               .momentum = static_cast<float>(momentum)});
}

}  // namespace

// For the table in registry.cc.
CodecEntry CountSketchEntry() {
  return {.name = "count_sketch",
          .id = v1::CODEC_COUNT_SKETCH,
          .summary = "sketches are summed; the server takes the greatest out",
          .error = "a row's variance is (|x|^2 - x_i^2)/columns",
          .up = "4 ratio n",
          .down = "4 k and 1 k of indices at 1 %",
          .linear = "as sketches",
          .source = "Rothchild, Panda, Ullah, Ivkin, Stoica, Braverman, Gonzalez, Arora 2020",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
