// What libplait exports: classes and functions marked PLAIT_API, and nothing else.
#pragma once

#define PLAIT_API __attribute__((visibility("default")))
