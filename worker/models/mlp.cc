// SPDX-License-Identifier: Apache-2.0
// Forward and backward passes of the multilayer perceptron.  Sums that are not
// matrix products are plain loops: Eigen's depend on how memory is aligned.
#define EIGEN_USE_BLAS
#include "worker/models/mlp.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "worker/models/blas.h"

namespace gradwire {
namespace {

constexpr size_t kEvaluationRows = 500;  // at a time: bounds the buffers

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<const Matrix> View(const float* values, size_t rows, size_t columns) {
  return {values, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}

Eigen::Map<Matrix> View(float* values, size_t rows, size_t columns) {
  return {values, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns)};
}

void AddBias(const float* bias, size_t samples, size_t outputs, float* values) {
  for (size_t i = 0; i < samples; ++i) {
    for (size_t j = 0; j < outputs; ++j) values[i * outputs + j] += bias[j];
  }
}

// Written so that NaN passes.
void ApplyRelu(absl::Span<float> values) {
  for (float& value : values) value = value < 0 ? 0 : value;
}

// ReLU's derivative: no error passes where it gave 0.
void MaskErrors(absl::Span<const float> values, absl::Span<float> errors) {
  for (size_t i = 0; i < errors.size(); ++i) {
    if (values[i] <= 0) errors[i] = 0;
  }
}

// The first of the largest.
size_t ArgMax(absl::Span<const float> values) {
  return static_cast<size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// -log softmax(logits)[label], in double; `*sum` is Σ exp(logit - largest).
double CrossEntropy(absl::Span<const float> logits, uint32_t label, double* sum) {
  const double largest = logits[ArgMax(logits)];
  *sum = 0;
  for (const float logit : logits) *sum += std::exp(logit - largest);
  return std::log(*sum) + largest - logits[label];
}

// errors = (softmax(logits) - one at the label) / samples.
void SoftmaxErrors(absl::Span<const float> logits, uint32_t label, double sum, size_t samples,
                   absl::Span<float> errors) {
  const double largest = logits[ArgMax(logits)];
  for (size_t j = 0; j < logits.size(); ++j) {
    const double probability = std::exp(logits[j] - largest) / sum;
    const double wanted = j == label ? 1 : 0;
    errors[j] = static_cast<float>((probability - wanted) / static_cast<double>(samples));
  }
}

void SumColumns(const float* values, size_t rows, absl::Span<float> sums) {
  std::fill(sums.begin(), sums.end(), 0.0f);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j < sums.size(); ++j) sums[j] += values[i * sums.size() + j];
  }
}

void GatherRows(const Dataset& data, absl::Span<const uint32_t> rows, std::vector<float>* out) {
  out->resize(rows.size() * data.features);
  float* next = out->data();
  for (const uint32_t row : rows) {
    const absl::Span<const float> values = data.row(row);
    next = std::copy(values.begin(), values.end(), next);
  }
}

}  // namespace

Mlp::Mlp(const std::vector<uint32_t>& widths) {
  UseOneBlasThread();
  for (size_t i = 1; i < widths.size(); ++i) {
    const size_t inputs = widths[i - 1];
    const size_t outputs = widths[i];
    const size_t bias = dimension_ + inputs * outputs;
    layers_.push_back({.inputs = inputs,
                       .outputs = outputs,
                       .weight = dimension_,
                       .bias = bias,
                       .values = {},
                       .errors = {}});
    dimension_ = bias + outputs;
  }
}

absl::Status Mlp::CheckData(const Dataset& data) const {
  const size_t inputs = layers_.front().inputs;
  const size_t classes = layers_.back().outputs;
  if (data.rows == 0) return absl::InvalidArgumentError("the data have no samples");
  if (data.features != inputs) {
    return absl::InvalidArgumentError(absl::StrCat("the data have ", data.features,
                                                   " features a sample, the model takes ", inputs,
                                                   ": set `inputs` to ", data.features));
  }
  if (data.classes > classes) {
    return absl::InvalidArgumentError(absl::StrCat("the data have label ", data.classes - 1,
                                                   ", the model knows labels 0 to ", classes - 1,
                                                   ": set `classes` to ", data.classes));
  }
  return absl::OkStatus();
}

void Mlp::Forward(absl::Span<const float> parameters, const float* inputs, size_t samples) {
  for (Layer& layer : layers_) {
    layer.values.resize(samples * layer.outputs);
    View(layer.values.data(), samples, layer.outputs).noalias() =
        View(inputs, samples, layer.inputs) *
        View(&parameters[layer.weight], layer.outputs, layer.inputs).transpose();
    AddBias(&parameters[layer.bias], samples, layer.outputs, layer.values.data());
    if (&layer != &layers_.back()) ApplyRelu(absl::MakeSpan(layer.values));
    inputs = layer.values.data();
  }
}

void Mlp::Backward(absl::Span<const float> parameters, const float* inputs, size_t samples,
                   absl::Span<float> gradient) {
  for (size_t i = layers_.size(); i-- > 0;) {
    const Layer& layer = layers_[i];
    const auto errors = View(layer.errors.data(), samples, layer.outputs);
    const float* below = i == 0 ? inputs : layers_[i - 1].values.data();
    View(&gradient[layer.weight], layer.outputs, layer.inputs).noalias() =
        errors.transpose() * View(below, samples, layer.inputs);
    SumColumns(layer.errors.data(), samples, gradient.subspan(layer.bias, layer.outputs));
    if (i == 0) continue;
    Layer& previous = layers_[i - 1];
    previous.errors.resize(samples * previous.outputs);
    View(previous.errors.data(), samples, previous.outputs).noalias() =
        errors * View(&parameters[layer.weight], layer.outputs, layer.inputs);
    MaskErrors(previous.values, absl::MakeSpan(previous.errors));
  }
}

double Mlp::LossAndGradient(absl::Span<const float> parameters, const Dataset& data,
                            absl::Span<const uint32_t> rows, absl::Span<float> gradient) {
  const size_t samples = rows.size();
  GatherRows(data, rows, &inputs_);
  Forward(parameters, inputs_.data(), samples);
  Layer& last = layers_.back();
  last.errors.resize(samples * last.outputs);
  double loss = 0;
  for (size_t i = 0; i < samples; ++i) {
    const auto logits = absl::MakeConstSpan(last.values).subspan(i * last.outputs, last.outputs);
    const uint32_t label = data.labels[rows[i]];
    double sum = 0;
    loss += CrossEntropy(logits, label, &sum);
    SoftmaxErrors(logits, label, sum, samples,
                  absl::MakeSpan(last.errors).subspan(i * last.outputs, last.outputs));
  }
  Backward(parameters, inputs_.data(), samples, gradient);
  return loss / static_cast<double>(samples);
}

v1::Evaluation Mlp::Evaluate(absl::Span<const float> parameters, const Dataset& data) {
  double loss = 0;
  size_t correct = 0;
  const Layer& last = layers_.back();
  for (size_t start = 0; start < data.rows; start += kEvaluationRows) {
    const size_t samples = std::min(kEvaluationRows, data.rows - start);
    Forward(parameters, &data.values[start * data.features], samples);
    for (size_t i = 0; i < samples; ++i) {
      const auto logits = absl::MakeConstSpan(last.values).subspan(i * last.outputs, last.outputs);
      const uint32_t label = data.labels[start + i];
      double sum = 0;
      loss += CrossEntropy(logits, label, &sum);
      if (ArgMax(logits) == label) ++correct;
    }
  }
  v1::Evaluation evaluation;
  evaluation.set_loss(loss / static_cast<double>(data.rows));
  v1::Metric* accuracy = evaluation.add_metrics();
  accuracy->set_name("accuracy");
  accuracy->set_value(static_cast<double>(correct) / static_cast<double>(data.rows));
  return evaluation;
}

}  // namespace gradwire
