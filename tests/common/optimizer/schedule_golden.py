# SPDX-License-Identifier: Apache-2.0
"""What torch.optim.lr_scheduler makes of a learning rate of 1, for schedule_torch_test.cc.

A row is <spec of gradwire> <rate of step 1> <rate of step 2> ...; the plateau sees before step
s + 1 the evaluation number s of score(), as accuracy and as loss.
"""
import torch
from torch.optim import lr_scheduler

STEPS = 120


def score(number):
    """Rises, stays, falls: whole numbers, so that ties are ties."""
    return (number * 7919) % 31 // 3 if number % 40 else 11 + number // 40


def rates(make, evaluated):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    for step in range(1, STEPS + 1):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        if evaluated:
            scheduler.step(score(step))
        else:
            scheduler.step()


def plateau(mode, factor, patience, least):
    return lambda o: lr_scheduler.ReduceLROnPlateau(
        o, mode, factor=factor, patience=patience, threshold=0, threshold_mode="abs",
        min_lr=least, eps=0)


SCHEDULES = {
    "constant": lambda o: lr_scheduler.LambdaLR(o, lambda _: 1.0),
    "step_decay:at=10+20+70,factor=0.3": lambda o: lr_scheduler.MultiStepLR(o, [10, 20, 70], 0.3),
    "step_decay:at=2+4,factor=0.5,epoch=20": lambda o: lr_scheduler.MultiStepLR(o, [40, 80], 0.5),
    "exponential:gamma=0.97": lambda o: lr_scheduler.ExponentialLR(o, 0.97),
    "exponential:gamma=0.5,every=30": lambda o: lr_scheduler.StepLR(o, 30, 0.5),
    # Not beyond the end: there torch's rises again, ours stays.
    "cosine:steps=120": lambda o: lr_scheduler.CosineAnnealingLR(o, 120),
    "cosine:steps=119,min=0.1": lambda o: lr_scheduler.CosineAnnealingLR(o, 119, eta_min=0.1),
    "linear_warmup:steps=50": lambda o: lr_scheduler.LinearLR(o, 1 / 50, 1.0, 49),
    "inverse_sqrt:steps=30":
        lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1.0, (30 / (t + 1)) ** 0.5)),
    "plateau": plateau("max", 0.5, 0, 1e-4),
    "plateau:factor=0.9,patience=3": plateau("max", 0.9, 3, 1e-4),
    "plateau:factor=0.7,patience=1,metric=loss,min=0.1": plateau("min", 0.7, 1, 0.1),
}

for spec, schedule in SCHEDULES.items():
    print(spec, *("%.17g" % rate for rate in rates(schedule, spec.startswith("plateau"))))
