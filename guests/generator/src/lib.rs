//! Source of made-up records at a chosen rate, for trials and benchmarks.
