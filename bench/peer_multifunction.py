"""coremltools' way to a multifunction package, as its guide has it: convert each model, save each, save_multifunction.

    peer_multifunction.py OUTPUT.mlpackage DTYPE SHAPE MODEL.pt ...
"""

import logging
import pathlib
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import coremltools as ct
import numpy as np
import torch

output, dtype, shape, models = sys.argv[1], sys.argv[2], tuple(map(int, sys.argv[3].split(","))), sys.argv[4:]
with tempfile.TemporaryDirectory(dir=pathlib.Path(output).parent) as scratch:
    descriptor = ct.utils.MultiFunctionDescriptor()
    for k, path in enumerate(models, 1):
        types = {"dtype": np.int32} if dtype == "int32" else {}
        package = ct.convert(torch.jit.load(path), inputs=[ct.TensorType(f"x{k}", shape, **types)],
                             outputs=[ct.TensorType(f"y{k}")], minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
        package.save(f"{scratch}/{k}.mlpackage")
        descriptor.add_function(f"{scratch}/{k}.mlpackage", src_function_name="main", target_function_name=f"adapter_{k}")
    descriptor.default_function_name = "adapter_1"
    ct.utils.save_multifunction(descriptor, output)
