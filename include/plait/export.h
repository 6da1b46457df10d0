// What libplait exports: classes and functions marked PLAIT_API, and nothing else. And what the
// headers need: under an older standard they hold nothing, so that one error says it.
#pragma once

#if __cplusplus >= 202002L
#define PLAIT_CXX20 1
#define PLAIT_API __attribute__((visibility("default")))
/// What is inside an exported class and not for its users.
#define PLAIT_HIDDEN __attribute__((visibility("hidden")))
#else
#error "plait needs C++20: compile with -std=c++20 or a newer standard"
#endif
