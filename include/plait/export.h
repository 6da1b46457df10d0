// What libplait exports: classes and functions marked PLAIT_API, and nothing else.
#pragma once

#define PLAIT_API __attribute__((visibility("default")))
/// What is inside an exported class and not for its users.
#define PLAIT_HIDDEN __attribute__((visibility("hidden")))
