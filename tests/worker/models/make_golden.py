#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Computes golden.h: loss, gradient and accuracy of small models by PyTorch, in double.

Run it in this folder (Debian: python3-torch) when a case changes:
    python3 make_golden.py > golden.h
"""
import textwrap

import torch
import torch.nn.functional as F

# name, widths, samples: small sums and sums long enough for the BLAS.
CASES = [("logistic", [5, 3], 4), ("logistic_wide", [12, 10], 16), ("mlp", [7, 9, 6, 4], 12)]


def text(values):
    joined = "{" + ", ".join(f"{v:.9g}" for v in values) + "}"
    return textwrap.fill(joined, 98, initial_indent="     ", subsequent_indent="      ")


def make(name, widths, samples):
    shapes = []
    for inputs, outputs in zip(widths, widths[1:]):
        shapes += [(outputs, inputs), (outputs,)]
    # Exact in float32, so that both sides start from the same numbers.
    tensors = [torch.randn(s).mul(64).round().div(128).double() for s in shapes]
    tensors = [t.requires_grad_() for t in tensors]
    inputs = torch.rand(samples, widths[0]).mul(256).round().div(256).double()
    out = inputs
    for i in range(0, len(tensors), 2):
        out = F.linear(torch.relu(out) if i else out, tensors[i], tensors[i + 1])
    # About half of them what the model says.
    guessed = torch.randint(widths[-1], (samples,))
    labels = torch.where(torch.rand(samples) < 0.5, out.argmax(1), guessed)
    loss = F.cross_entropy(out, labels)
    loss.backward()
    accuracy = (out.argmax(1) == labels).double().mean()
    parameters = torch.cat([t.detach().flatten() for t in tensors]).tolist()
    gradient = torch.cat([t.grad.flatten() for t in tensors]).tolist()
    print(f'    {{"{name}",')
    for values in (widths, parameters, inputs.flatten().tolist(), labels.tolist()):
        print(text(values) + ",")
    print(f"     {loss.item():.17g},\n     {accuracy.item():.17g},\n{text(gradient)}}},")


torch.manual_seed(1)
print("""// SPDX-License-Identifier: Apache-2.0
// What PyTorch computes for small models; made by make_golden.py.
#pragma once

#include <cstdint>
#include <vector>

namespace gradwire {

struct GoldenModel {
  const char* name;
  std::vector<uint32_t> widths;
  std::vector<float> parameters;
  std::vector<float> inputs;
  std::vector<uint32_t> labels;
  double loss;
  double accuracy;
  std::vector<float> gradient;
};

// clang-format off
inline const std::vector<GoldenModel>& GoldenModels() {
  static const std::vector<GoldenModel> models = {""")
for case in CASES:
    make(*case)
print("""  };
  return models;
}
// clang-format on

}  // namespace gradwire""")
