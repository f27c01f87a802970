// Package sla decides when a vulnerability has to be remedied on an asset, and
// says why: [Evaluate] turns a policy, the facts on an asset and a
// vulnerability, and the time of asking into a verdict with every deadline
// that applied.
//
// It reads no file, no clock and no zone database of the host; it logs nothing
// and keeps nothing. Package policy reads the policy file and fills a [Policy].
//
// Invariants:
//
//   - Same inputs, same verdict, on every machine: the zone and the windows of
//     the calendars are values inside the policy, and the verdict names the
//     policy's digest and the version of the zone data.
//   - A deadline is a date in the policy's zone. It is met until the end of that
//     day; the breach is the first instant of the next one.
//   - The earliest binding candidate wins; equal dates are decided by the byte
//     order of the rule ids. The order of the rules changes nothing.
//   - An earlier clock start, a KEV listing, or an added row never makes a
//     deadline later. Only an exception in force does.
//   - What is unknown is read strictly and said so in a note: unknown exposure
//     is internet, unknown environment is production. A row or calendar that is
//     missing is an error, never "no deadline".
//   - A *Policy is never written to after it was made; any number of goroutines
//     may evaluate with it.
package sla
