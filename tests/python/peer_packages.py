"""Packages of several opsets and compressed weights, made by coremltools, for plait to read."""

import logging
import warnings

warnings.filterwarnings("ignore")

import coremltools as ct
import coremltools.optimize.coreml as optimize
import pytest
import torch
from torch import nn

TARGETS = {"ios15": ct.target.iOS15, "ios16": ct.target.iOS16, "ios17": ct.target.iOS17, "ios18": ct.target.iOS18}


@pytest.fixture
def quiet():
    logging.disable(logging.ERROR)  # coremltools reports every pass
    torch.manual_seed(0)
    yield
    logging.disable(logging.NOTSET)


def mlp():
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4), nn.Softmax(-1)).eval()


def convert(model, example, target, **options):
    options.setdefault("inputs", [ct.TensorType(name="x", shape=example.shape)])
    return ct.convert(torch.jit.trace(model, example), minimum_deployment_target=TARGETS[target], skip_model_load=True,
                      **options)


def palettized(package, bits):
    return optimize.palettize_weights(package, optimize.OptimizationConfig(
        optimize.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=10)))


def quantized(package, **options):
    return optimize.linear_quantize_weights(package, optimize.OptimizationConfig(
        optimize.OpLinearQuantizerConfig(weight_threshold=10, **options)))


def pruned(package):
    return optimize.prune_weights(package, optimize.OptimizationConfig(
        optimize.OpMagnitudePrunerConfig(target_sparsity=0.7, weight_threshold=10)))
