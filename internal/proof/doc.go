// Package proof turns the promises into evidence: herds, model-based tests,
// faults and benchmarks, in a module of its own because of what they need.
package proof
