// Package wgbond is the bonding engine: it joins a borrower and a server into
// one session over several paths.
//
// The engine is sans-IO. It is handed datagrams and the time, and answers
// with what to deliver, what to send where, and when to call again. It never
// reads a clock, opens a socket or starts a goroutine, so all of it runs in
// virtual time under test.
//
// # Sending half
//
//	Send ─▶ queue (CoDel) ─▶ dispatch.Executor ─▶ link queue ─▶ pacer, window ─▶ Transmit
//	            ▲             follows the plan      per path       rate
//	            │                                      ▲
//	            │                               repair │ what was lost, or was on a dead path
//	        feedback.History: every packet until the peer reports it
//
// # Receiving half
//
//	Receive ─▶ feedback.Receiver ─▶ Feedback, on the path of earliest arrival
//	        ├▶ held back, if delays are equalised
//	        └▶ reorder.Buffer ────▶ Deliver, in the order of (key pair, counter)
//
// # Files
//
//	session.go    Config, Session, its clockwork
//	link.go       one path as the session holds it: path + rate + queues
//	send.go       from Send to Transmit
//	help.go       an idle path takes over what is stuck on another
//	feedback.go   the peer's feedback: rates, losses, repair
//	receive.go    from Receive to Deliver
//	equalize.go   paths of unlike delay made alike, if the plan wants it
//	control.go    control messages out: feedback, notices, pings
//	mtu.go        what each path carries, and what does not fit
//	attach.go     paths come and go; challenges
//	dial.go       the client's handshakes; bonded and lost
//	plain.go      WireGuard without a bond: one path at a time, fail-over
//	rest.go       what a metered path that carries no data is spared
//	damping.go    how long not to use what comes and goes
//	status.go     for people and programs
//	trace.go      for people who ask why: every decision, see wgbond/trace
package wgbond
