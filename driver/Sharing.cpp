// Shares of weights, counted by blob.
#include "driver/Sharing.h"

#include "backend/Manifest.h"
#include "driver/Diagnostics.h"
#include "mil/ConstantArguments.h"

#include "llvm/ADT/DenseSet.h"

namespace plait::driver {

const Option expectSharedOption{
    "expect-shared", "PERCENT",
    "fail, and write nothing, where a function shares less than this part of its weights' bytes "
    "with another function: 95%"};

WeightShares weightShares(const WriteReport &report) {
  // Of each blob: the function that uses it; null where several do.
  llvm::DenseMap<uint32_t, const mil::Function *> user;
  for (const WriteReport::Weight &weight : report.weights) {
    auto [it, isNew] = user.try_emplace(weight.blob, weight.function);
    if (report.layout.blobs[weight.blob].usedBefore || it->second != weight.function)
      it->second = nullptr;
  }
  WeightShares shares;
  llvm::DenseSet<std::pair<const mil::Function *, uint32_t>> counted;
  for (const WriteReport::Weight &weight : report.weights) {
    if (!counted.insert({weight.function, weight.blob}).second)
      continue;
    WeightShare &share = shares[weight.function];
    (user[weight.blob] ? share.ownBytes : share.sharedBytes) +=
        report.layout.blobs[weight.blob].byteSize;
  }
  return shares;
}

CompileReport summarise(const mil::Program &program, const WriteReport &written) {
  CompileReport report;
  WeightShares shares = weightShares(written);
  for (const auto &function : program.functions()) {
    WeightShare share = shares.lookup(function.get());
    auto &entry = report.functions.emplace_back();
    entry.name = function->name;
    entry.ownBytes = share.ownBytes;
    entry.sharedBytes = share.sharedBytes;
    for (const auto &input : function->inputs())
      if (input->type.isState())
        entry.states.push_back(input->name.str() + " " + mil::str(input->type.shape()));
    entry.handedOn = mil::handedInputsOf(*function);
    mil::walk(function->body(),
              [&](mil::Op &op) { entry.operations += !op.is(mil::OpKind::const_); });
  }
  report.weightFileBytes = written.layout.fileBytes;
  report.packageBytes = written.layout.fileBytes + written.modelBytes + makeManifest().size();
  return report;
}

std::optional<double> parseShare(llvm::StringRef text) {
  text.consume_back("%");
  double percent;
  if (text.getAsDouble(percent) || !(percent >= 0 && percent <= 100))
    return std::nullopt;
  return percent;
}

Expected<std::optional<double>> expectedShare(const Arguments &arguments) {
  auto given = arguments.value(expectSharedOption);
  if (!given)
    return std::nullopt;
  auto percent = parseShare(*given);
  if (!percent)
    return usageError(Code::OptionValue,
                      "--expect-shared {0}: a percentage is wanted, from 0% to 100%", *given);
  return percent;
}

Error checkShares(const WriteReport &report, double percent,
                  llvm::ArrayRef<std::string> functions) {
  std::string message;
  unsigned below = 0;
  for (const auto &[function, share] : weightShares(report)) {
    bool asked = functions.empty() || llvm::is_contained(functions, function->name);
    if (!asked || share.percent() >= percent)
      continue;
    // Rounded down, so that a share below the bound does not read as if it reached it.
    double shown = std::min(share.percent(), percent - 0.01);
    if (++below <= 8)
      message +=
          fmt::format("\nfunction '{0}': {1:.2f}% of {2} bytes, {3} are its own", function->name,
                      std::max(shown, 0.0), grouped(share.bytes()), grouped(share.ownBytes));
  }
  if (!below)
    return Error::success();
  if (below > 8)
    message += fmt::format("\nand {0} more", below - 8);
  return makeError(Code::SharedLess,
                   "fewer weights are shared than the {0}% that --expect-shared demands; nothing "
                   "is written (without it, plait inspect tells of the package what differs){1}",
                   fmt::format("{0:.2f}", percent), message);
}

} // namespace plait::driver
