"""Random TorchScript programs compute what LibTorch computes: the first of those that tests/generate writes."""

import collections
import sys

import torch
from paths import CHECK_PROGRAMS, ROOT

sys.path.insert(0, str(ROOT / "tests" / "generate"))

import programs  # noqa: E402
from shrink import shrink  # noqa: E402
from tree import Block, Program  # noqa: E402
from writer import write_program  # noqa: E402


def test_programs_compute_what_libtorch_computes():
    torch.set_num_threads(1)
    words, faults = collections.Counter(), []
    for seed, program, answer in programs.check(range(250), CHECK_PROGRAMS):
        words[answer[0]] += 1
        if answer[0] in programs.FAULTS:
            faults.append(programs.describe(seed, program, answer))
    assert not faults, "\n".join(faults[:5])
    assert words["ok"] > 175 and words["unwritten"] < 5, words


def test_a_program_follows_from_its_seed():
    first, again = write_program(7), write_program(7)
    assert first.source() == again.source() and first.inputs() == again.inputs() and first.sizes() == again.sizes()
    assert first.source() != write_program(8).source()


def test_a_wrong_answer_is_seen():
    # LibTorch reads the rows that it has written already: what plait does not copy.
    program = Program([("x0", "x0=fp32[4, 3]", [(4, 3)])], ["torch.sum(x0, 1, out=x0.select(1, 2))"], ["x0"])
    (_, _, answer), = programs.check_programs([(0, program)], CHECK_PROGRAMS)
    assert answer[0] == "wrong", answer


def test_shrinking_keeps_what_is_asked_for():
    body = ["t1 = x0 + 1.0", Block(("if bool(t1.sum() > 0):", ["t2 = t1 * 2.0", "t1.mul_(0.5)"]), ("else:", ["t3 = t1"])),
            "t4 = t1.neg()"]
    program = Program([("x0", "x0=fp32[2]", [(2,)]), ("x1", "x1=fp32[2]", [(2,)])], body, ["t1", "t4"])
    small = shrink(program, lambda candidate: "mul_(0.5)" in candidate.source())
    assert small.body == ["t1.mul_(0.5)"] and len(small.results) == 1 and len(small.arguments) == 1
    assert "t4" in program.source(), "the program itself is as it was"
