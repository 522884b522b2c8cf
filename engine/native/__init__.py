"""Kernels of the bundled engine for CPUs: LLVM code that is generated for the host at start, without a compiler."""
