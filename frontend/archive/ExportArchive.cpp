// Finding out the layout, and views of storages whose every number is checked.
#include "frontend/archive/ExportArchive.h"

#include "frontend/archive/TensorPickle.h"
#include "support/DidYouMean.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CheckedArithmetic.h"
#include "llvm/Support/FileSystem.h"

namespace plait {

using llvm::StringRef;

static constexpr llvm::StringLiteral kFlatProgram = "serialized_exported_program.json";
/// More than any program, and little enough to be held as a tree.
static constexpr uint64_t kLargestJson = uint64_t(1) << 30;

ModelPath splitModelPath(StringRef path) {
  auto [file, model] = path.rsplit(':');
  if (model.empty() || !file.ends_with(".pt2") || llvm::sys::fs::exists(path))
    return {path.str(), ""};
  return {file.str(), model.str()};
}

static std::string exportPrefix(const ZipDirectory &directory) {
  if (directory.records().empty() || directory.find(kFlatProgram))
    return "";
  StringRef first = directory.records().front().name;
  return first.take_front(first.find('/') + 1).str();
}

static bool isExport(const ZipDirectory &directory) {
  return directory.find(kFlatProgram) || directory.find(exportPrefix(directory) + "archive_format");
}

bool ExportArchive::isOne(StringRef path) {
  llvm::sys::fs::file_status status;
  if (llvm::sys::fs::status(path, status) ||
      status.type() != llvm::sys::fs::file_type::regular_file)
    return false;
  auto file = MappedFile::open(path);
  if (!file) {
    consumeError(file.takeError());
    return false;
  }
  StringRef bytes = llvm::toStringRef((*file)->bytes());
  if (!ZipDirectory::looksLikeZip(bytes))
    return false;
  auto directory = ZipDirectory::read(bytes);
  if (!directory) {
    consumeError(directory.takeError());
    return false;
  }
  return isExport(*directory);
}

static bool isModelName(StringRef name) {
  return !name.empty() && !name.starts_with("/") && !name.contains("..") &&
         llvm::all_of(name, [](unsigned char c) { return c >= 0x20; });
}

Expected<ExportArchive> ExportArchive::open(std::shared_ptr<const MappedFile> file) {
  auto directory = ZipDirectory::read(llvm::toStringRef(file->bytes()));
  if (!directory)
    return makeError(Code::ArchiveDamaged,
                     "this archive is truncated or damaged: {0}; copy, download or save it again",
                     toString(directory.takeError()));
  if (!isExport(*directory))
    return makeError(Code::NotAModel, "this is no archive of torch.export.save");
  ExportArchive archive;
  archive.prefix_ = exportPrefix(*directory);
  archive.isFlat_ = directory->find(kFlatProgram);
  archive.directory_ = std::make_shared<const ZipDirectory>(std::move(*directory));
  archive.file_ = std::move(file);
  if (archive.isFlat_) {
    archive.models_ = {"model"};
    return archive;
  }
  RecordReader reader(archive.file_);
  auto text = [&](StringRef name) -> Expected<std::string> {
    const ZipRecord *record = archive.find(name);
    if (!record)
      return std::string();
    auto bytes = reader.readChecked(reader.whole(), *record);
    if (!bytes)
      return bytes.takeError();
    return llvm::toStringRef(bytes->bytes).trim().str();
  };
  auto format = text("archive_format"), order = text("byteorder");
  if (!format || !order)
    return joinErrors(format.takeError(), order.takeError());
  if (*format != "pt2")
    return makeError(Code::NotAModel,
                     "its format is '{0}', and plait reads 'pt2' of torch.export.save",
                     StringRef(*format).take_front(40));
  if (*order == "big")
    return makeError(Code::ArchiveVersion,
                     "it was saved on a big-endian machine; save it on a little-endian one");
  bool compiled = false;
  for (const ZipRecord &record : archive.directory_->records()) {
    StringRef name = record.name;
    if (!name.consume_front(archive.prefix_))
      continue;
    compiled |= name.starts_with("data/aotinductor/");
    if (!name.consume_front("models/") || !name.consume_back(".json"))
      continue;
    if (!isModelName(name))
      return makeError(Code::ArchiveDamaged,
                       "'{0}' cannot be the name of a model; save the archive again", name);
    archive.models_.push_back(name.str());
  }
  llvm::sort(archive.models_);
  if (archive.models_.empty())
    return makeError(
        Code::NotAModel,
        "the archive holds {0}; write it with torch.export.save(torch.export.export(model, "
        "inputs), path)",
        compiled ? "code that AOTInductor compiled, and no program" : "no program");
  return archive;
}

Expected<std::string> ExportArchive::choose(StringRef model) const {
  if (model.empty() && models_.size() == 1)
    return models_[0];
  if (llvm::is_contained(models_, model))
    return model.str();
  std::vector<std::string> some(models_.begin(),
                                models_.begin() + std::min<size_t>(models_.size(), 12));
  std::string known = llvm::join(some, ", ") + (some.size() < models_.size() ? ", …" : "");
  if (model.empty())
    return makeError(Code::NoSuchModel,
                     "the archive holds {0} models: {1}; name one, FILE.pt2:NAME", models_.size(),
                     known);
  return makeError(Code::NoSuchModel, "the archive has no model '{0}'{1}; it has {2}", model,
                   didYouMean(model, models_), known);
}

Expected<ExportedModelData> ExportArchive::read(StringRef given) const {
  auto model = choose(given);
  if (!model)
    return model.takeError();
  RecordReader reader(file_);
  std::string name = isFlat_ ? kFlatProgram.str() : "models/" + *model + ".json";
  const ZipRecord *record = find(name);
  if (record->size > kLargestJson)
    return makeError(Code::TooLarge, "its program is {0} bytes of JSON; plait reads up to {1}",
                     record->size, kLargestJson);
  auto bytes = reader.readChecked(reader.whole(), *record);
  if (!bytes)
    return bytes.takeError();
  auto program = exported::readProgram(llvm::toStringRef(bytes->bytes));
  if (!program)
    return addContext(program.takeError(), name);
  ExportedModelData data{std::move(*program), {}, {}};
  for (auto [kind, tensors] : {std::pair<StringRef, Tensors *>("weights", &data.weights),
                               std::pair<StringRef, Tensors *>("constants", &data.constants)}) {
    auto read = readTensors(reader, kind, *model);
    if (!read)
      return read.takeError();
    *tensors = std::move(*read);
  }
  return data;
}

// ---- Tensors -----------------------------------------------------------------------------------

/// In bytes; 0 of what plait does not know.
static uint64_t exportedElementSize(int64_t dtype) {
  switch (dtype) {
  case 1:  // uint8
  case 2:  // int8
  case 12: // bool
  case 29: // the kinds of float8
  case 30:
  case 31:
  case 32:
  case 33:
    return 1;
  case 3:  // int16
  case 6:  // half
  case 13: // bfloat16
  case 28: // uint16
    return 2;
  case 4:  // int32
  case 7:  // float
  case 9:  // complex half
  case 34: // uint32
    return 4;
  case 5:  // int64
  case 8:  // double
  case 10: // complex float
  case 35: // uint64
    return 8;
  case 11: // complex double
    return 16;
  default:
    return 0;
  }
}

static int64_t exportedType(mil::DType dtype, bool isComplex) {
  if (isComplex)
    return dtype == mil::DType::F16 ? 9 : dtype == mil::DType::F32 ? 10 : 11;
  switch (dtype) {
  case mil::DType::U8:
    return 1;
  case mil::DType::I8:
    return 2;
  case mil::DType::I16:
    return 3;
  case mil::DType::I32:
    return 4;
  case mil::DType::I64:
    return 5;
  case mil::DType::F16:
    return 6;
  case mil::DType::F32:
    return 7;
  case mil::DType::F64:
    return 8;
  case mil::DType::Bool:
    return 12;
  case mil::DType::BF16:
    return 13;
  case mil::DType::U16:
    return 28;
  default:
    return 0;
  }
}

/// What is wrong with the view; "" where it lies in its storage.
static std::string viewProblem(const ExportedTensor &tensor) {
  uint64_t width = exportedElementSize(tensor.dtype);
  if (width == 0)
    return "its elements are of a type that plait does not know (" + std::to_string(tensor.dtype) +
           " of the schema)";
  bool empty = false;
  std::optional<int64_t> elements = 1, last = tensor.offset;
  for (auto [size, stride] : llvm::zip(tensor.sizes, tensor.strides)) {
    if (size < 0 || stride < 0)
      return "a size or stride of it is negative";
    empty |= size == 0;
    // LibTorch computes strides of what is empty too.
    elements = elements ? llvm::checkedMul(*elements, std::max<int64_t>(size, 1)) : std::nullopt;
    auto step = size > 0 ? llvm::checkedMul(size - 1, stride) : 0;
    last = last && step ? llvm::checkedAdd(*last, *step) : std::nullopt;
  }
  if (!elements || (!empty && (!last || tensor.offset < 0)))
    return "its size is no number of 64 bits";
  if (empty)
    return "";
  uint64_t held = tensor.storage->bytes.size();
  if (held == 0)
    return "the archive has no bytes for it: the model was exported without its weights; load "
           "them before torch.export.export";
  if (uint64_t(*last) >= held / width)
    return fmt::format("it reaches to element {0} of {1} that are stored", *last, held / width);
  return "";
}

Expected<ExportArchive::Tensors> ExportArchive::readTensors(RecordReader &reader, StringRef kind,
                                                            StringRef model) const {
  if (isFlat_) {
    StringRef stem = kind == "weights" ? "serialized_state_dict" : "serialized_constants";
    for (StringRef extension : {".pt", ".json"})
      if (const ZipRecord *record = find((stem + extension).str()))
        return readPickled(reader, *record);
    // Before 2.2 there were no constants.
    return kind == "constants"
               ? Expected<Tensors>(Tensors())
               : makeError(Code::ArchiveDamaged,
                           "its record '{0}.pt' is missing; save the archive again", stem);
  }
  std::string folder = ("data/" + kind + "/").str();
  if (const ZipRecord *record = find(folder + model.str() + ".pt"))
    return readPickled(reader, *record);
  std::string config = fmt::format("{0}{1}_{2}_config.json", folder, model, kind);
  if (const ZipRecord *record = find(config))
    return readPayloads(reader, *record, folder);
  return Tensors(); // what the program needs is missed where it needs it
}

Expected<ExportArchive::Tensors> ExportArchive::readPickled(RecordReader &reader,
                                                            const ZipRecord &record) const {
  auto container = reader.readChecked(reader.whole(), record);
  if (!container)
    return container.takeError();
  StringRef bytes = llvm::toStringRef(container->bytes);
  if (bytes.empty())
    return Tensors();
  auto directory = ZipDirectory::read(bytes);
  if (!directory)
    return makeError(Code::ArchiveDamaged,
                     "record '{0}' is no file of torch.save: {1}; save the archive again",
                     record.name, toString(directory.takeError()));
  StringRef first = directory->records().empty() ? "" : directory->records().front().name;
  std::string prefix = first.take_front(first.find('/') + 1).str();
  const ZipRecord *pickle = directory->find(prefix + "data.pkl");
  if (!pickle)
    return makeError(Code::ArchiveDamaged, "record '{0}' has no data.pkl; save the archive again",
                     record.name);
  auto text = reader.readChecked(*container, *pickle);
  if (!text)
    return text.takeError();
  auto pickled = readTensorPickle(llvm::toStringRef(text->bytes), OtherTensors::Name);
  if (!pickled)
    return addContext(pickled.takeError(), "record '" + record.name + "'");
  std::map<std::string, std::shared_ptr<const RecordBytes>> storages;
  Tensors tensors;
  for (PickledTensor &one : *pickled) {
    if (!one.problem.empty()) {
      tensors[one.name].problem = one.problem;
      continue;
    }
    auto &storage = storages[one.record];
    const ZipRecord *inner = storage ? nullptr : directory->find(prefix + one.record);
    if (!storage && !inner)
      return makeError(Code::ArchiveDamaged,
                       "record '{0}' of '{1}' is missing; the archive is damaged, save it again",
                       one.record, record.name);
    if (!storage) {
      auto read = reader.read(*container, *inner);
      if (!read)
        return read.takeError();
      read->name = record.name.str() + "/" + read->name;
      storage = std::make_shared<const RecordBytes>(std::move(*read));
    }
    ExportedTensor tensor{storage,
                          exportedType(one.dtype, one.isComplex),
                          {one.shape.begin(), one.shape.end()},
                          {one.strides.begin(), one.strides.end()},
                          one.offset,
                          ""};
    tensor.problem =
        one.isNegated ? "it is a view of other numbers with the other sign" : viewProblem(tensor);
    tensors[one.name] = std::move(tensor);
  }
  return tensors;
}

/// Numbers, or nothing where one is an expression.
static std::optional<std::vector<int64_t>> knownSizes(llvm::ArrayRef<exported::Size> sizes) {
  std::vector<int64_t> numbers;
  for (const exported::Size &size : sizes) {
    if (!size.number)
      return std::nullopt;
    numbers.push_back(*size.number);
  }
  return numbers;
}

Expected<ExportArchive::Tensors>
ExportArchive::readPayloads(RecordReader &reader, const ZipRecord &config, StringRef folder) const {
  if (config.size > kLargestJson)
    return makeError(Code::TooLarge, "record '{0}' is {1} bytes of JSON; plait reads up to {2}",
                     config.name, config.size, kLargestJson);
  auto text = reader.readChecked(reader.whole(), config);
  if (!text)
    return text.takeError();
  auto entries = exported::readPayloads(llvm::toStringRef(text->bytes));
  if (!entries)
    return addContext(entries.takeError(), config.name);
  std::map<std::string, std::shared_ptr<const RecordBytes>> storages;
  Tensors tensors;
  for (const exported::PayloadEntry &entry : *entries) {
    ExportedTensor &tensor = tensors[entry.name];
    if (entry.pickled) {
      tensor.problem = "it is an object that Python pickled (a quantised tensor, or a custom "
                       "class), and only plain tensors can be read; export the model with plain "
                       "tensors";
      continue;
    }
    auto &storage = storages[entry.record];
    if (!storage) {
      const ZipRecord *record = find(folder.str() + entry.record);
      if (!record) {
        tensor.problem = "record '" + folder.str() + entry.record + "' is missing";
        continue;
      }
      auto read = reader.read(reader.whole(), *record);
      if (!read)
        return read.takeError();
      storage = std::make_shared<const RecordBytes>(std::move(*read));
    }
    auto sizes = knownSizes(entry.meta.sizes), strides = knownSizes(entry.meta.strides);
    if (!sizes || !strides || !entry.meta.offset.number) {
      tensor.problem = "its size is not a number";
      continue;
    }
    tensor = {storage,
              entry.meta.dtype,
              std::move(*sizes),
              std::move(*strides),
              *entry.meta.offset.number,
              ""};
    tensor.problem = viewProblem(tensor);
  }
  return tensors;
}

} // namespace plait
