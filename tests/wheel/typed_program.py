"""A program that uses plait, for `mypy --strict`; it runs too."""

from __future__ import annotations

import sys

import numpy
import plait
import plait.coremltools as ct
import torch


def progress(what: str, done: float) -> None:
    print(f"{done:.0%} {what}")


def main(folder: str) -> int:
    net = torch.nn.Linear(8, 4)
    package: plait.Package = plait.compile(
        {"first": net, "second": plait.Model(net, outputs=["z"])}, inputs={"x": plait.Tensor((1, plait.Range(8, 8)), "fp32")}, outputs=["y"],
        precision="fp32", progress=progress)
    package.save(f"{folder}/typed.mlpackage")
    function: plait.Function = package.functions["first"]
    result = function(x=numpy.ones((1, 8), numpy.float32))
    sizes: list[int] = [one.weight_bytes for one in package.summary.functions]
    checked: plait.Verification = package.verify(net, function="second")
    report: plait.Report | None = package.report
    try:
        plait.Package(f"{folder}/none.mlpackage")
    except plait.Error as error:
        problem: plait.Problem = error.problems[0]
        print(problem.message, problem.operation, problem.line)
    trace = getattr(torch.jit, "trace")  # which torch has no type for
    model: ct.models.MLModel = ct.convert(trace(net, torch.rand(1, 8)), inputs=[ct.TensorType(name="x", shape=(1, 8))], minimum_deployment_target=ct.target.iOS18)
    print(result["y"].shape, sizes, checked.passed, report, model.predict({"x": numpy.ones((1, 8))}))
    return 0 if checked else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
