// SPDX-License-Identifier: Apache-2.0
// The codec `powersgd`: a matrix M of rows x columns as a product P transpose(Q) of rank r, whose
// one factor every replica has from the step before, so that only the other travels.
//
//   up     = factor / all
//   down   = factor / all     ; that of the mean, for the same basis
//   factor = r columns        ; when 2 r (rows + columns) < rows columns
//   column = rows fp32        ; of P = M Q, when the basis is the right one, Q
//          / columns fp32     ; of Q = transpose(M) P, when it is the left one, P
//   all    = n fp32           ; of other matrices, and of vectors
//
// The basis is orthonormal.  After an update it is the factor that came, orthonormalised (see
// low_rank.h), for the other side: one product a step, of alternating sides, and one round (Vogels,
// Karimireddy, Jaggi, NeurIPS 2019; the alternation as in their later code).  At first it is the
// right one, of standard normals.  Random numbers: purpose kBasis, step and block.
//
// |C(x) - x|^2 = |x|^2 - |x Q|^2, a projection; E mu = r / columns with the first basis.  No
// bound holds for later ones, whose point is to be better: for a matrix that stays the same they
// are those of a power iteration.  The residual is what the worker's own projection leaves, and
// classic feedback brings it.  Linear given the basis, as the sum of factors is the factor of the
// sum; but the basis follows from the values.
//
//   basis  = side columns     ; of the replica: side is 0 none yet / 1 right / 2 left; room for
//                             ; the longer side
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/float_environment.h"
#include "common/base/status_macros.h"
#include "common/codec/low_rank.h"
#include "common/codec/registry.h"
#include "common/codec/value_format.h"
#include "common/kernels/vector.h"

namespace gradwire {
namespace {

constexpr double kMaxRank = 256;
constexpr float kRight = 1;
constexpr float kLeft = 2;

class Powersgd final : public Codec {
 public:
  explicit Powersgd(size_t rank) : rank_(rank) {}

  v1::CodecId id() const override { return v1::CODEC_POWERSGD; }
  CodecTraits traits() const override { return {.alone = Alone::kNothing, .matrix = true}; }

  void Encode(const BlockKey& key, absl::Span<float> values, std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    if (!IsSmaller(key)) return AppendValuesKeepRest(ValueFormat::kFp32, values, payload);
    const Basis basis = BasisOf(key);
    std::vector<float> factor = Project(key, basis, values);
    // Near the greatest float the residual might overflow: nothing is sent, everything stays.
    if (!LeavesFinite(values, factor)) std::fill(factor.begin(), factor.end(), 0.0f);
    AppendValues(ValueFormat::kFp32, factor, payload);
    SubtractFactorProduct(ShapeOf(key), basis.LeftWith(factor), basis.RightWith(factor), rank_,
                          values.data());
  }

  absl::Status Accumulate(const BlockKey& key, absl::string_view payload,
                          Accumulator* sum) const override {
    SetFloatEnvironment();
    GRADWIRE_RETURN_IF_ERROR(CheckLength(key, payload));
    const EncodedValues values(ValueFormat::kFp32, payload);
    const size_t refused = values.Accumulate(sum);
    if (refused == values.size()) return absl::OkStatus();
    return Refuse(key, values, refused, sum->payloads > 0 ? sum->sums[refused] : 0.0f);
  }

  void Mean(const BlockKey& key, const Accumulator& sum, BlockValues* mean) const override {
    SetFloatEnvironment();
    std::vector<float> values(sum.sums.size());
    Divide(sum.sums.data(), static_cast<float>(sum.payloads), values.data(), values.size());
    Expand(key, std::move(values), mean);
  }

  // The factor is found again as the projection of the mean: apart from rounding, and from what
  // clipping by value may have added, that is the mean of the factors.
  void EncodeUpdate(const BlockKey& key, const BlockValues& mean,
                    std::string* payload) const override {
    SetFloatEnvironment();
    payload->clear();
    if (!IsSmaller(key)) return AppendValues(ValueFormat::kFp32, mean.values, payload);
    AppendValues(ValueFormat::kFp32, Project(key, BasisOf(key), mean.values), payload);
  }

  absl::Status DecodeUpdate(const BlockKey& key, absl::string_view payload,
                            BlockValues* update) const override {
    SetFloatEnvironment();
    GRADWIRE_RETURN_IF_ERROR(CheckLength(key, payload));
    const EncodedValues values(ValueFormat::kFp32, payload);
    const size_t refused = values.FirstRefused(nullptr);
    if (refused != values.size()) return Refuse(key, values, refused, 0.0f);
    std::vector<float> decoded(values.size());
    values.Load(0, absl::MakeSpan(decoded));
    Expand(key, std::move(decoded), update);
    return absl::OkStatus();
  }

  size_t basis_size(const BlockKey& key) const override {
    const MatrixShape shape = ShapeOf(key);
    return IsSmaller(key) ? 1 + rank_ * std::max(shape.rows, shape.columns) : 0;
  }

  void NextBasis(const BlockKey& key, absl::string_view payload,
                 absl::Span<float> next) const override {
    SetFloatEnvironment();
    std::fill(next.begin(), next.end(), 0.0f);
    const bool right = IsRight(key);
    const absl::Span<float> columns = next.subspan(1, payload.size() / sizeof(float));
    next[0] = right ? kLeft : kRight;
    EncodedValues(ValueFormat::kFp32, payload).Load(0, columns);
    Orthonormalize(columns.size() / rank_, rank_, RandomOf(key), columns.data());
  }

 private:
  struct Basis {
    bool right = true;
    std::vector<float> columns;

    const float* LeftWith(const std::vector<float>& factor) const {
      return right ? factor.data() : columns.data();
    }
    const float* RightWith(const std::vector<float>& factor) const {
      return right ? columns.data() : factor.data();
    }
  };

  static MatrixShape ShapeOf(const BlockKey& key) {
    if (key.columns == 0) return {};
    return {.rows = key.size / key.columns, .columns = key.columns};
  }

  static RandomKey RandomOf(const BlockKey& key) {
    return {.seed = key.seed, .purpose = Purpose::kBasis, .step = key.step, .block = key.number()};
  }

  static bool IsRight(const BlockKey& key) { return key.basis[0] != kLeft; }

  // Does the block travel as a factor?
  bool IsSmaller(const BlockKey& key) const {
    const MatrixShape shape = ShapeOf(key);
    return 2 * rank_ * (shape.rows + shape.columns) < shape.rows * shape.columns;
  }

  size_t PayloadValues(const BlockKey& key) const {
    if (!IsSmaller(key)) return key.size;
    const MatrixShape shape = ShapeOf(key);
    return rank_ * (IsRight(key) ? shape.rows : shape.columns);
  }

  // Of a block that travels as a factor.
  Basis BasisOf(const BlockKey& key) const {
    const MatrixShape shape = ShapeOf(key);
    const bool right = IsRight(key);
    const size_t length = right ? shape.columns : shape.rows;
    const auto first = key.basis.begin() + 1;
    Basis basis = {.right = right,
                   .columns = {first, first + static_cast<ptrdiff_t>(rank_ * length)}};
    const bool none = key.basis[0] != kRight && key.basis[0] != kLeft;
    if (none) Orthonormalize(length, rank_, RandomOf(key), basis.columns.data());
    return basis;
  }

  std::vector<float> Project(const BlockKey& key, const Basis& basis,
                             absl::Span<const float> values) const {
    std::vector<float> factor(PayloadValues(key));
    (basis.right ? TimesFactor : TransposedTimesFactor)(ShapeOf(key), values.data(),
                                                        basis.columns.data(), rank_, factor.data());
    return factor;
  }

  // Entries of an orthonormal basis are at most 1, but for rounding.
  bool LeavesFinite(absl::Span<const float> values, const std::vector<float>& factor) const {
    const auto greatest = [](absl::Span<const float> all) {
      float most = 0;
      for (const float value : all) most = std::max(most, std::fabs(value));
      return double{most};
    };
    constexpr double kLimit = 0x1.FFFp+127;
    return greatest(values) + static_cast<double>(rank_) * greatest(factor) < kLimit;
  }

  // What `values`, as many as a payload has, stand for.
  void Expand(const BlockKey& key, std::vector<float> values, BlockValues* block) const {
    block->dense = true;
    block->indices.clear();
    if (!IsSmaller(key)) {
      block->values = std::move(values);
      return;
    }
    const Basis basis = BasisOf(key);
    block->values.resize(key.size);
    FactorProduct(ShapeOf(key), basis.LeftWith(values), basis.RightWith(values), rank_,
                  block->values.data());
  }

  absl::Status CheckLength(const BlockKey& key, absl::string_view payload) const {
    const size_t wanted = sizeof(float) * PayloadValues(key);
    if (payload.size() == wanted) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("powersgd: the payload has ", payload.size(), " bytes; ",
                     IsSmaller(key) ? absl::StrCat("a factor of rank ", rank_, " for ")
                                    : absl::StrCat("all of "),
                     key.size, " coordinates in rows of ", key.columns, " has ", wanted));
  }

  absl::Status Refuse(const BlockKey& key, const EncodedValues& values, size_t i, float sum) const {
    float value;
    values.Load(i, absl::MakeSpan(&value, 1));
    return RefusedValue(IsSmaller(key) ? "powersgd, the factor" : "powersgd", i, value, sum);
  }

  const size_t rank_;
};

const std::vector<SpecParameter>& Parameters() {
  static const auto* const parameters =
      new std::vector<SpecParameter>{{.name = "rank",
                                      .default_value = "1",
                                      .min = 1,
                                      .max = kMaxRank,
                                      .help = "columns of a factor, a whole number"}};
  return *parameters;
}

absl::StatusOr<std::unique_ptr<Codec>> Make(const SpecValues& values) {
  const double rank = values.Number("rank");
  if (rank != std::floor(rank)) {
    return absl::InvalidArgumentError(absl::StrCat("rank: ", rank, " is not a whole number"));
  }
  return std::make_unique<Powersgd>(static_cast<size_t>(rank));
}

}  // namespace

// For the table in registry.cc.
CodecEntry PowersgdEntry() {
  return {.name = "powersgd",
          .id = v1::CODEC_POWERSGD,
          .summary = "a matrix as a product of low rank, one factor a step; vectors whole",
          .error = "mu = |x Q|^2/|x|^2; r/columns with the first basis",
          .up = "4 r rows, then 4 r columns in turn",
          .down = "the same",
          .linear = "given the basis",
          .source = "Vogels, Karimireddy, Jaggi 2019",
          .parameters = Parameters,
          .make = Make};
}

}  // namespace gradwire
