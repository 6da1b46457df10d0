// plait completion: what a shell needs to complete the command.
#pragma once

#include "driver/CommandLine.h"

namespace plait::driver {

extern const Command completionCommand;

} // namespace plait::driver
