// Package sim is the network in virtual time: links that delay, queue, lose
// and reorder packets the way mobile links do, and an event loop to wire
// nodes together. Everything is pure: callers pass the time in, randomness
// comes from a seeded generator, so a run repeats exactly.
//
// A Link is one direction of one hop:
//
//	Push → | drop-tail queue | → serialise → lose? → propagate → Pop
//	         Queue bytes         Rate, Trace   Loss    Delay + Jitter
//	                             Outages       Burst
//
// The same Link runs under the virtual-time judge (wgbond/sim/judge) and,
// fed with the real clock, under the lab's TUN emulator.
package sim
