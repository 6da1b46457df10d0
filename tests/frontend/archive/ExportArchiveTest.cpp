// Archives of torch.export in their three layouts, made by hand; what is not of their form.
#include "frontend/archive/ExportArchive.h"

#include "tests/frontend/archive/TestPickle.h"
#include "tests/frontend/archive/TestZip.h"

#include "gmock/gmock.h"

using namespace plait;
using namespace plait::test;
using exported::Argument;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

constexpr const char *program = R"({
  "graph_module": {
    "graph": {
      "inputs": [{"as_tensor": {"name": "p_w"}}, {"as_tensor": {"name": "x"}}, {"as_bool": true}],
      "outputs": [{"as_tensor": {"name": "y"}}],
      "nodes": [{
        "target": "torch.ops.aten.addmm.default",
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1},
                   {"name": "scale", "arg": {"as_float": "-Infinity"}},
                   {"name": "sizes", "arg": {"as_sym_ints": [{"as_int": 9223372036854775807},
                                                             {"as_name": "n"}]}},
                   {"name": "next", "arg": {"as_new_kind": [1]}}],
        "outputs": [{"as_tensor": {"name": "y"}}],
        "metadata": {"stack_trace": "trace", "nn_module_stack": "stack"}}],
      "tensor_values": {
        "x": {"dtype": 7, "sizes": [{"as_expr": {"expr_str": "s0", "hint": null}}],
              "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}, "layout": 7}},
      "is_single_tensor_return": false},
    "signature": {
      "input_specs": [{"parameter": {"arg": {"name": "p_w"}, "parameter_name": "a.w"}},
                      {"user_input": {"arg": {"as_tensor": {"name": "x"}}}},
                      {"constant_input": {"name": "flag", "value": {"as_bool": true}}}],
      "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": "y"}}}}]},
    "module_call_graph": [{"fqn": "", "signature": {"out_spec":
      "[1, {\"type\": \"builtins.dict\", \"context\": \"[\\\"logits\\\"]\", \"children_spec\": [{\"type\": null, \"context\": null, \"children_spec\": []}]}]"}}]},
  "range_constraints": {"s0": {"min_val": 2, "max_val": null}},
  "schema_version": {"major": 8, "minor": 20},
  "verifiers": ["TRAINING"],
  "torch_version": "2.13.0"})";

constexpr const char *weights = R"({"config": {
  "a.w": {"path_name": "weight_0", "is_param": true, "use_pickle": false, "tensor_meta":
    {"dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 3}], "strides": [{"as_int": 1}, {"as_int": 2}],
     "storage_offset": {"as_int": 1}, "layout": 7}},
  "tied": {"path_name": "weight_0", "is_param": true, "use_pickle": false, "tensor_meta":
    {"dtype": 7, "sizes": [], "strides": [], "storage_offset": {"as_int": 7}, "layout": 7}}}})";

/// The text with its first `from` replaced.
std::string with(std::string text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

class ExportArchiveTest : public TemporaryFolder {
protected:
  static TestZip raw(const std::string &json = program, const std::string &config = weights) {
    TestZip zip;
    zip.records = {{.name = "m/data/weights/weight_0", .data = std::string(32, '\1')},
                   {.name = "m/data/weights/model_weights_config.json", .data = config},
                   {.name = "m/models/model.json", .data = json},
                   {.name = "m/archive_format", .data = "pt2"},
                   {.name = "m/byteorder", .data = "little"}};
    return zip;
  }

  Expected<ExportedModelData> readFile(const TestZip &zip, llvm::StringRef model = "") const {
    auto file = MappedFile::open(write("m.pt2", zip.build()));
    if (!file)
      return file.takeError();
    auto archive = ExportArchive::open(*file);
    if (!archive)
      return archive.takeError();
    return archive->read(model);
  }
  std::string problem(const TestZip &zip, llvm::StringRef model = "") const {
    auto read = readFile(zip, model);
    return read ? "" : llvm::toString(read.takeError());
  }
};

TEST_F(ExportArchiveTest, Program) {
  auto data = readFile(raw());
  ASSERT_TRUE(bool(data)) << llvm::toString(data.takeError());
  const exported::Program &read = data->program;
  EXPECT_EQ(read.dialect, "TRAINING");
  EXPECT_EQ(read.ranges.at("s0").lower, 2);
  EXPECT_FALSE(read.ranges.at("s0").upper);
  EXPECT_THAT(read.outputKeys, ElementsAre("logits"));
  ASSERT_EQ(read.inputs.size(), 3u);
  EXPECT_EQ(read.inputs[0].target, "a.w");
  EXPECT_EQ(read.inputs[2].kind, exported::InputSpec::Kind::Fixed);
  EXPECT_EQ(read.graph.inputs[2].kind, Argument::Kind::Bool);
  const exported::Node &node = read.graph.nodes.at(0);
  EXPECT_EQ(node.target, "torch.ops.aten.addmm.default");
  EXPECT_EQ(node.moduleStack, "stack");
  EXPECT_EQ(node.inputs[1].value.number, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(node.inputs[2].value.elements[0].integer, INT64_MAX);
  EXPECT_EQ(node.inputs[2].value.elements[1].text, "n");
  EXPECT_EQ(node.inputs[3].value.kind, Argument::Kind::Unknown);
  EXPECT_EQ(node.inputs[3].value.member, "as_new_kind");
  EXPECT_EQ(read.graph.tensors.lookup("x").sizes[0].expression, "s0");
}

TEST_F(ExportArchiveTest, NumbersAsPythonPrintsThem) {
  std::string bare = with(program, "\"-Infinity\"", "-Infinity");
  bare = with(bare, "\"stack\"", "\"NaN, \\\"Infinity\"");
  auto data = readFile(raw(bare));
  ASSERT_TRUE(bool(data)) << llvm::toString(data.takeError());
  const exported::Node &node = data->program.graph.nodes.at(0);
  EXPECT_EQ(node.inputs[1].value.number, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(node.moduleStack, "NaN, \"Infinity");
  EXPECT_THAT(problem(raw(with(program, "\"-Infinity\"", "-Inf"))), HasSubstr("malformed"));
}

TEST_F(ExportArchiveTest, WeightsStayInTheFile) {
  auto data = readFile(raw());
  ASSERT_TRUE(bool(data)) << llvm::toString(data.takeError());
  const ExportedTensor &w = data->weights.at("a.w"), &tied = data->weights.at("tied");
  EXPECT_EQ(w.problem + tied.problem, "");
  EXPECT_EQ(w.storage, tied.storage);
  EXPECT_TRUE(w.storage->mapped);
  EXPECT_THAT(w.sizes, ElementsAre(2, 3));
  EXPECT_THAT(w.strides, ElementsAre(1, 2));
  EXPECT_EQ(w.offset, 1);
}

TEST_F(ExportArchiveTest, DeflatedAndUnalignedWeightsAreCopied) {
  TestZip zip = raw();
  zip.alignment = 1;
  auto data = readFile(zip);
  ASSERT_TRUE(bool(data)) << llvm::toString(data.takeError());
  EXPECT_THAT(data->weights.at("a.w").storage->bytes, testing::Each(1));
}

/// What torch 2.8 and before put in place of raw bytes.
TestZip pickled() {
  TestZip zip;
  zip.records = {
      {.name = "w/data.pkl", .data = dictOp(textOp("a.w") + tensorOp(0, {2, 2}, {2, 1}))},
      {.name = "w/data/7", .data = std::string(16, '\2')}};
  return zip;
}

TEST_F(ExportArchiveTest, PickledWeights) {
  TestZip named = raw(), flat;
  named.records[1] = {.name = "m/data/weights/model.pt", .data = pickled().build()};
  flat.records = {{.name = "version", .data = "8.8"},
                  {.name = "serialized_exported_program.json", .data = program},
                  {.name = "serialized_state_dict.pt", .data = pickled().build()}};
  for (const TestZip &zip : {named, flat}) {
    auto data = readFile(zip);
    ASSERT_TRUE(bool(data)) << llvm::toString(data.takeError());
    const ExportedTensor &w = data->weights.at("a.w");
    EXPECT_EQ(w.problem, "");
    EXPECT_EQ(w.dtype, 7);
    EXPECT_THAT(w.sizes, ElementsAre(2, 2));
    EXPECT_THAT(w.storage->bytes, testing::Each(2));
  }
}

TEST_F(ExportArchiveTest, SeveralModels) {
  TestZip zip = raw();
  zip.records.push_back({.name = "m/models/other.json", .data = program});
  auto file = MappedFile::open(write("two.pt2", zip.build()));
  ASSERT_TRUE(bool(file));
  auto archive = ExportArchive::open(*file);
  ASSERT_TRUE(bool(archive));
  EXPECT_THAT(archive->models(), ElementsAre("model", "other"));
  EXPECT_THAT(problem(zip), HasSubstr("2 models: model, other; name one"));
  EXPECT_THAT(problem(zip, "third"), HasSubstr("no model 'third'; it has model, other"));
  EXPECT_EQ(problem(zip, "other"), "");
}

TEST_F(ExportArchiveTest, PathsNameModels) {
  EXPECT_EQ(splitModelPath("a/m.pt2").file, "a/m.pt2");
  EXPECT_EQ(splitModelPath("a/m.pt2:decode").file, "a/m.pt2");
  EXPECT_EQ(splitModelPath("a/m.pt2:decode").model, "decode");
  EXPECT_EQ(splitModelPath("c:/m.pt").file, "c:/m.pt");
}

TEST_F(ExportArchiveTest, WhatIsAnArchive) {
  EXPECT_TRUE(ExportArchive::isOne(write("a", raw().build())));
  EXPECT_FALSE(ExportArchive::isOne(write("b", pickled().build())));
  EXPECT_FALSE(ExportArchive::isOne(write("c", "text")));
  EXPECT_FALSE(ExportArchive::isOne(pathOf("missing")));
}

TEST_F(ExportArchiveTest, WeightsOutOfBounds) {
  auto problemOf = [&](const std::string &from, const std::string &to) {
    auto data = readFile(raw(program, with(weights, from, to)));
    EXPECT_TRUE(bool(data)) << llvm::toString(data.takeError());
    return data->weights.at("a.w").problem;
  };
  EXPECT_EQ(problemOf("\"as_int\": 1}, \"layout", "\"as_int\": 2}, \"layout"), "");
  EXPECT_THAT(problemOf("\"as_int\": 1}, \"layout", "\"as_int\": 3}, \"layout"),
              HasSubstr("reaches to element 8 of 8"));
  EXPECT_THAT(problemOf("{\"as_int\": 3}", "{\"as_int\": 9223372036854775807}"),
              HasSubstr("64 bits"));
  EXPECT_THAT(problemOf("{\"as_int\": 3}", "{\"as_int\": -3}"), HasSubstr("negative"));
  EXPECT_THAT(problemOf("\"as_int\": 1}, \"layout", "\"as_int\": -1}, \"layout"),
              HasSubstr("64 bits"));
  EXPECT_THAT(problemOf("\"dtype\": 7", "\"dtype\": 99"), HasSubstr("does not know (99"));
  EXPECT_THAT(problemOf("{\"as_int\": 3}", "{\"as_expr\": {\"expr_str\": \"s0\"}}"),
              HasSubstr("not a number"));
  EXPECT_THAT(problemOf("\"use_pickle\": false", "\"use_pickle\": true"), HasSubstr("pickled"));
  EXPECT_THAT(problemOf("weight_0", "weight_1"), HasSubstr("'data/weights/weight_1' is missing"));
  TestZip zip = raw();
  zip.records[0].data = "";
  auto data = readFile(zip);
  ASSERT_TRUE(bool(data));
  EXPECT_THAT(data->weights.at("a.w").problem, HasSubstr("without its weights"));
}

TEST_F(ExportArchiveTest, DamagedPrograms) {
  auto of = [&](const std::string &from, const std::string &to) {
    return problem(raw(with(program, from, to)));
  };
  EXPECT_THAT(of("\"major\": 8", "\"major\": 9"),
              AllOf(HasSubstr("version 9.20 of the schema (written by torch 2.13.0)"),
                    HasSubstr("export the model with another release")));
  EXPECT_THAT(of("TRAINING", "EDGE"), HasSubstr("dialect 'EDGE'"));
  EXPECT_THAT(of("\"inputs\"", "\"puts\""), HasSubstr("inputs is no list"));
  EXPECT_THAT(of("{\"as_bool\": true}", "{\"as_bool\": true, \"as_int\": 1}"),
              HasSubstr("an argument has 2 cases"));
  EXPECT_THAT(of("{\"as_bool\": true}", "{\"as_bool\": 1}"),
              HasSubstr("as_bool is neither true nor false"));
  EXPECT_THAT(of("{\"as_bool\": true}],", "{\"as_bool\": true}, {\"as_int\": 1}],"),
              HasSubstr("other inputs or outputs"));
  EXPECT_THAT(of("\"user_output\"", "\"new_output\""), "");
  EXPECT_THAT(of("\"user_input\"", "\"new_input\""), HasSubstr("an input is a 'new_input'"));
  EXPECT_THAT(of("\"as_float\": \"-Infinity\"", "\"as_float\": \"x\""),
              HasSubstr("as_float is no number (at 'torch.ops.aten.addmm.default')"));
  EXPECT_THAT(of("\"sizes\": [{", "\"sizes\": [{\"as_int\": 1}, {"),
              HasSubstr("other strides than sizes"));
  EXPECT_THAT(problem(raw("{")), HasSubstr("malformed"));
  EXPECT_THAT(problem(raw("[]")), HasSubstr("the program is no object"));
}

TEST_F(ExportArchiveTest, DeepPrograms) {
  std::string inner = R"({"inputs": [], "outputs": [], "nodes": [], "tensor_values": {}})";
  for (int i = 0; i < 6; ++i)
    inner =
        R"({"inputs": [], "outputs": [], "tensor_values": {}, "nodes": [{"target": "t", "outputs": [],
      "inputs": [{"name": "", "arg": {"as_graph": {"name": "g", "graph": )" +
        inner + "}}}]}]}";
  EXPECT_THAT(problem(raw(with(program, "{\"as_new_kind\": [1]}",
                               "{\"as_graph\": {\"name\": \"g\", \"graph\": " + inner + "}}"))),
              testing::AnyOf(HasSubstr("graphs stand within graphs"), HasSubstr("levels deep")));
}

TEST_F(ExportArchiveTest, OtherArchives) {
  TestZip none = raw(), format = raw(), order = raw(), name = raw(), damaged = raw(),
          compiled = raw();
  none.records.erase(none.records.begin() + 2);
  EXPECT_THAT(problem(none), HasSubstr("no program; write it with torch.export.save"));
  compiled.records[2] = {.name = "m/data/aotinductor/model/wrapper.so", .data = "x"};
  EXPECT_THAT(problem(compiled), HasSubstr("AOTInductor"));
  format.records[3].data = "pt3";
  EXPECT_THAT(problem(format), HasSubstr("format is 'pt3'"));
  order.records[4].data = "big";
  EXPECT_THAT(problem(order), HasSubstr("big-endian"));
  name.records[2].name = "m/models/../x.json";
  EXPECT_THAT(problem(name), HasSubstr("cannot be the name of a model"));
  damaged.records[2].crc32 = 1;
  EXPECT_THAT(problem(damaged), HasSubstr("CRC-32 does not match"));
  TestZip flat;
  flat.records = {{.name = "serialized_exported_program.json", .data = program}};
  EXPECT_THAT(problem(flat), HasSubstr("'serialized_state_dict.pt' is missing"));
}

} // namespace
