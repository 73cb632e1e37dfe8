// SPDX-License-Identifier: Apache-2.0
// Implementation of model_tensors.h.
#include "common/replica/model_tensors.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/replica/field_check.h"
#include "common/replica/layout.h"

namespace gradwire {
namespace {

constexpr double kMaxCoefficient = 1e6;

template <typename Message>
void DefaultInit(const char* init, Message* message) {
  if (message->init().empty()) message->set_init(init);
}

// A fully connected layer's two tensors.
void AddLayer(absl::string_view field, size_t number, uint64_t outputs, uint64_t inputs,
              const std::string& init, std::vector<ModelTensor>* tensors) {
  const std::string layer = absl::StrCat("layer", number);
  tensors->push_back({.field = std::string(field),
                      .name = absl::StrCat(layer, ".weight"),
                      .shape = {outputs, inputs},
                      .init = init});
  tensors->push_back({.field = std::string(field),
                      .name = absl::StrCat(layer, ".bias"),
                      .shape = {outputs},
                      .init = "zeros"});
}

absl::StatusOr<std::vector<ModelTensor>> ExpandLogistic(const v1::Logistic& model) {
  GRADWIRE_RETURN_IF_ERROR(CheckField("model.logistic.inputs", model.inputs(), 1, kMaxDimension));
  GRADWIRE_RETURN_IF_ERROR(CheckField("model.logistic.classes", model.classes(), 2, kMaxDimension));
  std::vector<ModelTensor> tensors;
  AddLayer("model.logistic", 1, model.classes(), model.inputs(), model.init(), &tensors);
  return tensors;
}

absl::StatusOr<std::vector<ModelTensor>> ExpandMlp(const v1::Mlp& model) {
  GRADWIRE_RETURN_IF_ERROR(CheckField("model.mlp.inputs", model.inputs(), 1, kMaxDimension));
  GRADWIRE_RETURN_IF_ERROR(CheckField("model.mlp.classes", model.classes(), 2, kMaxDimension));
  std::vector<ModelTensor> tensors;
  uint64_t inputs = model.inputs();
  for (int i = 0; i < model.hidden_size(); ++i) {
    GRADWIRE_RETURN_IF_ERROR(
        CheckField(absl::StrCat("model.mlp.hidden[", i, "]"), model.hidden(i), 1, kMaxDimension));
    AddLayer("model.mlp", static_cast<size_t>(i) + 1, model.hidden(i), inputs, model.init(),
             &tensors);
    inputs = model.hidden(i);
  }
  AddLayer("model.mlp", static_cast<size_t>(model.hidden_size()) + 1, model.classes(), inputs,
           model.init(), &tensors);
  return tensors;
}

absl::StatusOr<std::vector<ModelTensor>> ExpandSaddle(const v1::QuadraticSaddle& model) {
  const std::string field = "model.quadratic_saddle";
  GRADWIRE_RETURN_IF_ERROR(
      CheckField(absl::StrCat(field, ".dimension"), model.dimension(), 1, kMaxDimension));
  GRADWIRE_RETURN_IF_ERROR(
      CheckField(absl::StrCat(field, ".negative"), model.negative(), 1, model.dimension()));
  const struct {
    const char* name;
    double value;
    double min;
  } coefficients[] = {{".gamma", model.gamma(), 0},
                      {".curvature", model.curvature(), 0},
                      {".wall", model.wall(), 0},
                      {".start", model.start(), -kMaxCoefficient}};
  for (const auto& c : coefficients) {
    GRADWIRE_RETURN_IF_ERROR(
        CheckField(absl::StrCat(field, c.name), c.value, c.min, kMaxCoefficient));
  }
  return std::vector<ModelTensor>{{.field = field,
                                   .name = "x",
                                   .shape = {model.dimension()},
                                   .init = absl::StrFormat("constant:%.17g", model.start())}};
}

std::vector<ModelTensor> ListTensors(const v1::Tensors& model) {
  std::vector<ModelTensor> tensors;
  for (int i = 0; i < model.tensor_size(); ++i) {
    const v1::Tensor& tensor = model.tensor(i);
    tensors.push_back({.field = absl::StrCat("model.tensors.tensor[", i, "]"),
                       .name = tensor.name(),
                       .shape = {tensor.shape().begin(), tensor.shape().end()},
                       .init = tensor.init()});
  }
  return tensors;
}

}  // namespace

void FillModelDefaults(v1::ModelConfig* model) {
  switch (model->kind_case()) {
    case v1::ModelConfig::kLogistic:
      DefaultInit("zeros", model->mutable_logistic());
      break;
    case v1::ModelConfig::kMlp:
      DefaultInit("he_normal", model->mutable_mlp());
      break;
    case v1::ModelConfig::kQuadraticSaddle: {
      v1::QuadraticSaddle* saddle = model->mutable_quadratic_saddle();
      if (saddle->negative() == 0) saddle->set_negative(1);
      if (saddle->gamma() == 0) saddle->set_gamma(1);
      if (saddle->curvature() == 0) saddle->set_curvature(1);
      break;
    }
    case v1::ModelConfig::kTensors:
      for (v1::Tensor& tensor : *model->mutable_tensors()->mutable_tensor()) {
        DefaultInit("zeros", &tensor);
      }
      break;
    case v1::ModelConfig::KIND_NOT_SET:
      break;
  }
}

absl::StatusOr<std::vector<ModelTensor>> ExpandModel(const v1::ModelConfig& model) {
  switch (model.kind_case()) {
    case v1::ModelConfig::kLogistic:
      return ExpandLogistic(model.logistic());
    case v1::ModelConfig::kMlp:
      return ExpandMlp(model.mlp());
    case v1::ModelConfig::kQuadraticSaddle:
      return ExpandSaddle(model.quadratic_saddle());
    case v1::ModelConfig::kTensors:
      return ListTensors(model.tensors());
    case v1::ModelConfig::KIND_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "model: missing; give logistic, mlp, quadratic_saddle or tensors");
}

}  // namespace gradwire
