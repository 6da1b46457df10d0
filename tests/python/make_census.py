"""Makes census.txt: every signature (mil_signatures.py) that coremltools gives an operation when it converts the models
of census_models.py for iOS18, in fp16 and fp32. Run it again after changing those; it takes minutes.

    make_census.py [--only REGEX] [--verbose]
"""

import argparse
import logging
import multiprocessing
import pathlib
import re
import sys
import warnings

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import coremltools as ct
import torch
from census_models import CASES
from mil_signatures import signatures

TABLE = pathlib.Path(__file__).parent / "census.txt"


def convert(index):
    name, module, inputs, dynamic = CASES[index]
    found, errors = set(), []
    try:
        torch.manual_seed(0)
        module = module.eval()
        model = module if isinstance(module, torch.jit.ScriptModule) else torch.jit.trace(module, inputs, check_trace=False)
        shapes = [list(value.shape) for value in inputs]
        if dynamic is not None:
            shapes[0][dynamic] = ct.RangeDim(2, shapes[0][dynamic])
        types = [ct.TensorType(f"x{k}", shape, dtype=value.numpy().dtype)
                 for k, (shape, value) in enumerate(zip(shapes, inputs))]
    except Exception as error:
        return name, found, [f"{name}: trace: {error}"]
    for precision in (ct.precision.FLOAT16, ct.precision.FLOAT32):
        try:
            package = ct.convert(model, inputs=types, minimum_deployment_target=ct.target.iOS18,
                                 compute_precision=precision, skip_model_load=True, convert_to="mlprogram")
            found |= signatures(package.get_spec())
        except Exception as error:
            errors.append(f"{name}: {str(error).strip().splitlines()[-1] if str(error) else repr(error)}")
    return name, found, errors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [index for index, (name, *_) in enumerate(CASES) if re.search(options.only, name)]
    table = set()
    with multiprocessing.Pool(2) as pool:
        for name, found, errors in pool.imap(convert, chosen):
            table |= found
            for error in errors:
                print(error, file=sys.stderr)
            if options.verbose:
                print(f"== {name}\n" + "\n".join(sorted(found)))
    if not options.only:
        TABLE.write_text("\n".join(sorted(table)) + "\n")
        print(f"{len(table)} signatures from {len(chosen)} models in {TABLE.name}")


if __name__ == "__main__":
    main()
