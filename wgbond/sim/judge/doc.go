// Package judge lets real TCP (in the model of sim/tcp) use the real engine
// over simulated paths, in virtual time, and says what it was worth.
//
//	TCP ─ tunnel ─ wgbond.Session ═╦═ up[0]   ═▶ ╦═ wgbond.Session ─ tunnel ─ TCP
//	ping                client     ╠═ up[1]   ═▶ ╣  server                    ping
//	                               ╚◀═ down[i] ══╝
//
// The tunnels stand for WireGuard: packets of its shape and size, its replay
// window. A Scenario can also run without the engine, as stock WireGuard over
// its first path: that is what a bond is measured against.
//
// The same Scenario gives the same Report every time.
package judge
