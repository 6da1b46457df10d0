// Starts LibTorch, allocates one small tensor, and ends: the floor of time and memory for a program
// that links it.
#include <ATen/ATen.h>

int main() { return at::ones({2}).sum().item<float>() == 2.0f ? 0 : 1; }
