// What Core ML refuses or gets wrong although it is well-formed MIL.
#include "mil/Verifier.h"

namespace plait::mil {

llvm::ArrayRef<Rule> listRules() { return {}; }

std::vector<Violation> checkDeviceProfile(const Program &program) { return {}; }

} // namespace plait::mil
