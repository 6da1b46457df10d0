// The costs of operations as text and as JSON.
#include "driver/Diagnostics.h"
#include "driver/cost/OperationCost.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

namespace plait::driver {

using namespace mil;

namespace {

/// Sums; what is not known counts in `unknown` alone.
struct Total {
  unsigned count = 0, unknown = 0;
  uint64_t arithmetic = 0, bytes = 0;

  void add(const OperationCost &cost) {
    ++count;
    unknown += !cost.arithmetic || !cost.bytes;
    arithmetic += cost.arithmetic.value_or(0);
    bytes += cost.bytes.value_or(0);
  }
};

struct Totals {
  Total all, engine;
  unsigned borders = 0; ///< neighbours of which one is off the Neural Engine
};

Totals totalsOf(llvm::ArrayRef<OperationCost> costs) {
  Totals totals;
  for (size_t i = 0; i < costs.size(); ++i) {
    totals.all.add(costs[i]);
    if (!costs[i].offEngine)
      totals.engine.add(costs[i]);
    totals.borders += i > 0 && !costs[i].offEngine != !costs[i - 1].offEngine;
  }
  return totals;
}

std::string number(std::optional<uint64_t> value) { return value ? grouped(*value) : "?"; }

llvm::json::Value jsonNumber(std::optional<uint64_t> value) {
  return value ? llvm::json::Value(*value) : llvm::json::Value(nullptr);
}

std::string unitsOf(const OperationCost &cost) {
  return std::string("CPU") + (cost.offGpu ? "" : ", GPU") + (cost.offEngine ? "" : ", NE");
}

llvm::json::Object toJson(const Total &total) {
  return llvm::json::Object{{"operations", total.count},
                            {"arithmetic", total.arithmetic},
                            {"bytes", total.bytes},
                            {"unknown", total.unknown}};
}

} // namespace

void printCosts(const Program &program, llvm::raw_ostream &out) {
  std::vector<const UnitRule *> named;
  for (const auto &function : program.functions()) {
    auto costs = operationCosts(*function);
    Totals totals = totalsOf(costs);
    out << function->name << '\n';
    out << fmt::format("  {0:>17}  {1:>15}  {2:<13}  {3}\n", "arithmetic", "bytes", "units",
                       "operation");
    for (const OperationCost &cost : costs) {
      std::string what = cost.op->info().name;
      if (cost.op->numResults())
        what += " '" + cost.op->result()->name.str() + "'";
      if (cost.offEngine) {
        what += fmt::format(" [{0}]", cost.offEngine->id);
        if (!llvm::is_contained(named, cost.offEngine))
          named.push_back(cost.offEngine);
      }
      out << fmt::format("  {0:>17}  {1:>15}  {2:<13}  {3}\n", number(cost.arithmetic),
                         number(cost.bytes), unitsOf(cost), what);
    }
    auto line = [&](const Total &total, llvm::StringRef what) {
      out << fmt::format(
          "  {0:>17}  {1:>15}  {2:<13}  {3} operation{4}{5}\n", grouped(total.arithmetic),
          grouped(total.bytes), what, total.count, total.count == 1 ? "" : "s",
          total.unknown ? fmt::format(", {0} of them of sizes that are not known", total.unknown)
                        : "");
    };
    line(totals.all, "in all");
    line(totals.engine, "NE allowed");
    out << fmt::format("  {0} between the Neural Engine and other units\n\n",
                       totals.borders == 1 ? "1 border"
                                           : fmt::format("{0} borders", totals.borders));
  }
  for (const UnitRule *rule : named)
    out << fmt::format("[{0}] {1} ({2})\n", rule->id, rule->text, rule->source);
}

llvm::json::Object costsToJson(const Program &program) {
  llvm::json::Array functions;
  for (const auto &function : program.functions()) {
    auto costs = operationCosts(*function);
    Totals totals = totalsOf(costs);
    llvm::json::Array operations;
    for (const OperationCost &cost : costs) {
      llvm::json::Array units{"cpu"};
      if (!cost.offGpu)
        units.push_back("gpu");
      if (!cost.offEngine)
        units.push_back("neural_engine");
      llvm::json::Object entry{{"operation", cost.op->info().name},
                               {"arithmetic", jsonNumber(cost.arithmetic)},
                               {"bytes", jsonNumber(cost.bytes)},
                               {"units", std::move(units)}};
      if (cost.op->numResults())
        entry["result"] = llvm::json::fixUTF8(cost.op->result()->name.str());
      if (cost.offEngine)
        entry["off_neural_engine"] = cost.offEngine->id;
      operations.push_back(std::move(entry));
    }
    functions.push_back(llvm::json::Object{{"name", function->name},
                                           {"operations", std::move(operations)},
                                           {"total", toJson(totals.all)},
                                           {"neural_engine", toJson(totals.engine)},
                                           {"borders", totals.borders}});
  }
  llvm::json::Object rules;
  for (const UnitRule &rule : unitRules())
    rules[rule.id] = llvm::json::Object{{"text", rule.text}, {"source", rule.source}};
  return llvm::json::Object{{"functions", std::move(functions)}, {"rules", std::move(rules)}};
}

} // namespace plait::driver
