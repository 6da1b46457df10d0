// plait as a library: models in, one Core ML package out; and packages run again, on any system.
// This header and what it includes need the standard library alone. <plait/torch.h> adds what takes
// LibTorch's types: modules in memory and live torch::nn::Modules.
//
//     plait::Compiler compiler;
//     compiler.addFile("classifier", "classifier.pt", {.input = {"image=[1, 3, 64, 64]"}});
//     compiler.addFile("regressor", "regressor.pt", {.input = {"image=[1, 3, 64, 64]"}});
//     plait::Report report = compiler.write("heads.mlpackage");
//
// | of the command                          | here                                            |
// |-----------------------------------------|-------------------------------------------------|
// | plait compile (compile.h)               | Compiler::write()                               |
// | plait add (compile.h)                   | Compiler::addTo()                               |
// | plait merge, remove, adapter (package.h)| merge(), remove(), packAdapter()                |
// | plait run (run.h)                       | Program, Session                                |
// | plait verify (verify.h)                 | verify()                                        |
//
// Errors. Everything here reports failure by throwing plait::Exception, whose text is what the
// `plait` command prints: in lower case, what went wrong, where, and what to do. No other exception
// leaves the library but those of the caller's own functions and std::bad_alloc.
//
// Threads. Different objects may be used from different threads at once, several exports included.
// One object is used by one thread at a time; Compiler::cancel() alone may be called from any.
// Functions may be called from any thread; two that write to one package at once are refused or
// write one after the other, as two commands would.
//
// Ownership. Objects own what they need; strings, arrays and options are copied. What is given back
// belongs to the caller; a reference lives as long as the object that gave it.
//
// Names. Options are called as the options of the command are (docs/command.md), and mean the same.
// Shapes are counted in elements, sizes of weights and files in bytes.
#pragma once

#include <plait/compile.h>
#include <plait/exception.h>
#include <plait/package.h>
#include <plait/run.h>
#include <plait/verify.h>
