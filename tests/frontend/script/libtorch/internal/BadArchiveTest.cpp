// What people pass to the loader by mistake, and files that are damaged or made to harm: each gets
// its own message, none crashes.
#include "tests/frontend/script/libtorch/ModelFiles.h"

using namespace plait;
using namespace plait::test;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

namespace {

class BadArchive : public TemporaryFolder {
protected:
  std::string saveSmall() {
    std::string path = pathOf("small.pt");
    smallModule().save(path);
    return path;
  }

  /// The message for a file of these bytes; it must name the file.
  std::string errorOf(llvm::StringRef bytes) {
    std::string path = write("bad.pt", bytes), message = loadError(path);
    EXPECT_THAT(message, StartsWith(path + ": "));
    return message;
  }

  /// The message for a zip archive of the records NAME=DATA.
  std::string errorOfRecords(std::vector<TestRecord> records) {
    return errorOf(TestZip{std::move(records)}.build());
  }

  /// The message for the small model with record `name` replaced, or dropped.
  std::string errorWith(llvm::StringRef name, std::optional<std::string> data) {
    TestZip zip;
    bool found = false;
    for (TestRecord &record : recordsOf(saveSmall())) {
      bool match = record.name == ("m/" + name).str();
      found |= match;
      if (match && data)
        record.data = *data;
      if (!match || data)
        zip.records.push_back(record);
    }
    EXPECT_TRUE(found) << name.str();
    return errorOf(zip.build());
  }
};

TEST_F(BadArchive, Paths) {
  EXPECT_THAT(loadError(pathOf("absent.pt")),
              AllOf(StartsWith(pathOf("absent.pt") + ": "), HasSubstr("No such file")));
  EXPECT_THAT(loadError(folder.str().str()), HasSubstr("this is a folder"));
  std::string package = pathOf("model.mlpackage");
  ASSERT_FALSE(llvm::sys::fs::create_directory(package));
  EXPECT_THAT(loadError(package), HasSubstr("Core ML package"));
  write("adapter_config.json", "{}");
  EXPECT_THAT(loadError(folder.str().str()), AllOf(HasSubstr("PEFT"), HasSubstr("--adapter")));
  EXPECT_THAT(loadError("/dev/null"), HasSubstr("not a regular file"));
}

TEST_F(BadArchive, OtherKindsOfFile) {
  EXPECT_THAT(errorOf(""), HasSubstr("the file is empty"));
  EXPECT_THAT(errorOf("import torch\n\nprint('hallo wörld')\n"), HasSubstr("this is a text file"));
  EXPECT_THAT(errorOf("x"), HasSubstr("this is a text file"));
  EXPECT_THAT(errorOf(llvm::StringRef("\x80\x02\x8a\nl\xfc\x9c", 7)),
              HasSubstr("this is a pickle"));
  EXPECT_THAT(errorOf(std::string("\x10\0\0\0\0\0\0\0{\"a\": 123456789}", 24)),
              HasSubstr("safetensors"));
  EXPECT_THAT(errorOf(std::string("\x10\0\0\0PTMF\0\0\0\0", 12)), HasSubstr("flatbuffer"));
  EXPECT_THAT(errorOf(std::string("\x7f"
                                  "ELF\2\1\1\0\0\0\0\0\0",
                                  13)),
              HasSubstr("not a TorchScript archive"));
  for (const char *bytes : {"", "text", "\x80\x02\x8a"})
    EXPECT_THAT(errorOf(bytes), HasSubstr("torch.jit.save"));
}

TEST_F(BadArchive, OtherKindsOfZip) {
  TestRecord version{.name = "m/version", .data = "3\n"};
  EXPECT_THAT(errorOfRecords({{.name = "m/data.pkl", .data = "x"}, {.name = "m/data/0"}, version}),
              AllOf(HasSubstr("written by torch.save"), HasSubstr("state_dict"),
                    HasSubstr("torch.jit.save")));
  EXPECT_THAT(errorOfRecords({{.name = "m/models/model.json", .data = "{}"},
                              {.name = "m/archive_format", .data = "pt2"}}),
              HasSubstr("torch.export archive (.pt2)"));
  EXPECT_THAT(errorOfRecords({{.name = "serialized_exported_program.json", .data = "{}"},
                              {.name = "version", .data = "5.1"}}),
              HasSubstr("torch.export archive (.pt2)"));
  EXPECT_THAT(errorOfRecords({{.name = "m/.data/python_version", .data = "3.11"}}),
              HasSubstr("torch.package"));
  EXPECT_THAT(errorOfRecords({{.name = "a.txt", .data = "hallo"}}),
              HasSubstr("it has no data.pkl"));
}

TEST_F(BadArchive, Versions) {
  EXPECT_THAT(errorWith("version", "4711\n"),
              AllOf(HasSubstr("newer PyTorch"), HasSubstr("4711"), HasSubstr("newer LibTorch")));
  EXPECT_THAT(errorWith("version", "three"), HasSubstr("not a number"));
  EXPECT_THAT(errorWith("version", std::nullopt), HasSubstr("'version' is missing"));
  EXPECT_THAT(errorWith("byteorder", "big"), HasSubstr("big-endian"));
}

TEST_F(BadArchive, MissingAndShortRecords) {
  EXPECT_THAT(errorWith("constants.pkl", std::nullopt), HasSubstr("'constants.pkl' is missing"));
  EXPECT_THAT(errorWith("data/0", std::nullopt), HasSubstr("'data/0' is missing"));
  EXPECT_THAT(errorWith("data/0", std::string(63, 'x')),
              HasSubstr("a tensor of 64 bytes lies in a record of 63"));
  EXPECT_THAT(errorWith("data/0", ""), HasSubstr("lies in a record of 0"));
  EXPECT_THAT(errorWith("data.pkl", ""), HasSubstr("LibTorch cannot load it"));
  EXPECT_THAT(errorWith("data.pkl", "\x80\x02N."), HasSubstr("LibTorch cannot load it"));
}

TEST_F(BadArchive, TensorsBeyondTheirStorage) {
  // The pickle says a tensor of 4 x 4 with strides 4, 1: write a longer stride into it.
  for (const TestRecord &record : recordsOf(saveSmall())) {
    if (record.name != "m/data.pkl")
      continue;
    std::string pickle = record.data;
    size_t strides = pickle.find("K\4K\1t");
    ASSERT_NE(strides, std::string::npos);
    pickle[strides + 1] = 5;
    // Newer LibTorch finds it before plait's own check can.
    EXPECT_THAT(errorWith("data.pkl", pickle),
                AnyOf(HasSubstr("reaches out of its storage"), HasSubstr("but storage only has")));
  }
}

TEST_F(BadArchive, PicklesThatClaimTooMuch) {
  // A string, a long integer, a memo slot, the name of a global.
  for (llvm::StringRef bytes : {"\x80\2X\xff\xff\xff\x7f"
                                "abc.",
                                "\x80\2\x8a\xff"
                                "abc.",
                                "\x80\2Nr\xff\xff\xff\xff.", "\x80\2c__torch__\nM", "\x80\2M\1"})
    EXPECT_THAT(errorWith("data.pkl", bytes.str()), HasSubstr("claims more than there is"));
}

TEST_F(BadArchive, UnknownOperators) {
  for (const TestRecord &record : recordsOf(saveSmall())) {
    if (record.name != "m/code/__torch__.py")
      continue;
    std::string code = record.data;
    size_t at = code.find("torch.relu(");
    ASSERT_NE(at, std::string::npos);
    code.replace(at, 11, "ops.othervision.nms(");
    EXPECT_THAT(
        errorWith("code/__torch__.py", code),
        AllOf(HasSubstr("othervision::nms"), HasSubstr("built from PyTorch's own operators")));
  }
}

TEST_F(BadArchive, EveryTruncationIsAnError) {
  std::string bytes = bytesOf(saveSmall());
  for (size_t size = 4; size < bytes.size(); size += size < bytes.size() - 200 ? 101 : 1)
    EXPECT_THAT(errorOf(llvm::StringRef(bytes).take_front(size)),
                HasSubstr("truncated or damaged"));
}

TEST_F(BadArchive, NoFlippedBitCrashes) {
  std::string bytes = bytesOf(saveSmall());
  unsigned loaded = 0, refused = 0;
  for (size_t i = 0; i != bytes.size(); ++i) {
    std::string bad = bytes;
    bad[i] ^= 1 << (i % 8);
    loadError(write("bad.pt", bad)).empty() ? ++loaded : ++refused;
  }
  // Padding, dates and weights may change; code, pickles and the directory may not.
  EXPECT_GT(loaded, 0u);
  EXPECT_GT(refused, 1000u);
}

} // namespace
