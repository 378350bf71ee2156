// Package oracle asks somebody else. It compares what the generated decoders accept
// with an independent JSON Schema validator that reads the same schema files, over
// examples, every small mutation of them, recorded cases and fuzzed bytes; and it compares
// what the generated types say of themselves, by reflection, with the schema.
//
// Beside it stand the official test suite (suite), deliberate mistakes that the tests have
// to catch (breaks), the measurements (speed, budget) and the shared mutations (mutate).
//
// It is a module of its own so that validators and their dependencies never reach the
// daemon's go.mod. Nothing imports it: it is all tests and programs. What the two
// disagree about on purpose is written down in one place, disagreement.
package oracle
