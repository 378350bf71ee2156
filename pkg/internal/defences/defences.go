// Package defences holds the list of what keeps people out of the gateway, and takes
// each piece away to see that a test notices. SECURITY.md tells the attack behind each;
// its numbers are those of the list.
//
// Nothing in the tree changes and no switch that turns a defence off exists in the
// product: a file without the defence is laid over the real one for one run of the
// tests (go test -overlay). There is nothing to import here.
package defences
